from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.data.missing import WAYS, fill_missing
from mmrec.errors import DataError
from mmrec.graph.view import GraphView
from tests.cases.planted import rng


def view_of(pairs: list[tuple[int, int]], rows: list[list[float]], known: list[bool]) -> GraphView:
    users = max(user for user, _ in pairs) + 1
    features = torch.tensor(rows) * torch.tensor(known)[:, None]
    edges = torch.tensor(pairs).T.contiguous()
    return GraphView(users, len(rows), edges, features={"f": features}, present={"f": torch.tensor(known)})


# Users 0 and 1 clicked items 0 and 2, user 1 item 1 too, user 2 items 3 and 4; nobody item 5.
CLICKS = [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2), (2, 3), (2, 4)]
ROWS = [[1.0, 0.0], [4.0, 6.0], [9.0, 9.0], [2.0, 8.0], [9.0, 9.0], [9.0, 9.0]]
KNOWN = [True, True, False, True, False, False]


def test_mean_and_neighbours_by_hand() -> None:
    view = view_of(CLICKS, ROWS, KNOWN)
    mean = fill_missing(view, "mean")
    assert torch.allclose(mean.features["f"][[2, 4, 5]], torch.tensor([7 / 3, 14 / 3]).expand(3, 2))
    assert mean.present["f"].tolist() == KNOWN, "the item graph does not link them"
    near = fill_missing(view, "neighbours")
    # item 2 shares two users with item 0 and one with item 1; item 4 one with item 3; item 5 none
    assert torch.allclose(near.features["f"][2], torch.tensor([(2 * 1 + 4) / 3, 6 / 3]))
    assert near.features["f"][4].tolist() == [2, 8]
    assert near.features["f"][5].tolist() == [0, 0]
    assert near.present["f"].tolist() == [True, True, True, True, True, False]
    assert torch.equal(near.features["f"][:2], view.features["f"][:2])


def test_propagation_against_the_dense_matrix() -> None:
    draw = np.random.default_rng(0)
    clicks = (draw.random((12, 9)) < 0.3).astype(float)
    pairs = [(int(user), int(item)) for user, item in np.argwhere(clicks)]
    clicks = clicks[: max(user for user, _ in pairs) + 1]
    rows, known = draw.normal(size=(9, 3)), draw.random(9) < 0.5
    view = view_of(pairs, rows.tolist(), known.tolist())
    item, user = clicks.sum(axis=0), clicks.sum(axis=1)
    scale = np.where(item > 0, 1 / np.sqrt(np.maximum(item, 1)), 0)
    matrix = scale[:, None] * (clicks.T @ (clicks / np.maximum(user, 1)[:, None])) * scale
    x = rows * known[:, None]
    for _ in range(20):
        x = np.where(known[:, None], rows, matrix @ x)
    found = fill_missing(view, "propagation").features["f"]
    np.testing.assert_allclose(found.numpy(), x, atol=1e-5)


def test_propagation_reaches_further_than_neighbours() -> None:
    chain = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3)]
    view = view_of(chain, [[1.0], [0.0], [0.0], [0.0]], [True, False, False, False])
    assert fill_missing(view, "neighbours").present["f"].tolist() == [True, True, False, False]
    assert fill_missing(view, "propagation").present["f"].all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), how=st.sampled_from(WAYS), share=st.floats(0, 1))
def test_known_rows_stay_and_everything_is_finite(seed: int, how: str, share: float) -> None:
    draw = rng(seed)
    pairs = torch.stack([torch.randint(7, (20,), generator=draw), torch.randint(11, (20,), generator=draw)])
    known = torch.rand(11, generator=draw) >= share
    features = torch.randn(11, 4, generator=draw) * known[:, None]
    view = GraphView(7, 11, pairs.unique(dim=1), features={"f": features}, present={"f": known})
    filled = fill_missing(view, how)  # type: ignore[arg-type]
    assert torch.equal(filled.features["f"][known], features[known])
    assert filled.features["f"].isfinite().all()
    assert (filled.present["f"] | ~known).all()
    assert not filled.features["f"][~filled.present["f"]].any() or how == "mean"
    assert torch.equal(view.features["f"], features), "the view it is given is untouched"


def test_nothing_to_do_and_nothing_to_go_by() -> None:
    view = view_of(CLICKS, ROWS, [True] * 6)
    none = view_of(CLICKS, ROWS, [False] * 6)
    for how in WAYS:
        assert fill_missing(view, how) is view
        assert not fill_missing(none, how).features["f"].any()
        bare = replace(view, features={}, present={})
        assert fill_missing(bare, how) is bare
    with pytest.raises(DataError, match=r"features.missing is 'median'; did you mean 'mean'"):
        fill_missing(view, "median")  # type: ignore[arg-type]
