"""A package outside the repository adds an augmentation, a model and an encoder; nothing here knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from features.store import open_stores
from mmrec.config import arguments_of, parse
from mmrec.errors import MMRecError
from mmrec.train.checkpoint import load_checkpoint
from tests.cases.shop import make_shop

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = {
    "__init__.py": "",
    "augment.py": """
        import torch
        from mmrec.augment import Augmentation

        class FirstClicks(Augmentation):
            def __init__(self, share: float = 0.5):
                self.share = share

            def __call__(self, view, rng):
                with open("calls.txt", "a") as calls:
                    calls.write(f"{self.share} {view.edge_index.shape[1]}\\n")
                return view.with_edges(torch.arange(int(self.share * view.edge_index.shape[1])))
        """,
    "model.py": """
        from mmrec.models.base import Embeddings
        from mmrec.models.lightgcn import LightGCN as Original

        class LightGCN(Original):
            \"\"\"Of the same name as one of ours, with options handed on to it.\"\"\"

            def __init__(self, graph, *, lift: float = 1.0, **options):
                \"\"\"Keep the lift.

                Args:
                    graph: the training view.
                    lift: what scores are multiplied with.
                    options: LightGCN's.
                \"\"\"
                super().__init__(graph, **options)
                self.lift = lift

            def for_ranking(self, out):
                return Embeddings(out.users * self.lift, out.items)
        """,
    "encoder.py": """
        import numpy as np
        from features.base import Encoder

        class Letters(Encoder):
            modality = "text"
            dim = 26

            def __init__(self, scale=1.0):
                self.scale = scale

            def fingerprint(self):
                return {"encoder": "letters", "scale": str(self.scale)}

            def encode(self, inputs):
                rows = [[text.lower().count(chr(97 + n)) for n in range(26)] for text in inputs]
                return np.array(rows, dtype=np.float32).reshape(len(rows), 26) * np.float32(self.scale)
        """,
    "broken.py": "import a_library_that_is_not_there\n",
}
CONFIG = """
data: {interactions: clicks.csv, split: labels}
items: {path: items.csv, text_columns: [description]}
features: {encoders: [{class_path: their_shop.encoder.Letters, init_args: {scale: 2}}]}
graph: {k: 3}
model: {class_path: their_shop.model.LightGCN, init_args: {lift: 2.5, dim: 8}}
compare: [LightGCN, FREEDOM]
augment: {epoch: [{class_path: their_shop.augment.FirstClicks, init_args: {share: 0.75}}, EdgeDrop]}
train: {epochs: 3, device: cpu}
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the package, which is importable from there; the working folder is another one."""
    folder = tmp_path / "elsewhere" / "their_shop"
    folder.mkdir(parents=True)
    for name, text in PACKAGE.items():
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "their.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_shop"]:
        del sys.modules[name]


def test_a_package_outside_works_from_a_config(outside: Path) -> None:
    shop = make_shop(outside / "work" / "shop")
    path = os.pathsep.join([str(ROOT), str(outside / "elsewhere")])
    done = subprocess.run(
        [sys.executable, "-m", "mmrec.run", "--config", "their.yaml", "--root", "shop", "--name", "théirs"],
        cwd=outside / "work",
        # the name is printed too: a terminal without its letters must not end the run
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    run = outside / "work" / "runs" / "théirs"
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["model"] == "LightGCN"
    assert list(metrics["compare"]) == ["LightGCN-2", "FREEDOM"], "theirs and ours are two"
    # the augmentation: once per epoch, of the main model only, its option as the config says; and before
    # training once with EdgeDrop after it and once without
    clicks = sum(label == 0 for label in shop.label.values())
    calls = (outside / "work" / "calls.txt").read_text(encoding="utf-8").splitlines()
    assert calls == [f"0.75 {clicks}"] * (2 + 3)
    # the model: its own option and the one it hands on
    checkpoint = load_checkpoint(run / "checkpoint.pt")
    assert checkpoint.class_path == "their_shop.model.LightGCN"
    assert (checkpoint.init_args["lift"], checkpoint.init_args["dim"]) == (2.5, 8)
    assert checkpoint.state["table"].shape == (25 + 24, 8)
    # the encoder: its rows, by item
    (folder,) = (outside / "work" / "cache" / "features").iterdir()
    store = open_stores(folder)["text"]
    assert store.manifest["encoder"]["encoder"] == "letters"
    rows, present = store.join(["001"])
    text = "red round lamp number 3"
    assert present.all()
    assert rows[0].tolist() == [2.0 * text.count(chr(97 + n)) for n in range(26)]
    assert np.isfinite(rows).all()


def test_their_options_are_bound_and_shown_as_ours(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = parse(["--config", "their.yaml", "--model.n_layers", "1"])
    assert arguments_of(options.model) == {
        "lift": 2.5,
        "dim": 8,
        "n_layers": 1,
        "reg": 1e-4,
        "l2": "squared",
        "init": "normal",
        "skip_first": False,
    }
    assert arguments_of(options.features.encoders[0]) == {"scale": 2}
    with pytest.raises(SystemExit):
        parse(["--config", "their.yaml", "--help"])
    shown = capsys.readouterr().out
    assert "what scores are multiplied with" in shown
    assert "model: LightGCN" in shown
    assert "--model.n_layers" in shown
    assert "--model.graph" not in shown, "the view is not an option, whatever its name"
    assert "features.encoders: Letters" in shown


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model.lfit", "1"], "there is no option 'LightGCN.lfit'; did you mean 'lift'?"),
        (["--model.lift", "x"], "option LightGCN.lift is 'x', expected a number"),
        (
            ["--model", "their_shop.model.LightGCM"],
            "'their_shop.model' has no 'LightGCM'; did you mean 'LightGCN'",
        ),
        (["--model", "their_shop.modle.LightGCN"], "'their_shop.modle' cannot be imported"),
        (["--model", "their_shop.broken.LightGCN"], "No module named 'a_library_that_is_not_there'"),
        (["--model", "their_shop.encoder.Letters"], "is not a Recommender"),
        (["--augment.epoch", "[their_shop.augment.torch]"], "is not a Augmentation"),
    ],
)
def test_mistakes_with_their_classes_are_one_line(words: list[str], expected: str, outside: Path) -> None:
    with pytest.raises(MMRecError) as caught:
        parse(["--config", "their.yaml", *words])
    assert expected in str(caught.value)
