from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from features.loading import in_threads, load_all, photo_hashes, pool_size, text_hashes
from features.sources import PhotoError


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


def test_hashes_are_by_content_and_order_and_tell_what_is_absent(tmp_path: Path) -> None:
    def plain(hashes: Iterable[bytes], total: int) -> Iterable[bytes]:
        return hashes

    one, two, copy = (tmp_path / name for name in ("one", "two", "copy"))
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    copy.write_bytes(b"1")
    entries = [one, two, copy, None, tmp_path / "absent", tmp_path / "gone", (one, two), (two, one), (one,)]
    found = photo_hashes(entries, 2, plain).tolist()
    assert found[0] == found[2] == hash_of(one)
    assert found[3] == b""
    assert len(set(found)) == len(found) - 2, (
        "the copy is the original, and one photo in a tuple is one photo"
    )
    assert text_hashes(["a", None, "", "a"]).tolist()[0] == text_hashes(["a"]).tolist()[0]
    assert [bool(value) for value in text_hashes(["a", None, "b"])] == [True, False, True]


def hash_of(path: Path) -> bytes:
    inner = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    return hashlib.blake2b(inner, digest_size=16).digest()


def test_pool_size() -> None:
    assert pool_size(3) == 3
    assert 1 <= pool_size(None) <= 8
