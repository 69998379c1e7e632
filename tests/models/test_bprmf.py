from __future__ import annotations

import pytest
import torch

from mmrec.models.bprmf import BPRMF
from tests.cases.by_hand import batch, result_of
from tests.cases.planted import tiny_view, without_clicks


def test_scores_are_dot_products_of_the_table_whatever_the_graph() -> None:
    view = tiny_view()
    model = BPRMF(view, dim=4)
    for seen in (view, without_clicks(view)):
        out = model.for_ranking(model.embed(seen))
        assert torch.allclose(model.score(out, torch.tensor([2])), model.table[2:3] @ model.table[5:].T)


def test_losses_of_one_pair_by_hand() -> None:
    view = tiny_view()
    model = BPRMF(view, dim=2, reg=0.1)
    with torch.no_grad():
        model.table.zero_()
        model.table[0] = torch.tensor([1.0, 2.0])  # user 0
        model.table[5 + 3] = torch.tensor([3.0, 1.0])  # item 3, clicked: score 5
        model.table[5 + 2] = torch.tensor([2.0, 1.0])  # item 2, not clicked: score 4
    pair = batch()
    one = type(pair)(pair.users[:1], pair.items[:1], pair.negatives[:1], pair.rng)
    with torch.no_grad():
        losses = model.losses(model.embed(view), one, view)
    assert float(losses["bpr"]) == pytest.approx(0.3132616875)  # log(1 + e^-1)
    assert float(losses["l2"]) == pytest.approx(0.1 * 0.5 * (5 + 10 + 5))


def test_no_penalty_no_loss_of_that_name() -> None:
    assert set(result_of(BPRMF(tiny_view(), dim=2, reg=0.0), tiny_view()).losses) == {"bpr"}
