"""Runs of a study: each once, a failed one once more, none that is not needed."""

from __future__ import annotations

import subprocess
from collections import Counter
from typing import Any

import pytest

from experiments import pool
from experiments.pool import run_all


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each job's process was started; `shaky` fails the first time, `broken` always."""
    counts: Counter[str] = Counter()

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        name = command[-1]
        counts[name] += 1
        code = int(name == "broken" or (name == "shaky" and counts[name] == 1))
        assert options["env"]["OMP_NUM_THREADS"] == "1"
        return subprocess.CompletedProcess(command, code, stdout=f"progress\nrow of {name}\n", stderr="why")

    monkeypatch.setattr(pool.subprocess, "run", run)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return counts


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_what_is_kept(started: Counter[str], at_a_time: int, capsys: pytest.CaptureFixture[str]) -> None:
    kept: dict[str, str] = {}
    run_all(
        ["a", "shaky", "there", "broken", "b"],
        lambda job: ["a.module", job],
        needed=lambda job: job != "there",
        keep=kept.__setitem__,
        at_a_time=at_a_time,
    )
    assert kept == {name: f"row of {name}" for name in ("a", "shaky", "b")}
    assert started == {"a": 1, "shaky": 2, "broken": 2, "b": 1}
    assert "failed: broken: why" in capsys.readouterr().out.replace("\n", " ")


def test_what_an_earlier_job_made_is_not_made_again(started: Counter[str]) -> None:
    kept: list[str] = []
    run_all(
        ["a", "a", "a"],
        lambda job: ["a.module", job],
        needed=lambda job: job not in kept,
        keep=lambda job, _: kept.append(job),
        at_a_time=1,
    )
    assert started == {"a": 1}


def test_no_run_starts_after_the_time(started: Counter[str]) -> None:
    run_all(["a"], lambda job: [job], needed=lambda _: True, keep=lambda *_: None, minutes=-1)
    assert not started
