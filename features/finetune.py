"""Contrastive training of a CLIP on a catalogue's own photos and texts.

`python -m features.finetune --items items.csv --image_column photo --text_columns title,description --out mine.safetensors`
starts from a pretrained CLIP; with `--pretrained none` and a small model configuration it trains one from nothing, which
is how the demo's was made.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from features.errors import FeatureError, MMRecError
from features.files import atomic_file
from features.items import Items, read_items
from features.open_clip import LoadedClip, build_open_clip
from features.open_clip_weights import import_open_clip
from features.photos import PhotoError, load_photo

_MAX_LOGIT_SCALE = math.log(100)  # CLIP's own bound (Radford et al. 2021, §2.5)


@dataclass(frozen=True)
class Retrieval:
    """How often a photo finds its own text among H texts.

    Args:
        recall_1: share of photos whose own text is the nearest.
        recall_10: share of photos whose own text is among the ten nearest.
        pairs: H.
    """

    recall_1: float
    recall_10: float
    pairs: int

    def __str__(self) -> str:
        chance_1, chance_10 = min(1, 1 / self.pairs), min(1, 10 / self.pairs)
        return (
            f"recall@1 {self.recall_1:.3f} (chance {chance_1:.3f}), recall@10 {self.recall_10:.3f} "
            f"(chance {chance_10:.3f}), photo to text, {self.pairs:,} pairs"
        )


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
    """Train a CLIP on photo-text pairs with its symmetric contrastive loss (Radford et al. 2021, arXiv:2103.00020).

    AdamW, cosine schedule with linear warm-up, no image augmentation. The same seed on the same machine with the same
    number of threads gives the same weights.

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
        FeatureError: options out of range, too few pairs, a model that cannot be had, a loss that is not finite.
    """
    _check(out, epochs=epochs, batch_size=batch_size, lr=lr, warmup=warmup, holdout=holdout)
    # open_clip draws its first weights from torch's global generator: fork it, so that nobody else's draws move.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        clip = build_open_clip(model, pretrained, device=device)
    photos, texts = _pairs(items)
    usable = _usable(photos)
    order = np.random.default_rng(seed).permutation(usable)
    held, rows = np.split(order, [round(holdout * len(order))])
    if len(held) < 2 or len(rows) < 2:
        raise FeatureError(
            f"{items.path}: {len(order)} of {len(items)} items have both a usable photo and a text; with holdout {holdout} "
            "at least 2 are needed for training and 2 for testing"
        )
    before = _retrieval(clip, photos, texts, held, batch_size, "Testing before")
    losses = _train(clip, photos, texts, rows, epochs, batch_size, lr, weight_decay, warmup, seed)
    _halve(clip.model)  # so that what is tested now is what is written
    after = _retrieval(clip, photos, texts, held, batch_size, "Testing after")
    _save(clip.model, out)
    return Finetuned(out, before, after, losses, len(rows), len(items) - len(usable))


def _check(out: Path, *, epochs: int, batch_size: int, lr: float, warmup: float, holdout: float) -> None:
    if out.suffix != ".safetensors":
        raise FeatureError(f"out is '{out}': expected a name that ends in .safetensors")
    if epochs < 1 or batch_size < 2 or not lr > 0 or not 0 <= warmup < 1 or not 0 < holdout < 1:
        raise FeatureError(
            f"epochs {epochs}, batch_size {batch_size}, lr {lr}, warmup {warmup}, holdout {holdout}: expected epochs from 1, "
            "batch_size from 2, lr above 0, warmup in [0, 1), holdout in (0, 1)"
        )


def _pairs(items: Items) -> tuple[list[Path], list[str]]:
    if items.photos is None or items.texts is None:
        raise FeatureError(
            f"{items.path}: finetuning needs photos and texts: name image_column and text_columns"
        )
    pairs = [
        (p, t) for p, t in zip(items.photos, items.texts, strict=True) if p is not None and t is not None
    ]
    return [photo for photo, _ in pairs], [text for _, text in pairs]


def _usable(photos: Sequence[Path]) -> list[int]:
    def opens(photo: Path) -> bool:
        try:
            load_photo(photo)
        except PhotoError:
            return False
        return True

    with ThreadPoolExecutor() as pool:
        return [row for row, good in enumerate(pool.map(opens, photos)) if good]


def _batches(
    clip: LoadedClip, photos: Sequence[Path], texts: Sequence[str], chunks: Sequence[Sequence[int]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Photos [B, 3, H, W] and tokens [B, L]; the next batch is read while this one is used."""

    def read(row: int) -> Tensor:
        return clip.preprocess(load_photo(photos[row]))

    with ThreadPoolExecutor() as pool:
        ahead = [pool.submit(read, row) for row in chunks[0]] if chunks else []
        for chunk, following in zip(chunks, [*chunks[1:], []], strict=True):
            now, ahead = ahead, [pool.submit(read, row) for row in following]
            images = torch.stack([job.result() for job in now])
            tokens = clip.tokenize([texts[row] for row in chunk])
            yield images.to(clip.device), tokens.to(clip.device)


def _retrieval(
    clip: LoadedClip,
    photos: Sequence[Path],
    texts: Sequence[str],
    held: np.ndarray,
    batch_size: int,
    title: str,
) -> Retrieval:
    chunks = [chunk.tolist() for chunk in np.array_split(held, math.ceil(len(held) / batch_size))]
    seen, read = [], []
    with torch.inference_mode(), _bar() as bar:
        for images, tokens in bar.track(
            _batches(clip, photos, texts, chunks), total=len(chunks), description=title
        ):
            seen.append(clip.model.encode_image(images, normalize=True))
            read.append(clip.model.encode_text(tokens, normalize=True))
    return retrieval(torch.cat(seen), torch.cat(read))


def retrieval(photos: Tensor, texts: Tensor) -> Retrieval:
    """Photo-to-text retrieval; row h of one belongs to row h of the other.

    Args:
        photos: [H, D], rows of length 1.
        texts: [H, D], rows of length 1.
    """
    score = photos @ texts.T
    rank = (score > score.diagonal()[:, None]).sum(dim=1)
    return Retrieval((rank < 1).float().mean().item(), (rank < 10).float().mean().item(), len(score))


def _train(
    clip: LoadedClip,
    photos: Sequence[Path],
    texts: Sequence[str],
    rows: np.ndarray,
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    warmup: float,
    seed: int,
) -> tuple[float, ...]:
    model: Any = clip.model
    loss_of = import_open_clip().ClipLoss()
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6)
    size = min(batch_size, len(rows))
    steps = (
        len(rows) // size
    )  # a short last batch would have fewer wrong answers; its pairs come in other epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step / (epochs * steps), warmup)
    )
    rng = np.random.default_rng([seed, 1])
    means = []
    model.train()
    with _bar() as bar:
        task = bar.add_task("Training CLIP", total=epochs * steps)
        for epoch in range(epochs):
            shuffled = rng.permutation(rows)
            chunks = [shuffled[step * size : (step + 1) * size].tolist() for step in range(steps)]
            total = 0.0
            for step, (images, tokens) in enumerate(_batches(clip, photos, texts, chunks)):
                loss = loss_of(*model(images, tokens))
                if not torch.isfinite(loss):
                    raise FeatureError(
                        f"loss is {loss.item()} in epoch {epoch + 1}, step {step + 1}: lower lr ({lr})"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    model.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)
                total += loss.item()
                bar.update(
                    task,
                    advance=1,
                    description=f"Training CLIP, epoch {epoch + 1}/{epochs}, loss {total / (step + 1):.3f}",
                )
            means.append(total / steps)
    model.eval()
    return tuple(means)


def _rate(done: float, warmup: float) -> float:
    """Factor of the learning rate when the share `done` of all steps is behind us."""
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


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


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True))


def _run(
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
        items, id_column=id_column, image_column=image_column, image_path=image_path, text_columns=columns,
        text_template=text_template,
    )  # fmt: skip
    return finetune(
        table, out, model=model, pretrained=None if pretrained == "none" else pretrained, epochs=epochs,
        batch_size=batch_size, lr=lr, weight_decay=weight_decay, warmup=warmup, holdout=holdout, seed=seed, device=device,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: `python -m features.finetune --items items.csv --out checkpoint.safetensors ...`."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="python -m features.finetune", description=(_run.__doc__ or "").partition("\n")[0]
    )
    parser.add_function_arguments(_run)
    options = parser.parse_args(argv)
    try:
        result = _run(**options.as_dict())
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"trained on {result.trained:,} pairs, {result.left_out:,} items left out")
    print(f"before: {result.before}\nafter:  {result.after}\n{result.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
