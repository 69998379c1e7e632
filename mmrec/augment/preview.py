"""What an augmentation does to a graph, in numbers and in a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features.files import atomic_file
from mmrec.graph.matrices import normalised_weights
from mmrec.graph.view import GraphView

_SPECTRUM = 32  # singular values that are drawn
QUANTILES = (0.1, 0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class Preview:
    """A graph at a glance.

    Attributes:
        numbers: name to what is shown.
        degrees: clicks of each user, and of each item.
        spectrum: largest singular values, in the largest connected part, of the normalised clicks or of what
            stands for them.
    """

    numbers: dict[str, str]
    degrees: tuple[np.ndarray, np.ndarray]
    spectrum: np.ndarray


def preview(view: GraphView) -> Preview:
    """Clicks, degrees, components, spectral gap, item links and features of a view.

    Degrees are given as the smallest that a share of the nodes with clicks does not exceed. The gap is 1
    minus the second singular value of D^-1/2 R D^-1/2 in the largest connected part: how fast propagation
    forgets there where it started.
    """
    import scipy.sparse

    users, items = view.edge_index.cpu().numpy()
    degrees = tuple(
        np.bincount(nodes, minlength=count)
        for nodes, count in ((users, view.num_users), (items, view.num_items))
    )
    shape = (view.num_users, view.num_items)
    clicks = scipy.sparse.csr_matrix(
        (normalised_weights(view).double().cpu().numpy(), (users, items)), shape=shape
    )
    numbers = {"clicks": f"{len(users):,}"}
    for name, one in zip(("user", "item"), degrees, strict=True):
        found = one[one > 0]
        levels: Any = np.quantile(found, QUANTILES, method="inverted_cdf") if len(found) else ()
        shares = ", ".join(f"{100 * share:.0f}" for share in QUANTILES)
        shown = " / ".join(f"{level:,}" for level in levels)
        numbers[f"{name} degree at {shares}%"] = shown or "-"
        numbers[f"{name}s without a click"] = f"{(one == 0).sum():,}"
    largest = _connected(clicks, degrees, numbers)
    spectrum = _spectrum(clicks[largest[: shape[0]]][:, largest[shape[0] :]])
    numbers["spectral gap of the largest"] = f"{abs(1 - spectrum[1]):.4f}" if len(spectrum) > 1 else "-"
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
    if view.low_rank:
        sides = [torch.from_numpy(side) for side in (largest[: shape[0]], largest[shape[0] :])]
        both = [factor.cpu().double()[side] for factor, side in zip(view.low_rank, sides, strict=True)]
        first, second = (torch.linalg.qr(factor).R for factor in both)  # |P Q'| without the product
        spectrum = torch.linalg.svdvals(first @ second.T).numpy()
    return Preview(numbers, (degrees[0], degrees[1]), spectrum)


def _connected(clicks: Any, degrees: tuple[np.ndarray, ...], numbers: dict[str, str]) -> np.ndarray:
    """Which nodes are in the largest connected part, bool [U + I]; tells `numbers` of the parts."""
    import scipy.sparse
    from scipy.sparse.csgraph import connected_components

    seen = np.concatenate(degrees) > 0
    numbers |= {"connected parts": "0", "nodes in the largest": "-"}
    if not seen.any():
        return seen
    _, labels = connected_components(scipy.sparse.bmat([[None, clicks], [clicks.T, None]]), directed=False)
    sizes = np.bincount(labels[seen])
    numbers["connected parts"] = f"{(sizes > 0).sum():,}"
    numbers["nodes in the largest"] = f"{sizes.max():,} ({sizes.max() / seen.sum():.1%})"
    return np.asarray(seen & (labels == sizes.argmax()))


def _spectrum(clicks: Any) -> np.ndarray:
    from sklearn.utils.extmath import randomized_svd

    count = min(_SPECTRUM, *clicks.shape)
    if not clicks.nnz:
        return np.zeros(0)
    if min(clicks.shape) <= 200:
        return np.linalg.svd(clicks.toarray(), compute_uv=False)[:count]
    _, size, _ = randomized_svd(clicks, count, n_iter=30, random_state=0)
    return np.asarray(size)


def draw(found: dict[str, Preview], title: str, notes: Sequence[str], path: Path) -> None:
    """Degrees of users and items and the spectrum of each, as a PNG with notes below."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(12, 4.4), layout="constrained")
    axes = figure.subplots(1, 3)
    # The first lies broad below the others: where nothing changed both are seen.
    styles = [
        {"linewidth": 1.3 if number else 4, "alpha": 1 if number else 0.35} for number in range(len(found))
    ]
    for number, kind in enumerate(("users", "items")):
        for style, (name, one) in zip(styles, found.items(), strict=True):
            degree = one.degrees[number]
            at, count = np.unique(degree[degree > 0], return_counts=True)
            rest = count[::-1].cumsum()[::-1]  # nodes with at least so many clicks
            axes[number].loglog(at, rest, drawstyle="steps-post", label=name, **style)
        axes[number].set(title=f"{kind} with at least so many clicks", xlabel="clicks", ylabel=kind)
        for axis in (axes[number].xaxis, axes[number].yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axis.set_minor_formatter(NullFormatter())
        axes[number].legend(frameon=False)
    for style, (name, one) in zip(styles, found.items(), strict=True):
        axes[2].plot(np.arange(1, len(one.spectrum) + 1), one.spectrum, marker=".", label=name, **style)
    axes[2].set(title="singular values of the largest part", xlabel="number", ylim=(0, 1.05))
    axes[2].legend(frameon=False)
    figure.suptitle("\n".join(textwrap.wrap(title, 140)))
    figure.supxlabel("\n".join(textwrap.wrap(" · ".join(notes), 200)), fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
