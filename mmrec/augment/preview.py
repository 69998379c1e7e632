"""What an augmentation does to a graph, in numbers and in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features.files import atomic_file
from mmrec.graph.matrices import normalised_weights
from mmrec.graph.view import GraphView

_SPECTRUM = 32  # singular values that are drawn


@dataclass(frozen=True)
class Preview:
    """A graph at a glance.

    Attributes:
        numbers: name to what is shown.
        degrees: clicks of each user, and of each item.
        spectrum: largest singular values of the normalised clicks, from 1 down.
    """

    numbers: dict[str, str]
    degrees: tuple[np.ndarray, np.ndarray]
    spectrum: np.ndarray


def preview(view: GraphView) -> Preview:
    """Clicks, degrees, components, spectral gap, item links and features of a view.

    The gap is 1 minus the second singular value of D^-1/2 R D^-1/2: how fast propagation forgets where it
    started. It is 0 where the graph falls into parts.
    """
    import scipy.sparse
    from scipy.sparse.csgraph import connected_components

    users, items = view.edge_index.cpu().numpy()
    degrees = tuple(
        np.bincount(nodes, minlength=count)
        for nodes, count in ((users, view.num_users), (items, view.num_items))
    )
    shape = (view.num_users, view.num_items)
    clicks = scipy.sparse.csr_matrix(
        (normalised_weights(view).double().cpu().numpy(), (users, items)), shape=shape
    )
    spectrum = _spectrum(clicks)
    whole = scipy.sparse.bmat([[None, clicks], [clicks.T, None]]) if clicks.nnz else None
    seen = np.concatenate([one > 0 for one in degrees])
    parts = 0
    if whole is not None:
        _, labels = connected_components(whole, directed=False)
        parts = len(np.unique(labels[seen]))
    numbers = {"clicks": f"{len(users):,}"}
    for name, one in zip(("user", "item"), degrees, strict=True):
        found = one[one > 0]
        middle = f"{np.median(found):.0f} / {found.max()}" if len(found) else "-"
        numbers[f"{name} degree, median / largest"] = middle
        numbers[f"{name}s without a click"] = f"{(one == 0).sum():,}"
    numbers["connected parts"] = f"{parts:,}"
    numbers["spectral gap"] = f"{1 - spectrum[1]:.4f}" if len(spectrum) > 1 else "-"
    if view.item_edge_index is not None:
        numbers["item links"] = f"{view.item_edge_index.shape[1]:,}"
        distinct = torch.unique(view.item_edge_index, dim=1).shape[1]
        numbers["distinct item links"] = f"{distinct:,}"
    for name, rows in view.features.items():
        filled = f"{float((rows != 0).double().mean()):.0%}" if rows.numel() else "-"
        numbers[f"{name}: items / numbers not zero"] = f"{int(view.present[name].sum()):,} / {filled}"
    inside = [type(one).__name__.strip("_") for one in view.inside]
    inside += [f"{len(view.layers)} graphs, one a layer"] if view.layers else []
    inside += [f"rank {view.low_rank[0].shape[1]}"] if view.low_rank else []
    numbers["inside propagation"] = ", ".join(inside) or "-"
    return Preview(numbers, (degrees[0], degrees[1]), spectrum)


def _spectrum(clicks: Any) -> np.ndarray:
    from sklearn.utils.extmath import randomized_svd

    count = min(_SPECTRUM, *clicks.shape)
    if not clicks.nnz:
        return np.zeros(0)
    if min(clicks.shape) <= 200:
        return np.linalg.svd(clicks.toarray(), compute_uv=False)[:count]
    _, size, _ = randomized_svd(clicks, count, n_iter=30, random_state=0)
    return np.asarray(size)


def draw(found: dict[str, Preview], title: str, path: Path) -> None:
    """Degrees of users and items and the spectrum, before and after, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, 3)
    for number, kind in enumerate(("users", "items")):
        for name, one in found.items():
            degree = one.degrees[number]
            at, count = np.unique(degree[degree > 0], return_counts=True)
            rest = count[::-1].cumsum()[::-1]  # nodes with at least so many clicks
            axes[number].loglog(at, rest, drawstyle="steps-post", label=name)
        axes[number].set(title=f"{kind} with at least so many clicks", xlabel="clicks", ylabel=kind)
        axes[number].legend(frameon=False)
    for name, one in found.items():
        axes[2].plot(np.arange(1, len(one.spectrum) + 1), one.spectrum, marker=".", label=name)
    axes[2].set(title="singular values of the normalised clicks", xlabel="number", ylim=(0, 1.05))
    axes[2].legend(frameon=False)
    figure.suptitle(title)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
