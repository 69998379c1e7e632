from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from features.loading import hash_photos, in_threads, load_all, pool_size
from features.photos import PhotoError


def test_results_come_in_order_whoever_is_first() -> None:
    gate = threading.Event()

    def work(value: int) -> int:
        if value == 0:
            gate.wait(10)  # the first input is done last
        if value == 3:
            gate.set()
        return value * value

    assert list(in_threads(work, range(8), workers=4, ahead=8)) == [value * value for value in range(8)]
    assert gate.is_set()


def test_at_most_so_many_are_ahead() -> None:
    taken = []

    def inputs() -> Iterator[int]:
        for value in range(100):
            taken.append(value)
            yield value

    for done, _ in enumerate(in_threads(int, inputs(), workers=2, ahead=5)):
        assert len(taken) <= done + 5


def test_an_error_in_a_thread_is_raised_and_the_threads_end() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda value: 1 // value, [1, 0, 1, 1], workers=2, ahead=2))
    stream = in_threads(int, range(100), workers=2, ahead=5)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_broken_photos_come_as_reasons_in_their_place(tmp_path: Path) -> None:
    from PIL import Image

    paths = [tmp_path / f"{name}.png" for name in "abc"]
    Image.new("RGB", (3, 4)).save(paths[0])
    paths[1].write_bytes(b"")
    Image.new("RGB", (5, 6)).save(paths[2])
    loaded = list(load_all(paths, lambda image: image.size, workers=2, ahead=4))
    assert [loaded[0], loaded[2]] == [(3, 4), (5, 6)]
    assert isinstance(loaded[1], PhotoError)


def test_hash_of_photos_is_by_content_order_and_presence(tmp_path: Path) -> None:
    def plain(hashes: Iterable[str], total: int) -> Iterable[str]:
        return hashes

    def digest(*paths: Path | None) -> str:
        return hash_photos(paths, 2, plain)

    one, two, copy = (tmp_path / name for name in ("one", "two", "copy"))
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    copy.write_bytes(b"1")
    absent = tmp_path / "absent"
    assert digest(one, two) == digest(copy, two)
    different = [(one, two), (two, one), (one, None), (None, one), (one, absent), (one,), (one, two, None)]
    assert len({digest(*paths) for paths in different}) == len(different)


def test_pool_size() -> None:
    assert pool_size(3) == 3
    assert 1 <= pool_size(None) <= 8
