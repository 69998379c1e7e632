"""What each config gives, written at its head."""

from __future__ import annotations

from pathlib import Path

from experiments.ledger.rows import ROOT, by_config, is_closed_form
from experiments.seeds import result_line
from features.files import atomic_file

_MARKS = ("# Result", "#   ", "# Command: python -m experiments.ledger", "# Not measured yet")


def header(config: str, rows: list[dict[str, str]]) -> str:
    """Lines for the head of a config: the result of its rows, and the command that made them."""
    seeds = f"{len(rows)} seeds (mean ± sd)" if len(rows) > 1 else "1 seed"
    seeds = "closed form" if is_closed_form(rows[0]) else seeds
    return (
        f"# Result, {seeds}, chosen on valid, test looked at once:\n{result_line(rows[0]['model'], rows)}\n"
        f"# Command: python -m experiments.ledger {config}\n"
    )


def write_headers(rows: list[dict[str, str]]) -> None:
    """Put each config's result at its head; configs whose head names another command are left alone."""
    for config, group in by_config(rows).items():
        path = Path(ROOT, config)
        text = path.read_text(encoding="utf-8")
        if "experiments.ledger" not in text:
            continue
        body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(_MARKS))
        with atomic_file(path) as temporary:
            temporary.write_text(header(config, group) + body, encoding="utf-8")
