"""The demo shop's clicks: tastes over what is seen and what is written, popularity, and chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrec.data.demo_items import NAMES, Catalogue

TASTES = {
    "kind": 2.6,
    "colour": 1.4,
    "pattern": 1.4,
    "shade": 1.1,
    "form": 0.9,
    "trim": 0.9,
    "material": 1.3,
    "occasion": 1.3,
}
"""Spread of users' tastes over the values of each attribute, in log-odds of a click."""

SHARED = 0.25
"""Share of a taste's variance that users have in common with a circle of friends; the rest is their own."""

CIRCLES = 40
POPULARITY = 0.9
"""Exponent of Zipf's law: a click's odds fall with rank ** -POPULARITY, flatter in the first 2 % of them."""

TRAIN, VALID, TEST = 0, 1, 2
_START, _YEAR = 1_735_689_600, 365 * 86_400  # the year 2025, in seconds since 1970

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Clicks:
    """E clicks in the order of time; all arrays [E].

    Args:
        user: row of the user, in [0, users).
        item: row of the item, in [0, items).
        time: seconds since 1970.
        label: 0 train, 1 valid, 2 test.
    """

    user: Int
    item: Int
    time: Int
    label: Int


def draw_utility(shop: Catalogue, users: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """How much each user likes each item, [users, items], in log-odds, before popularity and chance."""
    circle = rng.integers(CIRCLES, size=users)
    utility = np.zeros((users, len(shop)))
    for name, values in NAMES.items():
        common = rng.standard_normal((CIRCLES, len(values)))[circle]
        own = rng.standard_normal((users, len(values)))
        taste = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own
        utility += TASTES[name] * taste[:, getattr(shop, name)]
    return utility


def draw_clicks(shop: Catalogue, users: int, rng: np.random.Generator, *, cold: float = 0.05) -> Clicks:
    """Draw about 20 clicks a user and label them.

    Args:
        shop: the items.
        users: how many.
        rng: the only source of chance.
        cold: share of items, in [0, 1/3], that came late in the year and whose clicks are all held out.
    """
    items = len(shop)
    rank = rng.permutation(items)
    odds = draw_utility(shop, users, rng) - POPULARITY * np.log(rank + 0.02 * items)
    # The n largest after Gumbel noise are n draws without replacement, each in proportion to exp(odds).
    order = np.argsort(-(odds + rng.gumbel(size=odds.shape)), axis=1)
    count = np.clip(rng.normal(20, 5, size=users).round().astype(np.int64), 5, items // 3)
    user = np.repeat(np.arange(users), count)
    item = order[np.arange(items) < count[:, None]]
    rare = np.flatnonzero(rank >= items - items // 3)
    new = np.zeros(items, dtype=np.bool_)
    new[rng.choice(rare, size=round(cold * items), replace=False)] = True
    label = _labels(user, new[item], count, rng)
    part_of_year = rng.random(len(user))
    part_of_year[new[item]] = 0.75 + 0.25 * part_of_year[new[item]]
    time = _START + (part_of_year * _YEAR).astype(np.int64)
    by = np.lexsort((item, user, time))
    return Clicks(user[by], item[by], time[by], label[by])


def _labels(user: Int, new: Bool, count: Int, rng: np.random.Generator) -> Int:
    """Random per user: n < 10 give one valid, one test; else h = n // 5 are held out, h // 2 of them valid.

    Clicks on new items are held out first, which keeps the shares; with more than h of them, all are.
    """
    place = np.arange(len(user)) - (np.cumsum(count) - count)[user]  # 0, 1, 2, ... within each user
    held = np.where(count < 10, 2, count // 5)
    held = np.maximum(held, np.bincount(user, weights=new, minlength=len(count)).astype(np.int64))
    chosen = np.empty(len(user), dtype=np.bool_)
    chosen[np.lexsort((rng.random(len(user)), ~new, user))] = place < held[user]
    label = np.full(len(user), TRAIN)
    by = np.lexsort((rng.random(len(user)), ~chosen, user))
    label[by] = np.select([place < held[user] // 2, place < held[user]], [VALID, TEST], TRAIN)
    return label
