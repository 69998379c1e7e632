"""The compiled top-k against sorting, torch's against it, and lists shorter than k."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.compiled import compiled
from mmrec.evaluate import topk
from mmrec.evaluate.topk import best_items
from mmrec.graph.known import Known
from tests.cases.planted import rng

needs_compiler = pytest.mark.skipif(compiled(topk.SOURCE) is None, reason="no C++ compiler")


def by_sorting(scores: torch.Tensor, known: list[set[int]], k: int) -> list[list[tuple[float, int]]]:
    """Best first, equal scores by number."""
    lists = []
    for row, left_out in zip(scores.tolist(), known, strict=True):
        ranked = sorted((-score, item) for item, score in enumerate(row) if item not in left_out)
        lists.append([(-score, item) for score, item in ranked[:k]])
    return lists


@pytest.mark.parametrize("way", [pytest.param("compiled", marks=needs_compiler), "torch"])
@settings(max_examples=150, deadline=None)
@given(
    users=st.integers(1, 5),
    items=st.integers(1, 120),
    share=st.floats(0, 1),
    levels=st.sampled_from([1, 2, 10, 10**6]),
    data=st.data(),
)
def test_against_sorting(
    way: str, users: int, items: int, share: float, levels: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, items))
    draw = rng(users * 1000 + items)
    scores = torch.randint(levels, (users, items), generator=draw).float() / levels - 0.5
    is_known = torch.rand(users, items, generator=draw) < share
    pairs = is_known.nonzero().T.contiguous()
    shuffled = pairs[:, torch.randperm(pairs.shape[1], generator=draw)]
    expected = by_sorting(scores, [set(row.nonzero().squeeze(1).tolist()) for row in is_known], k)
    with pytest.MonkeyPatch.context() as patch:
        if way == "torch":
            patch.setattr(topk, "compiled", lambda _: None)
        found, values = best_items(scores.clone(), torch.arange(users), Known(shuffled, users), k)
    assert found.shape == values.shape == (users, k)
    for row in range(users):
        real = values[row] > -torch.inf
        count = int(real.sum())
        assert real[:count].all()  # places without an item come last
        got = list(zip(values[row, :count].tolist(), found[row, :count].tolist(), strict=True))
        assert [score for score, _ in got] == [score for score, _ in expected[row]]
        assert len({item for _, item in got}) == count
        assert not {item for _, item in got} & set(is_known[row].nonzero().squeeze(1).tolist())
        assert all(float(scores[row, item]) == score for score, item in got)
        if way == "compiled":
            assert got == expected[row]


@needs_compiler
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 60))
def test_long_rows_rising_falling_and_random(seed: int, k: int) -> None:
    """More candidates than are kept, whatever order they come in."""
    items = 3000
    scores = torch.randn(4, items, generator=rng(seed))
    scores[0], scores[1] = torch.arange(items).float(), -torch.arange(items).float()
    scores[2, 17:2990] = 1.5
    nobody = Known(torch.empty(2, 0, dtype=torch.int64), 4)
    found, values = best_items(scores.clone(), torch.arange(4), nobody, k)
    expected = by_sorting(scores, [set()] * 4, k)
    assert [
        list(zip(v.tolist(), i.tolist(), strict=True)) for v, i in zip(values, found, strict=True)
    ] == expected


def test_rows_are_those_of_their_users() -> None:
    """A batch is not all users: row r leaves out what user[r] knows."""
    known = Known(torch.tensor([[0, 2, 2], [1, 0, 2]]), 3)
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    found, _ = best_items(scores, torch.tensor([2, 0]), known, 1)
    assert found.tolist() == [[1], [0]]


def test_scores_that_are_no_numbers_are_never_recommended_by_the_compiled_one() -> None:
    if compiled(topk.SOURCE) is None:
        pytest.skip("no C++ compiler")
    scores = torch.tensor([[float("nan"), 1.0, float("-inf")]])
    found, values = best_items(scores, torch.tensor([0]), Known(torch.empty(2, 0, dtype=torch.int64), 1), 3)
    assert found[0, 0] == 1
    assert values[0].tolist() == [1.0, -torch.inf, -torch.inf]
    scores = torch.arange(640.0)[None].clone()
    scores[0, ::8] = float("nan")  # the first number of every lane
    found, _ = best_items(scores, torch.tensor([0]), Known(torch.empty(2, 0, dtype=torch.int64), 1), 3)
    assert found.tolist() == [[639, 638, 637]]
