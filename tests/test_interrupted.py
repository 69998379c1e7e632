"""Ctrl-C and a full disk, in another process: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cases.shop import SMALL_RUN, listing, make_shop, one_line, unfinished

ROOT = Path(__file__).resolve().parents[1]
SLOW = """
import time
from pathlib import Path
from features.base import Encoder
from mmrec.augment import Augmentation

class Slow(Encoder):
    modality = "text"
    dim = 3
    batch_size = 4

    def fingerprint(self):
        return {"encoder": "slow"}

    def encode(self, inputs):
        Path("started").touch()
        time.sleep(30)

class Wait(Augmentation):
    def __call__(self, view, rng):
        Path("started").touch()
        time.sleep(30)
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    make_shop(tmp_path / "shop")
    (tmp_path / "my.yaml").write_text(SMALL_RUN, encoding="utf-8")
    return tmp_path


def start(work: Path, *words: str, limit: int | None = None) -> subprocess.Popen[str]:
    def small_files() -> None:
        # Every write beyond this size fails as on a full disk; no right to mount a small one is needed.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, resource.RLIM_INFINITY))

    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=work,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{work}", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=small_files if limit else None,
    )


@pytest.mark.parametrize("program", ["extraction", "extraction within a run", "training"])
def test_ctrl_c_leaves_nothing_half_written(program: str, work: Path) -> None:
    (work / "slow.py").write_text(SLOW, encoding="utf-8")
    words = {
        "extraction": ["features.extract", "--items", "shop/items.csv", "--text_columns", "title",
                       "--encoder", "slow.Slow", "--out", "made"],
        "extraction within a run": ["mmrec.run", "--config", "my.yaml", "--features.encoders", "[slow.Slow]"],
        "training": ["mmrec.run", "--config", "my.yaml", "--augment.epoch", "[slow.Wait]"],
    }[program]  # fmt: skip
    before = listing(work)
    process = start(work, *words)
    deadline = time.monotonic() + 120
    while not (work / "started").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    half = unfinished(work)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2, error
    one_line(error)
    assert half, "it was interrupted in the midst of writing"
    (work / "started").unlink()
    assert listing(work) == before
    assert not unfinished(work)


@pytest.mark.parametrize("program", ["extraction", "run"])
def test_a_full_disk_leaves_nothing_half_written(program: str, work: Path) -> None:
    before = listing(work)
    words = {
        "extraction": ["features.extract", "--items", "shop/items.csv", "--text_columns", "title,description",
                       "--encoder", "tfidf", "--out", "made"],
        "run": ["mmrec.run", "--config", "my.yaml", "--model", "LightGCN"],
    }[program]  # fmt: skip
    process = start(work, *words, limit=500)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2, error
    assert "disk full" in one_line(error)
    assert listing(work) == before
    assert not unfinished(work)


def test_help_into_a_pipe_that_closes(work: Path) -> None:
    """As in `python -m mmrec.run --help | head`."""
    with start(work, "mmrec.run", "--config", "my.yaml", "--help") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
