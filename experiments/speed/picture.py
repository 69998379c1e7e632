"""Pictures of the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from features.files import atomic_file


def draw_ratios(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """How many times faster than MMRec each row is, with its goal; nothing without MMRec."""
    rows = [row for row in rows if row["times_faster"] != ""]
    if not rows:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(rows) + 1.2), layout="constrained")
    names, ratios = [row["what"] for row in rows], [float(row["times_faster"]) for row in rows]
    bars = axes.barh(names, ratios, color="#4477aa", label="measured")
    axes.bar_label(bars, [f"{ratio:.1f}" for ratio in ratios], padding=8)
    axes.plot([float(row["goal"]) for row in rows], names, "|", color="#cc3311", markersize=16, label="goal")
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(1, 1.6 * max(ratios))
    axes.set_xlabel("times faster than MMRec")
    figure.legend(loc="outside lower center", ncols=2)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    pyplot.close(figure)
