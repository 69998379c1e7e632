"""What a dataset is like: `python -m mmrec.data.describe CLICKS`, counts, coverage, leaks and plots."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features.command_line import run_command
from features.files import atomic_file
from features.items import read_items
from features.store import FeatureStore, open_stores
from mmrec.data.interactions import drop_repeats, k_core, keep_rated, read_interactions
from mmrec.data.split import TEST, TRAIN, VALID, SplitMethod, split

log = logging.getLogger("mmrec")

PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}


@dataclass
class Description:
    """Lines to read, and the numbers behind the plots.

    Attributes:
        counts: what was read, dropped and is left.
        shape: density, degrees, splits, cold users and items.
        coverage: per modality how many items have it, and how many training clicks fall on such items.
        leaks: what of valid or test can be seen in training; empty where nothing was found.
        degrees: clicks of each user and of each item.
    """

    counts: dict[str, str] = field(default_factory=dict)
    shape: dict[str, str] = field(default_factory=dict)
    coverage: dict[str, str] = field(default_factory=dict)
    leaks: dict[str, str] = field(default_factory=dict)
    degrees: dict[str, np.ndarray] = field(default_factory=dict)


def describe(
    clicks: str,
    items: str | None = None,
    stores: list[str] | None = None,
    split: SplitMethod | None = None,
    split_seed: int = 0,
    min_rating: float | None = None,
    k_core: int = 0,
    user_column: str | None = None,
    item_column: str | None = None,
    rating_column: str | None = None,
    time_column: str | None = None,
    label_column: str | None = None,
    id_column: str = "item_id",
    plot: str | None = None,
) -> Description:
    """Describe a dataset: users, items, density, degrees, splits, cold items, coverage, leaks.

    Args:
        clicks: Table of clicks, as for mmrec.run.
        items: Table of items, to count those without a click.
        stores: Folders of features, whose coverage is counted.
        split: How to split; labels where the file has them, else random.
        split_seed: Seed of the random splits.
        min_rating: Keep interactions rated at least this.
        k_core: Keep users and items with at least this many interactions.
        user_column: Column of user ids; found by its usual names where not given.
        item_column: Column of item ids.
        rating_column: Column of ratings.
        time_column: Column of times.
        label_column: Column of split labels.
        id_column: Column of ids in the item table.
        plot: File (.png) for plots of the degrees and the splits.

    Returns:
        What was found.
    """
    found = Description()
    frame = read_interactions(
        clicks,
        user_column=user_column,
        item_column=item_column,
        rating_column=rating_column,
        time_column=time_column,
        label_column=label_column,
    )
    found.counts["rows"] = f"{frame.height:,}"
    _pairs_in_two_splits(frame, found)
    frame = _cleaned(frame, min_rating, k_core, found)
    method = split or ("labels" if "label" in frame.columns else "random")
    frame = _split(frame, method, seed=split_seed)
    known = read_items(items, id_column=id_column, duplicate_items="first").ids.tolist() if items else []
    _shape(frame, method, known, found)
    for store in (one for path in stores or [] for one in open_stores(path).values()):
        _coverage(frame, store, found)
    _later_clicks(frame, method, found)
    if plot is not None:
        _plot(frame, found, Path(plot))
        log.info("plots in %s", plot)
    return found


_split, _k_core = split, k_core  # the options have these names


def _cleaned(frame: pl.DataFrame, min_rating: float | None, core: int, found: Description) -> pl.DataFrame:
    if min_rating is not None:
        before, frame = frame.height, keep_rated(frame, min_rating)
        found.counts[f"rated below {min_rating:g}"] = f"{before - frame.height:,}"
    frame, repeated = drop_repeats(frame)
    found.counts["repeated pairs"] = f"{repeated:,}"
    if core > 0:
        before, frame = frame.height, _k_core(frame, core)
        found.counts[f"outside the {core}-core"] = f"{before - frame.height:,}"
    return frame


def _shape(frame: pl.DataFrame, method: str, known: Sequence[str], found: Description) -> None:
    users, items = frame["user"].n_unique(), frame["item"].n_unique()
    found.counts |= {"users": f"{users:,}", "items": f"{items:,}", "clicks": f"{frame.height:,}"}
    if known:
        clicked = frame["item"].unique().is_in(known).sum()
        found.counts["items of the table without a click"] = f"{len(known) - clicked:,}"
        found.counts["clicked items not in the table"] = f"{items - clicked:,}"
    found.shape["density"] = f"{frame.height / users / items:.4%}"
    for role in ("user", "item"):
        degree = np.sort(frame[role].value_counts()["count"].to_numpy())
        found.degrees[role] = degree
        top = degree[-max(1, len(degree) // 100) :].sum() / degree.sum()
        found.shape[f"clicks per {role}"] = (
            f"{degree[0]} to {degree[-1]:,}, median {np.median(degree):g}, mean {degree.mean():.1f}; the "
            f"busiest 1 % have {top:.1%} of all"
        )
    sizes = {name: int((frame["split"] == label).sum()) for name, label in PARTS.items()}
    found.shape[f"split ({method})"] = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    train = frame.filter(pl.col("split") == TRAIN)
    for name in ("valid", "test"):
        part = frame.filter(pl.col("split") == PARTS[name])
        for role in ("user", "item"):
            cold = part.filter(~pl.col(role).is_in(train[role].unique().implode()))
            share = cold.height / max(part.height, 1)
            found.shape[f"{name} clicks of cold {role}s"] = (
                f"{cold.height:,} ({share:.1%}), {cold[role].n_unique():,} {role}s"
            )


def _coverage(frame: pl.DataFrame, store: FeatureStore, found: Description) -> None:
    clicked = frame["item"].unique()
    present = pl.Series(store.ids[store.present].tolist(), dtype=pl.String).implode()
    have = int(clicked.is_in(present).sum())
    clicks = int(frame["item"].is_in(present).sum())
    found.coverage[store.modality] = (
        f"{have:,} of {len(clicked):,} items ({have / len(clicked):.1%}), {clicks / frame.height:.1%} of the "
        f"clicks; {store.dim} numbers each"
    )
    if not _learns(store.manifest):
        return
    train = frame.filter(pl.col("split") == TRAIN)["item"].unique().implode()
    unseen = int((~pl.Series(store.ids.tolist()).is_in(train)).sum())
    if unseen:
        found.leaks[f"{store.modality} features"] = (
            f"were fitted on all {len(store.ids):,} items, {unseen:,} of them without a training click: fine "
            "where the catalogue is known at training time, a leak where new items are simulated"
        )


def _learns(manifest: Mapping[str, Any]) -> bool:
    encoder = manifest.get("encoder", {})
    return "reduce" in encoder or str(encoder.get("encoder", "")).endswith("TfidfText")


def _pairs_in_two_splits(frame: pl.DataFrame, found: Description) -> None:
    if "label" not in frame.columns:
        return
    count = frame.group_by("user", "item").agg(pl.col("label").n_unique())
    twice = count.filter(pl.col("label") > 1)
    if twice.height:
        user, item = twice.sort("user", "item").row(0)[:2]
        found.leaks["pairs in two splits"] = f"{twice.height:,}, for example user '{user}' and item '{item}'"


def _later_clicks(frame: pl.DataFrame, method: str, found: Description) -> None:
    """Whether a user is trained on what came after what is tested."""
    if "time" not in frame.columns:
        return
    test = frame.filter(pl.col("split") == TEST).group_by("user").agg(first=pl.col("time").min())
    train = frame.filter(pl.col("split") == TRAIN).join(test, on="user")
    later = train.filter(pl.col("time") > pl.col("first"))
    if later.height:
        found.leaks["training clicks later than the user's test"] = (
            f"{later.height:,} ({later.height / train.height:.1%}) of {later['user'].n_unique():,} users: "
            f"usual for '{method}'; user_time and global_time have none"
        )


def _plot(frame: pl.DataFrame, found: Description, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for axis, (role, degree) in zip(axes, found.degrees.items(), strict=False):
        value, count = np.unique(degree, return_counts=True)
        axis.loglog(value, count[::-1].cumsum()[::-1] / len(degree), drawstyle="steps-post", color="#4477aa")
        axis.set_title(f"{len(degree):,} {role}s")
        axis.set_xlabel("clicks, at least")
        axis.set_ylabel(f"share of {role}s")
    sizes = [int((frame["split"] == label).sum()) for label in PARTS.values()]
    axes[2].bar(list(PARTS), sizes, color=["#4477aa", "#ee6677", "#228833"])
    axes[2].bar_label(axes[2].containers[0], [f"{size:,}" for size in sizes])
    axes[2].margins(y=0.12)
    axes[2].set_title("clicks by split")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


def show(found: Description) -> None:
    """Print it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    leaks = found.leaks or {"": "none found"}
    parts = {"counts": found.counts, "shape": found.shape, "coverage": found.coverage, "leaks": leaks}
    for part, lines in parts.items():
        for number, (name, value) in enumerate(lines.items()):
            table.add_row(part if number == 0 else "", name, value)
        table.add_section()
    Console().print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(
        describe,
        argv,
        program="python -m mmrec.data.describe",
        description="What a dataset is like: counts, coverage, leaks and plots.",
        show=show,
        positional=True,
    )


if __name__ == "__main__":
    sys.exit(main())
