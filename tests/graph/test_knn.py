from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mmrec.graph.knn as module
from mmrec.compiled import compiled
from mmrec.errors import GraphError
from mmrec.graph import approximate
from mmrec.graph.knn import exact_neighbours, knn
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


@pytest.fixture(params=["compiled", "torch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to keep the best: the compiled one, and torch's, which is its oracle."""
    if request.param == "torch":
        monkeypatch.setattr(module, "compiled", lambda source: None)
    elif compiled(module.SOURCE) is None:
        pytest.skip("there is no C++ compiler")
    return str(request.param)


@pytest.mark.parametrize("memory_mb", [0, 1, 512])
@pytest.mark.usefixtures("path")
def test_blocks_find_what_a_dense_search_finds(memory_mb: int) -> None:
    # 600 rows: a block holds 64 of them (the last is smaller), 506, or all.
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


def test_less_memory_than_none() -> None:
    with pytest.raises(GraphError, match=r"graph.memory_mb is -1, expected at least 0"):
        knn(torch.ones(3, 2), everybody(3), memory_mb=-1)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 300), k=st.integers(1, 12), seed=st.integers(0, 2**20))
def test_compiled_lists_are_torchs(rows: int, columns: int, k: int, seed: int) -> None:
    """Rounded values, so that many are equal: the lists' values must agree, and hold what they say."""
    if compiled(module.SOURCE) is None:
        pytest.skip("there is no C++ compiler")
    tile = (torch.randn(rows, columns, generator=rng(seed)) * 4).round()
    for by_columns in (False, True):
        found = module._Lists(columns if by_columns else rows, k, tile.device)
        for start in (0, 1000):  # a second tile with the same values: those of the first must stay
            found.merge(tile, 0, start, columns=by_columns)
        values = tile.T if by_columns else tile
        both = torch.cat([values, values], dim=1)
        wanted = both.sort(dim=1, descending=True, stable=True)
        size = min(k, both.shape[1])
        number = torch.where(
            wanted.indices < values.shape[1], wanted.indices, wanted.indices - values.shape[1] + 1000
        )
        assert torch.equal(found.best[:, :size], wanted.values[:, :size])
        assert torch.equal(found.numbers[:, :size].long(), number[:, :size])


def test_symmetry_leaves_half_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted work: each pair of blocks is multiplied once, and no block is larger than the memory allows."""
    tiles: list[tuple[int, ...]] = []
    merge = module._Lists.merge

    def counted(self: object, tile: Tensor, *args: int, columns: bool = False) -> None:
        if not columns:
            tiles.append(tuple(tile.shape))
        merge(self, tile, *args, columns=columns)  # type: ignore[arg-type]

    monkeypatch.setattr(module._Lists, "merge", counted)
    features = torch.randn(1000, 16, generator=rng())
    exact_neighbours(features, torch.arange(1000), 5, 0, "test")
    blocks = -(-1000 // 64)
    assert len(tiles) == blocks * (blocks + 1) // 2
    assert max(rows * columns for rows, columns in tiles) == 64 * 64


def test_copies_of_an_item_come_after_itself() -> None:
    features = torch.tensor([[1.0, 2.0, 3.0]]).repeat(9, 1)
    index, cosine = knn(features, everybody(9), k=3)
    assert lists(index, 3)[5] == [5, 0, 1]
    assert cosine.max() <= 1


def kinds(count: int, width: int = 24) -> Tensor:
    """Items of many kinds, as a shop has them."""
    centre = torch.randn(count // 20, width, generator=rng(1))[torch.arange(count) % (count // 20)]
    return centre + 0.4 * torch.randn(count, width, generator=rng(2))


@pytest.mark.skipif(not approximate.have_faiss(), reason="faiss is not installed")
def test_approximate_finds_nearly_all_and_says_how_many(caplog: pytest.LogCaptureFixture) -> None:
    features = kinds(4000)
    present = torch.arange(4000) % 7 != 0
    with caplog.at_level("INFO", logger="mmrec"):
        found, cosine = knn(features, present, k=10, search="approximate")
    true, exact = knn(features, present, k=10, search="exact")
    assert torch.equal(found[0], true[0])
    ours, theirs = found[1].reshape(-1, 10), true[1].reshape(-1, 10)
    recall = (ours[:, :, None] == theirs[:, None, :]).any(dim=2).float().mean()
    assert recall >= approximate.RECALL - 0.01
    said = next(record.getMessage() for record in caplog.records if "recall@10" in record.getMessage())
    assert abs(float(said.split("recall@10 ")[1].split()[0]) - recall) < 0.02
    assert torch.equal(ours[:, 0], found[0].reshape(-1, 10)[:, 0]), "itself first"
    assert (cosine.reshape(-1, 10).diff(dim=1) <= 0).all()
    same = ours == theirs
    assert torch.allclose(cosine.reshape(-1, 10)[same], exact.reshape(-1, 10)[same], atol=2e-3)


@pytest.mark.skipif(not approximate.have_faiss(), reason="faiss is not installed")
def test_large_catalogues_are_searched_approximately() -> None:
    features = kinds(400)
    exact = knn(features, everybody(400), k=5, exact_up_to=400)
    assert torch.equal(exact[0], knn(features, everybody(400), k=5, search="exact")[0])
    chosen = knn(features, everybody(400), k=5, exact_up_to=399)
    assert torch.equal(chosen[1], knn(features, everybody(400), k=5, search="approximate")[1])
    assert not torch.equal(chosen[1], exact[1]), "half precision shows in the cosines"


def test_without_faiss(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "have_faiss", lambda: False)
    features = kinds(200)
    with pytest.raises(GraphError, match="needs faiss: pip install faiss-cpu"):
        knn(features, everybody(200), k=5, search="approximate")
    with caplog.at_level("WARNING", logger="mmrec"):
        found = knn(features, everybody(200), k=5, exact_up_to=100)
    assert "200 items are compared pair by pair, as faiss is missing" in caplog.text
    assert torch.equal(found[0], knn(features, everybody(200), k=5)[0])
