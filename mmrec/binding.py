"""Options bound to a signature: names, types and defaults come from it, help from its docstring.

A plug-in is a class by name or path with options of its own; options that are plug-ins are bound in turn.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from mmrec.errors import ConfigError, nearest
from mmrec.plugins import resolve
from mmrec.settings import read_yaml

Signature = Callable[..., Any]  # a function, or a class for its constructor
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
_NONE: frozenset[str] = frozenset()
_PLUGIN = "a class name, or {class_path: ..., init_args: ...}"


def bind(
    signature: Signature, given: Mapping[str, Any], where: str, skip: frozenset[str] = _NONE
) -> Namespace:
    """The options of a signature, defaults filled in.

    Args:
        signature: function or class.
        given: option to value; a text is read as the option's type, as it comes from the command line.
        where: what stands before the option's name in errors, such as `train.`.
        skip: parameters that are not options.

    Raises:
        ConfigError: for an unknown option (with the nearest), a value of the wrong type, or one that is not
            set and has no default.
    """
    parser = _parser(signature, None, skip)
    names, hints = _names(parser), _hints(parser)
    for name in given:
        if name not in names:
            raise ConfigError(f"there is no option '{where}{name}'{nearest(str(name), names)}")
    # Plug-ins in a plug-in are bound as those of the top level are: the parser would only say that it
    # expected a class, and knows classes by the places they are exported from.
    inner = {name: nested for name in names if (nested := _nested(hints.get(name)))}
    plain = {name: value for name, value in given.items() if name not in inner}
    others = _parser(signature, None, skip.union(inner))
    try:
        found = others.parse_object(plain)
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        raise _explain(" ".join(str(error).split()), parser, given, where) from error
    bound = Namespace()
    for name in names:  # in the signature's order
        if name not in inner:
            bound[name] = found[name]
        elif name in given:
            bound[name] = _bind_nested(*inner[name], given[name], f"{where}{name}")
        elif (action := _action(parser, name)).required:
            raise ConfigError(f"option {where}{name} is not set, expected {_PLUGIN}")
        elif action.default is None:
            bound[name] = None  # any other default is an object, which its constructor makes itself
    return bound


def entry(base: type[Any], value: Any, where: str) -> tuple[type[Any], dict[str, Any]]:
    """The class and the options that a plug-in in a config stands for.

    Args:
        base: what the class has to be a subclass of.
        value: its name, or a mapping of `class_path` and `init_args`.
        where: the option that holds it, for errors.

    Raises:
        ConfigError: if it is neither, or there is no such class.
    """
    value = {"class_path": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or not isinstance(value.get("class_path"), str):
        raise ConfigError(f"{where} holds {value!r}, expected {_PLUGIN}")
    for name in value.keys() - {"class_path", "init_args"}:
        raise ConfigError(f"{where} has '{name}' beside class_path; options of the class go under init_args")
    given = value.get("init_args") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: init_args is {given!r}, expected a mapping of options")
    return resolve(base, value["class_path"], where), given


def bind_plugin(base: type[Any], value: Any, where: str, has_view: bool = False) -> Namespace:
    """A plug-in of a config as `class_path`, its import path, and `init_args`, with defaults filled in.

    Args:
        base: what the class has to be a subclass of.
        value: its name, or a mapping of `class_path` and `init_args`.
        where: the option that holds it, for errors.
        has_view: its first parameter is no option.

    Raises:
        ConfigError: see `entry` and `bind`.
    """
    kind, given = entry(base, value, where)
    bound = bind(kind, given, f"{kind.__name__}.", not_options(kind, has_view))
    return Namespace(class_path=path_of(kind), init_args=bound)


def not_options(kind: type[Any], has_view: bool) -> frozenset[str]:
    """The first parameter of a class that is made of a view, whatever it is called; else none."""
    return frozenset(list(inspect.signature(kind).parameters)[:1] if has_view else [])


def path_of(kind: type[Any]) -> str:
    """Where a class is imported from."""
    return f"{kind.__module__}.{kind.__qualname__}"


def arguments(bound: Namespace) -> dict[str, Any]:
    """Keyword arguments from bound options; those that are plug-ins themselves become objects."""
    return {name: _object(value) for name, value in vars(bound).items()}


def option_names(signature: Signature, skip: frozenset[str] = _NONE) -> list[str]:
    """Names of a signature's options, with those that it hands on to others by `**`."""
    return _names(_parser(signature, None, skip))


def help_of(signature: Signature, title: str, prefix: str | None, skip: frozenset[str] = _NONE) -> str:
    """One section of --help.

    Args:
        signature: function or class.
        title: heading of the section.
        prefix: what stands before each option on the command line, such as `train`; an empty text for options
            of the top level; None for options that only a config can set.
        skip: parameters that are not options.
    """
    parser = _parser(signature, prefix, skip)
    text = parser.format_help() if _names(parser) else f"{title}: no options"
    text = text.replace("options:", f"{title}:", 1)
    return (text.replace("\n  --", "\n  ") if prefix is None else text).strip() + "\n"


class _Formatter(DefaultHelpFormatter):
    """Leaves out what jsonargparse's own command line has and this one has not."""

    def _format_action(self, action: argparse.Action) -> str:
        return "" if action.dest.endswith(".help") else super()._format_action(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return re.sub(r", --[\w.]+\+ .*", "", super()._format_action_invocation(action))

    def _expand_help(self, action: argparse.Action) -> str:
        text = re.sub(r", known subclasses: [\w., ]+", "", super()._expand_help(action))
        return re.sub(r"<class '([\w.]+)'>", r"\1", text)


def describe(hint: Any) -> str:
    """A type in words, for people who do not write Python."""
    if hint in _WORDS:
        return _WORDS[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(describe, args))
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is dict:
        return "a mapping such as {a: 0.5}" if float in args else "a mapping such as {a: b}"
    if args:
        return f"a list such as {'[5, 10]' if int in args else '[0.5, 1.0]' if float in args else '[a, b]'}"
    return str(getattr(hint, "__name__", hint))


def _object(value: Any) -> Any:
    if isinstance(value, list):
        return [_object(item) for item in value]
    if not isinstance(value, Namespace) or "class_path" not in value:
        return value
    module, _, name = value.class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**arguments(value.get("init_args", Namespace())))


@cache
def _parser(signature: Signature, prefix: str | None, skip: frozenset[str]) -> ArgumentParser:
    parser = ArgumentParser(
        usage=argparse.SUPPRESS, add_help=False, exit_on_error=False, formatter_class=_Formatter
    )
    add = parser.add_class_arguments if inspect.isclass(signature) else parser.add_function_arguments
    add(signature, prefix or None, as_group=False, skip=set(skip), fail_untyped=False)
    return parser


def _names(parser: ArgumentParser) -> list[str]:
    return list(parser.get_defaults().keys())


def _action(parser: ArgumentParser, name: str) -> argparse.Action:
    return next(action for action in parser._actions if action.dest == name)


def _hints(parser: ArgumentParser) -> dict[str, Any]:
    return {action.dest: getattr(action, "_typehint", action.type) for action in parser._actions}


def _nested(hint: Any) -> tuple[type[Any], bool] | None:
    """For an option that is a plug-in of this project: of which kind, and whether it is a list of them."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return next((found for arg in args if (found := _nested(arg))), None)
    if inspect.isclass(origin) and issubclass(origin, Sequence) and args:
        found = _nested(args[0])
        return (found[0], True) if found else None
    is_ours = getattr(hint, "__module__", "").partition(".")[0] in ("mmrec", "features")
    return (hint, False) if inspect.isabstract(hint) and is_ours else None


def _bind_nested(
    base: type[Any], is_list: bool, value: Any, where: str
) -> Namespace | list[Namespace] | None:
    if isinstance(value, str):  # as it comes from the command line
        value = read_yaml(value, f"option {where}")
    if not is_list:
        if isinstance(value, list):
            raise ConfigError(f"{where} is a list, {value!r}, expected one class")
        return None if value is None else bind_plugin(base, value, where)
    several = value if isinstance(value, list) else [] if value is None else [value]
    return [bind_plugin(base, one, where) for one in several]


def _explain(message: str, parser: ArgumentParser, given: Mapping[str, Any], where: str) -> ConfigError:
    """The parser's message as one line of ours."""
    hints = _hints(parser)
    if missing := re.search(r"arguments are required: (\w+)", message):
        return ConfigError(f"option {where}{missing[1]} is not set, expected {describe(hints[missing[1]])}")
    wrong = re.search(r'Parser key "(\w+)', message)
    if not wrong or wrong[1] not in given:
        return ConfigError(f"options of {where.rstrip('.')}: {message}")
    name, value, hint = wrong[1], given[wrong[1]], hints[wrong[1]]
    if get_origin(hint) is Literal:
        known = map(str, get_args(hint))
        return ConfigError(f"option {where}{name} is {value!r}{nearest(str(value), known)}")
    if value is True:
        return ConfigError(f"option {where}{name} is given without a value, expected {describe(hint)}")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    advice = f"; in quotes it is one: '{value}'" if number and str in (hint, *get_args(hint)) else ""
    return ConfigError(f"option {where}{name} is {value!r}, expected {describe(hint)}{advice}")
