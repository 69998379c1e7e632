"""`GraphView`: everything a model may look at, as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from mmrec.errors import GraphError

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

Backend = Literal["auto", "native", "csr", "scatter"]
Made = TypeVar("Made")


class Inside(Protocol):
    """A change of embeddings inside propagation, such as noise after each layer."""

    def __call__(self, layer: Tensor, number: int) -> Tensor:
        """Layer `number` (from 1), [U + I, D], changed; the same for the same arguments."""


@dataclass(frozen=True, eq=False)  # tensors have no single truth value to compare by
class GraphView:
    """What a model may look at.  U users, I items, E clicks, S item links, F width of a modality.

    A value: nothing here is ever changed in place. Augmentations return a new view. It holds training clicks
    only, so a model that is given a view cannot see the valid or the test split.

    Attributes:
        num_users: U.
        num_items: I.
        edge_index: int64 [2, E]; row 0 user in [0, U), row 1 item in [0, I).
        edge_weight: float [E], or None for 1 each.
        item_edge_index: int64 [2, S]; row 0 the item that receives, row 1 its neighbour; None without an item
            graph.
        item_edge_weight: float [S].
        features: modality -> float32 [I, F].
        present: modality -> bool [I]; a missing photo is False here, never just a zero row.
        backend: how products with the graphs are computed, see `mmrec.graph.ops.SparseMatrix`.
        inside: changes of the embeddings after each layer over the user-item graph.
        layers: a view for each of these layers, in turn, where they are not to be the same graph.
        low_rank: (P [U, q], Q [I, q]) whose product stands for the normalised clicks in what layers give.
        hyperedges: links of an item graph, and the sets of like items it was made of, int64 [2, m] (item,
            hyperedge), all modalities' side by side; looked at while these very links are the view's, see
            `mmrec.graph.hypergraph.item_hyperedges`.
        cache_dir: folder where graphs made of the view are kept on disk, each under the hash of its content
            and options; None keeps nothing.
    """

    num_users: int
    num_items: int
    edge_index: Tensor
    edge_weight: Tensor | None = None
    item_edge_index: Tensor | None = None
    item_edge_weight: Tensor | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)
    present: Mapping[str, Tensor] = field(default_factory=dict)
    backend: Backend = "auto"
    inside: tuple[Inside, ...] = ()
    layers: tuple[GraphView, ...] = ()
    low_rank: tuple[Tensor, Tensor] | None = None
    hyperedges: tuple[Tensor, Tensor] | None = None
    cache_dir: Path | None = None
    # What `derive` made, by part of _DERIVED_FROM, and the view that augmentations started from. No init
    # fields: what `dataclasses.replace` makes starts with nothing, and is a clean view of its own.
    _derived: dict[str, dict[str, Any]] = field(init=False, repr=False)
    _origin: GraphView | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            GraphError: naming the field, what it holds and what was expected.
        """
        object.__setattr__(self, "_derived", {part: {} for part in _DERIVED_FROM})
        _check_edges("edge_index", self.edge_index, self.edge_weight, (self.num_users, self.num_items))
        if self.item_edge_index is not None:
            shape = (self.num_items, self.num_items)
            _check_edges("item_edge_index", self.item_edge_index, self.item_edge_weight, shape)
        for name, matrix in self.features.items():
            if matrix.dim() != 2 or matrix.shape[0] != self.num_items:
                found = tuple(matrix.shape)
                raise GraphError(f"features['{name}'] has shape {found}, expected [{self.num_items}, F]")
            mask = self.present.get(name)
            if mask is None or mask.shape != (self.num_items,) or mask.dtype != torch.bool:
                raise GraphError(f"features['{name}'] needs present['{name}'], a bool [{self.num_items}]")

    @property
    def clean(self) -> GraphView:
        """The view that augmentations started from, through any number of `changed`; itself if by none."""
        return self if self._origin is None else self._origin

    def derive(self, key: str, make: Callable[[GraphView], Made]) -> Made:
        """What `make` makes of this view, made once for all views in which what it is made from is the same.

        Args:
            key: begins with what it is made from, as in `_DERIVED_FROM`: "clicks: user_item".
            make: gets this view.
        """
        kept = self._derived[key.partition(":")[0]]
        if key not in kept:
            kept[key] = make(self)
        found: Made = kept[key]
        return found

    def freeze(self, key: str, make: Callable[[GraphView], Made]) -> Made:
        """What `make` makes of the clean view, made once for all views that came of it, on any device.

        Args:
            key: what it is, with its options.
            make: gets the clean view, whatever has been dropped, masked or mixed in this one.
        """
        return self.clean.derive(f"clean: {key}", make)

    def with_edges(self, keep: Tensor) -> GraphView:
        """The same view with only some clicks.

        Args:
            keep: positions in [0, E) or a bool mask [E]. Order is kept for a mask.
        """
        weight = None if self.edge_weight is None else self.edge_weight[keep]
        view = self.changed(edge_index=self.edge_index[:, keep], edge_weight=weight)
        if keep.dtype == torch.bool and (order := self._derived["clicks"].get("clicks: order")) is not None:
            # What is left of a sorted graph is sorted: a fraction of the time of sorting it anew.
            twice = torch.cat([keep, keep])
            number = twice.cumsum(0) - 1
            view._derived["clicks"]["clicks: order"] = number[order[twice[order]]]
        return view

    def changed(self, **fields: Any) -> GraphView:
        """This view, augmented: other values of some fields, and the same clean view.

        What is derived from fields that stay is shared with this view: sorting a graph anew would cost as
        much as a step. `dataclasses.replace` instead makes other data: a view without a past. A click that is
        no longer there is in none of the graphs of `layers` either.
        """
        if self.layers and "edge_index" in fields and "layers" not in fields:
            kept = self._pair_numbers(fields["edge_index"])
            fields["layers"] = tuple(
                layer.with_edges(torch.isin(self._pair_numbers(layer.edge_index), kept))
                for layer in self.layers
            )
        view = replace(self, **fields)
        for part, names in _DERIVED_FROM.items():
            if not fields.keys() & names:
                view._derived[part] = self._derived[part]
        object.__setattr__(view, "_origin", self.clean)
        return view

    def _pair_numbers(self, edge_index: Tensor) -> Tensor:
        return edge_index[0] * self.num_items + edge_index[1]

    def to(self, device: torch.device | str) -> GraphView:
        """The same view with every tensor on `device`; itself, matrices and all, if it is there already."""
        if self.edge_index.device == torch.device(device):
            return self

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        links = move(self.item_edge_index)
        hyperedges = None
        if self.hyperedges is not None and links is not None and self.hyperedges[0] is self.item_edge_index:
            hyperedges = links, self.hyperedges[1].to(device)
        view = replace(
            self,
            edge_index=self.edge_index.to(device),
            edge_weight=move(self.edge_weight),
            item_edge_index=links,
            item_edge_weight=move(self.item_edge_weight),
            features={name: matrix.to(device) for name, matrix in self.features.items()},
            present={name: mask.to(device) for name, mask in self.present.items()},
            layers=tuple(layer.to(device) for layer in self.layers),
            low_rank=self.low_rank and (self.low_rank[0].to(device), self.low_rank[1].to(device)),
            hyperedges=hyperedges,
        )
        view._derived["clean"] = self._derived["clean"]
        object.__setattr__(view, "_origin", self._origin and self._origin.to(device))
        return view

    def to_pyg(self) -> HeteroData:
        """As torch_geometric's `HeteroData`: `user`, `item`, `(user, clicks, item)` and `(item, near, item)`.

        A link of the item graph points from the neighbour to the item that receives its message, as messages
        flow in torch_geometric. Features are `data['item'].<modality>` with `data['item'].<modality>_present`
        beside them.
        """
        from torch_geometric.data import HeteroData

        data = HeteroData()
        data["user"].num_nodes = self.num_users
        data["item"].num_nodes = self.num_items
        for name, matrix in self.features.items():
            data["item"][name] = matrix
            data["item"][f"{name}_present"] = self.present[name]
        clicks = data["user", "clicks", "item"]
        clicks.edge_index = self.edge_index
        if self.edge_weight is not None:
            clicks.edge_weight = self.edge_weight
        if self.item_edge_index is not None:
            near = data["item", "near", "item"]
            near.edge_index = self.item_edge_index.flip(0)
            if self.item_edge_weight is not None:
                near.edge_weight = self.item_edge_weight
        return data

    @classmethod
    def from_pyg(cls, data: HeteroData) -> GraphView:
        """The reverse of `to_pyg`.

        Raises:
            GraphError: if the store `(user, clicks, item)` is absent.
        """
        if ("user", "clicks", "item") not in data.edge_types:
            found = data.edge_types
            raise GraphError(f"HeteroData has edge types {found}, expected ('user', 'clicks', 'item')")
        clicks = data["user", "clicks", "item"]
        item_edge_index = item_edge_weight = None
        if ("item", "near", "item") in data.edge_types:
            near = data["item", "near", "item"]
            item_edge_index = near.edge_index.flip(0)
            item_edge_weight = near.get("edge_weight")
        items = data["item"]
        names = [key.removesuffix("_present") for key in items.keys() if key.endswith("_present")]  # noqa: SIM118
        return cls(
            num_users=int(data["user"].num_nodes),
            num_items=int(items.num_nodes),
            edge_index=clicks.edge_index,
            edge_weight=clicks.get("edge_weight"),
            item_edge_index=item_edge_index,
            item_edge_weight=item_edge_weight,
            features={name: items[name] for name in names},
            present={name: items[f"{name}_present"] for name in names},
        )


_DERIVED_FROM: dict[str, set[str]] = {
    "clean": set(),
    "clicks": {"edge_index", "edge_weight", "backend"},
    "links": {"item_edge_index", "item_edge_weight", "backend"},
    "features": {"features", "present"},
    "histories": {"edge_index", "edge_weight", "backend", "features", "present"},
    "layers": {"edge_index", "edge_weight", "backend", "inside", "layers", "low_rank"},
}


def item_links(view: GraphView, who: str) -> tuple[Tensor, Tensor]:
    """Links of the item graph and their weights, [2, S] and [S].

    Raises:
        GraphError: if the view has no item graph, naming `who` needs it.
    """
    if view.item_edge_index is None:
        found = "the view has none; choose a model with one, such as FREEDOM"
        raise GraphError(f"{who} works on the item graph and {found}")
    index, weight = view.item_edge_index, view.item_edge_weight
    return index, torch.ones(index.shape[1], device=index.device) if weight is None else weight


def _check_edges(name: str, index: Tensor, weight: Tensor | None, shape: tuple[int, int]) -> None:
    if index.dim() != 2 or index.shape[0] != 2 or index.dtype != torch.int64:
        raise GraphError(f"{name} is {index.dtype} {tuple(index.shape)}, expected int64 [2, n]")
    if weight is not None and weight.shape != index.shape[1:]:
        found = f"{index.shape[1]} edges and {tuple(weight.shape)} weights"
        raise GraphError(f"{name} has {found}, expected one each")
    if index.shape[1]:
        low, high = index.aminmax(dim=1)
        if int(low.min()) < 0 or int(high[0]) >= shape[0] or int(high[1]) >= shape[1]:
            found = f"from {low.tolist()} to {high.tolist()}"
            raise GraphError(f"{name} reaches {found}, expected below {list(shape)}")
