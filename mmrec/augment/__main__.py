"""What augmentations there are, and what one does: `python -m mmrec.augment --list`, `--preview EdgeDrop`."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from features.command_line import run_command
from mmrec.augment.base import Augmentation
from mmrec.augment.changes import changed_parts, changes
from mmrec.augment.preview import Preview, draw
from mmrec.augment.preview import preview as look_at
from mmrec.auxiliary.base import Auxiliary
from mmrec.binding import bind_plugin, help_of, not_options
from mmrec.config import make, parse
from mmrec.errors import ConfigError
from mmrec.graph.view import GraphView
from mmrec.losses.contrast import Contrast
from mmrec.options import MADE_OF_A_VIEW
from mmrec.plugins import known
from mmrec.report.progress import console
from mmrec.settings import read_yaml
from mmrec.train.loop import fit
from mmrec.train.streams import stream

_PLACES: dict[type[Any], str] = {
    Augmentation: """Augmentations change the graph that training sees. In a config they stand
  under augment.epoch, drawn anew each epoch,
  under augment.step, drawn anew each step: noise inside propagation,
  under augment.views, two views whose embeddings are contrasted:
    augment: {epoch: [{class_path: DegreeDrop, init_args: {drop: 0.8}}]}""",
    Contrast: """Contrasts hold the two views of augment.views to each other. In a config they stand
  under augment.contrast:
    augment: {views: [EdgeDrop], contrast: {class_path: InfoNCE, init_args: {temperature: 0.2}}}""",
    Auxiliary: """Auxiliary losses are added to any model's own. In a config they stand at the top level
  under auxiliary:
    auxiliary: [{class_path: RLMRec, init_args: {weight: 0.01}}]""",
}
_MIRROR = """Mirror Gradient leads training towards flat minima, whatever the model. It has options of its own
  under train:
    train: {mirror_every: 3}"""


@dataclass(frozen=True)
class Seen:
    """What a preview shows.

    Attributes:
        found: the views `before` and `after`.
        changes: what the augmentations did, name to what is shown.
        hints: about those that did nothing.
    """

    found: dict[str, Preview]
    changes: dict[str, str]
    hints: tuple[str, ...]


def augment(
    list: bool = False,
    preview: str | None = None,
    config: str | None = None,
    options: str | None = None,
    epoch: int = 1,
    seed: int = 0,
    out: Path | None = None,
) -> list[str] | Seen:
    """List what there is, or show what augmentations do to a dataset.

    Args:
        list: print all augmentations, contrasts and auxiliary losses: options, and places in a config.
        preview: an augmentation, or a list of them to be applied one after the other, as in a config:
            EdgeDrop, or '{class_path: EdgeDrop, init_args: {drop: 0.5}}'.
        config: the run's config, which names the data; the demo's by default.
        options: more options of the run, in one text, such as '--root ../data'.
        epoch: of training, for what is Scheduled.
        seed: of the draw.
        out: a picture is written here (.png); beside the table on the screen.

    Raises:
        ConfigError: if neither is asked for, or nothing is named to be shown.
    """
    if list:
        return _listed()
    if preview is None:
        raise ConfigError("nothing to do; --list shows what there is, --preview NAME what one does")
    if epoch < 1:
        raise ConfigError(f"--epoch is {epoch}, expected at least 1")
    return _preview(preview, config, options, epoch, seed, out)


def _listed() -> list[str]:
    shown = []
    for base, place in _PLACES.items():
        shown.append(f"{place}\n")
        shown += [_described(base, kind) for _, kind in sorted(known(base).items())]
    others = frozenset(name for name in inspect.signature(fit).parameters if not name.startswith("mirror"))
    return [*shown, f"{_MIRROR}\n", help_of(fit, "options", None, others)]


def _described(base: type[Any], kind: type[Any]) -> str:
    skip = not_options(kind, base in MADE_OF_A_VIEW)
    line = (kind.__doc__ or "").strip().splitlines()[0]
    return f"{kind.__name__}: {line}\n{help_of(kind, 'options', None, skip)}"


def _preview(
    names: str, config: str | None, options: str | None, epoch: int, seed: int, out: Path | None
) -> Seen:
    from mmrec.run import prepare

    plugins = read_yaml(names, "--preview")
    plugins = plugins if isinstance(plugins, list) else [plugins] if plugins else []
    if not plugins:
        raise ConfigError(f"--preview is '{names}'; name an augmentation, --list shows what there is")
    steps = [make(Augmentation, bind_plugin(Augmentation, one, "--preview")).at(epoch) for one in plugins]
    bound = parse([*(["--config", config] if config else []), *_split(options or "")])
    before = after = prepare(bound).train
    rng, hints = stream(seed, "augment"), []
    for step in steps:  # as Compose does
        view, after = after, step(after, rng)
        if not changed_parts(view, after):
            hints.append(_hint(type(step).__name__, view, bound.model.class_path.rpartition(".")[2]))
    found = {"before": look_at(before), "after": look_at(after)}
    seen = Seen(found, changes(before, after), tuple(hints))
    if out is not None:
        layers = {f"layer {number}": look_at(layer) for number, layer in enumerate(after.layers, 1)}
        if layers:  # the clicks that losses see are those before
            found = {"before": found["before"], **layers}
        draw(found, names, [f"{name}: {what}" for name, what in seen.changes.items()], out)
    return seen


def _split(options: str) -> list[str]:
    """Words, as a shell has them."""
    import shlex

    try:
        return shlex.split(options)
    except ValueError as error:
        reason = str(error).lower()
        raise ConfigError(
            f"--options {options!r} cannot be split into words: {reason}; check quotes"
        ) from error


def _hint(name: str, view: GraphView, model: str) -> str:
    lacks = [] if view.features else ["no features"]
    lacks += [] if view.item_edge_index is not None else ["no item graph"]
    if not lacks:
        return f"{name} changed nothing; is its strength zero?"
    other = f"{model} asks for none; see another model's by --options '--model FREEDOM'"
    return f"{name} changed nothing: the view has {' and '.join(lacks)}, as {other}"


def _show(result: list[str] | Seen) -> None:
    if isinstance(result, Seen):
        table = Table(title="what training would see", title_justify="left")
        for column in ("", *result.found):
            table.add_column(column, justify="right" if column else "left")
        for name in next(iter(result.found.values())).numbers:
            table.add_row(name, *(one.numbers.get(name, "-") for one in result.found.values()))
        table.add_section()
        for name, what in result.changes.items():
            table.add_row(name, "", what)
        console.print(table)
        for hint in result.hints:
            console.print(hint, markup=False, highlight=False, soft_wrap=True)
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
