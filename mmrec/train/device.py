"""Where a training runs, in which precision, and the optimizer that fits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from mmrec.errors import ConfigError
from mmrec.train.adam import Adam
from mmrec.train.memory import keep_freed_memory

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


class Optimizer(Protocol):
    """Adam, wherever it runs."""

    def step(self) -> Any:
        """Move the parameters by their gradients."""

    def zero_grad(self) -> Any:
        """Forget the gradients."""


class Runtime:
    """float32 on a CPU, which needs no library's help."""

    device = torch.device("cpu")

    def autocast(self) -> AbstractContextManager[Any]:
        """Precision of the forward pass."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Gradients, scaled where the precision needs it."""
        loss.backward()

    def adam(
        self, parameters: Sequence[Tensor], *, lr: float, weight_decay: float, decoupled: bool = False
    ) -> Optimizer:
        """The optimizer."""
        return Adam(parameters, lr=lr, weight_decay=weight_decay, decoupled=decoupled)

    def set_lr(self, optimizer: Any, lr: float) -> None:
        """The learning rate from now on."""
        optimizer.lr = lr


class _WithFabric(Runtime):
    """GPUs and mixed precision, by Lightning Fabric."""

    def __init__(self, device: Device, precision: Precision) -> None:
        from lightning_fabric import Fabric

        self.fabric = Fabric(accelerator=device, devices=1, precision=precision)
        self.device = self.fabric.device

    def autocast(self) -> AbstractContextManager[Any]:
        return self.fabric.autocast()

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def adam(
        self, parameters: Sequence[Tensor], *, lr: float, weight_decay: float, decoupled: bool = False
    ) -> Optimizer:
        kind = torch.optim.AdamW if decoupled else torch.optim.Adam
        made = kind(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        return self.fabric.setup_optimizers(made)  # type: ignore[return-value]

    def set_lr(self, optimizer: Any, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr


def runtime(device: Device, precision: Precision) -> Runtime:
    """What the options ask for; Lightning Fabric, which takes two seconds to import, only where it is used.

    Raises:
        ConfigError: for a device that this machine lacks, or one that training cannot use.
    """
    if device not in get_args(Device):
        reason = "MPS has no float64, which losses, samplers and metrics need"
        raise ConfigError(f"train.device is '{device}', expected auto, cpu or cuda; {reason}")
    if device == "auto":  # not Fabric's own, which would be MPS on a Mac
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        keep_freed_memory()
        if precision == "32-true":
            return Runtime()
    try:
        return _WithFabric(device, precision)
    except RuntimeError as error:
        raise ConfigError(f"train.device '{device}' is not on this machine; set it to auto or cpu") from error
