from __future__ import annotations

import pytest

from mmrec.train.stopping import EarlyStopping


def run(values: list[float], patience: int) -> tuple[EarlyStopping, int]:
    """Feed values until it is done; also how many were taken."""
    stopping = EarlyStopping(patience)
    for epoch, value in enumerate(values, start=1):
        stopping.update(value, epoch)
        if stopping.done:
            return stopping, epoch
    return stopping, len(values)


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_it_stops_at_the_evaluation_after_patience_is_used_up(patience: int) -> None:
    stopping, taken = run([0.1, 0.5] + [0.4] * 20, patience)
    assert taken == 2 + patience + 1
    assert (stopping.best, stopping.best_epoch) == (0.5, 2)


def test_a_new_best_starts_the_count_again() -> None:
    stopping, taken = run([0.1, 0.0, 0.0, 0.2, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.9], 2)
    assert taken == 10
    assert (stopping.best, stopping.best_epoch) == (0.3, 7)


def test_the_same_value_again_is_not_better() -> None:
    stopping = EarlyStopping(5)
    assert stopping.update(0.5, 1)
    assert not stopping.update(0.5, 2)
    assert stopping.best_epoch == 1


def test_values_are_not_rounded() -> None:
    stopping = EarlyStopping(5)
    stopping.update(0.07351, 1)
    assert stopping.update(0.07351000001, 2)


def test_nan_is_never_best() -> None:
    stopping = EarlyStopping(5)
    assert not stopping.update(float("nan"), 1)
    assert stopping.update(-1.0, 2)
    assert not stopping.update(float("nan"), 3)
    assert stopping.best == -1.0


def test_zero_everywhere_has_a_first_best() -> None:
    stopping, _ = run([0.0, 0.0], 5)
    assert stopping.best_epoch == 1
