"""Hyperedges: sets of items as links between all their members."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from features.files import content_hash
from mmrec.graph.cache import Arrays, cached
from mmrec.graph.view import GraphView, item_links


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


def item_hypergraph(view: GraphView) -> tuple[Tensor, Tensor]:
    """The expansion of the view's item hyperedges, kept on disk: see both."""
    members = item_hyperedges(view, "the item hypergraph").cpu()

    def build() -> Arrays:
        index, weight = hypergraph_expansion(members, view.num_items)
        return {"row": index[0].numpy(), "col": index[1].numpy(), "weight": weight.numpy()}

    key = f"hypergraph-{content_hash(members.numpy(), view.num_items)}"
    found = {name: torch.from_numpy(part) for name, part in cached(view.cache_dir, key, build).items()}
    return torch.stack([found["row"], found["col"]]), found["weight"]


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
