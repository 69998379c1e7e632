"""What a command line says when an option is wrong: one line, with the nearest option that exists."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from features.errors import nearest


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
