"""What stays in full precision: under autocast the very numbers there are without it, both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmrec.graph.knn import exact_neighbours
from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.ops import smooth, smooth_rows, sparse_matrix
from mmrec.losses.contrastive import barlow, cosine_distance, decorrelation, info_nce, log_sum_exp
from mmrec.losses.uniformity import align_uniform, alignment, uniformity
from mmrec.precision import full_precision
from tests.cases.planted import rng, tiny_view

Results = tuple[Tensor, ...]


def mixed() -> Any:
    return torch.autocast("cpu", torch.bfloat16)


def table(count: int, seed: int, width: int = 8) -> Tensor:
    return torch.randn(count, width, generator=rng(seed), requires_grad=True)


def with_gradients(function: Callable[..., Tensor], *given: Tensor, under: str = "nothing") -> Results:
    """The value and the gradients, with autocast around `nothing`, `forward` (as in training), or `both`."""
    with torch.autocast("cpu", torch.bfloat16, enabled=under != "nothing"):
        value = function(*given)
        if under == "both":
            gradients = torch.autograd.grad(value.sum(), given)
    if under != "both":
        gradients = torch.autograd.grad(value.sum(), given)
    return value.detach(), *gradients


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "info_nce": lambda x, y: info_nce(x, y, 0.2),
    "info_nce, all": lambda x, y: info_nce(x, y, 0.2, candidates=torch.cat([y, x]), among_anchors=True),
    "info_nce, dot": lambda x, y: info_nce(x, y, 2.0, unit=False, chunk=2),
    "log_sum_exp": lambda x, y: log_sum_exp(x, y, 2).mean(),
    "cosine_distance": lambda x, y: cosine_distance(x, y) + y.sum() * 0,  # no gradient reaches the target
    "barlow": lambda x, y: barlow(x, y, 0.1),
    "decorrelation": decorrelation,
    "alignment": alignment,
    "uniformity": lambda x, y: uniformity(x, chunk=3) + uniformity(y),
    "calibrated": lambda x, y: uniformity(x, y, counts=torch.arange(1, 8), most_similar=0.8, chunk=3),
    "align_uniform": lambda x, y: align_uniform(x, y, 0.5),
}
TORCHS_OWN = {
    "barlow",
    "decorrelation",
}  # backward products are torch's, and autocast's where it is around them


@pytest.mark.parametrize(
    ("name", "under"),
    [(name, "forward") for name in LOSSES] + [(name, "both") for name in LOSSES if name not in TORCHS_OWN],
)
def test_losses(name: str, under: str) -> None:
    x, y = table(7, 1), table(7, 2)
    expected = with_gradients(LOSSES[name], x, y)
    for found, same in zip(with_gradients(LOSSES[name], x, y, under=under), expected, strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, same)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_what_comes_in_bfloat16(name: str) -> None:
    """As a linear map gives it under autocast; one side of two, or both."""
    x, y = (table(7, seed).detach().bfloat16() for seed in (1, 2))
    value, of_x, of_y = with_gradients(LOSSES[name], *(one.float().requires_grad_() for one in (x, y)))
    for first, second in ((x, y), (x.float(), y), (x, y.float())):
        given = [one.clone().requires_grad_() for one in (first, second)]
        found = with_gradients(LOSSES[name], *given, under="forward")
        assert torch.equal(found[0], value)
        for gradient, wide, one in zip(found[1:], (of_x, of_y), given, strict=True):
            assert gradient.dtype == one.dtype
            assert torch.allclose(gradient.float(), wide, rtol=0.02, atol=1e-3)


BACKENDS = ["auto", "csr", "scatter"]


@pytest.mark.parametrize("under", ["forward", "both"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_sparse_products(backend: Any, under: str) -> None:
    if backend == "scatter":
        pytest.importorskip("torch_scatter")
    matrix, nodes = user_item_matrix(replace(tiny_view(), backend=backend)), torch.tensor([0, 7, 7, 2])
    x = table(11, 1)
    functions: list[Callable[[Tensor], Tensor]] = [
        lambda x: smooth(matrix, x, n_layers=2),
        lambda x: smooth(matrix, x, n_layers=1, readout="last"),
        lambda x: torch.cat(smooth_rows(matrix, x, nodes, n_layers=2)),
    ]
    for function in functions:
        expected = with_gradients(function, x)
        for found, same in zip(with_gradients(function, x, under=under), expected, strict=True):
            assert torch.equal(found, same)
        half = x.detach().bfloat16().requires_grad_()
        found, gradient = with_gradients(function, half, under=under)
        wide, wide_gradient = with_gradients(function, half.detach().float().requires_grad_())
        assert torch.allclose(found, wide)
        assert gradient.dtype == torch.bfloat16
        assert torch.allclose(gradient.float(), wide_gradient, rtol=1e-2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sparse_products_of_weights_in_bfloat16(backend: Any) -> None:
    """DCCF's masks, where the weights are cosines; float64 has to stay what it is beside them."""
    if backend == "scatter":
        pytest.importorskip("torch_scatter")
    place = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 0, 0, 1])
    weight = torch.tensor([0.3, 0.7, 1.1, 0.2]).bfloat16()
    half, full = (sparse_matrix(*place, one, (3, 2), backend=backend) for one in (weight, weight.float()))
    x = table(2, 1).detach()
    assert torch.equal(half.multiply(x), full.multiply(x))
    assert torch.equal(half.multiply(x.bfloat16()), full.multiply(x.bfloat16().float()))


@pytest.mark.parametrize("is_compiled", [True, False])
def test_neighbours(is_compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """LATTICE looks for them within a step. Compiled lists took bfloat16 tiles for float32."""
    if not is_compiled:
        monkeypatch.setattr("mmrec.graph.knn.compiled", lambda source: None)
    rows, ids = table(300, 1).detach(), torch.arange(300)
    near, cosine = exact_neighbours(rows, ids, 5, 0, "")  # in several blocks
    with mixed():
        found, found_cosine = exact_neighbours(rows, ids, 5, 0, "")
    assert torch.equal(found, near)
    assert torch.equal(found_cosine, cosine)


def test_what_is_full_passes_as_it_is() -> None:
    seen: list[Any] = []

    @full_precision
    def noted(*given: Any, **named: Any) -> bool:
        seen.append((given, named))
        return torch.is_autocast_enabled("cpu")

    single, double, whole = (
        torch.ones(2),
        torch.ones(2, dtype=torch.float64),
        torch.ones(2, dtype=torch.int64),
    )
    with mixed():
        assert noted(single, double, 3, none=None, whole=whole) is False
        assert torch.is_autocast_enabled("cpu")
    given, named = seen[0]
    assert given[0] is single
    assert given[1] is double
    assert named["whole"] is whole
    noted(single, half=torch.ones(2, dtype=torch.float16))
    assert seen[1][1]["half"].dtype == torch.float32
