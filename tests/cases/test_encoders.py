"""Every encoder of `features/`, found by existing, through the suite of `encoder_cases.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import features
from features.base import Encoder, Float32
from tests.cases.encoder_cases import EncoderCases, all_encoders


@pytest.mark.parametrize("encoder_class", all_encoders(), ids=lambda one: one.__name__, scope="class")
class TestEveryEncoder(EncoderCases):
    pass


class Lengths(Encoder):
    """The smallest encoder there can be: the length of a text and of its first word."""

    modality: ClassVar[str] = "text"
    dim = 2

    def fingerprint(self) -> dict[str, str]:
        return {"encoder": "Lengths"}

    def encode(self, inputs: Sequence[str]) -> Float32:
        rows = [[len(text), len(text.split(" ")[0])] for text in inputs]
        return np.array(rows, dtype=np.float32).reshape(-1, 2)


class TestAnEncoderOfAnotherPackage(EncoderCases):
    @pytest.fixture
    def encoder_class(self) -> type[Encoder]:
        return Lengths


def test_encoders_are_found_by_existing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with a class in it is enough; what cannot be made is not an encoder."""
    before = {one.__name__ for one in all_encoders()}
    assert {"OpenClipImage", "OpenClipText", "TfidfText"} <= before
    assert not before & {"_OpenClip", "Lengths", "Brandnew"}
    (tmp_path / "brandnew.py").write_text(
        "from features.tfidf import TfidfText\n\nclass Brandnew(TfidfText):\n    pass\n"
    )
    monkeypatch.setattr(features, "__path__", [*features.__path__, str(tmp_path)])
    assert {one.__name__ for one in all_encoders()} == before | {"Brandnew"}
