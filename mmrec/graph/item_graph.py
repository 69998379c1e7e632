"""The frozen item-item graph: a kNN graph per modality, from features or given edges, fused by weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmrec.errors import GraphError, nearest
from mmrec.graph.cache import read_npz
from mmrec.graph.cooccurrence import cooccurrence_graph
from mmrec.graph.hypergraph import side_by_side
from mmrec.graph.knn import Search
from mmrec.graph.neighbours import modality_neighbours
from mmrec.graph.view import GraphView

Weighting = Literal["binary", "cosine"]


def add_item_graph(
    view: GraphView,
    *,
    k: int = 10,
    weights: dict[str, float] | None = None,
    weighting: Weighting = "binary",
    edges: dict[str, str] | None = None,
    search: Search = "auto",
    exact_up_to: int = 200_000,
    memory_mb: int = 1024,
    root: Path = Path(),
) -> GraphView:
    """The view with a frozen item-item graph (FREEDOM, Zhou and Shen 2023, eq. 1-4; LATTICE's initial graph).

    For each modality an item is linked to its k nearest by cosine, itself included; the modalities' graphs
    are added with `weights`. An item that lacks a modality takes its whole row from those it has, and is
    never linked to others for lacking the same. The modalities' neighbours, before they are added, are the
    view's `hyperedges`.

    Args:
        view: clicks and features.
        k: neighbours per item and modality, the item itself included.
        weights: modality to its share, such as {image: 0.1, text: 0.9}, scaled to sum to one; `clicks` is
            item co-occurrence in the training clicks, k partners each. Default: equal shares of the
            modalities in `edges`, or of all features where no edges are given.
        weighting: `binary` gives each of k neighbours 1/k (FREEDOM); `cosine` weighs them by similarity,
            negatives as zero, with symmetric degree normalisation (LATTICE).
        edges: modality to an .npz of ready edges, used instead of features: int arrays row and col of item
            positions (for data whose item ids are 0..n-1), with `weight` taken as it is or `cosine` weighted
            as above.
        search: how neighbours are found: `exact` compares every pair, `approximate` asks faiss and logs the
            share of true neighbours found, `auto` is exact up to `exact_up_to` items.
        exact_up_to: number of items, see `search`.
        memory_mb: MiB that blocks of similarities may take.
        root: folder that relative paths start from.

    Raises:
        GraphError: for unknown modalities, an .npz that does not fit, or nothing to build from.
    """
    given = {name: root / path for name, path in (edges or {}).items()}
    shares = _shares(weights, given or view.features, {"clicks": None, **view.features, **given})
    parts, members = {}, []
    for name in shares:
        if name == "clicks" and name not in {**given, **view.features}:
            index, value = cooccurrence_graph(view, "items", k=k)
            weighted = True
        elif name in given:
            index, value, weighted = _given_edges(given[name], view.num_items)
        else:
            options = {"k": k, "exact_up_to": exact_up_to, "memory_mb": memory_mb}
            index, value = modality_neighbours(view, name, search=search, **options)
            weighted = False
        members.append(index[:, value > 0])
        parts[name] = index, value if weighted else _weigh(index, value, view.num_items, weighting)
    index, weight = fuse(parts, shares, view.num_items)
    hyperedges = index, side_by_side(members, view.num_items)
    return replace(view, item_edge_index=index, item_edge_weight=weight, hyperedges=hyperedges)


def fuse(
    parts: Mapping[str, tuple[Tensor, Tensor]], shares: Mapping[str, float], num_items: int
) -> tuple[Tensor, Tensor]:
    """Weighted sum of graphs; edges that occur in several are added up.

    Args:
        parts: modality -> (int64 [2, S], float [S]).
        shares: modality -> its weight; they sum to one.
        num_items: I. A row that is empty in some parts takes their share from its other parts, in proportion.

    Returns:
        int64 [2, S'] sorted by row then column, without repeats, and float32 [S'].
    """
    has = {name: torch.bincount(index[0], minlength=num_items) > 0 for name, (index, _) in parts.items()}
    covered = sum(shares[name] * has[name].double() for name in parts)
    keys, values = [], []
    for name, (index, weight) in parts.items():
        keys.append(index[0] * num_items + index[1])
        values.append(weight.double() * shares[name] / covered[index[0]])  # type: ignore[index]
    unique, position = torch.unique(torch.cat(keys), return_inverse=True)
    total = torch.zeros_like(unique, dtype=torch.float64).index_add_(0, position, torch.cat(values))
    return torch.stack([unique // num_items, unique % num_items]), total.float()


def _shares(
    weights: dict[str, float] | None, default: Mapping[str, object], known: Mapping[str, object]
) -> dict[str, float]:
    if not default and weights is None:
        raise GraphError("no item graph can be built: there are no features and no graph.edges; give one")
    if weights is None:
        weights = dict.fromkeys(default, 1.0)
    for name, share in weights.items():
        if name not in known:
            raise GraphError(f"graph.weights names '{name}', which the data lacks{nearest(name, known)}")
        if not 0 <= share < float("inf"):
            raise GraphError(f"graph.weights.{name} is {share}, expected a finite number of at least 0")
    total = sum(weights.values())
    if total <= 0:
        raise GraphError(f"graph.weights sum to {total}, expected more than 0")
    return {name: share / total for name, share in weights.items() if share > 0}


def _given_edges(path: Path, num_items: int) -> tuple[Tensor, Tensor, bool]:
    """Links [2, S], their weights or cosines [S], and whether it is weights."""
    arrays = read_npz(path, "item graph", "check graph.edges")
    missing = [name for name in ("row", "col") if name not in arrays]
    if missing or not {"weight", "cosine"} & arrays.keys():
        raise GraphError(f"item graph {path} holds {sorted(arrays)}, expected row, col and weight or cosine")
    row, col = arrays["row"], arrays["col"]
    if row.ndim != 1 or row.shape != col.shape or not (row.dtype.kind in "iu" and col.dtype.kind in "iu"):
        found = f"row {row.dtype}{row.shape}, col {col.dtype}{col.shape}"
        raise GraphError(f"item graph {path}: {found}, expected ints [S]")
    shape = tuple(np.ravel(arrays["shape"]).tolist()) if "shape" in arrays else (num_items, num_items)
    low, high = (min(row.min(), col.min()), max(row.max(), col.max())) if len(row) else (0, -1)
    if shape != (num_items, num_items) or low < 0 or high >= num_items:
        raise GraphError(
            f"item graph {path} is {list(shape)} with numbers {low}..{high}, expected [{num_items}, "
            f"{num_items}]: it was made for other items"
        )
    value = arrays.get("weight", arrays.get("cosine"))
    fits = value is not None and value.shape == row.shape and value.dtype.kind in "fiu"
    if value is None or not fits or not np.isfinite(value).all():
        raise GraphError(f"item graph {path} needs a finite weight or cosine for each of {len(row)} edges")
    index = torch.from_numpy(np.stack([row, col]).astype(np.int64))
    return index, torch.from_numpy(value.astype(np.float32)), "weight" in arrays


def _weigh(index: Tensor, cosine: Tensor, num_items: int, weighting: Weighting) -> Tensor:
    value = cosine.clamp(min=0) if weighting == "cosine" else torch.ones_like(cosine)
    degree = torch.zeros(num_items).index_add_(0, index[0], value)
    # Row sums on both sides, as FREEDOM and LATTICE have it: in a binary graph of k a row every entry is 1/k.
    scale = degree.rsqrt().masked_fill_(degree <= 0, 0.0)
    return value * scale[index[0]] * scale[index[1]]
