"""Values as people write them, and how config files and the command line are put over each other."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from jsonargparse import Namespace

from mmrec.augment.base import Augmentation
from mmrec.config import arguments_of, as_yaml, make, parse
from mmrec.models.base import Recommender
from mmrec.plugins import known
from mmrec.settings import merge


def arguments(options: Namespace) -> dict[str, Any]:
    return arguments_of(options.model)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.e-4", ".0001", "+1e-4", "0.0001", "1.0e-4", "'1e-4'"])
def test_numbers_with_an_exponent_are_numbers(text: str, small: str, write: Callable[..., str]) -> None:
    assert parse(["--config", small, "--config", write(f"train: {{lr: {text}}}")]).train.lr == 1e-4
    path = write(
        f"model: {{class_path: LightGCN, init_args: {{reg: {text}}}}}\ngraph: {{weights: {{a: {text}}}}}"
    )
    options = parse(["--config", small, "--config", path])
    assert arguments(options)["reg"] == 1e-4
    assert options.graph.weights == {"a": 1e-4}
    word = text.strip("'")
    assert parse(["--config", small, "--train.lr", word, f"--model.reg={word}"]).train.lr == 1e-4


@pytest.mark.parametrize("text", ["2026-01-01", "no", "on", "1:30", "007", "1_0", "0x10", "off"])
def test_what_is_a_text_stays_one(text: str, small: str, write: Callable[..., str]) -> None:
    """YAML 1.1 would make a date, a truth value or another number of these."""
    path = write(f"name: {text}\ndata: {{user_column: {text}}}")
    options = parse(["--config", small, "--config", path])
    assert (options.name, options.data.user_column) == (text, text)
    again = parse(["--config", write(as_yaml(options), "again.yaml")])
    assert (again.name, again.data.user_column) == (text, text)
    assert parse(["--config", small, "--name", text]).name == text


def test_both_ways_to_give_an_option(small: str) -> None:
    apart = parse(
        ["--config", small, "--train.epochs", "3", "--model.dim", "8", "--seed", "-1", "--name", "a=b"]
    )
    joined = parse(
        [f"--config={small}", "--train.epochs=3", "--model.init_args.dim=8", "--seed=-1", "--name=a=b"]
    )
    assert as_yaml(apart) == as_yaml(joined)
    assert (apart.train.epochs, arguments(apart)["dim"], apart.seed, apart.name) == (3, 8, -1, "a=b")


def test_a_switch_stands_alone_or_with_its_value(small: str) -> None:
    assert parse(["--config", small]).features.strict is False
    assert parse(["--config", small, "--features.strict"]).features.strict is True
    assert parse(["--features.strict", "--config", small]).features.strict is True
    assert parse(["--config", small, "--data.catalogue", "false"]).data.catalogue is False
    assert arguments(parse(["--config", small, "--model", "FREEDOM", "--model.trainable_features"]))[
        "trainable_features"
    ]


def test_a_single_plugin_needs_no_list(small: str, write: Callable[..., str]) -> None:
    text = "compare: Popularity\naugment: {epoch: EdgeDrop}\nfeatures: {encoders: TfidfText}"
    one = parse(["--config", small, "--config", write(text)])
    many = parse(["--config", small, "--compare", "[Popularity]", "--augment.epoch", "[EdgeDrop]",
                  "--features.encoders", "[TfidfText]"])  # fmt: skip
    assert as_yaml(one) == as_yaml(many)
    assert parse(["--config", write(text), *("--config", small), "--compare", "[]"]).compare == []


def test_a_text_in_braces_is_not_taken_for_a_mapping(small: str) -> None:
    options = parse(
        ["--config", small, "--items.text_template", "{title}, a {genre}", "--items.image_path", "{a}.jpg"]
    )
    assert (options["items"].text_template, options["items"].image_path) == ("{title}, a {genre}", "{a}.jpg")


# ---------------------------------------------------------------- merging


FREEDOM = """
data: {interactions: clicks.csv}
model: {class_path: FREEDOM, init_args: {dim: 8, reg: 0.5, l2: unsquared, init: normal}}
augment: {epoch: [{class_path: DegreeDrop, init_args: {drop: 0.3}}]}
train: {epochs: 7, lr: 0.5}
"""


@pytest.mark.parametrize("form", ["command line", "class_path", "mapping", "second config", "words before"])
def test_another_model_starts_from_its_own_defaults(form: str, write: Callable[..., str]) -> None:
    """FREEDOM's dim, reg, l2 and init, which LightGCN has too, must not live on."""
    base = write(FREEDOM, "base.yaml")
    words = {
        "command line": ["--config", base, "--model", "LightGCN"],
        "class_path": ["--config", base, "--model.class_path", "LightGCN"],
        "mapping": ["--config", base, "--model", "{class_path: LightGCN}"],
        "second config": ["--config", base, "--config", write("model: LightGCN")],
        "words before": ["--model=LightGCN", "--config", base],
    }[form]
    options = parse(words)
    assert options.model.class_path == "mmrec.models.lightgcn.LightGCN"
    defaults = inspect.signature(known(Recommender)["LightGCN"]).parameters
    assert arguments(options) == {name: defaults[name].default for name in list(defaults)[1:]}
    assert options.train.lr == 0.5  # while what is not the model's stays


@pytest.mark.parametrize("text", ["FREEDOM", "mmrec.models.freedom.FREEDOM"])
def test_the_same_model_keeps_its_options(text: str, write: Callable[..., str]) -> None:
    base = write(FREEDOM, "base.yaml")
    assert arguments(parse(["--config", base, "--model", text]))["dim"] == 8
    options = parse(["--config", base, "--model", f"{{class_path: {text}, init_args: {{dim: 4}}}}"])
    assert (arguments(options)["dim"], arguments(options)["reg"]) == (4, 0.5)
    assert arguments(parse(["--config", base, "--model.dim", "3", "--model", text]))["dim"] == 3


def test_options_follow_their_model_in_any_order(write: Callable[..., str]) -> None:
    base = write(FREEDOM, "base.yaml")
    options = parse(["--model.n_layers", "1", "--config", base, "--model", "LightGCN"])
    assert (arguments(options)["n_layers"], arguments(options)["dim"]) == (1, 64)


def test_lists_of_plugins_are_replaced_whole(write: Callable[..., str]) -> None:
    """EdgeDrop must not take over DegreeDrop's rate, nor a second DegreeDrop the first one's."""
    base = write(FREEDOM, "base.yaml")
    for text, rate in (("EdgeDrop", 0.1), ("DegreeDrop", 0.8)):
        for words in (["--augment.epoch", f"[{text}]"], ["--config", write(f"augment: {{epoch: [{text}]}}")]):
            (step,) = parse(["--config", base, *words]).augment.epoch
            assert step.class_path.endswith(f".{text}")
            assert arguments_of(step) == {"drop": rate}


def test_configs_are_merged_in_order(write: Callable[..., str]) -> None:
    base = write(FREEDOM, "base.yaml")
    over = write("train: {epochs: 9}\nmodel: {init_args: {dim: 16}}\nseed: 4\neval.topk: [20]", "over.yaml")
    options = parse(["--config", base, "--config", over])
    assert (options.train.epochs, options.train.lr, options.seed) == (9, 0.5, 4)
    assert (arguments(options)["dim"], arguments(options)["reg"], options.eval.topk) == (16, 0.5, [20])
    assert parse(["--config", over, "--config", base]).train.epochs == 7
    options = parse(["--train.epochs", "1", "--config", base, "--config", over])
    assert options.train.epochs == 1  # the command line wins wherever it stands


def test_merging_leaves_its_input_alone() -> None:
    over = {"train": {"lr": 1}, "model": {"class_path": "a", "init_args": {"x": 1}}}
    settings: dict[str, Any] = {"train": {"epochs": 2}}
    merge(settings, over)
    merge(settings, {"train.lr": 3, "model": {"init_args": {"x": 2}}})
    assert over == {"train": {"lr": 1}, "model": {"class_path": "a", "init_args": {"x": 1}}}
    assert settings == {"train": {"epochs": 2, "lr": 3}, "model": {"class_path": "a", "init_args": {"x": 2}}}


def test_a_plugin_that_takes_plugins(small: str) -> None:
    """`Compose` from a config: its steps become objects too."""
    steps = "[EdgeDrop, {class_path: DegreeDrop, init_args: {drop: 0.25}}]"
    options = parse(
        ["--config", small, "--augment.epoch", f"[{{class_path: Compose, init_args: {{steps: {steps}}}}}]"]
    )
    composed = make(Augmentation, options.augment.epoch[0])
    assert [(type(step).__name__, step.drop) for step in composed.steps] == [  # type: ignore[attr-defined]
        ("EdgeDrop", 0.1),
        ("DegreeDrop", 0.25),
    ]
