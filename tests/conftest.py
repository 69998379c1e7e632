"""Fixtures shared by every test."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# No test asserts a time: whichever test is the first to import scipy would miss Hypothesis' 200 ms.
settings.register_profile("mmrec", deadline=None)
settings.load_profile("mmrec")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's own folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data, read in place; where it is absent the test is skipped with a reason."""
    folder = Path(os.environ.get("MMREC_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "baby" / "baby.inter").is_file():
        pytest.skip(f"real data not found at {folder}; set MMREC_SHARED_DATA to its folder")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a config file, and gives its path."""

    def write(text: str, name: str = "some.yaml") -> str:
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
        return str(tmp_path / name)

    return write


@pytest.fixture
def small(write: Callable[..., str]) -> str:
    """The path of a config as small as one can be."""
    return write("data: {interactions: clicks.csv}\nmodel: LightGCN\n", "small.yaml")
