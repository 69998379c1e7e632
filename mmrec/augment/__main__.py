"""What augmentations there are, and what one does: `python -m mmrec.augment --list`, `--preview EdgeDrop`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from features.command_line import run_command
from mmrec.augment.base import Augmentation, Compose
from mmrec.augment.preview import Preview, draw
from mmrec.augment.preview import preview as look_at
from mmrec.auxiliary.base import Auxiliary
from mmrec.binding import help_of
from mmrec.config import make, parse
from mmrec.errors import ConfigError
from mmrec.losses.contrast import Contrast
from mmrec.plugins import known
from mmrec.report.progress import console
from mmrec.train.streams import stream

_KINDS = {
    "augment.epoch, augment.step, augment.views": Augmentation,
    "augment.contrast": Contrast,
    "auxiliary": Auxiliary,
}


def augment(
    list: bool = False,
    preview: str | None = None,
    config: str | None = None,
    options: str | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> list[str] | dict[str, Preview]:
    """List what there is, or show what augmentations do to a dataset.

    Args:
        list: print every augmentation, contrast and auxiliary loss with its options.
        preview: an augmentation, or a list of them to be applied one after the other, as in a config:
            EdgeDrop, or '{class_path: EdgeDrop, init_args: {drop: 0.5}}'.
        config: the run's config, which names the data; the demo's by default.
        options: more options of the run, in one text, such as '--root ../data'.
        seed: of the draw.
        out: a picture is written here (.png); beside the table on the screen.

    Raises:
        ConfigError: if neither is asked for.
    """
    if list:
        return [
            _described(kind, one) for kind, base in _KINDS.items() for _, one in sorted(known(base).items())
        ]
    if preview is None:
        raise ConfigError("nothing to do; --list shows what there is, --preview NAME what one does")
    return _preview(preview, config, options, seed, out)


def _described(where: str, kind: type) -> str:
    skip = frozenset({"view", "augmentation"} if issubclass(kind, Auxiliary) else ())
    return f"[{where}]\n{kind.__name__}: {(kind.__doc__ or '').strip().splitlines()[0]}\n" + help_of(
        kind, "options", None, skip
    )


def _preview(
    names: str, config: str | None, options: str | None, seed: int, out: Path | None
) -> dict[str, Preview]:
    import shlex

    from mmrec.run import prepare

    words = ["--augment.epoch", names, *(["--config", config] if config else []), *shlex.split(options or "")]
    bound = parse(words)
    chosen = Compose([make(Augmentation, plugin) for plugin in bound.augment.epoch])
    view = prepare(bound).train
    changed = chosen(view, stream(seed, "augment"))
    found = {"before": look_at(view), "after": look_at(changed)}
    if out is not None:
        draw(found, names, out)
    return found


def _show(result: list[str] | dict[str, Preview]) -> None:
    if isinstance(result, dict):
        table = Table(title="what training would see", title_justify="left")
        for column in ("", *result):
            table.add_column(column, justify="right" if column else "left")
        for name in next(iter(result.values())).numbers:
            table.add_row(name, *(one.numbers[name] for one in result.values()))
        console.print(table)
        return
    for one in result:
        console.print(one, markup=False, highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(
        augment,
        argv,
        program="python -m mmrec.augment",
        description="Augmentations: which there are, and what one does to a dataset.",
        show=_show,
        switches=("--list",),
    )


if __name__ == "__main__":
    sys.exit(main())
