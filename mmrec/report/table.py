"""The table of a run: models against metrics, on valid and on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from mmrec.evaluate.evaluator import Scores


def score_table(scores: Mapping[str, Mapping[str, Scores]], metrics: Sequence[str]) -> Table:
    """Rows of models; metrics on each split, and the first of them on the last one's cold items alone.

    Args:
        scores: model -> `valid`, and `test` where it was opened -> scores.
        metrics: such as `recall@20`, those to show.
    """
    table = Table(title="full ranking, mean over users", title_justify="left")
    table.add_column("model")
    splits = list(next(iter(scores.values())))
    for split in splits:
        for name in metrics:
            table.add_column(f"{split}\n{name}", justify="right")
    table.add_column(f"{splits[-1]}, cold items\n{metrics[0]}", justify="right")
    for model, found in scores.items():
        cells = [f"{found[split].metrics[name]:.4f}" for split in splits for name in metrics]
        cold = found[splits[-1]].cold_items.get(metrics[0])
        table.add_row(model, *cells, "-" if cold is None else f"{cold:.4f}")
    return table
