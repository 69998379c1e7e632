"""Splits: what is trained on, what chooses the best epoch, and what is looked at once, at the end."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmrec.errors import ConfigError, DataError, nearest

SplitMethod = Literal["labels", "random", "leave_one_out", "user_time", "global_time"]
TRAIN, VALID, TEST = 0, 1, 2
_SMALLEST_SPLIT_USER = 3  # one interaction for each part


def split(
    frame: pl.DataFrame,
    method: SplitMethod,
    *,
    seed: int = 0,
    valid_ratio: float = 0.1,
    test_ratio: float = 0.1,
) -> pl.DataFrame:
    """Put every interaction into train, valid or test.

    * ``labels``: as the file's label column says.
    * ``random``: as MMRec makes it. A user with n interactions gives h of them, drawn at random, to valid and
      test: with s = valid_ratio + test_ratio, h = floor(s n) but at least 2; floor(h valid_ratio / s) of
      these, but at least 1 and at most h - 1, are valid, the rest test. At the default ratios: one valid and
      one test below ten interactions; from ten on h = floor(.2 n), of which floor(h / 2) valid.
    * ``user_time``: the same counts, but each user's latest interactions are test and the ones before them
      valid.
    * ``leave_one_out``: each user's last interaction is test and the last but one valid; by time, or in an
      order drawn from the seed where there is no time column.
    * ``global_time``: all interactions lie on one time line; train is what came before the time at place
      floor((1 - s) N), test what came at or after the time at place floor((1 - test_ratio) N), counted from
      0. Equal times are never parted.

    Call `drop_repeats` first, or a pair that occurs twice may be trained on and tested.
    In the three methods that look at each user, users with fewer than 3 interactions stay wholly in train.
    The result depends on the rows and the seed, not on the order of the rows: it comes back sorted by user,
    item (as text) and the other columns in the order of their names. Equal times of a user keep that order.

    Args:
        frame: interactions, as from `read_interactions`.
        method: how to split.
        seed: start of the random draws.
        valid_ratio: share of the interactions for valid.
        test_ratio: share of the interactions for test.

    Returns:
        The frame, sorted, with the column ``split`` (Int8): 0 train, 1 valid, 2 test.

    Raises:
        ConfigError: an unknown method, or ratios that are not above 0 or leave nothing for train.
        DataError: a column that the method needs is missing, or train, valid or test would be empty.
    """
    if method not in get_args(SplitMethod):
        raise ConfigError(f"unknown split method '{method}'{nearest(str(method), get_args(SplitMethod))}")
    if not (valid_ratio > 0 and test_ratio > 0 and valid_ratio + test_ratio < 1):
        raise ConfigError(
            f"valid_ratio {valid_ratio:g} and test_ratio {test_ratio:g}: "
            "expected both above 0 and their sum below 1"
        )
    if seed < 0:
        raise ConfigError(f"seed {seed} is negative; expected 0 or more")
    needed = {"labels": "label", "user_time": "time", "global_time": "time"}.get(method)
    if needed and needed not in frame.columns:
        raise DataError(
            f"split '{method}' needs a {needed} column, found {', '.join(frame.columns)}; "
            f"set {needed}_column or choose another split such as 'random'"
        )
    frame = frame.drop("split", strict=False)
    frame = frame.sort("user", "item", *sorted(set(frame.columns) - {"user", "item"}))
    if method == "labels":
        parts = frame["label"].to_numpy().astype(np.int8)
    elif method == "global_time":
        parts = _by_global_time(frame["time"].to_numpy(), valid_ratio, test_ratio)
    else:
        by_time = method == "user_time" or (method == "leave_one_out" and "time" in frame.columns)
        order = frame["time"].to_numpy() if by_time else np.random.default_rng(seed).permutation(frame.height)
        parts = _by_user(frame["user"], order, method == "leave_one_out", valid_ratio, test_ratio)
    _check(parts, method)
    return frame.with_columns(pl.Series("split", parts, dtype=pl.Int8))


def held_out_counts(
    counts: NDArray[np.int64], valid_ratio: float = 0.1, test_ratio: float = 0.1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of a user's interactions go to valid and to test; the rule of ``random`` in `split`.

    Args:
        counts: interactions of each user [U].
        valid_ratio: share of the interactions for valid.
        test_ratio: share of the interactions for test.

    Returns:
        Numbers of valid and of test interactions, each [U].
    """
    both = valid_ratio + test_ratio
    # The small addition keeps a product such as .3 * 10, which binary fractions may put just below 3, at 3.
    held = np.floor(counts * both + 1e-9).astype(np.int64)
    held = np.clip(held, 2, np.maximum(counts - 1, 2))
    valid = np.clip(np.floor(held * (valid_ratio / both) + 1e-9).astype(np.int64), 1, held - 1)
    small = counts < _SMALLEST_SPLIT_USER
    return np.where(small, 0, valid), np.where(small, 0, held - valid)


def _by_user(
    users: pl.Series, order: NDArray[np.generic], one_each: bool, valid_ratio: float, test_ratio: float
) -> NDArray[np.int8]:
    """Each user's rows, in `order`: first train, then valid, then test.  `users` is sorted."""
    codes = users.rank("dense").to_numpy().astype(np.int64) - 1
    counts = np.bincount(codes)
    if one_each:
        valid = test = (counts >= _SMALLEST_SPLIT_USER).astype(np.int64)
    else:
        valid, test = held_out_counts(counts, valid_ratio, test_ratio)
    rows = np.lexsort((order, codes))  # stable: equal times keep the order of the sorted frame
    starts = np.cumsum(counts) - counts
    after = (starts + counts)[codes] - 1 - np.arange(len(codes))  # 0 for the user's last row
    parts = np.empty(len(codes), dtype=np.int8)
    parts[rows] = np.where(after < test[codes], TEST, np.where(after < (valid + test)[codes], VALID, TRAIN))
    return parts


def _by_global_time(times: NDArray[np.float64], valid_ratio: float, test_ratio: float) -> NDArray[np.int8]:
    line = np.sort(times)
    if not len(line):
        return np.empty(0, dtype=np.int8)
    shares = np.array([1 - valid_ratio - test_ratio, 1 - test_ratio])
    places = np.floor(len(line) * shares + 1e-9).astype(np.int64).clip(max=len(line) - 1)
    valid_from, test_from = line[places]
    return np.where(times >= test_from, TEST, np.where(times >= valid_from, VALID, TRAIN)).astype(np.int8)


def _check(parts: NDArray[np.int8], method: str) -> None:
    advice = {
        "labels": "give rows labelled 0 (train), 1 (valid) and 2 (test), or choose another split",
        "global_time": "change valid_ratio and test_ratio, or choose another split",
    }.get(method, f"users with under {_SMALLEST_SPLIT_USER} interactions stay in train: give more of them")
    counts = np.bincount(parts, minlength=3)
    for name, count in zip(("train", "valid", "test"), counts, strict=True):
        if not count:
            raise DataError(
                f"split '{method}' leaves no {name} rows ({counts[0]} train, {counts[1]} valid, "
                f"{counts[2]} test of {len(parts)}); {advice}"
            )
