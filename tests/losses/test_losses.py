"""Each loss against its formula, written out with plain floats."""

from __future__ import annotations

from math import exp, log, sqrt

import pytest
import torch

from mmrec.losses.contrastive import cosine_distance
from mmrec.losses.ranking import bpr
from mmrec.losses.regularisers import l2
from tests.cases.planted import rng

A = torch.tensor([[3.0, 4.0], [1.0, 0.0], [-2.0, 1.0]], dtype=torch.float64)
B = torch.tensor([[4.0, 3.0], [-5.0, 0.0], [1.0, 2.0]], dtype=torch.float64)


def test_bpr_by_hand() -> None:
    positive, negative = [2.0, -1.0, 0.5], [1.0, 1.5, 0.5]
    expected = sum(-log(1 / (1 + exp(-(p - n)))) for p, n in zip(positive, negative, strict=True)) / 3
    found = bpr(torch.tensor(positive, dtype=torch.float64), torch.tensor(negative, dtype=torch.float64))
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_bpr_gradient_by_hand() -> None:
    positive = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    negative = torch.tensor([1.0, 1.5], dtype=torch.float64, requires_grad=True)
    bpr(positive, negative).backward()
    wrong = [1 / (1 + exp(1.0)) / 2, 1 / (1 + exp(-2.5)) / 2]  # sigmoid(n - p) / B
    assert positive.grad is not None
    assert negative.grad is not None
    assert positive.grad.tolist() == pytest.approx([-value for value in wrong])
    assert negative.grad.tolist() == pytest.approx(wrong)


def test_bpr_far_out_is_linear_and_finite() -> None:
    found = bpr(torch.tensor([-1e4, 1e4]), torch.tensor([1e4, -1e4]))
    assert float(found) == 1e4


def test_cosine_distance_by_hand() -> None:
    cosines = [24 / 25, -1.0, 0.0]
    assert float(cosine_distance(A, B)) == pytest.approx(1 - sum(cosines) / 3, rel=1e-12)
    assert float(cosine_distance(A, 7 * A)) == pytest.approx(0, abs=1e-12)
    assert float(cosine_distance(A, -A)) == pytest.approx(2, rel=1e-12)


def test_cosine_distance_follows_the_first_argument_alone() -> None:
    online, target = A.clone().requires_grad_(), B.clone().requires_grad_()
    cosine_distance(online, target).backward()
    assert target.grad is None
    assert online.grad is not None
    for row, a, b in zip(online.grad.tolist(), A.tolist(), B.tolist(), strict=True):
        size_a, size_b = sqrt(a[0] ** 2 + a[1] ** 2), sqrt(b[0] ** 2 + b[1] ** 2)
        cosine = (a[0] * b[0] + a[1] * b[1]) / (size_a * size_b)
        expected = [-(b[d] / (size_a * size_b) - cosine * a[d] / size_a**2) / 3 for d in range(2)]
        assert row == pytest.approx(expected, abs=1e-12)


def test_gradients_of_cosine_distance_and_norm_are_exact() -> None:
    online = torch.randn(5, 4, generator=rng(), dtype=torch.float64, requires_grad=True)
    target = torch.randn(5, 4, generator=rng(1), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda online: cosine_distance(online, target), (online,))
    assert torch.autograd.gradcheck(lambda online: l2([online], "unsquared"), (online,))


def test_cosine_distance_of_zero_rows_is_finite() -> None:
    online = torch.zeros(2, 3, requires_grad=True)
    cosine_distance(online, torch.ones(2, 3)).backward()
    assert online.grad is not None
    assert online.grad.isfinite().all()


def test_squared_l2_by_hand() -> None:
    squares = 9 + 16 + 1 + 4 + 1, 16 + 9 + 25 + 1 + 4
    assert float(l2([A, B])) == pytest.approx(0.5 * sum(squares) / 3)
    rows = A.clone().requires_grad_()
    l2([rows, B]).backward()
    assert torch.equal(rows.grad, A / 3)


def test_unsquared_l2_by_hand() -> None:
    squares = 9 + 16 + 1 + 4 + 1, 16 + 9 + 25 + 1 + 4
    assert float(l2([A, B], "unsquared")) == pytest.approx((sqrt(squares[0]) + sqrt(squares[1])) / 3)
    rows = A.clone().requires_grad_()
    l2([rows, B], "unsquared").backward()
    assert torch.allclose(rows.grad, A / sqrt(squares[0]) / 3)


def test_l2_is_per_row_of_the_last_matrix() -> None:
    assert float(l2([A, B[:2]])) == pytest.approx(0.5 * (31 + 50) / 2)
    assert float(l2([A, B[:2]], "unsquared")) == pytest.approx((sqrt(31) + sqrt(50)) / 2)


def test_unsquared_l2_at_zero_has_a_finite_gradient() -> None:
    rows = torch.zeros(2, 3, requires_grad=True)
    l2([rows], "unsquared").backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
