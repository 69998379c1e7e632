"""The heat map: what each augmentation adds to each backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from scipy.stats import t as student

from features.files import atomic_file

METRIC = "recall@20"


def difference(with_it: dict[str, float], without: dict[str, float]) -> tuple[float, float]:
    """Mean over common seeds of the difference in per cent, and half the width of its 95 % interval.

    Paired by seed and relative to the backbone's mean; the interval is Student's t over seeds, and not a
    number with fewer than two.
    """
    seeds = sorted(with_it.keys() & without.keys())
    if not seeds:
        return float("nan"), float("nan")
    base = mean(without.values())
    values = [100 * (with_it[seed] - without[seed]) / base for seed in seeds]
    if len(values) < 2:
        return values[0], float("nan")
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean(values), half


def differences(
    rows: list[dict[str, str]], datasets: Sequence[str], backbones: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """[datasets, augmentations, backbones, 2]: difference in test recall and half its interval, per cent."""
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        values.setdefault(row["config"], {})[row["seed"]] = float(row[METRIC])
    out = np.full((len(datasets), len(names), len(backbones), 2), np.nan)
    for place in np.ndindex(out.shape[:3]):
        dataset, name, backbone = datasets[place[0]], names[place[1]], backbones[place[2]]
        one = values.get(f"{dataset} {backbone} {name}", {})
        out[place] = difference(one, values.get(f"{dataset} {backbone} none", {}))
    return out


def draw(
    rows: list[dict[str, str]],
    datasets: Sequence[str],
    backbones: Sequence[str],
    names: Sequence[str],
    path: Path,
) -> None:
    """A map per dataset; each cell says the difference and its interval, bold where it leaves out zero."""
    from matplotlib.figure import Figure

    found = differences(rows, datasets, backbones, names)
    figure = Figure(figsize=(5.2 * len(datasets), 0.5 * len(names) + 1.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(datasets), sharey=True))
    for axis, dataset, block in zip(axes, datasets, found, strict=True):
        shown = axis.imshow(np.clip(block[:, :, 0], -15, 15), cmap="RdBu", vmin=-15, vmax=15, aspect="auto")
        axis.set_xticks(range(len(backbones)), backbones)
        axis.set_yticks(range(len(names)), names)
        axis.set_title(dataset)
        for (y, x), value in np.ndenumerate(block[:, :, 0]):
            half = block[y, x, 1]
            if np.isnan(value):
                continue
            text = f"{value:+.1f}" + ("" if np.isnan(half) else f" ± {half:.1f}")
            sure = abs(value) > half
            dark = abs(value) > 10
            axis.text(
                *(x, y, text),
                ha="center",
                va="center",
                fontsize=9,
                weight="bold" if sure else "normal",
                color="white" if dark else "black",
            )
    figure.colorbar(shown, ax=list(axes), label="test Recall@20, % of the backbone without")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
