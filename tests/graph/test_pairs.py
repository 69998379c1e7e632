from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from mmrec.graph.pairs import click_pairs, pair_dots, pair_sums
from mmrec.graph.view import Backend, GraphView
from tests.cases.planted import rng, tiny_view, views, without_clicks
from tests.train.test_memory_of_a_step import Largest


def numbers(view: GraphView, width: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight for each click, and a row for each node."""
    source, nodes = rng(3), view.num_users + view.num_items
    weight = torch.rand(view.edge_index.shape[1], generator=source, dtype=torch.float64)
    x = torch.randn(nodes, width, generator=source, dtype=torch.float64)
    return weight.requires_grad_(), x.requires_grad_()


@settings(max_examples=40, deadline=None)
@given(view=views(), backend=st.sampled_from(["auto", "csr"]))
def test_sums_and_dots_click_by_click(view: GraphView, backend: Backend) -> None:
    view = view.changed(backend=backend)
    weight, x = numbers(view)
    with torch.no_grad():
        sums, dots = torch.zeros_like(x), []
        for one, (user, item) in zip(weight, view.edge_index.T.tolist(), strict=True):
            node = view.num_users + item
            sums[user] += one * x[node]
            sums[node] += one * x[user]
            dots.append(float(x[user] @ x[node]))
        pairs = click_pairs(view)
        assert torch.allclose(pair_sums(pairs, weight, x), sums)
        assert pair_dots(pairs, x).tolist() == pytest.approx(dots)


def test_gradients() -> None:
    for view in (tiny_view(), without_clicks(tiny_view()), tiny_view().with_edges(torch.arange(10) % 3 > 0)):
        weight, x = numbers(view)
        pairs = click_pairs(view)
        assert gradcheck(lambda weight, x, pairs=pairs: pair_sums(pairs, weight, x), (weight, x))
        assert gradcheck(lambda x, pairs=pairs: pair_dots(pairs, x), (x,))


def test_they_are_made_once_per_view_and_follow_its_clicks() -> None:
    view = tiny_view()
    assert click_pairs(view) is click_pairs(view)
    fewer = view.with_edges(torch.arange(view.edge_index.shape[1]) > 2)
    assert len(click_pairs(fewer).first) == view.edge_index.shape[1] - 3


def test_no_row_is_copied_for_every_click() -> None:
    clicks, width = 4000, 8
    index = torch.randint(60, (2, clicks), generator=rng())
    view = GraphView(60, 60, index)
    weight, x = numbers(view, width)
    pairs = click_pairs(view)
    with Largest() as largest:
        (pair_sums(pairs, weight * pair_dots(pairs, x), x)).square().sum().backward()
    assert largest.numbers <= 2048 * width, largest.where
