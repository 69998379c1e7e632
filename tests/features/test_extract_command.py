"""`python -m features.extract`: what it does, and its one line for everything that can be wrong."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from features.extract import extract_table, main
from features.store import open_stores
from tests.cases.encoder_cases import make_tiny_clip

PACKAGE = '''
import time
from pathlib import Path
import numpy as np
from features.base import Encoder

class Brightness(Encoder):
    """An encoder of somebody else."""
    modality = "image"
    dim = 1
    def __init__(self, batch_size: int = 4):
        self.batch_size = batch_size
    def fingerprint(self):
        return {"encoder": "Brightness"}
    def encode(self, inputs):
        return np.array([[np.asarray(image).mean()] for image in inputs], dtype=np.float32)

class Slow(Brightness):
    batch_size = 1
    def encode(self, inputs):
        Path("started").touch()
        time.sleep(30)
        return super().encode(inputs)

class NotOne:
    pass
'''


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop of four items in a folder of its own, the current one, with somebody's package beside."""
    for index in range(4):
        Image.new("RGB", (40, 40), (index * 20,) * 3).save(tmp_path / f"{index}.jpg", quality=100)
    lines = [f"{index},{index}.jpg,a {word} shirt with a {word} collar" for index, word in enumerate("abcd")]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,photo,text", *lines, ""]))
    (tmp_path / "somebodys_encoders.py").write_text(PACKAGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def arguments(*more: str, **options: str) -> list[str]:
    given = {"items": "items.csv", "out": "out"} | options
    return [word for name, value in given.items() for word in (f"--{name}", value)] + list(more)


def test_clip_encodes_photos_and_texts(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_tiny_clip(shop / "clip")
    names = {"encoder": clip["model"], "pretrained": clip["pretrained"], "device": "cpu"}
    assert main(arguments(**names, image_column="photo", text_columns="text")) == 0
    shown = capsys.readouterr().out
    assert re.search(r"Encoding photos.*4/4.*items/s", shown)
    assert re.search(r"Encoding texts.*4/4", shown)
    stores = open_stores("out")
    assert {name: store.matrix.shape for name, store in stores.items()} == {"image": (4, 12), "text": (4, 12)}


def test_two_encoders_one_folder(shop: Path) -> None:
    (shop / "items.csv").write_text((shop / "items.csv").read_text() + "4,4.jpg,\n")
    assert main(arguments(encoder="somebodys_encoders.Brightness", image_path="{item_id}.jpg")) == 0
    assert main(arguments(encoder="tfidf", text_template="{text}")) == 0
    stores = open_stores("out")
    np.testing.assert_allclose(stores["image"].matrix[:, 0], [0, 20, 40, 60, 0], atol=2)
    assert stores["image"].present.tolist() == stores["text"].present.tolist() == [True] * 4 + [False]
    assert stores["image"].manifest["broken"] == []


def test_a_text_of_ten_thousand_words(shop: Path) -> None:
    (shop / "items.csv").write_text("item_id,text\n1," + "word " * 10_000 + "\n2,short\n")
    clip = make_tiny_clip(shop / "clip")
    assert main(arguments(encoder=clip["model"], pretrained=clip["pretrained"], text_columns="text")) == 0
    store = open_stores("out")["text"]
    assert (store.manifest["truncated_texts"], store.present.all()) == (1, True)


def _write(name: str, content: bytes) -> Any:
    return lambda shop: (shop / name).write_bytes(content)


def _cut(shop: Path) -> None:
    (shop / "2.jpg").write_bytes((shop / "2.jpg").read_bytes()[:-200])


@pytest.mark.parametrize("damage", [_write("2.jpg", b""), _write("2.jpg", b"just text"), _cut])
def test_a_broken_photo_is_missing_or_with_strict_an_error(
    shop: Path, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(shop)
    words = arguments(encoder="somebodys_encoders.Brightness", image_column="photo")
    assert main([*words, "--strict"]) == 2
    assert not (shop / "out").exists()
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"error: image: photos of 1 of 4 items are broken, for example of item '2' \(2\.jpg: .*\n", error
    )
    assert main(words) == 0
    assert open_stores("out")["image"].present.tolist() == [True, True, False, True]
    assert main([*words, "--strict", "true"]) == 2
    assert main([*words, "--strict", "false"]) == 0


TEXT = {"encoder": "tfidf", "text_columns": "text"}
PHOTO = {"encoder": "somebodys_encoders.Brightness", "image_column": "photo"}
TWICE = b"item_id,text\n1,a\n1,b\n"


@pytest.mark.parametrize(
    ("prepare", "words", "message"),
    [
        (None, arguments(**TEXT, items="absent.csv"), "no item table at absent.csv"),
        (_write("items.csv", b""), arguments(**TEXT), "items.csv is empty"),
        (_write("items.csv", TWICE), arguments(**TEXT), "id '1' is in rows 1 and 2"),
        (None, arguments(**TEXT | {"text_columns": "txt"}), "no column 'txt'; did you mean 'text'"),
        (None, arguments(**PHOTO | {"image_column": "fotos"}), "no column 'fotos'; did you mean 'photo'"),
        (None, arguments(**TEXT, txt_columns="a"), "'--txt_columns'; did you mean '--text_columns'"),
        (None, arguments("--batch_sise=4", **TEXT), "'--batch_sise'; did you mean '--batch_size'"),
        (None, arguments(**TEXT, batch_size="many"), "--batch_size is 'many', expected a whole number"),
        (None, arguments(**TEXT, batch_size="0"), "batch_size is 0"),
        (None, arguments(**TEXT, workers="-1"), "workers -1"),
        (None, arguments(**TEXT, dtype="float64"), "--dtype is 'float64', expected one of"),
        (None, arguments(encoder="tfidf"), "nothing to encode"),
        (None, ["--items", "items.csv"], "--out must be given"),
        (None, ["--items"], "--items: expected one argument"),
        (None, arguments("stray", **TEXT), "stray"),
        (None, arguments(encoder="tfidf", image_column="photo"), "'tfidf' is for texts, not for images"),
        (None, arguments(**TEXT, pretrained="openai"), "no pretrained weights to choose"),
        (None, arguments(encoder="ViT-B-33", text_columns="text"), "'ViT-B-33'; did you mean 'ViT-B-32'"),
        (None, arguments(encoder="absent.module.Class", text_columns="text"), "cannot be imported"),
        (None, arguments(encoder="somebodys_encoders.NotOne", text_columns="text"), "is not an encoder"),
        (
            None,
            arguments(encoder="absent.json", text_columns="text"),
            "no model configuration at absent.json",
        ),
        (None, arguments(**PHOTO, image_path="{item_id}.jpg"), "both image_column and image_path"),
        (
            None,
            arguments(encoder=PHOTO["encoder"], image_path="p/{item_id}.jpg"),
            "none of the 4 items has a",
        ),
        (None, arguments(**TEXT | {"out": "items.csv"}), "cannot write"),
    ],
)
def test_one_line_and_nothing_half_written(
    shop: Path, prepare: Any, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if prepare:
        prepare(shop)
    before = sorted(shop.iterdir())
    assert main(words) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", error)
    assert message in error
    assert [path for path in sorted(shop.iterdir()) if path.name != "__pycache__"] == before


def test_help_shows_every_option_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0
    options = list(inspect.signature(extract_table).parameters)
    assert len(options) == 19
    for name in options:
        assert re.search(rf"--{name} \S+ ([A-Z]|auto)", shown), f"--{name} has no help"


def test_control_c_leaves_nothing(shop: Path, root: Path) -> None:
    words = arguments(encoder="somebodys_encoders.Slow", image_column="photo")
    command = [sys.executable, "-m", "features.extract", *words]
    environment = os.environ | {"PYTHONPATH": f"{root}:{shop}", "PYTHONDONTWRITEBYTECODE": "1"}
    before = {path.name for path in shop.iterdir()}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)
    while not (shop / "started").exists():
        assert process.poll() is None, process.communicate()
    assert any((shop / "out").iterdir()), "it was to be interrupted while writing"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 2
    assert error == "error: interrupted; nothing half-written is left, the same command starts again\n"
    assert {path.name for path in shop.iterdir()} - before == {"started"}
