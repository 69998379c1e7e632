from __future__ import annotations

import io
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrec.data.dataset import RecData
from mmrec.data.ids import IdMap
from mmrec.errors import ConfigError, TrainingError
from mmrec.models.bm3 import BM3
from mmrec.models.lightgcn import LightGCN
from mmrec.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.cases.planted import as_data, rng, tiny_view

NONE = torch.empty(2, 0, dtype=torch.int64)


def data() -> RecData:
    return as_data(tiny_view(), valid=NONE, test=NONE)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    save_checkpoint(path, LightGCN(tiny_view(), dim=4, n_layers=1), {"dim": 4, "n_layers": 1}, data())
    return path


def test_round_trip(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dim": 4, "dropout": 0.25, "trainable_features": True}
    model = BM3(tiny_view(), **options)
    save_checkpoint(tmp_path / "model.pt", model, options, data())
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    found = load_checkpoint(tmp_path / "model.pt")
    assert found.class_path == "mmrec.models.bm3.BM3"
    assert dict(found.init_args) == options
    loaded = found.build(data())
    assert type(loaded) is BM3
    assert loaded.dropout == 0.25
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_it_holds_tensors_and_text_only(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    assert set(content) == {"format", "class_path", "init_args", "ids", "state"}


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["pickle", "torch", "inside"])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, how: str) -> None:
    bomb = Bomb(tmp_path / "exploded")
    path = tmp_path / "model.pt"
    if how == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    elif how == "torch":
        torch.save(bomb, path)
    else:
        torch.save(
            {"format": 1, "class_path": "x", "init_args": "{}", "ids": "", "state": {"table": bomb}}, path
        )
    with pytest.raises(TrainingError, match="holds more than tensors and plain values") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "exploded").exists()


def as_bytes(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a checkpoint"),
        (b"epoch,loss\n1,0.5\n", "cannot be read as a checkpoint"),
        (as_bytes(torch.ones(3)), "format None, expected 1"),
        (as_bytes([1, 2]), "format None, expected 1"),
        (as_bytes({"state": {}}), "format None, expected 1"),
        (as_bytes({"format": 2}), "format 2, expected 1"),
        (as_bytes({"format": 1}), "init_args"),
        (as_bytes({"format": 1, "init_args": "{", "state": {}}), "cannot be read as a checkpoint"),
        (
            as_bytes({"format": 1, "init_args": "{}", "state": 3, "class_path": "x", "ids": ""}),
            "cannot be read",
        ),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(TrainingError, match=message) as error:
        load_checkpoint(tmp_path / "model.pt")
    assert "\n" not in str(error.value)
    assert "model.pt" in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"none.pt cannot be read as a checkpoint \(No such file or directory\)"
    ):
        load_checkpoint(tmp_path / "none.pt")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    end=st.floats(0, 1),
)
@pytest.mark.filterwarnings("ignore")
def test_damage_is_one_line_or_harmless(saved: Path, changes: list[tuple[float, int]], end: float) -> None:
    whole = bytearray(saved.read_bytes())
    for place, byte in changes:
        whole[int(place * len(whole))] = byte
    damaged = saved.with_name("damaged.pt")
    damaged.write_bytes(bytes(whole) if end > 0.5 else bytes(whole[: int(2 * end * len(whole))]))
    try:
        load_checkpoint(damaged)
    except TrainingError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_other_ids_are_refused(saved: Path) -> None:
    found = load_checkpoint(saved)
    renamed = replace(data(), items=IdMap.from_values([f"j{number:02}" for number in range(6)]))
    with pytest.raises(TrainingError, match="trained on other users or other items"):
        found.build(renamed)
    swapped = replace(data(), users=IdMap(data().users.ids[::-1].copy()))
    with pytest.raises(TrainingError, match="trained on other users or other items"):
        found.build(swapped)


def test_other_features_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pt", BM3(tiny_view(), dim=4), {"dim": 4}, data())
    wider = tiny_view()
    wider = replace(wider, features={**wider.features, "image": torch.randn(6, 9, generator=rng())})
    with pytest.raises(
        TrainingError, match=r"the checkpoint does not fit the data: .*projection.maps.image"
    ) as error:
        load_checkpoint(tmp_path / "model.pt").build(as_data(wider, valid=NONE, test=NONE))
    assert "\n" not in str(error.value)


def test_a_class_that_is_no_model_is_refused(saved: Path) -> None:
    found = load_checkpoint(saved)
    for path in ("pathlib.Path", "mmrec.models.lightgcn.LightGCM", "mmrec.models.nowhere.Model"):
        with pytest.raises(ConfigError, match="checkpoint: "):
            Checkpoint(path, found.init_args, found.ids, found.state).build(data())


def test_a_failure_leaves_the_file_that_was_there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(Exception, match="disk full"):
        save_checkpoint(saved, LightGCN(tiny_view(), dim=4), {}, data())
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model.pt"]
