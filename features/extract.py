"""Features of a shop's photos and texts, extracted once: `python -m features.extract --help`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from features.base import Encoder
from features.by_name import make_encoders
from features.command_line import run_command
from features.encode import encode_store
from features.errors import FeatureError
from features.items import Items, read_items
from features.loading import pool_size
from features.store import FeatureStore

log = logging.getLogger("features.extract")  # __name__ is __main__ when this file is the program


def extract(
    items: Items,
    encoders: Sequence[Encoder],
    out: Path,
    *,
    dtype: Literal["float32", "float16"] = "float32",
    strict: bool = False,
    workers: int | None = None,
) -> dict[str, FeatureStore]:
    """Encode the items' photos and texts into `<out>/<modality>/`, unless the very same is already there.

    The same means: ids and their order, the content of every photo and text, the encoder's fingerprint and
    `dtype`. Broken photos are listed in the manifest and the log and treated as missing.

    Args:
        items: what to encode.
        encoders: at most one per modality.
        out: folder for the stores.
        dtype: how numbers are kept; float16 halves the disk space.
        strict: stop at the first broken photo instead.
        workers: threads that read photos; one per core, at most 8, if not given.

    Returns:
        Modality -> store.

    Raises:
        FeatureError: nothing to encode, broken photos with `strict`, an encoder that breaks its contract.
        MMRecError: disk full or not writable. Whatever is raised, no half-written store is left.
    """
    seen: set[str] = set()
    for encoder in encoders:
        _check_inputs(items, encoder, seen)
    # all fingerprints first: wrong names and files are noticed here, before anything is encoded
    pairs = [(encoder, encoder.fingerprint()) for encoder in encoders]
    return {
        encoder.modality: encode_store(
            items, encoder, fingerprint, Path(out), dtype=dtype, strict=strict, workers=pool_size(workers)
        )
        for encoder, fingerprint in pairs
    }


def extract_table(
    items: str,
    out: str,
    encoder: str = "ViT-B-32",
    pretrained: str | None = None,
    id_column: str = "item_id",
    image_column: str | None = None,
    image_path: str | None = None,
    image_separator: str | None = None,
    image_archives: str | None = None,
    text_columns: str | None = None,
    text_template: str | None = None,
    duplicate_items: Literal["error", "first"] = "error",
    dtype: Literal["float32", "float16"] = "float32",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    batch_size: int = 64,
    device: str = "auto",
    long_texts: Literal["average", "truncate"] | None = None,
    workers: int | None = None,
    strict: bool = False,
) -> dict[str, FeatureStore]:
    """Turn the photos and texts of a table of items into feature stores, `<out>/image` and `<out>/text`.

    What is already there and unchanged is left alone. CLIP encodes photos, texts or both, whichever columns
    are named; run it twice with the same --out to combine two encoders.

    Args:
        items: Table of items: .csv, .tsv or .parquet with a header.
        out: Folder for the stores.
        encoder: An open_clip name such as ViT-B-32, hf-hub:owner/name, the path of a model configuration
            (.json), demo (the small CLIP of the demo), tfidf (texts only, no weights), or an import path
            pkg.mod.Class of your own.
        pretrained: An open_clip tag or the path of a local checkpoint; laion2b_s34b_b79k if not given.
        id_column: Column of the item ids.
        image_column: Column with each item's photo: a path relative to the table's folder, a pattern such as
            B01_*.jpg, an address (http, https), or bytes (parquet). Several photos of an item are averaged.
        image_path: Instead, one path for all with columns in braces, such as posters/{movie_id}.jpg or
            photos/{item_id}/*.jpg.
        image_separator: What stands between several photos in one cell of image_column, such as |.
        image_archives: Instead, tar archives (WebDataset shards) such as shards/*.tar, relative to the
            table's folder, whose files are named by the item's id.
        text_columns: Columns with texts, separated by commas; they are joined by ". ".
        text_template: Instead, one text for all with columns in braces, such as "{title}, a {genre} film".
        duplicate_items: Whether an id that appears twice is an error, or its first row is kept.
        dtype: Number format of the store; float16 halves its size.
        precision: Arithmetic of CLIP on CUDA; on the CPU it is always fp32.
        batch_size: Photos or texts per step.
        device: auto (CUDA where there is one), cpu, cuda, cuda:1.
        long_texts: What CLIP does with a text longer than its 77 tokens: average its pieces (default), or
            truncate it.
        workers: Threads that read photos; one per core, at most 8, if not given.
        strict: Stop at the first broken photo instead of treating it as missing.

    Returns:
        Modality -> store.
    """
    photos = image_column or image_path or image_archives
    if not (photos or text_columns or text_template):
        raise FeatureError(
            "nothing to encode: name photos (--image_column, --image_path or --image_archives) or texts "
            "(--text_columns)"
        )
    if batch_size < 1 or (workers is not None and workers < 1):
        raise FeatureError(f"batch_size is {batch_size} and workers {workers}: expected whole numbers from 1")
    modalities = [
        name for name, asked in (("image", photos), ("text", text_columns or text_template)) if asked
    ]
    encoders = make_encoders(
        encoder,
        modalities,
        pretrained=pretrained,
        precision=precision,
        batch_size=batch_size,
        device=device,
        long_texts=long_texts,
    )
    table = read_items(
        items,
        id_column=id_column,
        image_column=image_column,
        image_path=image_path,
        image_separator=image_separator,
        image_archives=image_archives,
        text_columns=[name.strip() for name in (text_columns or "").split(",") if name.strip()],
        text_template=text_template,
        duplicate_items=duplicate_items,
        photo_cache=Path(out, ".photos"),
    )
    if table.duplicates:
        log.info("%s: %d rows left out, their id had appeared before", items, table.duplicates)
    return extract(table, encoders, Path(out), dtype=dtype, strict=strict, workers=workers)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("features").setLevel(logging.INFO)
    return run_command(
        extract_table,
        argv,
        program="python -m features.extract",
        description="Features of a shop's photos and texts, extracted once.",
        switches=["--strict"],
    )


def _check_inputs(items: Items, encoder: Encoder, seen: set[str]) -> None:
    name = type(encoder).__name__
    if encoder.modality not in ("image", "text"):
        raise FeatureError(f"encoder {name} is for '{encoder.modality}': a table of items has image and text")
    if encoder.modality in seen:
        raise FeatureError(
            f"two encoders for {encoder.modality}: one store holds one; write the second elsewhere"
        )
    seen.add(encoder.modality)
    if encoder.modality == "image" and items.photos is None:
        raise FeatureError(
            f"encoder {name} needs photos: name them by image_column, image_path or image_archives"
        )
    if encoder.modality == "text" and items.texts is None:
        raise FeatureError(f"encoder {name} needs texts: name them by text_columns or text_template")


if __name__ == "__main__":
    sys.exit(main())
