"""Plug-ins in a config: views, contrasts, auxiliary losses, and plug-ins inside of plug-ins."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import yaml

from mmrec.config import as_yaml, parse
from mmrec.errors import MMRecError
from mmrec.helpers import Helpers
from mmrec.run import run
from tests.cases.planted import tiny_view
from tests.test_config import message


def test_views_contrast_and_auxiliary_losses_bind(small: str, write: Callable[..., str]) -> None:
    text = """
        augment:
          views: [{class_path: EdgeDrop, init_args: {drop: 0.2}}]
          contrast: {class_path: InfoNCE, init_args: {temperature: 0.5}}
          redraw: epoch
        auxiliary: [{class_path: RLMRec, init_args: {weight: 0.3}}]
        """
    options = parse(["--config", small, "--config", write(text)])
    assert options.augment.views[0].init_args.drop == 0.2
    assert options.augment.contrast.init_args.temperature == 0.5
    assert options.auxiliary[0].init_args.weight == 0.3
    assert parse(["--config", small]).augment.contrast is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--augment.contrast", "InfoNCF"], r"no Contrast is called 'InfoNCF'; did you mean 'InfoNCE'"),
        (["--augment.contrast", "[InfoNCE]"], r"augment.contrast is a list, .*, expected one class"),
        (["--augment.redraw", "never"], r"augment.redraw is 'never'"),
        (["--auxiliary", "RLMRecs"], r"no Auxiliary is called 'RLMRecs'; did you mean 'RLMRec'"),
    ],
)
def test_wrong_names_there_are_one_line(words: list[str], expected: str, small: str) -> None:
    assert re.search(expected, message("--config", small, *words))


def _nested(inner: str) -> str:
    choice = f"{{class_path: RandomChoice, init_args: {{steps: [NodeDrop, {inner}]}}}}"
    return f"[{{class_path: Compose, init_args: {{steps: [{choice}]}}}}]"


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("EdgeDrip", "RandomChoice.steps: no Augmentation is called 'EdgeDrip'; did you mean 'EdgeDrop'?"),
        ("InfoNCE", "RandomChoice.steps: no Augmentation is called 'InfoNCE'; "),
        ("nowhere.Drop", "RandomChoice.steps: 'nowhere' cannot be imported"),
        ("3", "RandomChoice.steps holds 3, expected a class name, or {class_path: ..., init_args: ...}"),
        ("{drop: 0.1}", "RandomChoice.steps holds {'drop': 0.1}, expected a class name"),
        (
            "{class_path: EdgeDrop, init_args: {dorp: 0.1}}",
            "there is no option 'EdgeDrop.dorp'; did you mean 'drop'?",
        ),
        ("{class_path: EdgeDrop, init_args: {drop: x}}", "option EdgeDrop.drop is 'x', expected a number"),
        ("{class_path: EdgeDrop, drop: 0.1}", "RandomChoice.steps has 'drop' beside class_path"),
        ("Scheduled", "option Scheduled.augmentation is not set, expected a class name, or {class_path:"),
        (
            "{class_path: Scheduled, init_args: {augmentation: [EdgeDrop]}}",
            "Scheduled.augmentation is a list, ['EdgeDrop'], expected one class",
        ),
    ],
)
def test_plugins_in_plugins_are_bound_as_those_of_the_top_level(
    inner: str, expected: str, small: str, write: Callable[..., str]
) -> None:
    assert message("--config", small, "--augment.epoch", _nested(inner)).startswith(expected)
    text = f"augment: {{views: {_nested(inner)}}}"
    assert message("--config", small, "--config", write(text)).startswith(expected)


def test_plugins_in_plugins_round_trip_and_are_made(small: str, write: Callable[..., str]) -> None:
    """By name, by path, alone or in a list; a saved config names each class by its path, options and all."""
    by_path = "{class_path: mmrec.augment.edge_drop.EdgeDrop, init_args: {drop: 0.25}}"
    steps = f"{{class_path: Compose, init_args: {{steps: [{by_path}, FeatureMask]}}}}"
    contrast = "{class_path: InfoNCE, init_args: {weight: 3}}"
    views = f"{{class_path: ViewContrast, init_args: {{augmentation: {steps}, contrast: {contrast}}}}}"
    scheduled = "{class_path: Scheduled, init_args: {augmentation: mmrec.augment.edge_drop.EdgeDrop}}"
    options = parse(
        [
            "--config",
            small,
            "--auxiliary",
            views,
            "--augment.epoch",
            f"[{_nested('EdgeDrop')[1:-1]}, {scheduled}]",
        ]
    )
    saved = as_yaml(options)
    again = parse(["--config", write(saved, "saved.yaml")])
    assert as_yaml(again) == saved
    assert again == options
    plain = yaml.safe_load(saved)
    (auxiliary,) = plain["auxiliary"]
    assert auxiliary["init_args"]["augmentation"]["init_args"]["steps"] == [
        {"class_path": "mmrec.augment.edge_drop.EdgeDrop", "init_args": {"drop": 0.25}},
        {"class_path": "mmrec.augment.feature_mask.FeatureMask", "init_args": {"drop": 0.1}},
    ]
    helpers = Helpers.of(again)
    (contrast,) = helpers.arguments(tiny_view())["auxiliary"]
    assert contrast.contrast.weight == 3
    assert [type(step).__name__ for step in contrast.augmentation.steps] == ["EdgeDrop", "FeatureMask"]
    compose, schedule = helpers.epoch.steps  # type: ignore[union-attr]
    assert [type(step).__name__ for step in compose.steps[0].steps] == ["NodeDrop", "EdgeDrop"]
    assert schedule.at(25).drop == pytest.approx(0.5 * 24 / 49)


def test_view_contrast_is_an_auxiliary_loss_like_others(small: str) -> None:
    plugin = "[{class_path: ViewContrast, init_args: {augmentation: EdgeDrop}}]"
    (bound,) = parse(["--config", small, "--auxiliary", plugin]).auxiliary
    assert bound.init_args.augmentation.class_path == "mmrec.augment.edge_drop.EdgeDrop"
    assert bound.init_args.contrast is None


def test_a_contrast_without_views_is_refused(small: str) -> None:
    with pytest.raises(MMRecError, match=r"augment.contrast is set and augment.views is not"):
        run(parse(["--config", small, "--augment.contrast", "InfoNCE"]))


@pytest.mark.parametrize(
    ("option", "value"), [("contrast", "InfoNCE"), ("redraw", "epoch"), ("against", "clean")]
)
def test_what_is_said_of_views_without_any_is_refused(option: str, value: str, small: str) -> None:
    with pytest.raises(MMRecError, match=rf"augment.{option} is set and augment.views is not; name augment"):
        run(parse(["--config", small, f"--augment.{option}", value]))
