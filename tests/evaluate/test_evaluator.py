from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmrec.errors import ConfigError, DataError
from mmrec.evaluate.evaluator import Evaluator, Scores
from mmrec.evaluate.topk import final_embeddings, top_items
from mmrec.graph.view import GraphView
from mmrec.models.base import Recommender
from tests.cases.planted import Scripted, rng, tiny_view

Clicks = list[tuple[int, int]]
NAMES = ("recall", "ndcg", "precision", "map", "mrr", "hit")


def as_pairs(clicks: Clicks) -> Tensor:
    return torch.tensor(clicks, dtype=torch.int64).reshape(-1, 2).T.contiguous()


@dataclass(frozen=True)
class World:
    """Users, items, clicks of three splits without repeats, and a strict ranking of all items per user."""

    users: int
    items: int
    train: Clicks
    valid: Clicks
    test: Clicks
    scores: list[list[int]]

    @property
    def view(self) -> GraphView:
        return GraphView(self.users, self.items, as_pairs(self.train))

    @property
    def model(self) -> Scripted:
        return Scripted(self.view, torch.tensor(self.scores, dtype=torch.float32))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    users, items = draw(st.integers(1, 5)), draw(st.integers(2, 7))
    splits: tuple[Clicks, Clicks, Clicks] = ([], [], [])
    for user in range(users):
        for item in range(items):
            part = draw(st.sampled_from([None, 0, 1, 2, 0]))
            if part is not None:
                splits[part].append((user, item))
    scores = [draw(st.permutations(range(items))) for _ in range(users)]
    return World(users, items, *splits, scores)


def metrics_of(ranking: list[int], relevant: set[int], k: int) -> dict[str, float]:
    """One user, one K, item by item."""
    places = [rank for rank, item in enumerate(ranking[:k], start=1) if item in relevant]
    gain = sum(1 / math.log2(rank + 1) for rank in places)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
    precisions = sum(found / rank for found, rank in enumerate(places, start=1))
    return {
        f"recall@{k}": len(places) / len(relevant),
        f"ndcg@{k}": gain / ideal,
        f"precision@{k}": len(places) / k,
        f"map@{k}": precisions / min(k, len(relevant)),
        f"mrr@{k}": 1 / places[0] if places else 0.0,
        f"hit@{k}": float(bool(places)),
    }


def slow(world: World, held_out: Clicks, known: Clicks, topk: tuple[int, ...]) -> Scores:
    """User by user."""
    warm_users, warm_items = {user for user, _ in world.train}, {item for _, item in world.train}
    rows, cold_rows, cold_users, cold_clicks = [], [], 0, 0
    for user in range(world.users):
        relevant = {item for other, item in held_out if other == user}
        if not relevant:
            continue
        if user not in warm_users:
            cold_users += 1
            continue
        best = sorted(range(world.items), key=lambda item: -world.scores[user][item])
        ranking = [item for item in best if (user, item) not in known]
        rows.append({key: value for k in topk for key, value in metrics_of(ranking, relevant, k).items()})
        cold = relevant - warm_items
        cold_clicks += len(cold)
        if cold:
            cold_rows.append(
                {key: value for k in topk for key, value in metrics_of(ranking, cold, k).items()}
            )

    def mean(rows: list[dict[str, float]]) -> dict[str, float]:
        return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]} if rows else {}

    return Scores(mean(rows), len(rows), cold_users, cold_clicks, mean(cold_rows))


@settings(max_examples=200, deadline=None)
@given(
    world=worlds(),
    mask=st.sampled_from(["train", "train_and_valid"]),
    topk=st.sampled_from([(1,), (1, 3), (2, 10), (5, 3)]),
    batch_size=st.sampled_from([1, 2, 100]),
    split=st.sampled_from(["valid", "test"]),
)
def test_against_user_by_user(
    world: World, mask: Any, topk: tuple[int, ...], batch_size: int, split: str
) -> None:
    evaluator = Evaluator(
        topk=topk, metrics=NAMES, mask=mask, monitor=f"recall@{topk[0]}", batch_size=batch_size
    )
    held_out, also_known = (world.valid, None) if split == "valid" else (world.test, as_pairs(world.valid))
    masks_valid = split == "test" and mask == "train_and_valid"
    expected = slow(world, held_out, world.train + (world.valid if masks_valid else []), topk)
    if expected.users == 0:
        with pytest.raises(DataError, match="nothing to evaluate"):
            evaluator.evaluate(world.model, world.view, as_pairs(held_out), also_known=also_known)
        return
    found = evaluator.evaluate(world.model, world.view, as_pairs(held_out), also_known=also_known)
    assert (found.users, found.cold_users) == (expected.users, expected.cold_users)
    assert found.cold_item_clicks == expected.cold_item_clicks
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-12)
    assert found.cold_items == pytest.approx(expected.cold_items, abs=1e-12)
    assert list(found.metrics) == evaluator.names


@pytest.mark.parametrize(("mask", "recall"), [("train", 0.0), ("train_and_valid", 1.0)])
def test_valid_clicks_are_left_out_of_the_test_ranking_only_when_asked(mask: Any, recall: float) -> None:
    view = GraphView(1, 3, as_pairs([(0, 0)]))
    model = Scripted(
        view, torch.tensor([[3.0, 2, 1]])
    )  # item 1, a valid click, stands above item 2, the test click
    evaluator = Evaluator(topk=(1,), metrics=("recall",), monitor="recall@1", mask=mask)
    found = evaluator.evaluate(model, view, as_pairs([(0, 2)]), also_known=as_pairs([(0, 1)]))
    assert found.metrics == {"recall@1": recall}


def test_an_item_that_is_left_out_is_never_a_hit() -> None:
    """A click that is in train and held out as well cannot be found, however long the list."""
    view = GraphView(1, 3, as_pairs([(0, 0)]))
    model = Scripted(view, torch.tensor([[3.0, 2, 1]]))
    found = Evaluator(topk=(3,), metrics=("recall",), monitor="recall@3").evaluate(
        model, view, as_pairs([(0, 0), (0, 1)])
    )
    assert found.metrics == {"recall@3": 0.5}


def test_one_forward_in_evaluation_mode_without_gradients_however_many_batches() -> None:
    view = tiny_view()

    class Watching(Scripted):
        def score(self, out: Any, users: Tensor) -> Tensor:
            assert not self.training
            assert not torch.is_grad_enabled()
            batches.append(len(users))
            return super().score(out, users)

    batches: list[int] = []
    model = Watching(view, torch.rand(5, 6, generator=rng()))
    model.eval()
    held_out = torch.tensor([[0, 1, 2, 3], [4, 5, 5, 0]])
    Evaluator(topk=(2,), metrics=("recall",), monitor="recall@2", batch_size=3).evaluate(
        model, view, held_out
    )
    assert model.embedded == [view]
    assert batches == [3, 1]


def test_a_model_in_training_stays_in_training() -> None:
    view = tiny_view()
    model = Scripted(view, torch.rand(5, 6))
    seen: list[bool] = []
    embed = model.embed
    model.embed = lambda view: (seen.append(model.training), embed(view))[1]  # type: ignore[method-assign]
    model.train()
    final_embeddings(model, view)
    assert seen == [False]
    assert model.training


def test_batch_size_changes_nothing() -> None:
    view = GraphView(40, 30, torch.stack([torch.arange(40), torch.arange(40) % 30]))
    model = Scripted(
        view, torch.stack([torch.randperm(30, generator=rng(user)) for user in range(40)]).float()
    )
    held_out = torch.stack([torch.arange(40), (torch.arange(40) + 7) % 30])
    results = [Evaluator(batch_size=size).evaluate(model, view, held_out) for size in (1, 7, 40, 1000)]
    assert results[0].metrics["recall@20"] > 0
    for other in results[1:]:
        assert other.metrics == pytest.approx(results[0].metrics, abs=1e-14)


def test_a_progress_bar_changes_nothing() -> None:
    view = tiny_view()
    held_out = torch.tensor([[0, 1], [4, 5]])
    model = Scripted(view, torch.rand(5, 6, generator=rng()))
    assert Evaluator().evaluate(model, view, held_out, title="valid") == Evaluator().evaluate(
        model, view, held_out
    )


def test_only_cold_users_is_an_error_and_not_an_empty_table() -> None:
    view = tiny_view()  # user 4 has no click
    with pytest.raises(DataError, match="none of the 1 users with a held-out click has a training click"):
        Evaluator().evaluate(Scripted(view, torch.rand(5, 6)), view, torch.tensor([[4, 4], [1, 2]]))


def test_the_monitors_own_evaluator_agrees() -> None:
    view = tiny_view()
    held_out = torch.tensor([[0, 1, 2], [4, 5, 3]])
    model = Scripted(view, torch.rand(5, 6, generator=rng()))
    evaluator = Evaluator(topk=(1, 2, 3), monitor="ndcg@2", mask="train_and_valid", batch_size=2)
    alone = evaluator.of_monitor()
    assert alone.names == ["ndcg@2"]
    assert (alone.mask, alone.batch_size) == ("train_and_valid", 2)
    also_known = torch.tensor([[0], [5]])
    whole = evaluator.evaluate(model, view, held_out, also_known=also_known)
    assert alone.evaluate(model, view, held_out, also_known=also_known).metrics == {
        "ndcg@2": whole.metrics["ndcg@2"]
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["recal"]}, r"no metric is called 'recal'; did you mean 'recall'\?"),
        (
            {"monitor": "recall@30"},
            r"eval.monitor is 'recall@30', which is not computed; did you mean 'recall@\d+'\?",
        ),
        ({"monitor": "recall"}, "eval.monitor is 'recall', which is not computed"),
        ({"topk": [0, 20]}, r"eval.topk is \[0, 20\]"),
        ({"batch_size": 0}, "eval.batch_size 0, expected at least 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Evaluator(**options)


def lists_of(
    model: Recommender, view: GraphView, users: list[int], known: Tensor, k: int
) -> list[tuple[Any, ...]]:
    lists = top_items(model, final_embeddings(model, view), torch.tensor(users), known, k, batch_size=2)
    return [(batch.tolist(), items.tolist(), scores.tolist()) for batch, items, scores in lists]


def test_top_items_by_hand() -> None:
    view = GraphView(4, 3, torch.tensor([[0, 1], [0, 1]]))
    model = Scripted(view, torch.tensor([[1.0, 2, 3], [3, 2, 1], [2, 3, 1], [5, 6, 4]]))
    known = torch.tensor([[3, 0, 1, 3, 0, 1, 1], [0, 2, 0, 2, 2, 1, 2]])  # in no order, one of them twice
    lost = float("-inf")
    assert lists_of(model, view, [3, 0, 1], known, 2) == [
        ([3, 0], [[1, lists_of(model, view, [3], known, 2)[0][1][0][1]], [1, 0]], [[6, lost], [2, 1]]),
        ([1], [lists_of(model, view, [1], known, 2)[0][1][0]], [[lost, lost]]),
    ]
    assert lists_of(model, view, [2], known, 10) == [([2], [[1, 0, 2]], [[3, 2, 1]])]


def test_top_items_without_known_ones_or_users() -> None:
    view = GraphView(2, 3, torch.tensor([[0], [0]]))
    model = Scripted(view, torch.tensor([[1.0, 2, 3], [3, 2, 1]]))
    none = torch.empty(2, 0, dtype=torch.int64)
    assert lists_of(model, view, [1, 0], none, 1) == [([1, 0], [[0], [2]], [[3], [3]])]
    out = final_embeddings(model, view)
    empty = list(top_items(model, out, torch.empty(0, dtype=torch.int64), none, 1))
    assert sum(len(batch) for batch, _, _ in empty) == 0
