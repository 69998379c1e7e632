"""What became of a view: parts that differ, clicks and links that are kept, features and propagation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmrec.graph.matrices import normalised_weights, user_item_matrix
from mmrec.graph.ops import smooth
from mmrec.graph.view import GraphView

PARTS = ("edge_index", "edge_weight", "item_edge_index", "item_edge_weight", "features", "present")
# What a view holds, as one would say it, and the fields that hold it.
GROUPS = {
    "clicks": ("edge_index", "edge_weight"),
    "item graph": ("item_edge_index", "item_edge_weight"),
    "features": ("features", "present"),
    "propagation": ("inside", "layers", "low_rank"),
}
_DIM, _SPREAD, _LAYERS = 64, 0.1, 2  # rows as LightGCN draws them


def changed_parts(before: GraphView, after: GraphView) -> list[str]:
    """Names of the fields in which two views differ; by value, whatever tensors they are held in."""
    names = [name for fields in GROUPS.values() for name in fields]
    return [name for name in names if not _same(getattr(before, name), getattr(after, name))]


def changed_groups(before: GraphView, after: GraphView) -> list[str]:
    """The `GROUPS` in which two views differ."""
    changed = changed_parts(before, after)
    return [group for group, fields in GROUPS.items() if any(name in changed for name in fields)]


def changes(before: GraphView, after: GraphView) -> dict[str, str]:
    """What an augmentation did, name to what is shown.

    Kept are the pairs of a user and an item (an item and a neighbour) that are in both views; new are those
    that only `after` has. Entries and rows of features are those of items that have the modality in `before`.
    The change of an embedding is |after - before| / |before| of LightGCN's mean over two layers of rows from
    N(0, 0.1^2), 64 wide: it has whatever happens to clicks and inside propagation in it.
    """
    size = before.num_users, before.num_items
    found = {"clicks kept": _kept(before.edge_index, after.edge_index, size)}
    found["new clicks"] = _new(before.edge_index, after.edge_index, size)
    if after.layers:
        each = [_share(before.edge_index, layer.edge_index, size) for layer in after.layers]
        found["clicks kept, layer by layer"] = " / ".join(f"{share:.1%}" for share in each)
    if before.item_edge_index is not None and after.item_edge_index is not None:
        links, size = (before.item_edge_index, after.item_edge_index), (before.num_items, before.num_items)
        found["item links kept"] = _kept(*links, size)
        found["new item links"] = _new(*links, size)
        found["kept item links of another weight"] = _reweighted(before, after)
    if after.low_rank is not None:
        found[f"squared singular values kept, rank {after.low_rank[0].shape[1]}"] = f"{_spectrum(after):.1%}"
    for name, rows in before.features.items():
        if name in after.features and after.features[name].shape == rows.shape:
            found[f"{name}: changed / relative change"] = _features(before, after, name)
    found["propagated rows, relative change"] = f"{_propagated(before, after):.3f}"
    return found


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, GraphView) and isinstance(other, GraphView):
        return not changed_parts(one, other)
    return False if one is None or other is None else bool(one == other)


def _pairs(index: Tensor, size: tuple[int, int]) -> Tensor:
    """Each distinct pair as one number."""
    pairs: Tensor = torch.unique(index[0].cpu() * size[1] + index[1].cpu())
    return pairs


def _share(before: Tensor, after: Tensor, size: tuple[int, int]) -> float:
    pairs = _pairs(before, size)
    return float(torch.isin(pairs, _pairs(after, size)).double().mean()) if len(pairs) else 1.0


def _kept(before: Tensor, after: Tensor, size: tuple[int, int]) -> str:
    pairs = _pairs(before, size)
    kept = int(torch.isin(pairs, _pairs(after, size)).sum())
    return f"{kept:,} of {len(pairs):,}" + (f" ({kept / len(pairs):.1%})" if len(pairs) else "")


def _new(before: Tensor, after: Tensor, size: tuple[int, int]) -> str:
    return f"{int((~torch.isin(_pairs(after, size), _pairs(before, size))).sum()):,}"


def _reweighted(before: GraphView, after: GraphView) -> str:
    """Of the links in both, those whose weight is another by more than rounding."""
    (pairs, weight), (others, other) = _summed(before), _summed(after)
    kept = torch.isin(pairs, others)
    place = torch.searchsorted(others, pairs[kept])
    count = int((~torch.isclose(weight[kept], other[place], rtol=1e-4)).sum()) if len(place) else 0
    return f"{count:,}" + (f" ({count / len(place):.1%})" if len(place) else "")


def _summed(view: GraphView) -> tuple[Tensor, Tensor]:
    """Distinct item links as numbers, sorted, and the sum of their weights."""
    assert view.item_edge_index is not None
    row, col = view.item_edge_index.cpu()
    pairs, place = torch.unique(row * view.num_items + col, return_inverse=True)
    weight = torch.ones(len(row)) if view.item_edge_weight is None else view.item_edge_weight.cpu()
    return pairs, torch.zeros(len(pairs), dtype=torch.float64).index_add_(0, place, weight.double())


def _spectrum(view: GraphView) -> float:
    """|P Q'|^2 / |R|^2 for the clicks R, normalised, and the factors that stand for them."""
    assert view.low_rank is not None
    users, items = (factor.double() for factor in view.low_rank)
    whole = float(normalised_weights(view).double().square().sum())
    return float(((users.T @ users) * (items.T @ items)).sum()) / whole if whole else 1.0


def _features(before: GraphView, after: GraphView, name: str) -> str:
    some = before.present[name]
    rows, others = before.features[name][some], after.features[name][some]
    if not rows.numel():
        return "-"
    moved = float((rows != others).double().mean())
    length = float(torch.linalg.vector_norm(rows.double()))
    distance = float(torch.linalg.vector_norm(others.double() - rows.double()))
    return f"{moved:.1%} / {distance / length:.3f}" if length else f"{moved:.1%} / -"


def _propagated(before: GraphView, after: GraphView) -> float:
    draw = torch.Generator().manual_seed(0)
    x = _SPREAD * torch.randn(before.num_users + before.num_items, _DIM, generator=draw)
    x = x.to(before.edge_index.device)
    one, other = (smooth(user_item_matrix(view), x, n_layers=_LAYERS) for view in (before, after))
    return float(torch.linalg.vector_norm(other - one) / torch.linalg.vector_norm(one))
