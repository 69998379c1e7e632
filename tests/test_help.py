"""What --help and --print_config show: every option, with its line; what is printed is read back."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from features.base import Encoder
from features.items import read_items
from mmrec.augment.base import Augmentation
from mmrec.auxiliary.base import Auxiliary
from mmrec.config import as_yaml, parse
from mmrec.data.dataset import load_data
from mmrec.evaluate.evaluator import Evaluator
from mmrec.graph.item_graph import add_item_graph
from mmrec.models.base import Recommender
from mmrec.plugins import known
from mmrec.recommend import recommend
from mmrec.settings import read_file
from mmrec.train.loop import fit

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = [
    "configs/demo.yaml",
    "configs/baby/freedom.yaml",
    "configs/tiktok/sgl.yaml",
    "configs/ml-100k/rlmrec.yaml",
]


@pytest.mark.parametrize("name", CONFIGS)
def test_what_print_config_prints_is_read_back_the_same(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", str(ROOT / name), "--train.lr", "1e-5", "--graph.weights.text", "0.25"]
    with pytest.raises(SystemExit) as caught:
        parse([*words, "--print_config"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    (tmp_path / "printed.yaml").write_text(printed, encoding="utf-8")
    again = parse(["--config", str(tmp_path / "printed.yaml")])
    assert again == parse(words)
    assert as_yaml(again) == printed
    assert again.train.lr == 1e-5
    # Nothing but plain YAML, and a key for every option there is.
    plain = yaml.safe_load(printed)
    assert plain == read_file(tmp_path / "printed.yaml")
    assert plain["train"].keys() == again.train.as_dict().keys()
    assert plain["items"]["id_column"] == again["items"].id_column


def _help(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """Option -> its description, in the order of --help."""
    with pytest.raises(SystemExit) as caught:
        parse([*words, "--help"])
    assert caught.value.code == 0
    found: dict[str, str] = {}
    section = name = ""
    for line in capsys.readouterr().out.splitlines():
        if re.match(r"\S", line):  # a heading
            section, name = line.rstrip(":"), ""
        elif re.match(r"  \S", line):  # an option, and its text if that fits on the same line
            first, _, text = line.strip().partition("  ")
            option = first.split()[0]
            name = option[2:] if option.startswith("--") else f"{section}/{option}"
            found[name] = text
        elif name:
            found[name] += " " + line.strip()
    return {name: re.split(r"\((?:required, )?type:", text)[0].strip() for name, text in found.items()}


SECTIONS: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "data": (load_data, {"items", "root"}),
    "items": (read_items, {"photo_cache"}),
    "graph": (add_item_graph, {"view", "root"}),
    "train": (
        fit,
        {"model", "view", "validate", "monitor", "augment", "augment_step", "auxiliary", "seed", "logs"},
    ),
    "eval": (Evaluator, set()),
    "recommend": (recommend, {"model", "data", "held_out"}),
}


def test_help_shows_every_option_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _help(capsys)
    for section, (function, internal) in SECTIONS.items():
        for name in set(inspect.signature(function).parameters) - internal:
            assert len(shown[f"{section}.{name}"]) > 5, f"{section}.{name} has no description"
    for name in (
        "config",
        "print_config",
        "name",
        "run_dir",
        "cache_dir",
        "root",
        "seed",
        "model",
        "compare",
    ):
        assert shown[name]
    for name in ("features.stores", "features.encoders", "features.strict", "augment.epoch", "items.path"):
        assert shown[name]
    settable = {key for key, _ in parse([]).items() if not key.startswith("model.")}
    assert settable <= set(shown)  # what can be set is shown


@pytest.mark.parametrize("name", sorted(known(Recommender)))
def test_help_shows_every_option_of_the_chosen_model(
    name: str, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = _help(capsys, "--config", small, "--model", name)
    parameters = list(inspect.signature(known(Recommender)[name]).parameters)[1:]
    assert [key.removeprefix("model.") for key in shown if key.startswith("model.")] == parameters
    for parameter in parameters:
        assert len(shown[f"model.{parameter}"]) > 5, f"{name}.{parameter} has no line in the docstring"


@pytest.mark.parametrize(
    ("key", "name"),
    [("augment.epoch", name) for name in sorted(known(Augmentation))]
    + [("auxiliary", name) for name in sorted(known(Auxiliary))]
    + [("features.encoders", name) for name in sorted(known(Encoder))]
    + [("compare", name) for name in sorted(known(Recommender))],
)
def test_help_shows_every_option_of_the_plugins(
    key: str, name: str, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base: type[Any] = {
        "augment.epoch": Augmentation,
        "auxiliary": Auxiliary,
        "features.encoders": Encoder,
        "compare": Recommender,
    }[key]
    signature = inspect.signature(known(base)[name]).parameters
    parameters = list(signature)[key in ("auxiliary", "compare") :]
    inner: dict[str, Any] = {
        "steps": [],
        "augmentation": "mmrec.augment.edge_drop.EdgeDrop",
        "transform": "torch_geometric.transforms.AddSelfLoops",
    }
    required = {one: inner[one] for one in parameters if signature[one].default is inspect.Parameter.empty}
    if name == "RandomChoice":  # one step, or it refuses
        required = {"steps": ["mmrec.augment.edge_drop.EdgeDrop"]}
    plugin = yaml.safe_dump([{"class_path": name, "init_args": required}])
    shown = _help(capsys, "--config", small, f"--{key}", plugin)
    section = f"{key}: {name}, under init_args/"
    assert [option.removeprefix(section) for option in shown if option.startswith(section)] == parameters
    for parameter in parameters:
        assert len(shown[section + parameter]) > 5, f"{name}.{parameter} has no line in the docstring"


def test_help_of_nested_plugins_is_about_options(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No list of classes over and over, no ways to write options that this command line lacks."""
    plugin = "{class_path: RandomChoice, init_args: {steps: EdgeDrop}}"
    with pytest.raises(SystemExit):
        parse(["--config", small, "--augment.epoch", plugin, "--auxiliary", VIEWS, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "steps [ITEM,...] one of them is applied. (required, type: list[Augmentation])" in shown
    assert "augmentation AUGMENTATION makes the views. (required, type: Augmentation)" in shown
    assert "weights WEIGHTS how likely" in shown
    for unwanted in ("known subclasses", "<class", "WEIGHTS+", "--weights", ".help"):
        assert unwanted not in shown


VIEWS = "{class_path: ViewContrast, init_args: {augmentation: EdgeDrop}}"
