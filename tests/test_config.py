"""Options: every shipped config binds; every wrong name or value is one line that names the nearest."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.config import as_yaml, parse
from mmrec.errors import MMRecError
from mmrec.run import run
from mmrec.settings import read_file

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("data", "recipes")  # what configs start from; no runs of their own
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parent.name not in PARTS
)


def message(*argv: str) -> str:
    """The one line that these words of the command line end in."""
    with pytest.raises(MMRecError) as caught:
        parse(argv)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


# ---------------------------------------------------------------- shipped configs


def test_there_are_configs() -> None:
    assert len(CONFIGS) >= 10


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_binds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where there are no data: binding must not look for them
    options = parse(["--config", str(ROOT / name)])
    assert options.name != "run", "a config names its run, or two configs would write one folder"
    bound = yaml.safe_load(as_yaml(options))
    own = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    own.pop("base", None)
    # Nothing was lost on the way: of the file's own words, which are the last, nor of those it starts from.
    for said in (own, read_file(ROOT / name)):
        assert_says(bound, said, name)
    assert list(tmp_path.iterdir()) == []


def assert_says(bound: Any, said: Any, where: str) -> None:
    """Every value that a config gives is among the bound options, a plug-in by its name or its whole path."""
    if isinstance(said, dict) and not isinstance(bound, list):
        for key, value in said.items():
            assert key in bound, f"{where}.{key}"
            assert_says(bound[key], value, f"{where}.{key}")
    elif isinstance(bound, list):
        several = said if isinstance(said, list) else [said]  # one plug-in may stand without a list
        assert len(bound) == len(several), where
        for number, pair in enumerate(zip(bound, several, strict=True)):
            assert_says(*pair, f"{where}.{number}")
    elif where.endswith(".class_path"):
        assert bound.rpartition(".")[2] == said.rpartition(".")[2], where
    elif isinstance(bound, dict) and "class_path" in bound:
        assert_says(bound["class_path"], said, f"{where}.class_path")
    else:
        assert (bound, type(bound) is bool) == (said, type(said) is bool), where


def test_names_of_shipped_configs_differ() -> None:
    names = [yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))["name"] for name in CONFIGS]
    assert len(set(names)) == len(names)


def test_without_config_it_is_the_demo() -> None:
    demo = parse(["--config", str(ROOT / "configs" / "demo.yaml")])
    assert as_yaml(parse([])) == as_yaml(demo)
    assert demo.data.interactions == "demo"


# ---------------------------------------------------------------- wrong names


@pytest.mark.parametrize(
    ("text", "found", "near"),
    [
        ("trian: {epochs: 3}", "trian", "train"),
        ("train: {epoch: 3}", "train.epoch", "epochs"),
        ("data: {interaction: a.csv}", "data.interaction", "interactions"),
        ("items: {imagecolumn: photo}", "items.imagecolumn", "image_column"),
        ("features: {encoder: [TfidfText]}", "features.encoder", "encoders"),
        ("augment: {epochs: [EdgeDrop]}", "augment.epochs", "epoch"),
        ("eval: {top_k: [20]}", "eval.top_k", "topk"),
        ("recommend: {n: 3, k: 3}", "recommend.n", "k"),
        ("nmae: x", "nmae", "name"),
        ("lr: 1", "lr", "train.lr"),
        ("dim: 8", "dim", "model.dim"),
        ("model: LightGCM", "LightGCM", "LightGCN"),
        ("model: lightgcn", "lightgcn", "LightGCN"),
        ("model: {class_path: LightGCN, init_args: {n_layer: 3}}", "LightGCN.n_layer", "n_layers"),
        ("model: {class_path: LightGCN, dim: 3}", "dim", "init_args"),
        ("model: {class_path: LightGCN, init_arg: {dim: 3}}", "init_arg", "init_args"),
        ("compare: [Populariti]", "Populariti", "Popularity"),
        ("compare: [{class_path: BM3, init_args: {drop_out: 0.1}}]", "BM3.drop_out", "dropout"),
        ("augment: {epoch: [DegreDrop]}", "DegreDrop", "DegreeDrop"),
        ("augment: {epoch: [{class_path: EdgeDrop, init_args: {dorp: 0.1}}]}", "EdgeDrop.dorp", "drop"),
        ("features: {encoders: [TfidfTxt]}", "TfidfTxt", "TfidfText"),
        ("features: {encoders: [{class_path: TfidfText, init_args: {dims: 8}}]}", "TfidfText.dims", "dim"),
        ("data: {interactions: a.csv, split: randm}", "randm", "random"),
        ("train: {device: gpu}", "gpu", "cpu"),
        ("train: {device: mps}", "mps", "cuda"),
        ("eval: {mask: trian}", "trian", "train"),
        ("model: mmrec.models.lightgcn.LightGCM", "LightGCM", "LightGCN"),
        ("model: mmrec.models.lightgnc.LightGCN", "mmrec.models.lightgnc", "cannot be imported"),
        ("model: mmrec.graph.view.GraphView", "mmrec.graph.view.GraphView", "mmrec.models.base.Recommender"),
        ("model: EdgeDrop", "EdgeDrop", "known: AMR"),
    ],
)
def test_a_wrong_name_in_a_config_is_one_line_with_the_nearest(
    text: str, found: str, near: str, small: str, write: Callable[..., str]
) -> None:
    line = message("--config", small, "--config", write(text))
    assert f"'{found}'" in line
    after = line[line.index(f"'{found}'") + len(found) + 2 :]
    assert re.search(rf"(?<![\w.]){re.escape(near)}(?!\w)", after)


@pytest.mark.parametrize(
    ("words", "found", "near"),
    [
        (["--train.epoch", "3"], "train.epoch", "epochs"),
        (["--train.epoch=3"], "train.epoch", "epochs"),
        (["--epochs", "3"], "epochs", "train.epochs"),
        (["--bogus"], "bogus", "known"),
        (["--model", "FREEDON"], "FREEDON", "FREEDOM"),
        (["--model.dims", "3"], "LightGCN.dims", "dim"),
        (["--model.init_args.dims", "3"], "LightGCN.dims", "dim"),
        (["--augment.epoch", "[EdgeDorp]"], "EdgeDorp", "EdgeDrop"),
        (["--features.encoders", "[TfidfTexts]"], "TfidfTexts", "TfidfText"),
        (["stray"], "stray", "--seed 1"),
        (["--seed", "1", "stray"], "stray", "--seed 1"),
        (["-x", "1"], "-x", "--seed 1"),
        (["--"], "--", "--seed 1"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_nearest(
    words: list[str], found: str, near: str, small: str
) -> None:
    line = message("--config", small, *words)
    assert f"'{found}'" in line
    assert near in line


@pytest.mark.parametrize(
    ("words", "found", "near"),
    [
        (["--eval.metrics", "[recal, ndcg]"], "recal", "recall"),
        (["--eval.monitor", "recall@21"], "recall@21", "recall@20"),
    ],
)
def test_unknown_metrics_are_refused_before_anything_is_read(
    words: list[str], found: str, near: str, small: str, tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    with pytest.raises(MMRecError, match=f"'{found}'.*'{near}'"):
        run(parse(["--config", small, "--run_dir", str(folder), *words]))
    assert not folder.exists()


@settings(deadline=None)
@given(st.text(min_size=1, max_size=12), st.text(max_size=12))
def test_any_word_ends_in_options_or_one_line(name: str, value: str) -> None:
    """Whatever is typed: options, or an error of ours of one line; never another exception."""
    for words in ([name, value], [f"--{name}", value], [f"--model.{name}", value], ["--train.lr", value]):
        lines = None
        try:
            parse([*words, "--seed", "1"])
        except MMRecError as error:
            lines = str(error).splitlines()
        except SystemExit:
            assert name in ("help", "print_config", "-h") or name.startswith(("help=", "print_config="))
        assert lines is None or len(lines) == 1


# ---------------------------------------------------------------- wrong values


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("train.epochs", "x", "a whole number"),
        ("train.epochs", "1.5", "a whole number"),
        ("train.lr", "fast", "a number"),
        ("seed", "1.0", "a whole number"),
        ("data.catalogue", "maybe", "true or false"),
        ("data.min_rating", "good", "a number or null"),
        ("eval.topk", "20", "a list such as [5, 10]"),
        ("eval.topk", "[a]", "a list such as [5, 10]"),
        ("items.text_columns", "title", "a list such as [a, b]"),
        ("features.stores", "folder", "a list such as [a, b]"),
        ("graph.weights", "{image: a}", "a mapping such as {a: 0.5} or null"),
        ("model.dim", "x", "a whole number"),
        ("model.reg", "much", "a number"),
    ],
)
def test_a_wrong_value_is_one_line_on_the_command_line_and_in_a_config(
    option: str, value: str, expected: str, small: str, write: Callable[..., str]
) -> None:
    section, _, name = option.partition(".")
    shown = f"LightGCN.{name}" if section == "model" else option
    line = message("--config", small, f"--{option}", value)
    assert line == f"option {shown} is {value!r}, expected {expected}"
    loaded = yaml.safe_load(value)
    text = yaml.safe_dump({"model": {"class_path": "LightGCN", "init_args": {name: loaded}}})
    if section != "model":
        text = yaml.safe_dump({section: {name: loaded}} if name else {section: loaded})
    line = message("--config", small, "--config", write(text))
    assert line == f"option {shown} is {loaded!r}, expected {expected}"


@pytest.mark.parametrize(
    ("key", "entry", "expected"),
    [
        (
            "compare",
            "{class_path: LightGCN, init_args: {dim: x}}",
            "option LightGCN.dim is 'x', expected a whole",
        ),
        (
            "augment.epoch",
            "{class_path: EdgeDrop, init_args: {drop: x}}",
            "option EdgeDrop.drop is 'x', expected a n",
        ),
        (
            "features.encoders",
            "{class_path: TfidfText, init_args: {dim: x}}",
            "option TfidfText.dim is 'x', expect",
        ),
        ("compare", "3", "compare holds 3, expected a class name"),
        ("compare", "null", "compare holds None, expected a class name"),
        ("augment.epoch", "{drop: 0.1}", "augment.epoch holds {'drop': 0.1}, expected a class name"),
        (
            "features.encoders",
            "{class_path: TfidfText, init_args: [8]}",
            "features.encoders: init_args is [8], exp",
        ),
    ],
)
def test_a_wrong_value_inside_a_plugin(key: str, entry: str, expected: str, small: str) -> None:
    assert expected in message("--config", small, f"--{key}", f"[{entry}]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: 5", "train is 5, expected a mapping of its options, which are epochs, batch_size"),
        (
            "augment: [EdgeDrop]",
            "augment is ['EdgeDrop'], expected a mapping of its options, which are epoch",
        ),
        ("model: [LightGCN]", "model is a list"),
        ("model: 3", "model holds 3, expected a class name"),
        ("model:", "no model is set; set model to one of AMR"),
        ("data: {interactions:}", "option data.interactions is not set, expected a text"),
        ("name: 7", "option name is 7, expected a text; in quotes it is one: '7'"),
        ("config: other.yaml", "'config' stands in a config file"),
        ("train: {lr: true}", "option train.lr is given without a value, expected a number"),
    ],
)
def test_a_misplaced_value(text: str, expected: str, small: str, write: Callable[..., str]) -> None:
    assert expected in message("--config", small, "--config", write(text))


def test_an_option_without_its_value(small: str) -> None:
    assert message("--config", small, "--train.lr") == (
        "option train.lr is given without a value, expected a number"
    )
    assert "--config has no file after it" in message("--config")
    assert "not YAML" in message("--config", small, "--model", "[a")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"# nothing but a comment\n", "is empty"),
        (b"- a\n- b\n", "holds a list"),
        (b"hello", "holds a str"),
        (b"a: [", "line 1, column 5 is not YAML"),
        (b"a: 1\n\tb: 2", "line 2, column 1 is not YAML"),
        (b"name: caf\xe9", "not UTF-8"),
        (bytes(range(32)), "is not YAML"),
        (b"a: !!python/object/apply:os.getcwd []", "is not YAML: could not determine a constructor"),
        (b"a: &x [*x, *y]", "is not YAML: found undefined alias"),
    ],
    ids=range(10),
)
def test_a_file_that_is_no_config(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    line = message("--config", str(path))
    assert str(path) in line
    assert expected in line


def test_a_missing_config_and_a_folder(tmp_path: Path) -> None:
    path = str(tmp_path / "nope.yaml")
    assert (
        message("--config", path)
        == f"config {path} cannot be read (No such file or directory); name a YAML file"
    )
    assert "Is a directory" in message("--config", str(tmp_path))


# ---------------------------------------------------------------- files that start from others


def test_a_base_is_merged_below(write: Callable[..., str]) -> None:
    write("data: {interactions: clicks.csv}\ntrain: {lr: 0.1, epochs: 7}\nmodel: FREEDOM\n", "shop.yaml")
    write("base: shop.yaml\nmodel: {init_args: {dim: 8}}\ntrain: {lr: 0.2}\n", "middle.yaml")
    options = parse(["--config", write("base: [middle.yaml]\nseed: 3\n", "top.yaml")])
    assert (options.train.lr, options.train.epochs, options.seed) == (0.2, 7, 3)
    assert options.model.class_path.endswith("FREEDOM")
    assert options.model.init_args.dim == 8


def test_a_base_of_another_model_leaves_no_options_behind(write: Callable[..., str]) -> None:
    write("model: {class_path: FREEDOM, init_args: {n_ui_layers: 4}}\n", "shop.yaml")
    options = parse(
        ["--config", write("base: shop.yaml\ndata: {interactions: a}\nmodel: LightGCN\n", "top.yaml")]
    )
    assert "n_ui_layers" not in options.model.init_args


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("base: nowhere.yaml", r"config .*nowhere.yaml cannot be read \(No such file"),
        ("base: [3]", r"some.yaml: base is \[3\], expected names of files beside it"),
        ("base: some.yaml", r"config .*some.yaml is its own base; take that line out"),
    ],
)
def test_a_base_that_is_none(text: str, expected: str, write: Callable[..., str]) -> None:
    assert re.search(expected, message("--config", write(text)))


# ---------------------------------------------------------------- augmentations and auxiliary losses
