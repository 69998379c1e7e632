"""View contrast, adversarial features and RLMRec beside models, by hand; what the loop does with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.embedding_noise import EmbeddingNoise
from mmrec.augment.svd_view import SVDView
from mmrec.auxiliary.adversarial_feature import AdversarialFeature, adversarial_view
from mmrec.auxiliary.base import Auxiliary
from mmrec.auxiliary.rlmrec import RLMRec
from mmrec.auxiliary.view_contrast import ViewContrast
from mmrec.errors import ConfigError, MMRecError
from mmrec.evaluate.evaluator import Scores
from mmrec.graph.view import GraphView
from mmrec.losses.contrast import AlignUniform, InfoNCE
from mmrec.models.amr import AMR
from mmrec.models.base import Batch, Embeddings, Recommender
from mmrec.models.bm3 import BM3
from mmrec.models.freedom import FREEDOM
from mmrec.models.lightgcn import LightGCN
from mmrec.models.mmhcl import MMHCL
from mmrec.models.ngcf import NGCF
from mmrec.models.rearm import REARM
from mmrec.models.vbpr import VBPR
from mmrec.plugins import known
from mmrec.train.loop import fit
from tests.cases import by_hand
from tests.cases.by_hand import ITEMS, NEGATIVES, USERS, Array, batch, info_nce, leaky, linear, view64
from tests.cases.model_cases import HIT
from tests.cases.planted import planted_blocks, rng, tiny_view

SOME_USERS, SOME_ITEMS = sorted(set(USERS)), sorted(set(ITEMS))


def lightgcn() -> LightGCN:
    model = LightGCN(view64(), dim=3, n_layers=2, reg=0.0).double()
    by_hand.set_by_formula(model)
    return model


def loss_of(auxiliary: Auxiliary, model: Recommender, view: GraphView, seed: int = 7) -> dict[str, Tensor]:
    return auxiliary.losses(model, view, model.embed(view), batch(), rng(seed))


def embedded(model: Recommender, view: GraphView) -> tuple[Array, Array]:
    out = model.embed(view)
    return out.users.detach().numpy(), out.items.detach().numpy()


@pytest.mark.parametrize("over", ["batch", "all"])
def test_sgls_contrast_by_hand(over: Any) -> None:
    view, model, drop = view64(), lightgcn(), EdgeDrop(0.4)
    contrast = InfoNCE(weight=0.3, temperature=0.5, over=over)
    found = loss_of(ViewContrast(view, augmentation=drop, contrast=contrast), model, view)
    source = rng(7)
    first, second = embedded(model, drop(view, source)), embedded(model, drop(view, source))
    expected = 0.0
    for one, other, some in zip(first, second, (SOME_USERS, SOME_ITEMS), strict=True):
        everybody = other if over == "all" else None
        expected += 0.3 * info_nce(one[some], other[some], 0.5, candidates=everybody)
    assert float(found["contrast"].detach()) == pytest.approx(expected)


def test_lightgcls_contrast_is_with_the_clean_graph() -> None:
    view, model = view64(), lightgcn()
    one = ViewContrast(view, augmentation=SVDView(2), contrast=InfoNCE(1.0, 0.5), against="clean")
    low, clean = embedded(model, SVDView(2)(view, rng())), embedded(model, view)
    expected = sum(
        info_nce(a[some], b[some], 0.5)
        for a, b, some in zip(low, clean, (SOME_USERS, SOME_ITEMS), strict=True)
    )
    assert float(loss_of(one, model, view)["contrast"].detach()) == pytest.approx(expected)


class Noted(InfoNCE):
    """Keeps what it compares."""

    def __init__(self, over: Any = "batch") -> None:
        super().__init__(weight=0.0, over=over)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, first: Tensor, second: Tensor, everybody: Tensor | None = None) -> Tensor:
        self.seen.append((first.detach().clone(), second.detach().clone()))
        return super().__call__(first, second, everybody)


class Embedding(LightGCN):
    """Notes what it embeds."""

    def __init__(self, view: GraphView) -> None:
        super().__init__(view, dim=3, n_layers=2)
        self.embedded: list[GraphView] = []

    def embed_in_training(self, view: GraphView, rng: torch.Generator) -> Embeddings:
        self.embedded.append(view)
        return super().embed_in_training(view, rng)


@pytest.mark.parametrize("over", ["batch", "all"])
@pytest.mark.parametrize("when", ["augment", "augment_step", "neither"])
def test_the_clean_graph_is_clean_where_the_epochs_is_augmented(when: str, over: Any) -> None:
    """One step with lr 0: the second of the two is the clean graph's embeddings, whatever the step sees."""
    view = tiny_view()
    torch.manual_seed(0)
    model, contrast = Embedding(view), Noted(over)
    made = ViewContrast(view, augmentation=EdgeDrop(0.3), contrast=contrast, against="clean")
    asked: dict[str, Any] = {} if when == "neither" else {when: EdgeDrop(0.5)}
    options = {"epochs": 1, "lr": 0.0, "batch_size": 100, "device": "cpu", "auxiliary": [made], "seed": 2}
    fit(model, view, lambda *_: Scores({"recall@20": 1.0}, 1, 0, 0), **options, **asked)
    clean = LightGCN.embed_in_training(model, view, rng())
    with_clicks = view.edge_index[0].unique(), view.edge_index[1].unique()
    for (_, second), rows, some in zip(contrast.seen, (clean.users, clean.items), with_clicks, strict=True):
        assert torch.allclose(second, rows[some], atol=1e-6)
    seen, drawn, *rest = model.embedded
    assert (seen is view) is (when == "neither")
    assert not torch.equal(drawn.edge_index, seen.edge_index)
    assert [one is view for one in rest] == ([] if when == "neither" else [True]), (
        "embedded only if it has to be"
    )


def test_views_are_drawn_as_often_as_asked() -> None:
    view, model = view64(), lightgcn()
    for redraw, same in (("step", False), ("epoch", True)):
        made = ViewContrast(view, augmentation=EdgeDrop(0.5), redraw=redraw)  # type: ignore[arg-type]
        source, out = rng(1), model.embed(view)
        made.start_epoch(1, view, source)
        first, second = (
            float(made.losses(model, view, out, batch(), source)["contrast"].detach()) for _ in "ab"
        )
        assert (first == second) is same
        made.start_epoch(2, view, source)
        assert float(made.losses(model, view, out, batch(), source)["contrast"].detach()) != first


TRAINED = sorted(
    name
    for name, kind in known(Recommender).items()  # type: ignore[type-abstract]
    if list(kind(tiny_view()).parameters())
)
NO_CLICKS = {"AMR", "BPRMF", "VBPR"}  # their embeddings do not depend on the graph of clicks


@pytest.mark.parametrize("name", TRAINED)
def test_every_model_takes_views(name: str) -> None:
    """The contrast of two views is another than that of the clean graph with itself, and has a gradient."""
    view, pairs = planted_blocks().data.train, torch.arange(16)
    torch.manual_seed(0)
    model = known(Recommender)[name](view)  # type: ignore[type-abstract]

    def contrast(drop: float) -> Tensor:
        some = Batch(view.edge_index[0, pairs], view.edge_index[1, pairs], pairs % 28, rng(3))
        made = ViewContrast(view, augmentation=EdgeDrop(drop), contrast=AlignUniform(weight=1.0))
        return made.losses(model, view, model.embed(view), some, rng())["contrast"]

    found, same = contrast(0.5), contrast(0)
    assert found.isfinite()
    assert torch.isclose(found, same, rtol=1e-4).item() is (name in NO_CLICKS)
    found.backward()
    reached = [one.grad for one in model.parameters() if one.grad is not None and one.grad.any()]
    assert reached
    assert all(grad.isfinite().all() for grad in reached)


@pytest.mark.parametrize("make", [VBPR, FREEDOM, BM3, REARM])
def test_adversarial_steps_have_their_length_and_raise_the_loss(make: Callable[..., Recommender]) -> None:
    view = tiny_view()
    torch.manual_seed(0)
    model = make(view, dim=8)

    def loss(seen: GraphView) -> Tensor:
        some = replace(batch(), rng=rng(1))
        return torch.stack(list(model.losses(model.embed(seen), some, seen).values())).sum()

    moved = adversarial_view(view, loss, 0.05)
    step = torch.cat([moved.features[name] - rows for name, rows in view.features.items()], dim=1)
    lengths = step.norm(dim=1)
    touched = lengths > 0
    assert touched.any()
    assert torch.allclose(lengths[touched], torch.tensor(0.05), atol=1e-5)
    assert loss(moved) > loss(view)
    assert not any(rows.requires_grad for rows in moved.features.values())


def test_adversarial_features_beside_a_model() -> None:
    view = tiny_view()
    torch.manual_seed(0)
    model = VBPR(view, dim=4)
    nothing = AdversarialFeature(view, epsilon=0.0, weight=0.5)
    losses = model.losses(model.embed(view), batch(), view)
    assert losses.keys() == {"bpr", "l2"}
    own = losses["bpr"]  # the penalty is the model's own matter, once
    assert float(losses["l2"].detach()) > 0
    assert float(loss_of(nothing, model, view)["adversarial"].detach()) == pytest.approx(
        0.5 * float(own.detach())
    )
    moved = loss_of(AdversarialFeature(view, epsilon=0.3, weight=0.5), model, view)["adversarial"]
    assert float(moved.detach()) > 0.5 * float(own.detach())
    moved.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("make", [VBPR, FREEDOM, AMR])
def test_items_outside_the_batch_are_not_moved(make: Callable[..., Recommender]) -> None:
    view = tiny_view()
    torch.manual_seed(0)
    model, seen = make(view, dim=8), []

    def noted(out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        seen.append(view)
        return type(model).losses(model, out, batch, view)

    model.losses = noted  # type: ignore[method-assign]
    some = Batch(torch.tensor([0, 1]), torch.tensor([3, 1]), torch.tensor([2, 2]), rng(5))
    AdversarialFeature(view, epsilon=0.3).losses(model, view, model.embed(view), some, rng(7))
    _, moved = seen
    for name, rows in view.features.items():
        changed = (moved.features[name] != rows).any(dim=1)
        assert changed.nonzero().flatten().tolist() == [1, 2, 3], name


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (LightGCN, {}),
        (MMHCL, {}),
        (BM3, {"trainable_features": True}),
        (FREEDOM, {"trainable_features": True}),
    ],
)
def test_features_that_the_ranking_does_not_look_at_are_refused(
    make: Callable[..., Recommender], options: dict[str, Any]
) -> None:
    view = planted_blocks().data.train
    model = make(view, dim=8, **options)
    expected = f"the ranking loss of {type(model).__name__} does not look at the view's features as it is set"
    scores = Scores({"recall@20": 1.0}, 1, 0, 0)
    with pytest.raises(ConfigError, match=expected):
        fit(model, view, lambda *_: scores, epochs=1, auxiliary=[AdversarialFeature(view)], device="cpu")


def profiles(view: GraphView) -> Array:
    clicks = by_hand.clicks_by_hand(view)
    items = np.concatenate(list(by_hand.features_by_hand(view).values()), axis=1)
    histories = []
    for name, rows in by_hand.features_by_hand(view).items():
        has = clicks * view.present[name].numpy()
        histories.append(has @ rows / np.maximum(has.sum(axis=1, keepdims=True), 1))
    return np.concatenate([np.concatenate(histories, axis=1), items])


def set_map(made: RLMRec) -> dict[str, Array]:
    by_hand.set_by_formula(made)  # type: ignore[arg-type]
    return by_hand.parameters_of(made)  # type: ignore[arg-type]


def test_rlmrec_contrastive_by_hand() -> None:
    view, model = view64(), lightgcn()
    made = RLMRec(view, dim=3, weight=0.3, temperature=0.5).double()
    values = set_map(made)
    x = profiles(view)
    mapped = linear(values, "map.2", leaky(linear(values, "map.0", x), 0.01))
    users, items = embedded(model, view)
    expected = info_nce(users[USERS], mapped[USERS], 0.5, candidates=mapped[:5])
    for some in (ITEMS, NEGATIVES):
        distinct = sorted(set(some))
        expected += info_nce(items[distinct], mapped[5 + np.array(distinct)], 0.5)
    found = loss_of(made, model, view)["profiles"]
    assert float(found.detach()) == pytest.approx(0.3 * expected, rel=1e-6)


def test_rlmrec_generative_by_hand() -> None:
    view, model = view64(), lightgcn()
    made = RLMRec(view, how="generative", dim=3, weight=0.3, temperature=0.5, mask=0.4).double()
    values = set_map(made)
    nodes = torch.randperm(11, generator=batch().rng)[:4]
    table = by_hand.parameters_of(model)["table"]
    masked = table.copy()
    masked[nodes.numpy()] = values["token"]
    users, items = by_hand.mean_of_layers(view, masked, 2)
    out = np.concatenate([users, items])
    order = [*[n for n in nodes.tolist() if n < 5], *[n for n in nodes.tolist() if n >= 5]]
    written = linear(values, "map.2", leaky(linear(values, "map.0", out[order]), 0.01))
    found = loss_of(made, model, view)["profiles"]
    assert float(found.detach()) == pytest.approx(
        0.3 * info_nce(written, profiles(view)[order], 0.5), rel=1e-6
    )
    found.backward()
    assert made.token.grad is not None
    assert made.token.grad.any()
    assert torch.equal(model.table, torch.from_numpy(table))  # the model itself is not touched


def test_rlmrec_says_what_does_not_fit() -> None:
    view = tiny_view()
    with pytest.raises(ConfigError, match=r"RLMRec.dim is 5 and the model's embeddings are 4 wide; set it"):
        loss_of(RLMRec(view, dim=5), LightGCN(view, dim=4), view)
    with pytest.raises(ConfigError, match="generative and VBPR has no table of ids; take contrastive"):
        loss_of(RLMRec(view, dim=8, how="generative"), VBPR(view, dim=4), view)
    for kind, width in ((NGCF, 16), (REARM, 12)):  # all layers, or id and modalities, side by side
        reason = f"{kind.__name__}'s embeddings are {width} wide and its table 4; take contrastive"
        with pytest.raises(ConfigError, match=f"^RLMRec.how is generative, {reason}$"):
            loss_of(RLMRec(view, dim=4, how="generative"), kind(view, dim=4), view)
    with pytest.raises(ConfigError, match=r"RLMRec.modality is 'sound', expected one of image, text"):
        RLMRec(view, modality="sound")
    for bad in (-1.0, float("nan")):
        with pytest.raises(
            MMRecError, match=rf"RLMRec.weight is {bad}, expected a finite number of at least 0"
        ):
            RLMRec(view, weight=bad)


def train(*auxiliary: Auxiliary, kind: type[Recommender] = LightGCN, **options: Any) -> Recommender:
    data = planted_blocks().data
    torch.manual_seed(0)
    model = kind(data.train, dim=8)  # type: ignore[call-arg]
    settings = {"epochs": 3, "batch_size": 64, "lr": 0.02, "device": "cpu", **options}
    fit(
        model,
        data.train,
        lambda model, view: HIT.evaluate(model, view, data.valid),
        monitor="hit@1",
        auxiliary=auxiliary,
        **settings,
    )
    return model


def weights(model: Recommender) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("kind", known(Auxiliary).values(), ids=lambda kind: kind.__name__)  # type: ignore[type-abstract]
def test_the_loop_trains_them_along_and_weight_zero_is_none(kind: type[Auxiliary]) -> None:
    view = planted_blocks().data.train
    options: dict[str, Any] = {"dim": 8} if kind is RLMRec else {}
    if kind is ViewContrast:
        options = {"augmentation": EmbeddingNoise(0.3), "contrast": InfoNCE(weight=1.0)}
    made = kind(view, **options)
    before = [parameter.detach().clone() for parameter in made.parameters()]
    model = VBPR if kind is AdversarialFeature else LightGCN  # which has to read features
    plain, helped = weights(train(kind=model)), weights(train(made, kind=model))
    assert not torch.equal(plain, helped)
    for parameter, old in zip(made.parameters(), before, strict=True):
        assert not torch.equal(parameter, old)
    if kind is ViewContrast:
        nothing = kind(view, augmentation=EmbeddingNoise(0.3), contrast=InfoNCE(weight=0.0))
    else:
        nothing = kind(view, **{**options, "weight": 0.0})
    assert torch.allclose(weights(train(nothing, kind=model)), plain, atol=1e-6)


def test_augmentations_at_each_step_are_drawn_from_the_augment_stream() -> None:
    plain = weights(train())
    stepped = weights(train(augment_step=EmbeddingNoise(0.5)))
    assert torch.equal(stepped, weights(train(augment_step=EmbeddingNoise(0.5))))
    assert not torch.equal(stepped, plain)


def test_a_models_own_embeddings_are_what_is_saved() -> None:
    out: Embeddings = train(RLMRec(planted_blocks().data.train, dim=8)).embed(planted_blocks().data.train)
    assert out.users.shape == (48, 8)
