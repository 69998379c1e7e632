"""Attention by blocks of rows: against the whole matrices, and what it holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmrec import attention
from mmrec.attention import ScalarAttention, attend
from mmrec.train.streams import keep

DROP = 0.375  # a share that coins of 16 bits have exactly


def parts(n: int, width: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    rng = torch.Generator().manual_seed(n)
    return [torch.randn(n, width, generator=rng, dtype=dtype).requires_grad_() for _ in range(3)]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def whole(q: Tensor, k: Tensor, v: Tensor, coins: Tensor | None) -> Tensor:
    shares = torch.softmax(torch.einsum("ni,nj->nij", q, k), dim=2)
    if coins is not None:
        shares = shares * coins / (1 - DROP)
    return torch.einsum("nij,nj->ni", shares, v)


@pytest.mark.parametrize("dropping", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
def test_blocks_of_any_size_are_the_whole(rows: int, dropping: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, the three gradients, and the coins: those of one draw for all, whatever the blocks."""
    monkeypatch.setitem(attention._BLOCK, "cpu", rows * 16)
    given = parts(7, 4)
    out = attend(*given, DROP, seeded() if dropping else None)
    expected = whole(*given, keep((7, 4, 4), 1 - DROP, seeded()) if dropping else None)
    weights = torch.arange(28, dtype=torch.float64).view(7, 4).cos()
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    found, right = (torch.autograd.grad((x * weights).sum(), given) for x in (out, expected))
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_gradients_are_those_of_small_changes() -> None:
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, DROP, seeded()), parts(3, 5))


def test_large_products_do_not_overflow() -> None:
    q, k, v = (300 * x.detach().float() for x in parts(4, 6))
    out = attend(q.requires_grad_(), k, v)
    torch.testing.assert_close(out, whole(q, k, v, None))
    assert torch.isfinite(torch.autograd.grad(out.sum(), q)[0]).all()


@pytest.mark.parametrize("dropping", [False, True])
def test_a_byte_for_each_weight_that_can_be_dropped_is_all_that_is_kept(dropping: bool) -> None:
    """Of n D^2 weights; a matrix of them takes four times that, and autograd alone would keep several."""
    n, width = 600, 32
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.nbytes)
        return tensor

    layer, rng = ScalarAttention(), seeded()
    query, other, _ = parts(n, width, torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(query, other, DROP, rng if dropping else None)
    assert sum(kept) <= dropping * n * width**2 + 10 * 4 * n * width


def test_nothing_is_drawn_without_a_stream() -> None:
    given = parts(5, 4)
    before = torch.get_rng_state()
    torch.testing.assert_close(attend(*given, DROP, None), whole(*given, None))
    assert torch.equal(torch.get_rng_state(), before)
