"""Hyperedges: sets of items as links between all their members."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from features.files import content_hash
from mmrec.graph.cache import Arrays, cached


def hypergraph_expansion(
    members: Tensor, num_items: int, *, cache_dir: Path | None = None
) -> tuple[Tensor, Tensor]:
    """D^-1/2 H H' D^-1/2, diagonal kept: items are linked by the number of hyperedges they share (MMHCL).

    Args:
        members: int64 [2, m], an item and a hyperedge it is in; each pair counts once. For several modalities
            number their hyperedges on: H is their incidence side by side.
        num_items: I.
        cache_dir: where it is kept under the hash of the members; None keeps nothing.

    Returns:
        int64 [2, n], by row then column, and float32 [n], on the CPU.
    """

    def build() -> Arrays:
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
        weight = coo.data * scale[coo.row] * scale[coo.col]
        return {"row": coo.row.astype(np.int64), "col": coo.col.astype(np.int64), "weight": weight}

    found = cached(cache_dir, f"hypergraph-{content_hash(members.cpu().numpy(), num_items)}", build)
    index = torch.from_numpy(np.stack([found["row"], found["col"]]))
    return index, torch.from_numpy(found["weight"].astype(np.float32))
