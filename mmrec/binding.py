"""Options bound to a signature: names, types and defaults come from it, help from its docstring."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace

from mmrec.errors import ConfigError, nearest

Signature = Callable[..., Any]  # a function, or a class for its constructor
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
_NONE: frozenset[str] = frozenset()


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
    names = _names(parser)
    for name in given:
        if name not in names:
            raise ConfigError(f"there is no option '{where}{name}'{nearest(str(name), names)}")
    try:
        bound: Namespace = parser.parse_object(dict(given))
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        raise _explain(" ".join(str(error).split()), parser, given, where) from error
    return bound


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
    # Two ways to write options that exist in jsonargparse's own command line, not in this one.
    text = re.sub(r", --[\w.]+\+ \[ITEM,\.\.\.\]|  --[\w.]+\.help (.|\n)*?\n(?=  --)", "", text)
    text = text.replace("options:", f"{title}:", 1)
    return (text.replace("\n  --", "\n  ") if prefix is None else text).strip() + "\n"


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
    parser = ArgumentParser(usage=argparse.SUPPRESS, add_help=False, exit_on_error=False)
    add = parser.add_class_arguments if inspect.isclass(signature) else parser.add_function_arguments
    add(signature, prefix or None, as_group=False, skip=set(skip), fail_untyped=False)
    return parser


def _names(parser: ArgumentParser) -> list[str]:
    return list(parser.get_defaults().keys())


def _explain(message: str, parser: ArgumentParser, given: Mapping[str, Any], where: str) -> ConfigError:
    """The parser's message as one line of ours."""
    hints = {action.dest: getattr(action, "_typehint", action.type) for action in parser._actions}
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
