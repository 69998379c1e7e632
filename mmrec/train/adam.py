"""Adam for the CPU."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Adam:
    """Adam (Kingma and Ba 2015), by the very kernel that `torch.optim.Adam(fused=True)` calls.

    Not by that class, because making one imports torch's compiler, which takes as long as all of torch, and
    because its step costs a third of a millisecond besides the kernel, with steps of five.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        """Keep the parameters; state comes with their first gradient.

        Args:
            parameters: leaf tensors that require gradients.
            lr: learning rate; may be set anew before any step.
            weight_decay: added to the gradient, times the parameter (L2).
            decoupled: take it off the parameter instead (AdamW, Loshchilov and Hutter 2019).
        """
        self.parameters, self.lr, self.weight_decay = list(parameters), lr, weight_decay
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self.state: dict[Tensor, tuple[Tensor, Tensor, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters that have a gradient."""
        moved = [parameter for parameter in self.parameters if parameter.grad is not None]
        if not moved:
            return
        for parameter in moved:
            if parameter not in self.state:
                zeros = torch.zeros_like(parameter), torch.zeros_like(parameter)
                self.state[parameter] = (*zeros, torch.zeros((), device=parameter.device))
        means, squares, steps = zip(*(self.state[parameter] for parameter in moved), strict=True)
        torch._foreach_add_(list(steps), 1)
        self.kernel(
            moved,
            [parameter.grad for parameter in moved if parameter.grad is not None],
            *(list(means), list(squares), [], list(steps)),
            lr=self.lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None
