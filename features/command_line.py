"""Command lines made from one function: its parameters are the options; what goes wrong is one line."""

from __future__ import annotations

import inspect
import re
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from features.errors import MMRecError, nearest

Result = TypeVar("Result")


def run_command(
    function: Callable[..., Result],
    argv: Sequence[str] | None,
    *,
    program: str,
    description: str,
    show: Callable[[Result], None] = lambda result: None,
    positional: bool = False,
    switches: Sequence[str] = (),
) -> int:
    """Call `function` with the options of a command line.

    Args:
        function: typed and documented; what it may not be given it refuses with an `MMRecError`.
        argv: the words; those of the process where None.
        program: for example `python -m features.extract`.
        description: one sentence for --help.
        show: prints the result.
        positional: parameters without a default are given without their names.
        switches: options that may stand without a value for true.

    Returns:
        0, or 2 after one line on stderr saying what was wrong.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=program, description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_function_arguments(function, as_positional=positional)
    words = _with_values(list(sys.argv[1:] if argv is None else argv), switches)
    try:
        try:
            options = parser.parse_args(words)
        except (ArgumentError, TypeError, ValueError) as error:
            raise MMRecError(explain(str(error), function, program)) from error
        show(function(**options.as_dict()))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "error: interrupted; nothing half-written is left, the same command starts again", file=sys.stderr
        )
        return 2
    return 0


def explain(message: str, function: Callable[..., Any], program: str) -> str:
    """A parser's message as one line.

    Args:
        message: what jsonargparse raised.
        function: its parameters are the options.
        program: for example `python -m features.extract`.
    """
    text = " ".join(message.split())
    parameters = inspect.signature(function).parameters
    if found := re.match(r"unrecognized arguments: (\S+?)(=| |$)", text):
        return f"there is no option '{found[1]}'{nearest(found[1], [f'--{name}' for name in parameters])}"
    if found := re.match(r"the following arguments are required: (.+)", text):
        needed = ", ".join(f"--{name.strip()}" for name in found[1].split(","))
        return f"{needed} must be given; {program} --help says how"
    if (found := re.match(r'Parser key "(\w+)": ', text)) and (
        value := re.search(r"(?:value: |value )(.+?)$", text)
    ):
        kind = str(parameters[found[1]].annotation).removesuffix(" | None")
        expected = {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(
            kind, kind.replace("Literal", "one of ")
        )
        return f"option --{found[1]} is {value[1].strip()!r}, expected {expected}"
    return text


def _with_values(words: list[str], switches: Sequence[str]) -> list[str]:
    """`--strict` alone means `--strict true`, which is what jsonargparse understands."""
    return [
        f"{word}=true" if word in switches and following not in ("true", "false") else word
        for word, following in zip(words, [*words[1:], ""], strict=False)  # no words: nothing follows
    ]
