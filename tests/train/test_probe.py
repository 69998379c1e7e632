"""What is tried before training: augmentations without an effect are told, and nothing else is changed."""

from __future__ import annotations

import logging
from threading import Lock
from typing import Any

import pytest
import torch
from torch import Tensor

from mmrec.augment.base import Augmentation, Compose
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.embedding_noise import EmbeddingNoise
from mmrec.augment.feature_mask import FeatureMask
from mmrec.augment.knn_rewire import KNNRewire
from mmrec.augment.random_choice import RandomChoice
from mmrec.augment.scheduled import Scheduled
from mmrec.augment.svd_view import SVDView
from mmrec.auxiliary.rlmrec import RLMRec
from mmrec.auxiliary.view_contrast import ViewContrast
from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.losses.contrast import AlignUniform
from mmrec.models.amr import AMR
from mmrec.models.base import Batch, Embeddings, Recommender
from mmrec.models.bm3 import BM3
from mmrec.models.bprmf import BPRMF
from mmrec.models.dgvae import DGVAE
from mmrec.models.freedom import FREEDOM
from mmrec.models.lattice import LATTICE
from mmrec.models.lightgcn import LightGCN
from mmrec.models.lirdrec import LIRDRec
from mmrec.models.mmhcl import MMHCL
from mmrec.models.popularity import Popularity
from mmrec.models.rearm import REARM
from mmrec.models.vbpr import VBPR
from mmrec.train import loop
from mmrec.train.loop import fit
from mmrec.train.probe import _close, probe
from mmrec.train.sampler import PairSampler, UserSampler
from mmrec.train.streams import seeded
from tests.cases.planted import planted_blocks, rng
from tests.train.test_loop import valued


def view() -> GraphView:
    return planted_blocks(blocks=3, users=5, items=5).data.train


def made(kind: type[Recommender], seen: GraphView, **options: Any) -> Recommender:
    with seeded(0, "init"):
        return kind(seen, **({"dim": 8} | options))  # type: ignore[arg-type]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def tried(model: Recommender, seen: GraphView, epochs: int = 20, **asked: Any) -> None:
    settings: dict[str, Any] = {"augment": None, "augment_step": None, "auxiliary": [], **asked}
    kind = UserSampler if model.batches == "users" else PairSampler
    sampler = kind(seen, 32, negatives=model.n_negatives)
    probe(model, seen, sampler, **settings, epochs=epochs, seed=3)


def views_of(augmentation: Augmentation, seen: GraphView, **options: Any) -> ViewContrast:
    return ViewContrast(seen, augmentation=augmentation, **options)


IDLE = [
    (FeatureMask(0.3), LightGCN, "features"),
    (FeatureMask(0.3), MMHCL, "features"),
    (KNNRewire(0.5), MMHCL, "item graph"),
    (KNNRewire(0.5), LightGCN, "item graph"),
    (EmbeddingNoise(0.1), VBPR, "propagation"),
    (EmbeddingNoise(0.1), BPRMF, "propagation"),
    (EdgeDrop(0.5), BPRMF, "clicks"),
    (EdgeDrop(0.5), VBPR, "clicks"),
    (EdgeDrop(0.5), AMR, "clicks"),
]


@pytest.mark.parametrize("when", ["epoch", "step"])
@pytest.mark.parametrize(("augmentation", "kind", "what"), IDLE)
def test_without_an_effect_it_is_one_warning_that_says_why(
    augmentation: Augmentation,
    kind: type[Recommender],
    what: str,
    when: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = view()
    name = "augment" if when == "epoch" else "augment_step"
    tried(made(kind, seen), seen, **{name: Compose([augmentation])})
    part, model = type(augmentation).__name__, kind.__name__
    assert warned(caplog) == [
        f"augment.{when}: {part} has no effect on {model}: it changes {what}, which {model} does not look at "
        f"as it is set; take it out of augment.{when} or choose another model"
    ]


@pytest.mark.parametrize(("augmentation", "kind", "what"), IDLE)
@pytest.mark.parametrize("against", ["view", "clean"])
def test_views_without_an_effect_are_refused(
    augmentation: Augmentation, kind: type[Recommender], what: str, against: str
) -> None:
    seen = view()
    part, model = type(augmentation).__name__, kind.__name__
    expected = (
        f"augment.views are contrasted with themselves: {part} has no effect on {model}: it changes {what}"
    )
    with pytest.raises(ConfigError, match=expected) as error:
        tried(made(kind, seen), seen, auxiliary=[views_of(augmentation, seen, against=against)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("augmentation", "kind"),
    [
        (EdgeDrop(0.2), LightGCN),
        (EmbeddingNoise(0.1), LightGCN),
        (FeatureMask(0.3), VBPR),
        (FeatureMask(0.3), FREEDOM),
        (FeatureMask(0.3), AMR),
        (KNNRewire(0.5), FREEDOM),
        (EdgeDrop(0.2), DGVAE),
        (EdgeDrop(0.2), LATTICE),
        (FeatureMask(0.3), LATTICE),
        (EdgeDrop(0.2), REARM),
    ],
)
def test_what_has_an_effect_is_not_spoken_of(
    augmentation: Augmentation, kind: type[Recommender], caplog: pytest.LogCaptureFixture
) -> None:
    seen = view()
    model = made(kind, seen)
    tried(model, seen, augment=augmentation, augment_step=augmentation)
    assert warned(caplog) == []
    if (type(augmentation), kind) not in {(FeatureMask, FREEDOM), (EdgeDrop, DGVAE)}:
        tried(
            model,
            seen,
            auxiliary=[views_of(augmentation, seen), views_of(augmentation, seen, against="clean")],
        )


def test_features_that_reach_a_loss_alone_are_an_effect_but_no_views(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """BM3's embeddings do not look at features, its losses do; tuned ones are no view's."""
    seen = view()
    tried(made(BM3, seen), seen, augment=FeatureMask(0.3))
    assert warned(caplog) == []
    with pytest.raises(ConfigError, match="FeatureMask has no effect on BM3"):
        tried(made(BM3, seen), seen, auxiliary=[views_of(FeatureMask(0.3), seen)])
    tried(made(BM3, seen, trainable_features=True), seen, augment=FeatureMask(0.3))
    assert len(warned(caplog)) == 1


def test_the_same_view_twice_is_refused_and_once_is_not() -> None:
    seen = view()
    expected = "augment.views are two of the same, as SVDView draws nothing; set augment.against to clean"
    with pytest.raises(ConfigError, match=expected):
        tried(made(LightGCN, seen), seen, auxiliary=[views_of(SVDView(2), seen)])
    tried(made(LightGCN, seen), seen, auxiliary=[views_of(SVDView(2), seen, against="clean")])


def test_schedules_that_start_or_end_at_nothing_are_fine(caplog: pytest.LogCaptureFixture) -> None:
    seen = view()
    model = made(LightGCN, seen)
    for start, end in ((0.0, 0.5), (0.5, 0.0)):
        plan = Scheduled(EdgeDrop(), start=start, end=end, epochs=10)
        tried(model, seen, augment=plan, auxiliary=[views_of(plan, seen)])
    assert warned(caplog) == []
    tried(model, seen, augment=Scheduled(FeatureMask(), start=0.0, end=0.5, epochs=10))
    assert "FeatureMask has no effect on LightGCN: it changes features" in warned(caplog)[0]


def test_draws_that_happen_to_change_nothing_are_fine(caplog: pytest.LogCaptureFixture) -> None:
    seen = view()
    model = made(LightGCN, seen)
    choice = RandomChoice([EdgeDrop(0.0), EdgeDrop(0.5)])
    assert choice(seen, rng(0)) is seen or choice(seen, rng(2)) is seen or choice(seen, rng(3)) is seen
    for seed in range(20):
        sampler = PairSampler(seen, 32)
        probe(model, seen, sampler, choice, None, [views_of(choice, seen)], epochs=5, seed=seed)
    assert warned(caplog) == []


def test_strength_zero_is_told(caplog: pytest.LogCaptureFixture) -> None:
    seen = view()
    tried(made(LightGCN, seen), seen, augment=EdgeDrop(0.0))
    (text,) = warned(caplog)
    assert "EdgeDrop has no effect on LightGCN: nothing changed in 9 draws; raise its strength" in text


class FromFeatures(Augmentation):
    """Keeps the clicks on items whose first column is not zero."""

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        return view.with_edges(view.features["image"][view.edge_index[1], 0] != 0)


class FirstColumn(Augmentation):
    """Sets the first column to zero for even items."""

    def __call__(self, view: GraphView, rng: torch.Generator) -> GraphView:
        features = {name: rows.clone() for name, rows in view.features.items()}
        features["image"][::2, 0] = 0
        return view.changed(features=features)


def test_of_several_the_one_without_an_effect_is_named(caplog: pytest.LogCaptureFixture) -> None:
    seen = view()
    model = made(LightGCN, seen)
    both = Compose([EdgeDrop(0.5), FeatureMask(0.3)])
    tried(model, seen, augment=both)
    tried(model, seen, auxiliary=[views_of(both, seen)])
    assert [text.split(":")[0] for text in warned(caplog)] == ["augment.epoch", "augment.views"]
    assert all("FeatureMask has no effect on LightGCN" in text for text in warned(caplog))
    caplog.clear()
    tried(model, seen, augment=Compose([FirstColumn(), FromFeatures()]))  # the first acts through the second
    assert warned(caplog) == []


@pytest.mark.parametrize("kind", [LightGCN, BM3, DGVAE, LATTICE, LIRDRec, REARM])
@pytest.mark.parametrize("as_views", [False, True])
def test_training_is_the_same_with_or_without_it(
    kind: type[Recommender], as_views: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> tuple[dict[str, Tensor], list[dict[str, float]], Tensor]:
        seen = view()
        model = made(kind, seen)
        asked: dict[str, Any] = {"augment": EdgeDrop(0.3), "augment_step": EmbeddingNoise(0.1)}
        if as_views:
            contrast = views_of(RandomChoice([EdgeDrop(0.3), EdgeDrop(0.6)]), seen, contrast=AlignUniform())
            asked = {"auxiliary": [contrast]}
        torch.manual_seed(8)
        history = fit(model, seen, valued([1.0, 2.0]), epochs=2, batch_size=32, device="cpu", **asked)
        rows = [{name: value for name, value in row.items() if "seconds" not in name} for row in history.rows]
        return dict(model.state_dict()), rows, torch.rand(1)

    with_it = trained()
    calls: list[Any] = []
    monkeypatch.setattr(loop, "probe", lambda *parts, **options: calls.append(parts))
    without = trained()
    assert len(calls) == 1
    assert with_it[1:] == without[1:]
    for name, value in without[0].items():
        assert torch.equal(with_it[0][name], value), name


class Counted(LightGCN):
    """Counts what its class and itself are asked."""

    asked: list[str] = []  # noqa: RUF012

    def __init__(self, view: GraphView) -> None:
        super().__init__(view, dim=4)
        self.own: list[str] = []
        self.register_buffer("steps", torch.zeros(()))

    def start_epoch(self, epoch: int) -> None:
        self.own.append("start")

    def embed_in_training(self, view: GraphView, rng: torch.Generator) -> Embeddings:
        self.asked.append("embed")
        self.own.append("embed")
        self.get_buffer("steps").add_(1)
        return super().embed_in_training(view, rng)

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        self.asked.append("losses")
        return super().losses(out, batch, view)


def test_it_takes_two_steps_of_a_copy_and_none_where_nothing_is_asked() -> None:
    seen = view()
    model = Counted(seen)
    Counted.asked.clear()
    tried(model, seen, auxiliary=[RLMRec(seen, dim=4)])
    assert Counted.asked == []
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    tried(model, seen, augment=EdgeDrop(0.5))
    assert Counted.asked == ["embed", "losses"] * 2
    assert model.own == []
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_what_cannot_be_copied_is_trained_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    class Locked(EdgeDrop):
        def __init__(self, drop: float) -> None:
            super().__init__(drop)
            self.lock = Lock()

    seen = view()
    model = made(LightGCN, seen)
    before = model.get_parameter("table").detach().clone()
    with caplog.at_level(logging.INFO, "mmrec"):
        fit(model, seen, valued([1.0]), epochs=1, augment=Locked(0.0), device="cpu")
    assert "not tried before training, as not all can be copied" in caplog.text
    assert not torch.equal(model.get_parameter("table"), before)


def test_a_model_that_is_not_trained_says_that_nothing_helps_it(caplog: pytest.LogCaptureFixture) -> None:
    seen = view()
    for asked in ({"augment": EdgeDrop(0.5)}, {"augment_step": EdgeDrop(0.5)}, {"auxiliary": [RLMRec(seen)]}):
        caplog.clear()
        fit(Popularity(seen), seen, valued([1.0]), device="cpu", **asked)  # type: ignore[arg-type]
        expected = (
            "Popularity has no parameters and is not trained: augmentations and auxiliary losses have no part"
        )
        assert warned(caplog)[0].startswith(expected)
    caplog.clear()
    fit(Popularity(seen), seen, valued([1.0]), device="cpu")
    assert warned(caplog) == []


def test_fit_refuses_before_the_first_step() -> None:
    seen = view()
    model = made(LightGCN, seen)
    before = model.get_parameter("table").detach().clone()
    with pytest.raises(ConfigError, match="FeatureMask has no effect on LightGCN"):
        fit(model, seen, valued([1.0]), auxiliary=[views_of(FeatureMask(0.3), seen)], device="cpu")
    assert torch.equal(model.get_parameter("table"), before)


def test_sums_without_a_fixed_order_are_no_effect() -> None:
    """As a GPU's: equal steps differ by rounding there; on a CPU they do not, and any difference counts."""
    one = torch.tensor([3.0, -100.0, 0.0])
    rounded, other = one + torch.tensor([1e-5, 0.0, 0.0]), one + torch.tensor([0.0, 0.0, 0.01])
    assert [_close(one, two, 1e-5) for two in (one, rounded, other)] == [True, True, False]
    assert [_close(one, two, 0.0) for two in (one, rounded, other)] == [True, False, False]
    assert _close(one[:0], one[:0], 1e-5)
    assert not _close(one, one[:2], 1e-5)
