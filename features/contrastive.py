"""CLIP's contrastive loss in a training loop, and how well photos find their texts."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from features.errors import FeatureError
from features.loading import load_all, pool_size
from features.open_clip import LoadedClip
from features.open_clip_weights import import_open_clip
from features.progress import progress_bar
from features.sources import Photo, PhotoError

log = logging.getLogger("features.finetune")
Rows = npt.NDArray[np.int64]

_MAX_LOGIT_SCALE = math.log(100)  # CLIP's own bound (Radford et al. 2021, section 2.5)


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


def measure(
    clip: LoadedClip, photos: Sequence[Photo], texts: Sequence[str], held: Rows, size: int, title: str
) -> Retrieval:
    """Photo-to-text retrieval of a model on held-out pairs.

    Args:
        clip: the model.
        photos: of N pairs.
        texts: of N pairs.
        held: [H] positions of the pairs to test on.
        size: pairs per step.
        title: of the progress bar.
    """
    model: Any = clip.model
    seen, read = [], []
    with torch.inference_mode():
        for images, tokens in _batches(clip, photos, texts, held, size, title):
            seen.append(model.encode_image(images, normalize=True))
            read.append(model.encode_text(tokens, normalize=True))
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


def train_clip(
    clip: LoadedClip,
    photos: Sequence[Photo],
    texts: Sequence[str],
    rows: Rows,
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    warmup: float,
    seed: int,
) -> tuple[float, ...]:
    """Train a CLIP in place: AdamW, linear warm-up, cosine schedule. Returns each epoch's mean loss.

    Args:
        clip: the model.
        photos: of N pairs.
        texts: of N pairs.
        rows: [T] positions of the pairs to train on.
        epochs: passes over them.
        batch_size: pairs per step.
        lr: highest learning rate.
        weight_decay: of matrices; gains, biases and the temperature are not decayed.
        warmup: share of the steps in which the learning rate rises.
        seed: decides the order.

    Raises:
        FeatureError: a loss that is not finite.
    """
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
    for epoch in range(1, epochs + 1):
        shuffled, total = rng.permutation(rows)[: steps * size], 0.0
        for images, tokens in _batches(clip, photos, texts, shuffled, size, f"Epoch {epoch}/{epochs}"):
            loss = loss_of(*model(images, tokens))
            if not torch.isfinite(loss):
                raise FeatureError(f"loss is {loss.item()} in epoch {epoch}: lower lr (it is {lr})")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)
            total += loss.item()
        means.append(total / steps)
        log.info("epoch %d of %d: loss %.4f", epoch, epochs, means[-1])
    model.eval()
    return tuple(means)


def _rate(done: float, warmup: float) -> float:
    """Factor of the learning rate when the share `done` of all steps is behind us."""
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def _batches(
    clip: LoadedClip, photos: Sequence[Photo], texts: Sequence[str], rows: Rows, size: int, title: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Photos [B, 3, H, W] and tokens [B, L]; threads read the next photos while a batch is used."""
    threads = pool_size(None)
    stream = load_all([photos[row] for row in rows], clip.preprocess, threads, 2 * size)
    with progress_bar(title, len(rows)) as advance:
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size].tolist()
            images = list(itertools.islice(stream, len(chunk)))
            if any(isinstance(image, PhotoError) for image in images):
                raise FeatureError(
                    "a photo that could be read before cannot be read now: leave the files alone meanwhile"
                )
            tokens = clip.tokenize([texts[row] for row in chunk], context_length=clip.context_length)
            yield torch.stack(images).to(clip.device), tokens.to(clip.device)
            advance(len(chunk))
