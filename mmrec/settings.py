"""Config files and the words of the command line, read and merged; options are not known by name here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mmrec.errors import ConfigError

Settings = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Plain words as YAML 1.2 has them: `1e-4` is a number, and `no`, `1:30` and `2026-01-01` are texts."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


_DIGITS = "0123456789"
for _tag, _pattern, _starts in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+" + _DIGITS)),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?", list("-+." + _DIGITS)),
    ("float", r"[-+]?[0-9]+[eE][-+]?[0-9]+", list("-+" + _DIGITS)),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _starts)


def read_words(argv: Sequence[str]) -> list[tuple[str, str | bool]]:
    """The command line as pairs: `--a.b value` and `--a.b=value`; `--a.b` alone, for switches, is true.

    Raises:
        ConfigError: for a word that belongs to no option.
    """
    pairs: list[tuple[str, str | bool]] = []
    waiting = ["--help" if word == "-h" else word for word in argv]
    while waiting:
        word = waiting.pop(0)
        if not re.match(r"--\w", word):
            raise ConfigError(f"'{word}' belongs to no option, expected words such as --seed 1")
        key, equals, value = word[2:].partition("=")
        alone = not equals and (not waiting or waiting[0].startswith("--"))
        pairs.append((key, True if alone else value if equals else waiting.pop(0)))
    return pairs


def read_file(path: Path, *, above: tuple[Path, ...] = ()) -> Settings:
    """What a config file says, over what the files say that it names under `base`.

    Args:
        path: the file.
        above: files that lead here by their `base`.

    Raises:
        ConfigError: for a file that is missing, is not YAML, holds something else than options, or is its own
            base.
    """
    if path.resolve() in above:
        raise ConfigError(f"config {path} is its own base; take that line out")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"config {path} cannot be read ({reason}); name a YAML file") from error
    settings = read_yaml(text, f"config {path}")
    if not isinstance(settings, dict):
        what = "is empty" if settings is None else f"holds a {type(settings).__name__}"
        raise ConfigError(f"config {path} {what}, expected options such as 'model: FREEDOM'")
    bases = settings.pop("base", [])
    found: Settings = {}
    for base in [bases] if isinstance(bases, str) else bases:
        if not isinstance(base, str):
            raise ConfigError(f"config {path}: base is {bases!r}, expected names of files beside it")
        merge(found, read_file(path.parent / base, above=(*above, path.resolve())))
    if not found:
        return settings
    merge(found, settings)
    return found


def read_yaml(text: str, where: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        ConfigError: naming `where`, line and column.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place} is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split())[:200]}") from error


def merge(settings: Settings, over: Settings) -> None:
    """Put `over` over `settings`, in place: mappings are merged, everything else is replaced.

    `a.b: 1` means `a: {b: 1}`. A plug-in of another class starts afresh: an option of the same name must not
    live on from the class before.
    """
    for key, value in over.items():
        key, _, rest = str(key).partition(".")
        value = {rest: value} if rest else value
        if isinstance(value, dict):
            old = settings.get(key)
            if isinstance(old, str) and value.keys() == {"init_args"}:
                old = {"class_path": old}  # a plug-in by its name alone
            kept = isinstance(old, dict) and value.get("class_path") in (None, old.get("class_path"))
            nested = dict(old) if isinstance(old, dict) and kept else {}
            merge(nested, value)
            value = nested
        settings[key] = value
