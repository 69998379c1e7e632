"""Hyperedges: sets of items as links between all their members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmrec.errors import GraphError
from mmrec.graph.ops import SparseMatrix, propagate, sparse_matrix
from mmrec.graph.view import GraphView, item_links

# Making a link of H H' and sorting it into a matrix takes 70 bytes at its peak: these take 7 GB and a minute.
# Real features have a twentieth (Baby's photos and descriptions, 7,050 items with 10 neighbours each).
MOST_LINKS = 100_000_000


def item_hyperedges(view: GraphView, who: str) -> Tensor:
    """Members of the item graph's hyperedges, int64 [2, m]: an item, and a hyperedge it is in.

    An item and those it is among the nearest of are a hyperedge, in each modality on its own; pairs that are
    not alike at all, of cosine 0 or less, are left out (MMHCL, Guo et al. 2025). Where the item graph's parts
    are not known, as after an augmentation changed it, its links of positive weight are the members.

    Args:
        view: needs an item graph.
        who: names itself in the error.

    Raises:
        GraphError: if the view has no item graph.
    """
    index, weight = item_links(view, who)
    if view.hyperedges is not None and view.hyperedges[0] is view.item_edge_index:
        return view.hyperedges[1]
    return index[:, weight > 0]


def side_by_side(parts: list[Tensor], num_items: int) -> Tensor:
    """H = [H_1 | H_2 | ...]: members of several hypergraphs, the hyperedges of the n-th from n * I on."""
    shift = torch.tensor([[0], [num_items]])
    return torch.cat([part + number * shift for number, part in enumerate(parts)], dim=1)


@dataclass(frozen=True)
class Sharing:
    """Who shares how much with whom, left * (H H' - own) * right, as products with H: H H' is never made.

    Millions of pairs of users share a click where a hundred thousand clicks are all there is to multiply.

    Attributes:
        members: H, [n, m].
        left: [n, 1].
        right: [n, 1].
        own: [n, 1], what everybody shares with themselves, to be taken off; None leaves the diagonal.
    """

    members: SparseMatrix
    left: Tensor
    right: Tensor
    own: Tensor | None

    def spread(self, x: Tensor, n_layers: int) -> Tensor:
        """The last of some layers over it, [n, D] to [n, D], differentiable in x."""
        back = SparseMatrix(self.members.transposed, self.members.csr, self.members.backend)
        for _ in range(n_layers):
            scaled = self.right * x
            shared = propagate(self.members, propagate(back, scaled))
            x = self.left * (shared if self.own is None else shared - self.own * scaled)
        return x


def sharing(view: GraphView, name: str, kind: Literal["mean", "symmetric"], dtype: torch.dtype) -> Sharing:
    """Users by the clicks they share, or items by their hyperedges, of the clean view, made once.

    Args:
        view: clicks, or an item graph.
        name: `users` by shared clicks, without themselves, or `items` by shared hyperedges, with themselves.
        kind: rows divided by their sums, or `symmetric` by the roots of both ends' sums (MMHCL has `mean`
            for users, `symmetric` for items).
        dtype: of what it will be multiplied with.
    """
    device = view.edge_index.device

    def make(clean: GraphView) -> Sharing:
        pairs = clean.edge_index if name == "users" else item_hyperedges(clean, "the item hypergraph")
        pairs = torch.unique(pairs.to(device), dim=1)
        count = clean.num_users if name == "users" else clean.num_items
        shape = (count, int(pairs[1].max()) + 1 if pairs.numel() else 1)
        ones = torch.ones(pairs.shape[1], dtype=dtype, device=device)
        members = sparse_matrix(pairs[0], pairs[1], ones, shape, backend=clean.backend)
        everything = torch.ones(shape[1], 1, dtype=dtype, device=device)
        own = members.multiply(everything) if name == "users" else None
        total = members.multiply(members.multiply_transposed(ones.new_ones(count, 1)))
        total = total if own is None else total - own
        scale = torch.where(total > 0, total.clamp(min=1) ** (-1 if kind == "mean" else -0.5), 0.0)
        return Sharing(members, scale, torch.ones_like(scale) if kind == "mean" else scale, own)

    return view.freeze(f"{kind} sharing of {name} on {device} in {dtype}", make)


def check_expansion(sizes: Tensor, num_items: int, who: str) -> None:
    """Refuse hyperedges whose expansion would fill the memory, before anything of it is made.

    A hyperedge of n items gives up to n^2 links. Where feature rows repeat, all such items have the same
    nearest, whose hyperedges then hold all of them, and H H' is nearly items x items.

    Args:
        sizes: int64 [h], items in each hyperedge.
        num_items: I.
        who: names itself in the error.

    Raises:
        GraphError: if the squared sizes sum to more than `MOST_LINKS`.
    """
    links = int(sizes.square().sum())
    if links > MOST_LINKS:
        found = f"hyperedges of up to {int(sizes.max()):,} of {num_items:,} items, {links:,} links"
        raise GraphError(
            f"{who} finds {found}, expected at most {MOST_LINKS:,}; let feature rows that repeat count as "
            "missing (features.missing: zero), or take MMHCL, which never makes H H'"
        )


def hypergraph_expansion(members: Tensor, num_items: int) -> tuple[Tensor, Tensor]:
    """D^-1/2 H H' D^-1/2, diagonal kept: items are linked by the number of hyperedges they share (MMHCL).

    Args:
        members: int64 [2, m], an item and a hyperedge it is in; each pair counts once.
        num_items: I.

    Returns:
        int64 [2, n], by row then column, and float32 [n], on the CPU.
    """
    import scipy.sparse

    items, hyperedges = members.cpu().numpy()
    shape = (num_items, int(hyperedges.max(initial=0)) + 1)
    ones = np.ones(len(items), dtype=np.float32)
    incidence = scipy.sparse.csr_matrix((ones, (items, hyperedges)), shape=shape)
    incidence.data[:] = 1
    shared = (incidence @ incidence.T).tocsr()
    shared.sort_indices()
    degree = np.asarray(shared.sum(axis=1)).ravel()
    scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    coo = shared.tocoo()
    weight = (coo.data * scale[coo.row] * scale[coo.col]).astype(np.float32)
    return torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64)), torch.from_numpy(weight)
