from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import MMRecError
from features.files import atomic_file, atomic_folder, content_hash, file_hash, recover_folder


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(
            f"a small disk cannot be mounted here ({error}); the test with a size limit runs everywhere"
        )
    yield disk
    # lazily: a failed writer may still hold its file
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def size_limit() -> Iterator[None]:
    """No file may grow beyond 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_file_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "data.npy"
    with atomic_file(target) as partial:
        np.save(partial, np.arange(3))
        assert not target.exists()
    np.testing.assert_array_equal(np.load(target), np.arange(3))
    assert everything(tmp_path) == ["new", "new/data.npy"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_failed_file_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "data.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_file(target) as partial:  # noqa: PT012
        partial.write_text("half of the n")
        raise error
    assert target.read_text() == "old"
    assert everything(tmp_path) == ["data.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_failed_folder_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    for target in (tmp_path / "old", tmp_path / "deep" / "er" / "new"):
        if target.name == "old":
            target.mkdir()
            (target / "kept").write_text("kept")
        with pytest.raises(error), atomic_folder(target) as partial:  # noqa: PT012
            (partial / "half").write_text("half")
            raise error
    assert everything(tmp_path) == ["old", "old/kept"]


def test_complete_folder_replaces_the_old_one(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with atomic_folder(tmp_path / "out") as partial:
            (partial / name).write_text(name)
    assert everything(tmp_path) == ["out", "out/second"]


def test_interrupt_between_the_two_renames_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    real, calls = os.rename, []

    def rename(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(source, target)

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("kept")
    monkeypatch.setattr("features.files.os.rename", rename)
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "out") as partial:
        (partial / "new").write_text("new")
    assert everything(tmp_path) == ["out", "out/kept"]


def test_full_disk(small_disk: Path) -> None:
    (small_disk / "kept").write_text("kept")
    with pytest.raises(MMRecError, match=r"disk full.*out"), atomic_folder(small_disk / "out") as partial:
        np.save(partial / "matrix.npy", np.zeros(100_000))
    with pytest.raises(MMRecError, match=r"disk full.*\.npy"), atomic_file(small_disk / "a.npy") as partial:
        np.save(partial, np.zeros(100_000))
    assert everything(small_disk) == ["kept"]


def test_full_disk_reported_by_torch_as_a_runtime_error(small_disk: Path) -> None:
    import torch

    with pytest.raises(MMRecError, match=r"disk full.*m\.pt"), atomic_file(small_disk / "m.pt") as partial:
        torch.save({"weight": torch.zeros(100_000)}, partial)
    assert everything(small_disk) == []


def test_size_limit_of_numpy_without_an_error_number(tmp_path: Path, size_limit: None) -> None:
    with pytest.raises(MMRecError, match=r"disk full.*a\.npy"), atomic_file(tmp_path / "a.npy") as partial:
        np.save(partial, np.zeros(100_000))
    assert everything(tmp_path) == []


def test_size_limit(tmp_path: Path, size_limit: None) -> None:
    with pytest.raises(MMRecError, match=r"full.*File too large"), atomic_folder(tmp_path / "out") as partial:
        (partial / "big").write_bytes(b"x" * 100_000)
    assert everything(tmp_path) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am a file")
    with pytest.raises(MMRecError, match="is a file"), atomic_folder(tmp_path / "file"):
        pass
    with pytest.raises(MMRecError, match="cannot write"), atomic_file(tmp_path / "file" / "a" / "b.txt"):
        pass
    assert everything(tmp_path) == ["file"]


def test_file_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_hash(tmp_path / "a", "sha256") == known
    assert len(file_hash(tmp_path / "a")) == 32
    with pytest.raises(MMRecError, match="cannot read"):
        file_hash(tmp_path / "absent")


def test_content_hash_tells_apart_what_is_easily_mixed_up() -> None:
    zeros = np.zeros(4, dtype=np.float32)
    different = [
        ("ab", "c"), ("a", "bc"), ("abc",), (["ab", "c"],), ([["ab"], "c"],), (b"abc",), (1,), (1.0,),
        (True,), ("1",), (None,), ("",), (), ([],), ({},), ({"a": 1},), ({"a": "1"},), (zeros,),
        (zeros.reshape(2, 2),), (zeros.astype(np.float64),), (np.array(["ab", "c"]),),
        (np.array(["a", "bc"]),),
    ]  # fmt: skip
    assert len({content_hash(*parts) for parts in different}) == len(different)


def test_content_hash_of_equal_content_is_equal() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash(np.array(["a", "b"])) == content_hash(np.array(["a", "b"], dtype="<U9"))
    matrix = np.arange(12).reshape(3, 4)
    assert content_hash(matrix[:, ::2]) == content_hash(matrix[:, ::2].copy())


@given(st.lists(st.text()), st.lists(st.text()))
def test_content_hash_of_strings(first: list[str], second: list[str]) -> None:
    assert (content_hash(first) == content_hash(second)) == (first == second)


def test_what_a_kill_left_of_a_folder_is_cleared_and_the_old_one_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".image.0123abcd.tmp").mkdir()
    (tmp_path / ".image.0123abcd.old").mkdir()
    (tmp_path / ".image.0123abcd.old" / "a").write_text("kept")
    (tmp_path / ".text.0123abcd.tmp").mkdir()
    recover_folder(tmp_path / "image")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".text.0123abcd.tmp", "image"]
    assert (tmp_path / "image" / "a").read_text() == "kept"
    (tmp_path / ".image.0123abcd.old").mkdir()
    recover_folder(tmp_path / "image")
    assert (tmp_path / "image" / "a").read_text() == "kept"
    assert not (tmp_path / ".image.0123abcd.old").exists()
