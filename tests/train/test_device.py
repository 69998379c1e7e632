from __future__ import annotations

from typing import Any

import lightning_fabric
import pytest
import torch

from mmrec.errors import ConfigError
from mmrec.train.device import Runtime, runtime


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Fabric is asked for, on a Mac, where its own `auto` is MPS."""
    accelerators: list[str] = []

    class Fabric:
        device = torch.device("cpu")

        def __init__(self, accelerator: str, **options: Any) -> None:
            accelerators.append(accelerator)

    monkeypatch.setattr(lightning_fabric, "Fabric", Fabric)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    return accelerators


@pytest.mark.parametrize(("has_cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_or_the_cpu(
    has_cuda: bool, expected: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MPS has no float64, which losses, samplers and metrics are made in."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    runtime("auto", "bf16-mixed")
    assert asked == [expected]
    found = runtime("auto", "32-true")
    assert asked == [expected] * (1 + has_cuda)
    assert (type(found) is Runtime) is not has_cuda


def test_mps_is_refused_in_one_line(asked: list[str]) -> None:
    expected = r"^train.device is 'mps', expected auto, cpu or cuda; MPS has no float64, which .*$"
    with pytest.raises(ConfigError, match=expected):
        runtime("mps", "32-true")  # type: ignore[arg-type]
    assert not asked
