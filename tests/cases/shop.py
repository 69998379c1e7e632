"""A tiny shop on disk, for tests that go through files: blocks of users who click their block's items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from PIL import Image

from features.base import Encoder

# A run on it, from the folder above, that takes a moment.
SMALL_RUN = """
root: shop
data: {interactions: clicks.csv, split: labels}
items: {path: items.csv, text_columns: [title, description], title_column: title}
features: {encoders: [{class_path: TfidfText, init_args: {dim: 8, min_df: 1}}]}
model: FREEDOM
graph: {k: 3}
train: {epochs: 1, device: cpu}
"""
WORDS = ("red round lamp", "blue square vase", "green soft rug")


@dataclass
class Shop:
    """A shop's tables.

    Attributes:
        folder: holds clicks.csv, items.csv, photos/ and mmrec_layout/.
        block: item id -> its block.
        user_block: user id -> the user's block.
        label: (user, item) -> 0 train, 1 valid, 2 test.
        cold_user: the user without a training click.
        cold_item: the item that only the test knows.
        never: items nobody clicked.
    """

    folder: Path
    block: dict[str, int] = field(default_factory=dict)
    user_block: dict[str, int] = field(default_factory=dict)
    label: dict[tuple[str, str], int] = field(default_factory=dict)
    cold_user: str = "nobody-yet"
    cold_item: str = ""
    never: list[str] = field(default_factory=list)

    def pairs(self, *labels: int) -> set[tuple[str, str]]:
        return {pair for pair, label in self.label.items() if label in labels}


def make_shop(folder: Path, *, blocks: int = 3, users: int = 8, items: int = 8) -> Shop:
    """Write the shop; ids are as odd as users' ids are, and row order is shuffled."""
    shop = Shop(folder)
    draw = np.random.default_rng(0)
    for block in range(blocks):
        names = [f"{block}{number:02}" if number % 2 else f"ü-{block}, {number}" for number in range(items)]
        shop.block |= dict.fromkeys(names, block)
        shop.never.append(names[-1])
        known = names[:-2]  # the last but one is for the test alone, the last for nobody
        for number in range(users):
            user = f"{block}{number:02}" if number % 2 else f"Zoë {block}/{number}"
            shop.user_block[user] = block
            for place, item in enumerate(np.roll(known, number).tolist()):
                shop.label[user, item] = {0: 1, 1: 2}.get(place, 0)
        shop.cold_item = names[-2]
        shop.label[user, names[-2]] = 2
    shop.user_block[shop.cold_user] = 0
    shop.label[shop.cold_user, next(iter(shop.block))] = 1
    shop.label[shop.cold_user, list(shop.block)[1]] = 2
    _write(shop, draw)
    return shop


def _write(shop: Shop, draw: np.random.Generator) -> None:
    (shop.folder / "photos").mkdir(parents=True)
    pairs = [list(shop.label)[place] for place in draw.permutation(len(shop.label))]
    clicks = {
        "user_id": [user for user, _ in pairs],
        "item_id": [item for _, item in pairs],
        "rating": [5] * len(pairs),
        "timestamp": list(range(len(pairs))),
        "x_label": [shop.label[pair] for pair in pairs],
    }
    pl.DataFrame(clicks).write_csv(shop.folder / "clicks.csv")
    names = [list(shop.block)[place] for place in draw.permutation(len(shop.block))]
    for place, name in enumerate(names):
        colour = np.eye(3, dtype=np.uint8)[shop.block[name] % 3] * 200 + 20
        pixels = np.tile(colour, (24, 24, 1)) + draw.integers(0, 20, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(shop.folder / "photos" / f"{place}.jpg")
    items = {
        "item_id": names,
        "title": [f"Thing {name}" for name in names],
        "description": [f"{WORDS[shop.block[name] % 3]} number {len(name)}" for name in names],
        "photo": [f"photos/{place}.jpg" for place in range(len(names))],
    }
    pl.DataFrame(items).write_csv(shop.folder / "items.csv")


def write_mmrec_layout(folder: Path, features: dict[str, np.ndarray]) -> Path:
    """`<modality>_feat.npy` files, row n for the item with the id n."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, matrix in features.items():
        np.save(folder / f"{name}_feat.npy", matrix.astype(np.float32))
    return folder


class MeanColour(Encoder):
    """A photo as its three mean colours: an image encoder without weights."""

    modality: ClassVar[str] = "image"
    dim = 3

    def fingerprint(self) -> dict[str, str]:
        return {"encoder": "mean colour"}

    def encode(self, inputs: Sequence[Any]) -> np.ndarray:
        rows = [np.asarray(photo, dtype=np.float32).reshape(-1, 3).mean(axis=0) for photo in inputs]
        return np.stack(rows) if rows else np.empty((0, 3), dtype=np.float32)


def listing(folder: Path) -> dict[str, int]:
    """When each file below was last changed, hidden ones too; finished caches are left out."""
    paths = [path for path in folder.rglob("*") if path.relative_to(folder).parts[0] != "cache"]
    return {str(path): path.stat().st_mtime_ns if path.is_file() else 0 for path in paths}


def unfinished(folder: Path) -> list[Path]:
    """What is written under a temporary name, caches and journals of extraction too."""
    return [path for path in folder.rglob(".*") if ".tmp" in path.name or path.suffix == ".journal"]


def one_line(error: str) -> str:
    """The error: the last line, and the only one of its kind; what was logged before stands above it."""
    *logged, line = error.splitlines()
    assert line.startswith("error: ")
    assert not [other for other in logged if other.startswith(("error", "Traceback", " "))]
    return line
