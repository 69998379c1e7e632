from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmrec.errors import GraphError
from mmrec.graph.knn import knn
from tests.cases.planted import rng


def everybody(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def dense(features: Tensor, present: Tensor, k: int) -> tuple[list[list[int]], list[list[float]]]:
    """Item by item: all cosines in float64, sorted."""
    rows = features.double().numpy()
    ids = [item for item in range(len(rows)) if present[item] and rows[item].any()]
    neighbours, cosines = [], []
    for item in ids:
        found = []
        for other in ids:
            cosine = rows[item] @ rows[other] / (np.linalg.norm(rows[item]) * np.linalg.norm(rows[other]))
            found.append((-cosine, other))
        best = sorted(found)[:k]
        neighbours.append([other for _, other in best])
        cosines.append([-cosine for cosine, _ in best])
    return neighbours, cosines


def lists(index: Tensor, k: int) -> list[list[int]]:
    return index[1].reshape(-1, k).tolist()


@pytest.mark.parametrize("memory_mb", [0, 1, 512])
def test_blocks_find_what_a_dense_search_finds(memory_mb: int) -> None:
    # 600 rows: a block holds 1 of them, 436 (so that the last is smaller), or all.
    features = torch.randn(600, 6, generator=rng(3))
    index, cosine = knn(features, everybody(600), k=7, memory_mb=memory_mb)
    unit = features.double() / features.double().norm(dim=1, keepdim=True)
    best = (unit @ unit.T).sort(dim=1, descending=True)
    assert torch.equal(index[0], torch.arange(600).repeat_interleave(7))
    assert lists(index, 7) == best.indices[:, :7].tolist()
    assert torch.allclose(cosine.double(), best.values[:, :7].flatten(), atol=1e-6)
    assert lists(index, 7) == [
        [item, *rest] for item, (_, *rest) in enumerate(lists(index, 7))
    ]  # itself first


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 9),
    width=st.integers(1, 3),
    k=st.integers(1, 12),
    memory_mb=st.sampled_from([0, 512]),
    data=st.data(),
)
def test_against_item_by_item(count: int, width: int, k: int, memory_mb: int, data: st.DataObject) -> None:
    """Small integers: plenty of ties, duplicates and zero rows; ties may fall either way, cosines may not."""
    whole = st.lists(
        st.lists(st.integers(-2, 2), min_size=width, max_size=width), min_size=count, max_size=count
    )
    features = torch.tensor(data.draw(whole), dtype=torch.float32)
    present = torch.tensor(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    index, cosine = knn(features, present, k=k, memory_mb=memory_mb)
    _, expected = dense(features, present, k)
    ids = [item for item in range(count) if present[item] and bool(features[item].any())]
    size = min(k, len(ids))
    assert index.shape == (2, len(ids) * size)
    assert index[0].tolist() == [item for item in ids for _ in range(size)]
    assert set(index[1].tolist()) <= set(ids)
    for row, wanted in zip(cosine.reshape(-1, size or 1).tolist(), expected, strict=True):
        assert row == pytest.approx(wanted, abs=1e-6)
    for item, found in zip(ids, lists(index, size or 1), strict=True):
        assert len(set(found)) == len(found), item
        exact = features[item] @ features[found].T / (features[item].norm() * features[found].norm(dim=1))
        assert exact.tolist() == pytest.approx(cosine.reshape(-1, size)[ids.index(item)].tolist(), abs=1e-6)


def test_planted_neighbours() -> None:
    angles = torch.tensor([0.0, 10, 25, 90, 95, 180]) * torch.pi / 180
    features = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor(
        [[1.0], [9], [0.1], [3], [1], [2]]
    )
    index, cosine = knn(features, everybody(6), k=3)
    assert lists(index, 3) == [[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, 4, 2], [4, 3, 2], [5, 4, 3]]
    assert cosine.reshape(6, 3)[0].tolist() == pytest.approx(
        [1, np.cos(np.pi / 18), np.cos(np.pi / 7.2)], abs=1e-6
    )


def test_missing_items_are_left_out_not_matched_to_each_other() -> None:
    features = torch.tensor([[1.0, 0], [0, 0], [0.9, 0.1], [0, 0], [0, 1]])
    present = torch.tensor([True, False, True, False, True])
    index, _ = knn(features, present, k=2)
    assert index.T.tolist() == [[0, 0], [0, 2], [2, 2], [2, 0], [4, 4], [4, 2]]


def test_what_a_missing_item_holds_does_not_matter() -> None:
    features = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    index, _ = knn(features, torch.tensor([True, False, True]), k=2)
    assert 1 not in index


def test_a_zero_row_is_as_good_as_missing() -> None:
    features = torch.tensor([[1.0, 0], [0, 0], [-1, 0.1], [-1, 0.2]])
    index, cosine = knn(features, everybody(4), k=4)
    assert lists(index, 3) == [[0, 3, 2], [2, 3, 0], [3, 2, 0]]
    assert cosine.isfinite().all()


def test_more_neighbours_than_items() -> None:
    features = torch.randn(4, 3, generator=rng())
    index, _ = knn(features, torch.tensor([True, True, False, True]), k=10)
    assert [sorted(row) for row in lists(index, 3)] == [[0, 1, 3]] * 3


def test_nobody_has_features() -> None:
    index, cosine = knn(torch.zeros(3, 2), torch.zeros(3, dtype=torch.bool), k=2)
    assert index.shape == (2, 0)
    assert cosine.shape == (0,)


def test_half_precision_features_are_compared_in_float32() -> None:
    features = (300 * torch.randn(50, 40, generator=rng())).half()
    index, cosine = knn(features, everybody(50), k=5)
    assert lists(index, 5) == lists(knn(features.float(), everybody(50), k=5)[0], 5)
    assert cosine.dtype == torch.float32
    assert cosine.isfinite().all()


@pytest.mark.parametrize("k", [0, -1])
def test_no_neighbours_asked_for(k: int) -> None:
    with pytest.raises(GraphError, match=f"graph.k is {k}, expected at least 1"):
        knn(torch.ones(3, 2), everybody(3), k=k)
