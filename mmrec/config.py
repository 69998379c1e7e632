"""YAML and command line to typed options, bound to the real signatures before anything starts."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from features.base import Encoder
from features.items import read_items
from mmrec.augment.base import Augmentation
from mmrec.data.dataset import load_data
from mmrec.errors import ConfigError, MMRecError, nearest
from mmrec.evaluate.evaluator import Evaluator
from mmrec.graph.item_graph import add_item_graph
from mmrec.models.base import Recommender
from mmrec.plugins import known, resolve
from mmrec.recommend import recommend
from mmrec.train.loop import fit

Base = TypeVar("Base")
DEMO = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
_PLUGINS: dict[str, type[Any]] = {
    "model": Recommender,
    "compare": Recommender,
    "augment.epoch": Augmentation,
    "features.encoders": Encoder,
}


def parse(argv: Sequence[str]) -> Namespace:
    """Options of a run: the config files (the demo's where none is named), then the command line over them.

    Returns:
        Nested namespace with every default filled in; plug-ins are still class paths and arguments.

    Raises:
        ConfigError: one line for whatever is wrong, with the nearest known name where a name is.
        SystemExit: after --help and --print_config.
    """
    parser = _parser()
    settings, rest = _read_settings(list(argv))
    for key, base in _PLUGINS.items():
        _check_plugins(settings, key, base)
    if {"-h", "--help"} & set(rest):
        _print_help(parser, settings)
        raise SystemExit(0)
    try:
        options = parser.parse_args(["--config", json.dumps(settings), *rest])
        options.compare = [_bind_model(entry) for entry in options.compare]
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        raise _explain(str(error), parser) from error
    return options


def save_config(options: Namespace, path: Path) -> None:
    """Write the resolved options as YAML; `--config` reads them back."""
    plain = {key: value for key, value in options.as_dict().items() if key != "config"}
    path.write_text(yaml.safe_dump(_plain(plain), sort_keys=False))


def arguments_of(plugin: Namespace) -> dict[str, Any]:
    """The `init_args` of a plug-in as a plain dictionary."""
    given = plugin.get("init_args")
    return dict(given.as_dict()) if given is not None else {}


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
    return plugin_class(base, plugin)(*args, **arguments_of(plugin))


def _parser() -> ArgumentParser:
    for base in set(_PLUGINS.values()):
        known(base)  # imports them, so that their class names are known
    parser = ArgumentParser(
        prog="python -m mmrec.run",
        description="From photos, texts and clicks to recommendations. Without --config it runs the demo shop.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", action=ActionConfigFile, help="YAML file of the options below; later ones win.")
    add("--name", type=str, default="run", help="Name of the run; its folder is runs/<name>.")
    add("--run_dir", type=str | None, default=None, help="Folder of the run instead; replaced when the run is complete.")
    add("--cache_dir", type=str, default="cache", help="Folder for features and graphs, kept by content hash.")
    add("--root", type=str, default=".", help="Folder that the paths of data, items, features and graph start from.")
    add("--seed", type=int, default=0, help="Seed of initialisation, sampling and augmentation.")
    parser.add_function_arguments(load_data, "data", skip={"items", "root"})
    add("--items.path", type=str | None, default=None, help="Table of items (.csv, .tsv, .parquet); optional.")
    parser.add_function_arguments(read_items, "items", skip={"path"})
    add("--features.stores", type=list[str], default=[], help="Folders of ready features: stores, or MMRec's layout.")
    add("--features.encoders", type=list[Encoder], default=[], help="Encoders of the items' photos and texts, run once.")
    add("--features.strict", type=bool, default=False, help="Stop at broken photos instead of treating them as missing.")
    parser.add_function_arguments(add_item_graph, "graph", skip={"view", "root", "cache_dir"})
    parser.add_subclass_arguments(Recommender, "model", skip={"view"}, required=True, instantiate=False)
    add("--compare", type=list[dict[str, Any] | str], default=[], help="Models trained beside it, for the table.")
    add("--augment.epoch", type=list[Augmentation], default=[], help="Augmentations of the graph, drawn each epoch.")
    skip = {"model", "view", "validate", "monitor", "augment", "seed", "logs"}
    parser.add_function_arguments(fit, "train", skip=skip)
    parser.add_class_arguments(Evaluator, "eval")
    parser.add_function_arguments(recommend, "recommend", skip={"model", "data", "held_out"})
    return parser


def _model_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Recommender, "model", skip={"view"}, required=True, instantiate=False)
    return parser


def _bind_model(entry: dict[str, Any] | str) -> Namespace:
    bound: Namespace = _model_parser().parse_object({"model": entry}).model
    return bound


def _read_settings(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Config files merged in order, plug-ins named on the command line put over them, and the arguments that are left.

    Merging is done here because a plug-in of another class must start from that class's defaults: jsonargparse would
    let options of the same name live on, EdgeDrop taking over DegreeDrop's rate.
    """
    files, plugins, rest = [], [], []
    while arguments:
        option, equals, value = arguments.pop(0).partition("=")
        if option == "--config" or option.removeprefix("--") in _PLUGINS:
            if not equals:
                if not arguments:
                    raise ConfigError(f"{option} is the last word, expected a value after it")
                value = arguments.pop(0)
            (files if option == "--config" else plugins).append((option.removeprefix("--"), value))
        else:
            rest.append(option + equals + value)
    if not files:
        if not DEMO.is_file():
            raise ConfigError(f"no --config was given and the demo's, {DEMO}, is absent; run in a clone or name a file")
        files = [("config", str(DEMO))]
    settings: dict[str, Any] = {}
    for _, name in files:
        _merge(settings, _read_yaml(Path(name)))
    for key, text in plugins:
        nested = yaml.safe_load(text)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _merge(settings, nested)
    return settings, rest


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"config {path} cannot be read ({reason}); name a YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path} is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"config {path} holds {type(settings).__name__}, expected sections such as 'model:'")
    return settings


def _merge(settings: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        old = settings.get(key)
        if isinstance(old, str) and isinstance(value, dict):
            old = {"class_path": old}
        same_class = isinstance(value, dict) and value.get("class_path") == (old or {}).get("class_path")
        if isinstance(old, dict) and isinstance(value, dict) and same_class:
            settings[key] = dict(old)
            _merge(settings[key], value)
        else:
            settings[key] = value


def _check_plugins(settings: dict[str, Any], key: str, base: type[Any]) -> None:
    """Resolve the classes under `key`, and check the names of their options."""
    section = settings
    *parents, last = key.split(".")
    for parent in parents:
        section = section.get(parent) or {}
    if not isinstance(section, dict) or section.get(last) is None:
        return
    entries = section[last] if isinstance(section[last], list) else [section[last]]
    checked = []
    for entry in entries:
        entry = {"class_path": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not isinstance(entry.get("class_path"), str):
            raise ConfigError(f"{key} holds {entry!r}, expected a class name, or class_path and init_args")
        for name in entry.keys() - {"class_path", "init_args"}:
            raise ConfigError(f"{key} has '{name}' beside class_path{nearest(name, ['class_path', 'init_args'])}")
        plugin = resolve(base, entry["class_path"], key)
        names = list(inspect.signature(plugin).parameters)
        for name in entry.get("init_args") or {}:
            if name not in names:
                raise ConfigError(f"{key}: {plugin.__name__} has no option '{name}'{nearest(name, names)}")
        checked.append({**entry, "class_path": f"{plugin.__module__}.{plugin.__qualname__}"})
    section[last] = checked if isinstance(section[last], list) else checked[0]


def _print_help(parser: ArgumentParser, settings: dict[str, Any]) -> None:
    """All options, then those of the chosen model and plug-ins."""
    print(parser.format_help())
    for key, base in _PLUGINS.items():
        section: Any = settings
        for part in key.split("."):
            section = (section or {}).get(part)
        for entry in section if isinstance(section, list) else [section] if section else []:
            plugin = resolve(base, entry["class_path"], key)
            own = ArgumentParser(prog=plugin.__name__, usage=argparse.SUPPRESS, add_help=False)
            own.add_class_arguments(plugin, "model" if key == "model" else None, skip={"view"})
            print(f"{key}: {plugin.__name__}\n{own.format_help()}")


def _explain(message: str, parser: ArgumentParser) -> MMRecError:
    """The parser's message as one line of ours."""
    text = " ".join(message.split())
    inside = re.search(r"given class_path '([\w.]+)'", text)
    where = re.search(r'Parser key "([\w.]+)"', text)
    if unknown := re.search(r"(?:unrecognized arguments: --|Option ')([\w.]+)", text):
        if inside:
            plugin = inside[1].rpartition(".")[2]
            names = list(inspect.signature(resolve(object, inside[1], "config")).parameters)
            return ConfigError(f"{plugin} has no option '{unknown[1]}'{nearest(unknown[1], names)}")
        options = [action.dest for action in parser._actions if action.option_strings and "help" not in action.dest]
        return ConfigError(f"there is no option '{unknown[1]}'{nearest(unknown[1], options)}")
    if wrong := re.search(r"Parser key \"([\w.]+)\": Expected an? (.+?)\. Got value: (.+?)( - |$)", text):
        kind = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>|typing\.", r"\1", wrong[2]).replace("Sequence", "list such as [a, b]")
        place = f"{where[1]}.{wrong[1]}" if where and inside else wrong[1]
        return ConfigError(f"option {place} is {wrong[3]!r}, expected {kind}")
    return ConfigError(text)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Namespace):
        return _plain(value.as_dict())
    return str(value) if isinstance(value, Path) else value
