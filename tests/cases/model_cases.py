"""What every recommender has to keep to. Yours too:

from tests.cases.model_cases import ModelCase

class TestMine(ModelCase):
    model = Mine
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from mmrec.evaluate.evaluator import Evaluator
from mmrec.evaluate.topk import final_embeddings, top_items
from mmrec.graph.view import GraphView
from mmrec.models.base import Batch, Recommender
from mmrec.plugins import resolve
from mmrec.train.checkpoint import load_checkpoint, save_checkpoint
from mmrec.train.loop import fit
from mmrec.train.sampler import PairSampler
from mmrec.train.streams import seeded
from tests.cases.holding import kept_of_view
from tests.cases.planted import Planted, assert_same_tensors, copies, planted_blocks, rng, tiny_view

HIT = Evaluator(topk=(1,), metrics=("hit",), monitor="hit@1")


@cache
def planted() -> Planted:
    return planted_blocks()


@contextmanager
def raises_if_random() -> Iterator[None]:
    """Fail if torch's global generator was used."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state()), "the global generator was used"


class ModelCase:
    """Subclass it, name the class, and pytest finds the tests.

    Attributes:
        model: the class.
        options: its options for 48 users and 28 items; `dim` is 16 where it has one.
        personal: false for a model that ranks alike for everybody, by clicks.
        looks_at_clicks: false for a model whose scores do not depend on the graph, only its training does.
        training: options of `fit` with which it learns the planted blocks.
        by_content: true for a model that knows items by content alone: it may put the new one first.
        learns_item_graph: true for a model that keeps a graph of items made of its own weights.
        cannot_find_new_items: why a multimodal model cannot score a never-clicked item by its features.
    """

    model: ClassVar[type[Recommender]]
    options: ClassVar[dict[str, Any]] = {}
    personal: ClassVar[bool] = True
    looks_at_clicks: ClassVar[bool] = True
    training: ClassVar[dict[str, Any]] = {}
    by_content: ClassVar[bool] = False
    learns_item_graph: ClassVar[bool] = False
    cannot_find_new_items: ClassVar[str] = ""
    _fitted: ClassVar[dict[Any, Recommender]] = {}

    def make(self, view: GraphView, seed: int = 0, **more: Any) -> Recommender:
        small = {"dim": 16} if "dim" in inspect.signature(self.model).parameters else {}
        with seeded(seed, "init"):
            return self.model(view, **{**small, **self.options, **more})

    def tuning(self) -> dict[str, Any]:
        """The option to tune raw features, where there is one."""
        name = "trainable_features"
        return {name: True} if name in inspect.signature(self.model).parameters else {}

    def fitted(self, seed: int = 0, **more: Any) -> Recommender:
        """A model trained once and shared by the tests, which must not change it."""
        key = type(self), seed, *sorted(more.items())
        if key not in self._fitted:
            self._fitted[key] = self.fit(seed, **more)
        return self._fitted[key]

    def fit(self, seed: int = 0, **more: Any) -> Recommender:
        data = planted().data
        model = self.make(data.train, seed)

        def validate(model: Recommender, view: GraphView) -> Any:
            return HIT.evaluate(model, view, data.valid)

        settings = {
            "lr": 0.02,
            "epochs": 80,
            "batch_size": 64,
            "patience": 80,
            "device": "cpu",
            **self.training,
            **more,
        }
        fit(model, data.train, validate, monitor="hit@1", seed=seed, **settings)
        return model

    def scores(self, model: Recommender, view: GraphView) -> Tensor:
        with torch.no_grad():
            return model.score(final_embeddings(model, view), torch.arange(view.num_users))

    def batch(self, view: GraphView) -> Batch:
        return next(iter(PairSampler(view, 10**6).epoch(rng(1))))

    def test_the_planted_first_item_is_found(self) -> None:
        view = planted().data.train
        model = self.fitted()
        users = torch.arange(view.num_users)
        ((_, items, _),) = top_items(model, final_embeddings(model, view), users, view.edge_index, 1)
        if self.personal:
            first = items[:, 0]
            right = (first == planted().first) | (self.by_content & (first == planted().new))
            assert right.all()
            return
        clicks = torch.bincount(view.edge_index[1], minlength=view.num_items)
        for user, item in enumerate(items[:, 0].tolist()):
            left = clicks.clone()
            left[view.edge_index[1][view.edge_index[0] == user]] = -1
            assert clicks[item] == left.max()

    def test_an_item_nobody_clicked_is_found_by_its_features(self) -> None:
        if not self.model.needs:
            pytest.skip("takes in no features")
        if self.cannot_find_new_items:
            pytest.skip(self.cannot_find_new_items)
        new = planted().new
        scores = self.scores(self.fitted(), planted().data.train)
        among = torch.unique(new)
        assert torch.equal(among[scores[:, among].argmax(dim=1)], new)

    def test_gradients_reach_every_parameter(self) -> None:
        view = planted().data.train
        model = self.make(view, **self.tuning())
        if not list(model.parameters()):
            pytest.skip("has no parameters")
        torch.stack(list(model.losses(model.embed(view), self.batch(view), view).values())).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name

    def test_losses_are_named_finite_numbers(self) -> None:
        view = planted().data.train
        model = self.make(view)
        losses = model.losses(model.embed(view), self.batch(view), view)
        assert losses
        for name, loss in losses.items():
            assert loss.shape == (), name
            assert loss.isfinite(), name

    def test_same_seed_same_run_other_seed_other_run(self) -> None:
        if not list(self.make(planted().data.train).parameters()):
            pytest.skip("has no parameters")
        first, again, other = (self.fit(seed, epochs=2).state_dict() for seed in (0, 0, 1))
        for name, value in first.items():
            assert torch.equal(value, again[name]), name
        assert any(not torch.equal(value, other[name]) for name, value in first.items())

    def test_the_sampling_stream_makes_a_difference_of_its_own(self) -> None:
        """Same start, other batches: what is drawn while training comes from the seed as well."""
        view = planted().data.train
        if not list(self.make(view).parameters()):
            pytest.skip("has no parameters")
        states = []
        for seed in (0, 1):
            model = self.make(view, seed=0)
            fit(
                model,
                view,
                lambda m, v: HIT.evaluate(m, v, planted().data.valid),
                monitor="hit@1",
                seed=seed,
                epochs=1,
            )
            states.append(model.state_dict())
        assert any(not torch.equal(value, states[1][name]) for name, value in states[0].items())

    def test_a_step_draws_from_the_batchs_generator_alone(self) -> None:
        """Twice the same step of the same start, from the forward pass of training to the losses."""
        view = planted().data.train
        values = []
        for _ in range(2):
            model = self.make(view)  # anew: some count their steps, or keep what the first step learned
            batch = replace(self.batch(view), rng=rng(5))
            with raises_if_random():
                values.append(model.losses(model.embed_in_training(view, batch.rng), batch, view))
        assert values[0].keys() == values[1].keys()
        for name, value in values[0].items():
            assert torch.equal(value, values[1][name]), name

    def test_save_and_load_score_alike(self, tmp_path: Path) -> None:
        data = planted().data
        model = self.fitted(epochs=2)
        small = {"dim": 16} if "dim" in inspect.signature(self.model).parameters else {}
        init_args = {**small, **self.options}
        assert json.loads(json.dumps(init_args)) == init_args
        save_checkpoint(tmp_path / "model.pt", model, init_args, data)
        loaded = load_checkpoint(tmp_path / "model.pt").build(data)
        assert type(loaded) is self.model
        assert torch.equal(self.scores(loaded, data.train), self.scores(model, data.train))

    def test_it_is_found_by_its_import_path(self) -> None:
        path = f"{self.model.__module__}.{self.model.__qualname__}"
        assert resolve(Recommender, path, "model") is self.model  # type: ignore[type-abstract]

    def test_scores_have_a_column_per_item_and_do_not_depend_on_the_batch(self) -> None:
        view = planted().data.train
        model = self.make(view)
        out = final_embeddings(model, view)
        with torch.no_grad():
            whole = model.score(out, torch.arange(view.num_users))
            assert whole.shape == (view.num_users, view.num_items)
            assert whole.isfinite().all()
            order = torch.randperm(view.num_users, generator=rng())
            for users in (*order.split(5), order[:0]):
                assert torch.allclose(model.score(out, users), whole[users], rtol=1e-4, atol=1e-6)

    def test_scores_are_dot_products_of_the_vectors_for_ranking(self) -> None:
        if type(self.make(tiny_view())).score is not Recommender.score:
            pytest.skip("defines its own score")
        view = planted().data.train
        model = self.make(view)
        out = final_embeddings(model, view)
        slow = torch.stack([(out.items * user).sum(dim=1) for user in out.users])
        assert torch.allclose(self.scores(model, view), slow, rtol=1e-4, atol=1e-6)

    def test_evaluation_is_deterministic_and_leaves_the_mode_alone(self) -> None:
        view = planted().data.train
        model = self.make(view)
        for training in (True, False):
            model.train(training)
            with raises_if_random():
                assert torch.equal(self.scores(model, view), self.scores(model, view))
            assert model.training is training

    def test_the_view_is_untouched_and_not_kept(self) -> None:
        view = planted_blocks().data.train
        before = copies(view)
        for options in (self.tuning(), {}):
            model = self.make(view, **options)
            model.start_epoch(1)
            for out in (model.embed(view), model.embed_in_training(view, rng())):
                model.losses(out, self.batch(view), view)
            self.scores(model, view)
            assert_same_tensors(view, before)
            kept = kept_of_view(model, view, learned_items=self.learns_item_graph)
            assert not kept, kept

    def test_scores_follow_the_view_that_is_given(self) -> None:
        view = planted().data.train
        model = self.make(view)
        fewer = view.with_edges(torch.arange(view.edge_index.shape[1]) % 5 > 0)
        same = torch.equal(self.scores(model, view), self.scores(model, fewer))
        assert same is not self.looks_at_clicks

    def test_nodes_without_clicks_and_missing_features_are_finite(self) -> None:
        view = tiny_view()
        model = self.make(view)
        out = model.embed(view)
        assert out.users.shape[0] == 5
        assert out.items.shape[0] == 6
        assert out.users.isfinite().all()
        assert out.items.isfinite().all()
        assert self.scores(model, view).isfinite().all()
        if list(model.parameters()):
            sum(model.losses(out, self.batch(view), view).values(), torch.zeros(())).backward()
            for name, parameter in model.named_parameters():
                assert parameter.grad is None or parameter.grad.isfinite().all(), name

    def test_what_it_needs_is_what_it_uses(self) -> None:
        """A model that declares no needs works on clicks alone."""
        view = tiny_view(item_graph="item_graph" in self.model.needs)
        if not self.model.needs:
            view = replace(view, features={}, present={})
        model = self.make(view)
        assert self.scores(model, view).shape == (5, 6)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_scores_on_a_gpu_are_those_on_the_cpu(self) -> None:
        view = planted().data.train
        model = self.make(view)
        expected = self.scores(model, view)
        model.to("cuda")
        out = final_embeddings(model, view.to("cuda"))
        found = model.score(out, torch.arange(view.num_users, device="cuda")).detach().cpu()
        assert torch.allclose(found, expected, atol=1e-4)
