from __future__ import annotations

import pytest
import torch

from mmrec.train.adam import Adam
from mmrec.train.device import runtime
from tests.cases.planted import rng


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_step_by_step_as_torch_has_it(weight_decay: float, dtype: torch.dtype) -> None:
    """Also with a parameter that gets its first gradient late, and a rate that changes."""
    ours = [torch.randn(7, 3, generator=rng(), dtype=dtype), torch.randn(5, generator=rng(1), dtype=dtype)]
    theirs = [tensor.clone() for tensor in ours]
    adam = Adam(ours, lr=0.1, weight_decay=weight_decay)
    reference = torch.optim.Adam(theirs, lr=0.1, weight_decay=weight_decay, foreach=False, fused=False)
    for step in range(8):
        for mine, other in zip(ours, theirs, strict=True):
            late = mine is ours[1] and step < 3
            gradient = None if late else torch.randn(mine.shape, generator=rng(step), dtype=dtype)
            mine.grad, other.grad = gradient, None if gradient is None else gradient.clone()
        adam.step()
        reference.step()
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.allclose(mine, other, rtol=1e-5, atol=1e-6)
        if step == 4:
            adam.lr = reference.param_groups[0]["lr"] = 0.02
    adam.zero_grad()
    assert all(tensor.grad is None for tensor in ours)
    before = [tensor.clone() for tensor in ours]
    adam.step()
    assert all(torch.equal(mine, old) for mine, old in zip(ours, before, strict=True))


def test_mixed_precision_on_a_cpu_is_fabrics() -> None:
    where = runtime("cpu", "bf16-mixed")
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = where.adam([parameter], lr=0.1, weight_decay=0.0)
    with where.autocast():
        product = parameter @ torch.ones(2, 2)
    assert product.dtype == torch.bfloat16
    where.backward(product.float().sum())
    where.set_lr(optimizer, 0.5)
    optimizer.step()
    assert torch.allclose(parameter, torch.full((2, 2), 0.5), atol=1e-3)
    optimizer.zero_grad()
    assert parameter.grad is None
