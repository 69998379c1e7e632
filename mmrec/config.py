"""YAML and command line to typed options, bound to the real signatures before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import Namespace

from mmrec.binding import (
    arguments,
    bind,
    bind_plugin,
    entry,
    help_of,
    not_options,
    option_names,
    path_of,
)
from mmrec.errors import ConfigError, nearest
from mmrec.models.base import Recommender
from mmrec.options import ACTIONS, MADE_OF_A_VIEW, PLUGINS, SECTIONS, SINGLE, run_options
from mmrec.plugins import known, resolve
from mmrec.settings import Settings, merge, read_file, read_words, read_yaml

Base = TypeVar("Base")
DEMO = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a run: the config files (the demo's where none is named), then the command line over them.

    Returns:
        Nested namespace with every default filled in; a plug-in is `class_path` and `init_args`.

    Raises:
        ConfigError: one line for whatever is wrong, with the nearest known name where a name is.
        SystemExit: after --help and --print_config.
    """
    words = read_words(argv)
    settings: Settings = {}
    for path in [_file(value) for key, value in words if key == "config"] or [_file(DEMO)]:
        merge(settings, _in_full(read_file(path)))
    # The model's class goes first: in whatever order they come, --model.dim is an option of --model.
    for key, value in sorted(words, key=lambda word: word[0] not in ("model", "model.class_path")):
        if key not in ACTIONS:
            merge(settings, _in_full(_option(key, value)))
    options = _bind(settings)
    asked = {key for key, _ in words}
    if "help" in asked:
        print(_help(options))
    elif "print_config" in asked:
        print(as_yaml(options), end="")
    if asked & {"help", "print_config"}:
        raise SystemExit(0)
    return options


def as_yaml(options: Namespace) -> str:
    """The options as a config file, which `--config` reads back."""
    return str(yaml.safe_dump(_plain(options), sort_keys=False, allow_unicode=True))


def save_config(options: Namespace, path: Path) -> None:
    """Write the options as a config file."""
    path.write_text(as_yaml(options), encoding="utf-8")


def arguments_of(plugin: Namespace) -> dict[str, Any]:
    """The `init_args` of a plug-in as a plain dictionary."""
    return dict(_plain(plugin.init_args))


def plugin_class(base: type[Base], plugin: Namespace) -> type[Base]:
    """The class that `plugin.class_path` names, a subclass of `base`."""
    return resolve(base, plugin.class_path, base.__name__)


def make(base: type[Base], plugin: Namespace, *args: Any) -> Base:
    """Instance of a plug-in.

    Args:
        base: what it must be a subclass of.
        plugin: `class_path` and `init_args`.
        args: positional arguments before them, such as the view of a model.
    """
    kind = plugin_class(base, plugin)
    return kind(*args, **arguments(plugin.init_args))


def _file(name: str | bool | Path) -> Path:
    if isinstance(name, bool):
        raise ConfigError("--config has no file after it; name a YAML file")
    if name == DEMO and not DEMO.is_file():
        raise ConfigError(
            f"no --config was given and the demo's is absent ({DEMO}); run in a clone or name one"
        )
    return Path(name)


def _option(key: str, value: Any) -> Settings:
    """One option of the command line; `--model.dim` is short for `--model.init_args.dim`."""
    if key in PLUGINS and isinstance(value, str):
        value = read_yaml(value, f"--{key}")
    section, _, name = key.partition(".")
    if key == "model.class_path":
        key = "model"
    elif section == "model" and name and not name.startswith("init_args."):
        key = f"model.init_args.{name}"
    return {key: value}


def _in_full(settings: Settings) -> Settings:
    """The same, `model` as a mapping with its class by import path, so that merging can compare classes."""
    model = settings.get("model")
    if isinstance(model, str) or (isinstance(model, dict) and "class_path" in model):
        kind, given = entry(Recommender, model, "model")
        model = {"class_path": path_of(kind), **({"init_args": given} if given else {})}
    return {**settings, "model": model} if "model" in settings else settings


def _bind(settings: Settings) -> Namespace:
    if settings.get("model") is None:
        raise ConfigError(f"no model is set; set model to one of {', '.join(sorted(known(Recommender)))}")
    options = Namespace()
    top = {key: value for key, value in settings.items() if key not in SECTIONS}
    for key in top:
        _check_top(key, settings["model"])
    for section, (signature, skip) in SECTIONS.items():
        given = settings.get(section) if section else top
        given = {} if given is None else given
        if not isinstance(given, dict):
            names = ", ".join(option_names(signature, skip))
            raise ConfigError(f"{section} is {given!r}, expected a mapping of its options, which are {names}")
        dot = f"{section}." if section else ""
        plugins = {key: given[name] for name in given if (key := f"{dot}{name}") in PLUGINS}
        plain = {name: value for name, value in given.items() if f"{dot}{name}" not in PLUGINS}
        for name, value in bind(signature, plain, dot, skip).items():
            if f"{dot}{name}" not in ACTIONS:
                options[f"{dot}{name}"] = list(value) if isinstance(value, tuple) else value
        for key, value in plugins.items():
            options[key] = _bind_plugins(value, key)
    return options


def _bind_plugins(value: Any, key: str) -> Namespace | list[Namespace] | None:
    """The plug-ins under `key`; one alone may stand without a list."""
    if key in SINGLE and isinstance(value, list):
        others = "; others go under compare" if key == "model" else ""
        raise ConfigError(f"{key} is a list, {value!r}, expected one class{others}")
    base = PLUGINS[key]
    several = value if isinstance(value, list) else [] if value is None else [value]
    bound = [bind_plugin(base, one, key, base in MADE_OF_A_VIEW) for one in several]
    if key in SINGLE:
        return bound[0] if bound else None
    return bound


def _check_top(key: str, model: Any) -> None:
    """Refuse what is neither a section nor an option of the top level; `--lr` is told of `train.lr`."""
    names = {*option_names(run_options), *SECTIONS} - {*ACTIONS, ""}
    if key in names:
        return
    if key in ACTIONS:
        raise ConfigError(f"'{key}' stands in a config file; it is for the command line only")
    kind, _ = entry(Recommender, model, "model")
    parts = {"model": option_names(kind, not_options(kind, True))}
    parts |= {section: option_names(*where) for section, where in SECTIONS.items() if section}
    for section, options in parts.items():
        if key in options:
            raise ConfigError(f"there is no option '{key}'; did you mean '{section}.{key}'?")
    raise ConfigError(f"there is no option '{key}'{nearest(key, names)}")


def _help(options: Namespace) -> str:
    """Every option: those of the sections, then those of the chosen model and plug-ins."""
    parts = [
        "usage: python -m mmrec.run [--config FILE] [--option value ...]\n",
        "From photos, texts and clicks to recommendations. Without --config it runs the demo shop.\n",
    ]
    for section, (signature, skip) in SECTIONS.items():
        parts.append(help_of(signature, section or "options", section, skip))
    for key, base in PLUGINS.items():
        for plugin in options[key] if isinstance(options[key], list) else [options[key]]:
            if plugin is None:
                continue
            kind = plugin_class(base, plugin)
            title = f"{key}: {kind.__name__}" + ("" if key == "model" else ", under init_args")
            skip = not_options(kind, base in MADE_OF_A_VIEW)
            parts.append(help_of(kind, title, "model" if key == "model" else None, skip))
    return "\n".join(parts)


def _plain(value: Any) -> Any:
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
