"""Contrastive training of a CLIP on a catalogue's own photos and texts.

`python -m features.finetune --items items.csv --image_column photo --text_columns title --out my.safetensors`
starts from a pretrained CLIP; with `--pretrained none` and a small model configuration it trains one from
nothing, which is how the demo's was made.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from features.command_line import run_command
from features.contrastive import Retrieval, measure, train_clip
from features.errors import FeatureError
from features.files import atomic_file
from features.items import Items, read_items
from features.loading import load_all, pool_size
from features.open_clip import build_open_clip
from features.progress import progress_bar
from features.sources import Photo, PhotoError, each

log = logging.getLogger("features.finetune")  # __name__ is __main__ when this file is the program


@dataclass(frozen=True)
class Finetuned:
    """What came out of `finetune`.

    Args:
        path: the checkpoint.
        before: retrieval on the held-out pairs with the weights it started from.
        after: the same with the weights that were written.
        losses: mean loss of each epoch.
        trained: pairs trained on.
        left_out: items without both a usable photo and a text.
    """

    path: Path
    before: Retrieval
    after: Retrieval
    losses: tuple[float, ...]
    trained: int
    left_out: int


def finetune(
    items: Items,
    out: Path,
    *,
    model: str = "ViT-B-32",
    pretrained: str | None = "laion2b_s34b_b79k",
    epochs: int = 5,
    batch_size: int = 128,
    lr: float = 1e-5,
    weight_decay: float = 0.1,
    warmup: float = 0.1,
    holdout: float = 0.1,
    seed: int = 0,
    device: str = "auto",
) -> Finetuned:
    """Train a CLIP on photo-text pairs with its contrastive loss (Radford et al. 2021, arXiv:2103.00020).

    AdamW, cosine schedule with linear warm-up, no image augmentation. The same seed on the same machine with
    the same number of threads gives the same weights.

    Args:
        items: with photos and texts; those that lack one of them, or whose photo is broken, are left out.
        out: checkpoint to write, .safetensors, float16.
        model: an open_clip name, the path of a model configuration (.json), or `demo`.
        pretrained: a tag, the path of a checkpoint, or None for random weights.
        epochs: passes over the training pairs.
        batch_size: pairs per step; each text of a batch is a wrong answer for the other photos.
        lr: highest learning rate; about 1e-5 for a pretrained CLIP, 1e-3 for a small one from random weights.
        weight_decay: of matrices; gains and biases are not decayed.
        warmup: share of the steps, in [0, 1), in which the learning rate rises.
        holdout: share of the pairs, in (0, 1), that is not trained on and tells how good the model is.
        seed: decides weights (where random), held-out pairs and order.
        device: `auto` (CUDA where there is one), `cpu`, `cuda`, ...

    Returns:
        Retrieval before and after, losses and counts.

    Raises:
        FeatureError: options out of range, too few pairs, a model that cannot be had, a loss that is not
            finite.
    """
    _check(out, epochs=epochs, batch_size=batch_size, lr=lr, warmup=warmup, holdout=holdout)
    photos, texts = _pairs(items)
    usable = _usable(photos)
    order = np.random.default_rng(seed).permutation(usable)
    held, rows = np.split(order, [round(holdout * len(order))])
    if len(held) < 2 or len(rows) < 2:
        raise FeatureError(
            f"{items.path}: {len(order)} of {len(items)} items have both a usable photo and a text; "
            f"with holdout {holdout} at least 2 are needed for training and 2 for testing"
        )
    # open_clip draws weights and drop-out from torch's global generator: forked, so that no other draw moves.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        clip = build_open_clip(model, pretrained, device=device)
        before = measure(clip, photos, texts, held, batch_size, "Testing before")
        losses = train_clip(clip, photos, texts, rows, epochs, batch_size, lr, weight_decay, warmup, seed)
    _halve(clip.model)  # so that what is tested now is what is written
    after = measure(clip, photos, texts, held, batch_size, "Testing after")
    _save(clip.model, out)
    return Finetuned(out, before, after, losses, len(rows), len(items) - len(usable))


def _check(out: Path, *, epochs: int, batch_size: int, lr: float, warmup: float, holdout: float) -> None:
    if out.suffix != ".safetensors":
        raise FeatureError(f"out is '{out}': expected a name that ends in .safetensors")
    if epochs < 1 or batch_size < 2 or not lr > 0 or not 0 <= warmup < 1 or not 0 < holdout < 1:
        raise FeatureError(
            f"epochs {epochs}, batch_size {batch_size}, lr {lr}, warmup {warmup}, holdout {holdout}: "
            "expected epochs from 1, batch_size from 2, lr above 0, warmup in [0, 1), holdout in (0, 1)"
        )


def _pairs(items: Items) -> tuple[list[Photo], list[str]]:
    if items.photos is None or items.texts is None:
        raise FeatureError(
            f"{items.path}: finetuning needs photos and texts: name image_column and text_columns"
        )
    # of several photos the first: a pair is one photo and one text
    pairs = [
        (each(p)[0], t) for p, t in zip(items.photos, items.texts, strict=True) if each(p) and t is not None
    ]
    return [photo for photo, _ in pairs], [text for _, text in pairs]


def _usable(photos: Sequence[Photo]) -> list[int]:
    """Rows of the photos that can be read."""
    threads = pool_size(None)
    with progress_bar("Checking photos", len(photos)) as advance:
        good = []
        for row, photo in enumerate(load_all(photos, lambda image: image.size, threads, 64 * threads)):
            if not isinstance(photo, PhotoError):
                good.append(row)
            advance(1)
    return good


def _halve(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for weight in model.state_dict().values():
            if weight.is_floating_point():
                weight.copy_(weight.half())


def _save(model: torch.nn.Module, out: Path) -> None:
    from safetensors.torch import save

    state = {
        name: weight.half() if weight.is_floating_point() else weight
        for name, weight in model.state_dict().items()
    }
    with atomic_file(out) as partial:
        partial.write_bytes(save({name: weight.cpu().contiguous() for name, weight in state.items()}))


def finetune_table(
    items: Path,
    out: Path,
    id_column: str = "item_id",
    image_column: str | None = None,
    image_path: str | None = None,
    text_columns: str | None = None,
    text_template: str | None = None,
    model: str = "ViT-B-32",
    pretrained: str = "laion2b_s34b_b79k",
    epochs: int = 5,
    batch_size: int = 128,
    lr: float = 1e-5,
    weight_decay: float = 0.1,
    warmup: float = 0.1,
    holdout: float = 0.1,
    seed: int = 0,
    device: str = "auto",
) -> Finetuned:
    """Train a CLIP on a catalogue's own photo-text pairs and write its checkpoint.

    Args:
        items: table of items: .csv, .tsv or .parquet.
        out: checkpoint to write, .safetensors, float16.
        id_column: column of the ids.
        image_column: column with each photo's path, relative to the table's folder.
        image_path: instead, one path for all with columns in braces, such as `posters/{movie_id}.jpg`.
        text_columns: columns joined to one text, with commas between their names.
        text_template: instead, one text for all with columns in braces, such as `{title}, a {genre}`.
        model: an open_clip name, the path of a model configuration (.json), or `demo`.
        pretrained: a tag, the path of a checkpoint, or `none` for random weights.
        epochs: passes over the training pairs.
        batch_size: pairs per step.
        lr: highest learning rate; about 1e-5 for a pretrained CLIP, 1e-3 for a small one from random weights.
        weight_decay: of matrices.
        warmup: share of the steps in which the learning rate rises.
        holdout: share of the pairs that is held out for testing.
        seed: decides weights (where random), held-out pairs and order.
        device: `auto` (CUDA where there is one), `cpu`, `cuda`, ...
    """
    columns = [name.strip() for name in (text_columns or "").split(",") if name.strip()]
    table = read_items(
        items,
        id_column=id_column,
        image_column=image_column,
        image_path=image_path,
        text_columns=columns,
        text_template=text_template,
    )
    return finetune(
        table,
        out,
        model=model,
        pretrained=None if pretrained == "none" else pretrained,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        warmup=warmup,
        holdout=holdout,
        seed=seed,
        device=device,
    )


def _show(result: Finetuned) -> None:
    print(f"trained on {result.trained:,} pairs, {result.left_out:,} items left out")
    print(f"before: {result.before}\nafter:  {result.after}\n{result.path}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    return run_command(
        finetune_table,
        argv,
        program="python -m features.finetune",
        description="Train a CLIP on a catalogue's own photos and texts.",
        show=_show,
    )


if __name__ == "__main__":
    sys.exit(main())
