"""Pictures of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def draw_growth(rows: Sequence[Mapping[str, Any]], work: Mapping[str, str], path: Path) -> None:
    """Each measured column against its work, both on logarithmic axes, with a line of slope one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(
        1, len(work), figsize=(3 * len(work), 3.2), layout="constrained", squeeze=False
    )
    for axes, (what, unit) in zip(all_axes[0], work.items(), strict=True):
        x, y = [float(row[unit]) for row in rows], [float(row[what]) for row in rows]
        axes.loglog(x, y, "o-", color="#4477aa", label="measured")
        axes.loglog(x, [y[-1] * value / x[-1] for value in x], ":", color="#bbbbbb", label="as the work")
        axes.set_title(what.replace("_", " "))
        axes.set_xlabel(unit.replace("_", " "))
    all_axes[0][0].set_ylabel("seconds (last: bytes)")
    all_axes[0][0].legend()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
