from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.errors import DataError
from mmrec.graph.view import GraphView
from mmrec.train.sampler import PairSampler, UserSampler
from tests.cases.planted import planted_blocks, rng, tiny_view, views

Click = tuple[int, int]


def clicks_of(view: GraphView) -> list[Click]:
    return [(user, item) for user, item in view.edge_index.T.tolist()]


def epoch_of(sampler: PairSampler, seed: int) -> tuple[list[Click], list[Click], list[int]]:
    """Pairs, (user, negative), and sizes of batches."""
    batches = list(sampler.epoch(rng(seed)))
    users = torch.cat([batch.users for batch in batches]).tolist()
    items = torch.cat([batch.items for batch in batches]).tolist()
    negatives = torch.cat([batch.negatives for batch in batches]).tolist()
    return (
        list(zip(users, items, strict=True)),
        list(zip(users, negatives, strict=True)),
        [len(b.users) for b in batches],
    )


@settings(max_examples=80, deadline=None)
@given(view=views(), batch_size=st.integers(1, 9), seed=st.integers(0, 999))
def test_an_epoch(view: GraphView, batch_size: int, seed: int) -> None:
    clicks = clicks_of(view)
    candidates = {item for _, item in clicks}
    knows = {user: {item for other, item in clicks if other == user} for user, _ in clicks}
    usable = [click for click in clicks if knows[click[0]] != candidates]
    if not usable:
        with pytest.raises(DataError, match="no negatives"):
            PairSampler(view, batch_size)
        return
    sampler = PairSampler(view, batch_size)
    pairs, negatives, sizes = epoch_of(sampler, seed)
    assert Counter(pairs) == Counter(usable)
    assert sampler.pairs_left_out == len(clicks) - len(usable)
    assert len(sampler) == len(sizes)
    assert set(sizes[:-1]) <= {batch_size}
    assert 0 < sizes[-1] <= batch_size
    for user, item in negatives:
        assert item in candidates - knows[user]


def test_negatives_are_uniform_over_what_the_user_has_not_clicked() -> None:
    # 6 items with clicks of very different popularity and 2 without; user 0 knows items 0 and 1.
    clicks = [(0, 0), (0, 1)] + [(user, 0) for user in range(1, 30)] + [(1, 2), (2, 3), (3, 4), (4, 5)]
    view = GraphView(30, 8, torch.tensor(clicks).T.contiguous())
    draws = 8000
    found = PairSampler(view, 10).draw_negatives(torch.zeros(draws, dtype=torch.int64), rng(1))
    counts = torch.bincount(found, minlength=8).tolist()
    assert counts[0] == counts[1] == counts[6] == counts[7] == 0
    statistic = sum((count - draws / 4) ** 2 / (draws / 4) for count in counts[2:6])
    assert statistic < 27  # three degrees of freedom: one right sampler in 100,000 goes beyond


def test_every_order_is_as_likely() -> None:
    view = GraphView(3, 4, torch.tensor([[0, 1, 2], [0, 1, 2]]))
    sampler, source, epochs = PairSampler(view, 10), rng(2), 3000
    orders = Counter(tuple(next(iter(sampler.epoch(source))).users.tolist()) for _ in range(epochs))
    assert len(orders) == 6
    assert sum((count - epochs / 6) ** 2 / (epochs / 6) for count in orders.values()) < 31


def test_same_generator_same_epochs_and_each_epoch_anew() -> None:
    view = tiny_view()
    sampler = PairSampler(view, 4)
    assert epoch_of(sampler, 3) == epoch_of(PairSampler(view, 4), 3)
    assert epoch_of(sampler, 3) != epoch_of(sampler, 4)
    source = rng(3)
    first, second = (torch.cat([b.users for b in sampler.epoch(source)]).tolist() for _ in range(2))
    assert first != second


def test_batch_size_cuts_and_changes_nothing_else() -> None:
    view = tiny_view()
    assert epoch_of(PairSampler(view, 3), 5)[:2] == epoch_of(PairSampler(view, 100), 5)[:2]


def test_users_who_know_everything_are_left_out_and_counted() -> None:
    clicks = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 2)]
    view = GraphView(3, 5, torch.tensor(clicks).T.contiguous())
    sampler = PairSampler(view, 10)
    assert sampler.pairs_left_out == 3
    pairs, negatives, _ = epoch_of(sampler, 0)
    assert sorted(pairs) == [(1, 0), (1, 1), (2, 2)]
    assert {item for user, item in negatives if user == 1} == {2}


def test_batches_carry_the_generator() -> None:
    source = rng()
    assert all(batch.rng is source for batch in PairSampler(tiny_view(), 4).epoch(source))


def test_the_view_is_untouched() -> None:
    view = tiny_view()
    before = view.edge_index.clone()
    list(PairSampler(view, 4).epoch(rng()))
    assert torch.equal(view.edge_index, before)


def test_nobody_has_a_negative() -> None:
    view = replace(tiny_view(), edge_index=torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]]))
    with pytest.raises(DataError, match="each user has clicked all 2 items of the training split"):
        PairSampler(view, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    view = tiny_view().to("cuda")
    source = torch.Generator("cuda").manual_seed(0)
    (batch,) = PairSampler(view, 100).epoch(source)
    assert batch.negatives.device.type == "cuda"
    assert not set(zip(batch.users.tolist(), batch.negatives.tolist(), strict=True)) & set(clicks_of(view))


def test_users_come_once_each_with_one_of_their_items() -> None:
    view = planted_blocks().data.train
    sampler = UserSampler(view, 10)
    assert len(sampler) == 5
    clicked = set(map(tuple, view.edge_index.T.tolist()))
    seen: dict[int, set[int]] = {}
    source = rng()
    for _ in range(80):
        batches = list(sampler.epoch(source))
        assert sorted(torch.cat([one.users for one in batches]).tolist()) == list(range(48))
        for one in batches:
            for user, item, negative in zip(
                *(x.tolist() for x in (one.users, one.items, one.negatives)), strict=True
            ):
                assert (user, item) in clicked
                assert (user, negative) not in clicked
                seen.setdefault(user, set()).add(item)
    assert all(len(items) == 5 for items in seen.values())  # each of a user's five items comes up


def test_several_negatives_a_pair() -> None:
    view = planted_blocks().data.train
    clicked = set(map(tuple, view.edge_index.T.tolist()))
    for batch in PairSampler(view, 50, negatives=4).epoch(rng()):
        assert batch.negatives.shape == (len(batch.users), 4)
        for user, items in zip(batch.users.tolist(), batch.negatives.tolist(), strict=True):
            assert not any((user, item) in clicked for item in items)
