"""What stays in full precision where training is mixed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
_HALF = (torch.bfloat16, torch.float16)


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """The function without autocast, its bfloat16 and float16 tensors made float32 before it begins.

    Under autocast some operations give bfloat16 and others float32, which products refuse to mix, and
    backward, which runs outside of it, would make other numbers again than forward had. Whoever writes a
    backward by hand, or hands tensors to C++, needs one type throughout. float32 and float64 pass as they
    are: without mixed precision nothing changes.
    """

    @wraps(function)
    def full(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
        kind = tensors[0].device.type if tensors else "cpu"
        mixed = torch.is_autocast_enabled(kind)
        if not mixed and not any(one.dtype in _HALF for one in tensors):
            return function(*args, **kwargs)
        widened: Any = [_widened(one) for one in args]
        named: Any = {name: _widened(one) for name, one in kwargs.items()}
        with torch.autocast(kind, enabled=False):
            return function(*widened, **named)

    return full


def _widened(one: object) -> object:
    return one.float() if isinstance(one, Tensor) and one.dtype in _HALF else one
