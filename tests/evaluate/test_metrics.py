"""Ranking metrics against a hand case, a slow loop and torch_geometric."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.errors import ConfigError
from mmrec.evaluate.metrics import METRICS, ranking_metrics


def test_hand_case() -> None:
    # Three users, lists of 3. A: 2 relevant, hits at ranks 1 and 3. B: 5 relevant (more than K), hits at 2
    # and 3. C: 1 relevant, never hit.
    hits = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    relevant = torch.tensor([2, 5, 1])
    values = ranking_metrics(hits, relevant, [3, 2])
    second, third = 1 / math.log2(3), 1 / 2
    expected = {
        "recall@3": [1.0, 2 / 5, 0.0],
        "recall@2": [1 / 2, 1 / 5, 0.0],
        "precision@3": [2 / 3, 2 / 3, 0.0],
        "precision@2": [1 / 2, 1 / 2, 0.0],
        "ndcg@3": [(1 + third) / (1 + second), (second + third) / (1 + second + third), 0.0],
        "ndcg@2": [1 / (1 + second), second / (1 + second), 0.0],
        "map@3": [(1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 3, 0.0],
        "map@2": [1 / 2, (1 / 2) / 2, 0.0],
        "mrr@3": [1.0, 1 / 2, 0.0],
        "mrr@2": [1.0, 1 / 2, 0.0],
        "hit@3": [1.0, 1.0, 0.0],
        "hit@2": [1.0, 1.0, 0.0],
    }
    assert set(values) == set(expected)
    for key, numbers in expected.items():
        assert values[key].dtype == torch.float64
        torch.testing.assert_close(values[key], torch.tensor(numbers, dtype=torch.float64))


def test_a_perfect_list_scores_exactly_one() -> None:
    relevant = torch.arange(1, 31)
    hits = torch.arange(20).unsqueeze(0) < relevant.unsqueeze(1)
    values = ranking_metrics(hits, relevant, [1, 7, 20], ["ndcg", "map", "mrr", "hit"])
    for key, numbers in values.items():
        assert (numbers == 1).all(), key


def test_a_user_without_relevant_items_gets_zero() -> None:
    values = ranking_metrics(torch.zeros(1, 5, dtype=torch.bool), torch.tensor([0]), [5])
    assert all(numbers.tolist() == [0.0] for numbers in values.values())


def test_no_users() -> None:
    values = ranking_metrics(torch.zeros(0, 5, dtype=torch.bool), torch.zeros(0, dtype=torch.long), [5])
    assert all(numbers.shape == (0,) for numbers in values.values())


def test_bad_options() -> None:
    hits, relevant = torch.zeros(1, 5, dtype=torch.bool), torch.tensor([1])
    with pytest.raises(ConfigError, match=r"unknown metric 'ndgc'; did you mean 'ndcg'\?"):
        ranking_metrics(hits, relevant, [5], ["ndgc"])
    for k in (0, -1, 6):
        with pytest.raises(ConfigError, match=f"topk holds {k}, expected 1 to 5"):
            ranking_metrics(hits, relevant, [5, k])


def slow(row: list[bool], relevant: int, k: int) -> dict[str, float]:
    """One user, one K, rank by rank."""
    found, gain, ideal, precisions, first = 0, 0.0, 0.0, 0.0, 0.0
    for rank in range(1, k + 1):
        if rank <= relevant:
            ideal += 1 / math.log2(rank + 1)
        if row[rank - 1]:
            found += 1
            gain += 1 / math.log2(rank + 1)
            precisions += found / rank
            first = first or 1 / rank
    return {
        "recall": found / relevant,
        "ndcg": gain / ideal,
        "precision": found / k,
        "map": precisions / min(k, relevant),
        "mrr": first,
        "hit": float(found > 0),
    }


@st.composite
def lists(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Hits [B, K_max], and |T_u| of at least the hits."""
    width = draw(st.integers(1, 12))
    rows = draw(st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1, max_size=6))
    unseen = draw(st.lists(st.integers(0, 15), min_size=len(rows), max_size=len(rows)))
    relevant = [max(sum(row) + more, 1) for row, more in zip(rows, unseen, strict=True)]
    return torch.tensor(rows), torch.tensor(relevant)


@settings(max_examples=100, deadline=None)
@given(data=lists())
def test_against_a_slow_loop(data: tuple[torch.Tensor, torch.Tensor]) -> None:
    hits, relevant = data
    topk = range(1, hits.shape[1] + 1)
    values = ranking_metrics(hits, relevant, topk)
    for user, row in enumerate(hits.tolist()):
        for k in topk:
            for name, expected in slow(row, int(relevant[user]), k).items():
                assert float(values[f"{name}@{k}"][user]) == pytest.approx(expected, abs=1e-12), (name, k)


@settings(max_examples=25, deadline=None)
@given(data=lists(), seed=st.integers(0, 999))
def test_rows_do_not_depend_on_the_batch(data: tuple[torch.Tensor, torch.Tensor], seed: int) -> None:
    hits, relevant = data
    order = torch.randperm(len(hits), generator=torch.Generator().manual_seed(seed))
    whole = ranking_metrics(hits, relevant, [hits.shape[1]])
    for key, numbers in ranking_metrics(hits[order], relevant[order], [hits.shape[1]]).items():
        assert torch.equal(numbers, whole[key][order])


@pytest.mark.parametrize("k", [1, 5, 20])
def test_against_torch_geometric(k: int) -> None:
    from torch_geometric import metrics as pyg

    rng = torch.Generator().manual_seed(k)
    users, items = 60, 100
    liked = torch.rand(users, items, generator=rng) < torch.rand(users, 1, generator=rng) * 0.6
    liked[torch.arange(users), torch.randint(items, (users,), generator=rng)] = True
    recommended = torch.rand(users, items, generator=rng).argsort(1)[:, :20]
    relevant = liked.sum(1)
    assert (relevant < k).any() or k == 1
    assert (relevant > k).any()
    theirs = {
        "recall": pyg.LinkPredRecall(k),
        "ndcg": pyg.LinkPredNDCG(k),
        "precision": pyg.LinkPredPrecision(k),
        "map": pyg.LinkPredMAP(k),
        "mrr": pyg.LinkPredMRR(k),
        "hit": pyg.LinkPredHitRatio(k),
    }
    assert set(theirs) == set(METRICS)
    ours = ranking_metrics(liked.gather(1, recommended), relevant, [k])
    for name, metric in theirs.items():
        metric.update(recommended[:, :k], liked.nonzero().t())
        assert float(ours[f"{name}@{k}"].mean()) == pytest.approx(float(metric.compute()), abs=1e-6), name
