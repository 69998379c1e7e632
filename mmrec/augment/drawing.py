"""Drawing from augmentations, wherever they come from: what goes in stays, what comes out is a view."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mmrec.augment.base import Augmentation, Compose
from mmrec.errors import GraphError
from mmrec.graph.view import GraphView


def parts_of(augmentation: Augmentation) -> list[Augmentation]:
    """The steps of a `Compose`, and of those within it; any other augmentation alone."""
    if type(augmentation) is not Compose:
        return [augmentation]
    return [part for step in augmentation.steps for part in parts_of(step)]


def draw(augmentation: Augmentation, view: GraphView, rng: torch.Generator) -> GraphView:
    """`augmentation(view, rng)`, checked.

    Raises:
        GraphError: naming the augmentation that returned something else than a view, or changed the given
            one in place, which evaluation and sampling would see.
    """
    return _draw(augmentation, view, rng, _Marks(view))


def draw_pair(
    augmentation: Augmentation, view: GraphView, rng: torch.Generator
) -> tuple[GraphView, GraphView]:
    """`augmentation.pair(view, rng)`, checked as in `draw`."""
    return _draw_pair_of(augmentation, view, view, rng, _Marks(view))


class _Marks:
    """Which tensors a view holds, and how often each was written to; copies no number."""

    def __init__(self, view: GraphView) -> None:
        self.view, self.found = view, self._now(view)

    @staticmethod
    def _now(view: GraphView) -> dict[str, tuple[Tensor, int]]:
        # The tensors themselves, as the number of one that is gone may be given to another.
        return {
            name: (tensor, 0 if tensor.is_inference() else tensor._version) for name, tensor in _tensors(view)
        }

    def check(self, part: Augmentation, made: object) -> GraphView:
        """What an augmentation made, if it is a view and the marked one is what it was."""
        name, now = type(part).__name__, self._now(self.view)
        if not isinstance(made, GraphView):
            raise GraphError(f"{name} returned {type(made).__name__}, expected a GraphView; see view.changed")
        none = (None, 0)
        changed = [
            field
            for field in {**self.found, **now}
            if (one := self.found.get(field, none))[0] is not (other := now.get(field, none))[0]
            or one[1] != other[1]
        ]
        if changed:
            advice = "return a new view, as view.changed makes it"
            raise GraphError(
                f"{name} changed {', '.join(changed)} of the view it was given in place; {advice}"
            )
        return made


def _draw(augmentation: Augmentation, view: GraphView, rng: torch.Generator, marks: _Marks) -> GraphView:
    for part in parts_of(augmentation):
        view = marks.check(part, part(view, rng))
    return view


def _draw_pair_of(
    augmentation: Augmentation, first: GraphView, second: GraphView, rng: torch.Generator, marks: _Marks
) -> tuple[GraphView, GraphView]:
    for part in parts_of(augmentation):
        first, second = part.pair_of(first, second, rng)
        first, second = marks.check(part, first), marks.check(part, second)
    return first, second


def _tensors(view: GraphView) -> Iterator[tuple[str, Tensor]]:
    for name in ("edge_index", "edge_weight", "item_edge_index", "item_edge_weight"):
        if (tensor := getattr(view, name)) is not None:
            yield name, tensor
    for field in ("features", "present"):
        for name, tensor in getattr(view, field).items():
            yield f"{field}['{name}']", tensor
    for number, tensor in enumerate(view.low_rank or ()):
        yield f"low_rank[{number}]", tensor
    for number, layer in enumerate(view.layers):
        for name, tensor in _tensors(layer):
            yield f"layers[{number}].{name}", tensor
