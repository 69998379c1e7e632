"""Contrastive losses against pair-by-pair loops, gradients by differences, and the memory they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from mmrec.auxiliary.base import Auxiliary
from mmrec.errors import ConfigError
from mmrec.losses.contrast import (
    AlignUniform,
    BarlowTwins,
    CalibratedUniformity,
    Contrast,
    CosineBootstrap,
    InfoNCE,
)
from mmrec.losses.contrastive import barlow, decorrelation, info_nce, log_sum_exp
from mmrec.losses.ranking import sampled_softmax
from mmrec.losses.uniformity import align_uniform, alignment, distinct, uniformity
from mmrec.models.base import Recommender
from mmrec.plugins import known
from tests.cases import by_hand
from tests.cases.planted import rng, tiny_view
from tests.train.test_memory_of_a_step import Largest


def rows(count: int, seed: int, width: int = 3) -> Tensor:
    return torch.randn(count, width, generator=rng(seed), dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("among_anchors", [False, True])
@pytest.mark.parametrize("everybody", [False, True])
def test_info_nce_by_hand(chunk: int, among_anchors: bool, everybody: bool) -> None:
    x, y, rest = rows(5, 1), rows(5, 2), rows(4, 3)

    def loss(x: Tensor, y: Tensor, rest: Tensor) -> Tensor:
        candidates = torch.cat([y, rest]) if everybody else None
        return info_nce(x, y, 0.3, candidates=candidates, among_anchors=among_anchors, chunk=chunk)

    arrays = [one.detach().numpy() for one in (x, y, rest)]
    candidates = np.concatenate(arrays[1:]) if everybody else None
    expected = by_hand.info_nce(*arrays[:2], 0.3, candidates=candidates, among_anchors=among_anchors)
    assert float(loss(x, y, rest).detach()) == pytest.approx(expected, rel=1e-9)
    assert gradcheck(loss, (x, y, rest), atol=1e-6)


@pytest.mark.parametrize("among_anchors", [False, True])
def test_rows_and_candidates_in_several_tiles(among_anchors: bool) -> None:
    """By 1 row and 8 candidates at a time, 10 and 19 of them; a row's own tile is not always its first."""
    x, y, rest = rows(10, 1), rows(10, 2), rows(9, 3)

    def loss(x: Tensor, y: Tensor, rest: Tensor) -> Tensor:
        candidates = torch.cat([y, rest])
        return info_nce(x, y, 0.3, candidates=candidates, among_anchors=among_anchors, chunk=1)

    arrays = [one.detach().numpy() for one in (x, y, rest)]
    candidates = np.concatenate(arrays[1:])
    expected = by_hand.info_nce(*arrays[:2], 0.3, candidates=candidates, among_anchors=among_anchors)
    assert float(loss(x, y, rest).detach()) == pytest.approx(expected, rel=1e-9)
    assert gradcheck(loss, (x, y, rest), atol=1e-6)


def test_one_pair_has_nothing_to_be_told_from() -> None:
    assert float(info_nce(rows(1, 1), rows(1, 2), 0.2).detach()) == pytest.approx(0)
    assert info_nce(rows(1, 1), rows(1, 2), 0.2, among_anchors=True).isfinite()


def test_nothing_of_the_size_of_all_pairs_is_kept() -> None:
    x, y = torch.randn(300, 4, requires_grad=True), torch.randn(2000, 4, requires_grad=True)
    with Largest() as largest:
        log_sum_exp(x, y, 8).sum().backward()
    assert largest.numbers <= 8 * 2000


def peak(work: Callable[[], None]) -> int:
    """Bytes of all tensors that lived at once at most, beside those there were before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(changes).max())


@pytest.mark.parametrize("among_anchors", [False, True])
def test_memory_does_not_grow_with_who_competes(among_anchors: bool) -> None:
    """As models call it; beside tiles there are the unit rows of all, their gradient and the like."""

    def used(count: int) -> int:
        x, everybody = torch.randn(300, 4, requires_grad=True), torch.randn(count, 4, requires_grad=True)

        def work() -> None:
            partners = everybody[: len(x)]
            info_nce(x, partners, 0.2, candidates=everybody, among_anchors=among_anchors).backward()

        return peak(work)

    few, many = 4096, 40_960
    table = 4 * 4 * many  # bytes of [N, D]
    assert used(few) > 4 * 256 * 2048, "the count sees a tile"
    assert used(many) - used(few) <= 5 * table, "by one similarity per row of a tile it would be 64 tables"


def test_large_exponents_do_not_overflow() -> None:
    x = torch.full((2, 1), 1000.0, requires_grad=True)
    found = log_sum_exp(x, torch.ones(3, 1), 2)
    assert torch.allclose(found, torch.full((2,), 1000.0 + float(np.log(3))))
    found.sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, torch.ones(2, 1), atol=1e-3)  # 1000 has three decimals in float32


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_alignment_and_uniformity_by_hand(chunk: int) -> None:
    x, y = rows(5, 1), rows(5, 2)
    a, b = x.detach().numpy(), y.detach().numpy()
    assert float(alignment(x, y).detach()) == pytest.approx(by_hand.alignment(a, b))
    assert float(uniformity(x, chunk=chunk).detach()) == pytest.approx(by_hand.uniformity(a))
    both = by_hand.alignment(a, b) + 0.4 * (by_hand.uniformity(a) + by_hand.uniformity(b)) / 2
    assert float(align_uniform(x, y, 0.4).detach()) == pytest.approx(both)
    assert gradcheck(lambda x: uniformity(x, chunk=chunk), (x,))
    assert gradcheck(lambda x, y: align_uniform(x, y, 0.4), (x, y))


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("most_similar", [0.5, 1.0])
def test_calibrated_uniformity_by_hand(chunk: int, most_similar: float) -> None:
    x, alike = rows(6, 1), rows(6, 3, width=4)
    unit = by_hand.unit(alike.detach().numpy())
    similar = np.clip(unit @ unit.T, 0, most_similar)
    assert similar.min() == 0, "none is cut below"
    assert (unit @ unit.T > most_similar + 1e-9).any() is np.bool_(most_similar < 1), "none is cut above"
    found = uniformity(x, alike, most_similar=most_similar, chunk=chunk)
    assert float(found.detach()) == pytest.approx(by_hand.uniformity(x.detach().numpy(), similar))
    assert gradcheck(
        lambda x, alike: uniformity(x, alike, most_similar=most_similar, chunk=chunk), (x, alike)
    )


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("most_similar", [0.5, 1.0])
def test_distinct_rows_with_their_counts_are_the_rows_that_were_drawn(
    chunk: int, most_similar: float
) -> None:
    nodes = torch.tensor([4, 0, 3, 0, 4, 0, 1])
    places, counts = distinct(nodes)
    assert nodes[places].tolist() == [0, 1, 3, 4]
    assert counts.tolist() == [3, 1, 1, 2]
    with torch.no_grad():
        table, alike = rows(5, 1), rows(5, 3, width=4)
        table[4] = 0  # which has no direction
    table.requires_grad_(), alike.requires_grad_()
    for how in (None, alike):
        found = []
        for some, weight in ((nodes, None), (nodes[places], counts)):
            near = None if how is None else how[some]
            loss = uniformity(table[some], near, counts=weight, most_similar=most_similar, chunk=chunk)
            wanted = (table,) if how is None else (table, alike)
            found.append((loss.detach(), *torch.autograd.grad(loss, wanted)))
        for drawn, counted in zip(*found, strict=True):
            assert torch.allclose(drawn, counted, atol=1e-12)
    drawn, counted = (
        align_uniform(table[nodes], 2 - table[nodes], 0.4, nodes=which) for which in (None, (nodes, nodes))
    )
    assert torch.allclose(drawn, counted, rtol=1e-12)


def test_a_node_drawn_twice_is_a_pair_at_distance_zero() -> None:
    one, twice = torch.ones(1, 3), torch.tensor([2])
    assert float(uniformity(one, counts=twice)) == pytest.approx(0, abs=1e-6)
    assert float(uniformity(one, one, counts=twice, most_similar=0.8)) == pytest.approx(0.8, abs=1e-6)
    assert float(uniformity(one, counts=torch.tensor([1]))) == 0.0


def test_calibration_where_all_are_the_same_is_none() -> None:
    x = rows(6, 1)
    same = torch.ones(6, 2, dtype=torch.float64)
    assert torch.allclose(uniformity(x, same), uniformity(x))


def test_what_should_be_alike_is_pushed_apart_less() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1]], requires_grad=True)
    pushes = []
    for second in ([0.0, 1, 0, 0], [1.0, 0, 0, 0]):
        alike = torch.tensor([[1.0, 0, 0, 0], second, [0, 0, 1, 0], [0, 0, 0, 1]])
        (gradient,) = torch.autograd.grad(uniformity(torch.cat([x, -x]), alike), x)
        pushes.append(float(gradient.norm()))
    assert pushes[1] < pushes[0]


def test_uniformity_keeps_nothing_of_the_size_of_all_pairs() -> None:
    x, alike = torch.randn(500, 4, requires_grad=True), torch.randn(500, 4, requires_grad=True)
    with Largest() as largest:
        uniformity(x, alike, chunk=8).backward()
    assert largest.numbers <= 8 * 500, largest.where


def test_uniformity_is_least_where_points_are_spread() -> None:
    spread = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert uniformity(spread) < uniformity(torch.tensor([[1.0, 0], [0.9, 0.1], [0.8, 0.3], [1, 0.2]]))
    assert float(uniformity(torch.ones(4, 2))) == pytest.approx(0, abs=1e-6)
    assert float(uniformity(torch.ones(1, 2))) == 0.0


def test_barlow_by_hand() -> None:
    x, y = rows(6, 1), rows(6, 2)

    def standard(one: np.ndarray) -> np.ndarray:
        centred = one - one.mean(axis=0)
        return np.asarray(centred / np.linalg.norm(centred, axis=0))

    c = standard(x.detach().numpy()).T @ standard(y.detach().numpy())
    expected = sum((1 - c[i, i]) ** 2 for i in range(3))
    expected += 0.1 * sum(c[i, j] ** 2 for i in range(3) for j in range(3) if i != j)
    assert float(barlow(x, y, 0.1).detach()) == pytest.approx(expected)
    assert gradcheck(lambda x, y: barlow(x, y, 0.1), (x, y))


def test_decorrelation_is_zero_where_nothing_is_shared() -> None:
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert float(decorrelation(x[:, :1], x[:, 1:])) == pytest.approx(0, abs=1e-6)
    assert float(decorrelation(x[:, :1], x[:, :1])) > 1


def test_sampled_softmax_by_hand() -> None:
    positive, negatives = torch.tensor([0.3, -0.2]), torch.tensor([[0.1, 0.5], [0.0, -0.4]])
    expected = 0.0
    for p, n in zip(positive.tolist(), negatives.tolist(), strict=True):
        expected -= np.log(np.exp(p / 0.2) / (np.exp(p / 0.2) + sum(np.exp(one / 0.2) for one in n)))
    assert float(sampled_softmax(positive, negatives, 0.2)) == pytest.approx(expected / 2, rel=1e-5)


PLUGINS: dict[type[Contrast], Callable[[Tensor, Tensor], Tensor]] = {
    InfoNCE: lambda x, y: 0.1 * info_nce(x, y, 0.2),
    AlignUniform: lambda x, y: 0.1 * align_uniform(x, y, 1.0),
    CalibratedUniformity: lambda x, y: (
        0.1 * (alignment(x, y) + (uniformity(x, y.detach()) + uniformity(y, x.detach())) / 2)
    ),
    CosineBootstrap: lambda x, y: 0.1 * (1 - torch.cosine_similarity(x, y).mean()),
    BarlowTwins: lambda x, y: 0.01 * barlow(x, y, 0.005),
}


@pytest.mark.parametrize("kind", known(Contrast).values(), ids=lambda kind: kind.__name__)  # type: ignore[type-abstract]
def test_each_plugin_is_its_formula_and_brings_partners_together(kind: type[Contrast]) -> None:
    x, y = rows(40, 1, 8), rows(40, 2, 8)
    made = kind()
    assert torch.allclose(made(x, y), PLUGINS[kind](x, y))
    twice = kind(weight=2 * made.weight)  # type: ignore[call-arg, attr-defined]
    assert torch.allclose(twice(x, y), 2 * made(x, y))
    optimizer = torch.optim.Adam([x, y], lr=0.05)
    before = float(torch.cosine_similarity(x, y).mean().detach())
    for _ in range(60):
        optimizer.zero_grad()
        made(x, y).backward()
        optimizer.step()
    assert float(torch.cosine_similarity(x, y).mean().detach()) > before + 0.3


BASES: tuple[type[Any], ...] = (Contrast, Recommender, Auxiliary)
TEMPERED = {
    name: base
    for base in BASES
    for name, kind in known(base).items()
    if "temperature" in inspect.signature(kind).parameters
}


def test_who_has_a_temperature() -> None:
    models = {"AlphaRec", "DCCF", "DGVAE", "MMHCL", "REARM", "SIGE", "XSimGCL"}
    assert {"InfoNCE", "RLMRec"} | models <= set(TEMPERED)


@pytest.mark.parametrize("bad", [0, -0.2, float("nan"), float("inf")])
@pytest.mark.parametrize("name", TEMPERED)
def test_a_temperature_of_zero_is_one_line(name: str, bad: float) -> None:
    """At 0 losses are nan, and below it they push partners apart."""
    given = () if TEMPERED[name] is Contrast else (tiny_view(),)
    expected = rf"^{name}\.temperature is {bad}, expected a finite number above 0$"
    with pytest.raises(ConfigError, match=expected):
        known(TEMPERED[name])[name](*given, temperature=bad)


def options_of(kind: type[Contrast]) -> list[str]:
    names = inspect.signature(kind).parameters
    return [name for name in ("weight", "gamma", "off_diagonal") if name in names]


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", known(Contrast).values(), ids=lambda kind: kind.__name__)  # type: ignore[type-abstract]
def test_weights_below_zero_or_not_finite_are_one_line(kind: type[Contrast], bad: float) -> None:
    assert options_of(kind)
    for name in options_of(kind):
        expected = rf"^{kind.__name__}\.{name} is {bad}, expected a finite number of at least 0$"
        with pytest.raises(ConfigError, match=expected):
            kind(**{name: bad})
        kind(**{name: 0.0})


def test_the_caps_of_similarity() -> None:
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(
            ConfigError, match=rf"CalibratedUniformity.most_similar is {bad}, expected 0 to 1"
        ):
            CalibratedUniformity(most_similar=bad)
    x, y = rows(6, 1), rows(6, 2)
    plain, without = AlignUniform(1.0)(x, y), CalibratedUniformity(1.0, most_similar=0.0)(x, y)
    assert torch.allclose(without, plain + 4)  # e^(4 cos) for e^(4 cos - 4)


def test_calibration_says_who_may_be_alike_and_takes_no_gradient_from_it() -> None:
    """In both views the first two rows are close: plain uniformity pushes them apart, calibrated does not."""
    x = torch.tensor([[1.0, 0.05], [1.0, -0.05], [-1.0, 0.3], [-0.3, 1.0]], requires_grad=True)
    y = x.detach().clone().requires_grad_()
    pushes = []
    for kind in (AlignUniform, CalibratedUniformity):
        gradient, other = torch.autograd.grad(kind(weight=1.0)(x, y), (x, y))
        assert torch.allclose(gradient, other)  # alike views, and each counts for itself
        apart = gradient[1] - gradient[0]  # the second coordinate alone tells the two
        pushes.append(float(apart[1]))
    assert 0 < pushes[1] < pushes[0] / 2


def test_among_anchors_is_info_nces_own() -> None:
    x, y = rows(7, 1), rows(7, 2)
    found = InfoNCE(weight=0.5, temperature=0.4, among_anchors=True)(x, y)
    expected = by_hand.info_nce(x.detach().numpy(), y.detach().numpy(), 0.4, among_anchors=True)
    assert float(found.detach()) == pytest.approx(0.5 * expected)
    assert float(InfoNCE(weight=0.5, temperature=0.4)(x, y).detach()) < float(found.detach())
