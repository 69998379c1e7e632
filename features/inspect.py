"""Whether features make sense: `python -m features.inspect STORE`, numbers to read, neighbours to see."""

from __future__ import annotations

import base64
import html
import io
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.base import Float32
from features.command_line import run_command
from features.errors import FeatureError
from features.files import atomic_file
from features.items import Items, read_items
from features.sources import Photo, PhotoError, each
from features.store import FeatureStore, open_stores

log = logging.getLogger("features.inspect")  # __name__ is __main__ when this file is the program

_BLOCK, _SAMPLE = 8192, 1000
_TILE, _LINE = 112, 16  # pixels of a thumbnail, and of a line below it


@dataclass(frozen=True)
class Summary:
    """What can be said of a store in numbers.

    Attributes:
        rows: items N.
        present: items that have a row.
        duplicates: present items whose row another item has, too.
        largest_group: items that share one row, at most.
        norms: smallest, median and largest length of a row.
        alike: mean cosine of two rows; near 1 they hardly tell items apart.
        dimensions: how many directions the variance is spread over, (sum l)^2 / sum l^2 of the covariance's
            eigenvalues l.
    """

    rows: int
    present: int
    duplicates: int
    largest_group: int
    norms: tuple[float, float, float]
    alike: float
    dimensions: float


def summarise(store: FeatureStore) -> Summary:
    """Counts, lengths and spread of a store's rows.

    Raises:
        FeatureError: no row is present.
    """
    rows = np.flatnonzero(store.present)
    if len(rows) == 0:
        raise FeatureError(f"{store.path} has no row with anything in it: there is nothing to look at")
    norms = np.concatenate(
        [np.linalg.norm(np.asarray(store.matrix[part], dtype=np.float64), axis=1) for part in _parts(rows)]
    )
    digests = np.concatenate([_digests(np.asarray(store.matrix[part])) for part in _parts(rows)])
    _, group, size = np.unique(digests, return_inverse=True, return_counts=True)
    some = np.random.default_rng(0).permutation(rows)[:_SAMPLE]
    sample = np.asarray(store.matrix[np.sort(some)], dtype=np.float64)
    unit = sample / np.maximum(np.linalg.norm(sample, axis=1, keepdims=True), 1e-12)
    count = len(unit)
    alike = ((unit.sum(axis=0) ** 2).sum() - count) / max(count * (count - 1), 1)
    centred = sample - sample.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    spread = float(values.sum() ** 2 / max((values**2).sum(), 1e-30))
    lengths = (float(norms.min()), float(np.median(norms)), float(norms.max()))
    duplicates = int((size[group] > 1).sum())
    return Summary(len(store.ids), len(rows), duplicates, int(size.max()), lengths, float(alike), spread)


def neighbours(
    store: FeatureStore, rows: npt.NDArray[np.intp], k: int
) -> tuple[npt.NDArray[np.intp], Float32]:
    """The k other rows of largest cosine for each of a few rows.

    Args:
        store: at least k + 1 of its rows are present, or fewer come back.
        rows: [n], present.
        k: neighbours of each.

    Returns:
        Row numbers [n, k] and cosines [n, k], nearest first.
    """
    present = np.flatnonzero(store.present)
    query = _unit(store, rows)
    best = np.full((len(rows), 0), -np.inf, dtype=np.float32)
    found = np.empty((len(rows), 0), dtype=np.intp)
    for part in _parts(present):
        cosine = query @ _unit(store, part).T
        cosine[rows[:, None] == part[None]] = -np.inf
        best = np.concatenate([best, cosine], axis=1)
        found = np.concatenate([found, np.broadcast_to(part, cosine.shape)], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, found = np.take_along_axis(best, order, 1), np.take_along_axis(found, order, 1)
    kept = int(np.isfinite(best).sum(axis=1).min())
    return found[:, :kept], best[:, :kept]


def inspect_store(
    store: str,
    items: str | None = None,
    id_column: str = "item_id",
    image_column: str | None = None,
    image_path: str | None = None,
    title_column: str | None = None,
    out: str | None = None,
    count: int = 8,
    k: int = 6,
    seed: int = 0,
) -> list[tuple[FeatureStore, Summary]]:
    """Look at feature stores: manifest, coverage, duplicates, lengths, and the neighbours of a few items.

    Args:
        store: Folder of one store or of several, or features in MMRec's layout.
        items: Item table, for titles and photos on the contact sheet.
        id_column: Column of the item ids.
        image_column: Column of the photos, as in features.extract.
        image_path: Instead, one path for all with columns in braces.
        title_column: Column with names to show.
        out: Folder for the contact sheets, <modality>.png and <modality>.html; the store's if not given.
        count: Items on the sheet, drawn at random.
        k: Neighbours of each.
        seed: Seed of the draw.

    Returns:
        Each store with its summary.
    """
    if count < 1 or k < 1:
        raise FeatureError(f"count is {count} and k {k}: expected whole numbers from 1")
    table = None
    if items is not None:
        table = read_items(
            items,
            id_column=id_column,
            image_column=image_column,
            image_path=image_path,
            title_column=title_column,
            duplicate_items="first",
        )
    results = []
    for one in open_stores(store).values():
        summary = summarise(one)
        results.append((one, summary))
        draw = np.random.default_rng(seed)
        rows = np.sort(draw.permutation(np.flatnonzero(one.present))[:count])
        near, cosines = neighbours(one, rows, k)
        sheet = _Sheet(one, table, rows, near, cosines)
        parent = one.path if one.path.is_dir() else one.path.parent
        folder = Path(out) if out is not None else parent.parent if one.path.is_dir() else parent
        sheet.write(folder)
        log.info("%s: contact sheets in %s", one.modality, folder / f"{one.modality}.html")
    return results


class _Sheet:
    """A line of thumbnails per item: itself, then its neighbours with their cosines."""

    def __init__(
        self,
        store: FeatureStore,
        items: Items | None,
        rows: npt.NDArray[np.intp],
        near: npt.NDArray[np.intp],
        cosines: Float32,
    ) -> None:
        self.store, self.items = store, items
        self.lines = [
            [(int(row), ""), *((int(other), f"{cosine:.2f}") for other, cosine in zip(*found, strict=True))]
            for row, *found in zip(rows, near, cosines, strict=True)
        ]
        self.at: Mapping[str, int] = {}
        if items is not None:
            self.at = {name: row for row, name in enumerate(items.ids.tolist())}
        self.thumbnails = {row: self._thumbnail(row) for line in self.lines for row, _ in line}

    def name(self, row: int) -> str:
        """Title or id of an item."""
        name = str(self.store.ids[row])
        titles = self.items.titles if self.items is not None else None
        return titles[self.at[name]] if titles is not None and name in self.at else name

    def _thumbnail(self, row: int) -> Any:
        """A small picture of the item's first photo that opens, or None."""
        from PIL import Image

        from features.photos import load_photo

        at = self.at.get(str(self.store.ids[row]))
        photos: tuple[Photo, ...] = ()
        if at is not None and self.items is not None and self.items.photos is not None:
            photos = each(self.items.photos[at])
        for photo in photos:
            try:
                image = load_photo(photo)
            except PhotoError:
                continue
            image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
            return image
        return None

    def write(self, folder: Path) -> None:
        """<modality>.png and <modality>.html."""
        folder.mkdir(parents=True, exist_ok=True)
        name = self.store.modality
        with atomic_file(folder / f"{name}.png") as path:
            self._png().save(path, "png")
        with atomic_file(folder / f"{name}.html") as path:
            path.write_text(self._html(), encoding="utf-8")

    def _png(self) -> Any:
        from PIL import Image, ImageDraw

        width = max(len(line) for line in self.lines) * (_TILE + 8) + 16
        height = len(self.lines) * (_TILE + 2 * _LINE + 10) + 8
        sheet = Image.new("RGB", (width, height), "white")
        draw = ImageDraw.Draw(sheet)
        for number, line in enumerate(self.lines):
            top = 8 + number * (_TILE + 2 * _LINE + 10)
            for place, (row, cosine) in enumerate(line):
                left = 8 + place * (_TILE + 8) + (8 if place else 0)
                picture = self.thumbnails[row]
                if picture is not None:
                    sheet.paste(picture, (left + (_TILE - picture.width) // 2, top))
                else:
                    draw.rectangle((left, top, left + _TILE, top + _TILE), outline="#cccccc")
                draw.text((left, top + _TILE + 2), _short(draw, self.name(row)), fill="black")
                draw.text((left, top + _TILE + _LINE), cosine or "item", fill="#666666")
        return sheet

    def _html(self) -> str:
        def cell(row: int, cosine: str) -> str:
            picture, name = self.thumbnails[row], html.escape(self.name(row))
            shown = '<div class="none">no photo</div>'
            if picture is not None:
                stream = io.BytesIO()
                picture.save(stream, "jpeg", quality=85)
                data = base64.b64encode(stream.getvalue()).decode()
                shown = f'<img alt="" src="data:image/jpeg;base64,{data}">'
            number = html.escape(str(self.store.ids[row]))
            return f'<td title="{number}">{shown}<p>{name}</p><small>{cosine or number}</small></td>'

        lines = ["<tr>" + "".join(cell(*one) for one in line) + "</tr>" for line in self.lines]
        title = f"{html.escape(self.store.modality)}: nearest neighbours"
        return _PAGE.format(title=title, lines="\n".join(lines))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px sans-serif; margin: 1.5em; color: #222 }}
td {{ width: 120px; vertical-align: top; padding: 6px; text-align: center }}
td:first-child {{ border-right: 2px solid #888 }}
img, .none {{ max-width: 112px; max-height: 112px }}
.none {{ height: 60px; color: #999; padding-top: 40px; border: 1px dashed #ccc }}
p {{ margin: 4px 0 0; overflow-wrap: anywhere }}
small {{ color: #666 }}
</style>
<h1>{title}</h1>
<p>Left the item, then the items of largest cosine, nearest first.</p>
<table>
{lines}
</table>
</html>
"""


def _short(draw: Any, text: str) -> str:
    while len(text) > 1 and draw.textlength(text) > _TILE:
        text = text[:-2].rstrip() + "…"
    return text


def _parts(rows: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    return [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]


def _unit(store: FeatureStore, rows: npt.NDArray[np.intp]) -> Float32:
    block = np.asarray(store.matrix[rows], dtype=np.float32)
    return np.asarray(block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12))


def _digests(block: npt.NDArray[Any]) -> npt.NDArray[np.void]:
    """16 bytes per row, the same for the same numbers: two sums of the bits with odd random weights."""
    bits = np.ascontiguousarray(block).view(np.uint8).reshape(len(block), -1).astype(np.uint64)
    weights = np.random.default_rng(1).integers(1, 2**62, (bits.shape[1], 2), dtype=np.uint64) | np.uint64(1)
    return np.ascontiguousarray(bits @ weights).view("V16").ravel()


def show(results: Sequence[tuple[FeatureStore, Summary]]) -> None:
    """Print what was found."""
    from rich.console import Console
    from rich.table import Table

    for store, summary in results:
        table = Table(title=f"{store.modality}: {store.path}", title_justify="left", show_header=False)
        missing = summary.rows - summary.present
        low, middle, high = summary.norms
        manifest = store.manifest
        told = ("encoder", "model", "pretrained", "imported", "combine", "reduce", "width")
        encoder = {key: value for key, value in manifest.get("encoder", {}).items() if key in told}
        lines = {
            "encoder": ", ".join(f"{key} {value}" for key, value in encoder.items()) or "not known",
            "rows": f"{summary.rows:,} of {store.dim} numbers, {store.matrix.dtype}",
            "present": f"{summary.present:,} ({summary.present / summary.rows:.1%}); {missing:,} missing",
            "broken": f"{len(manifest.get('broken', [])):,} photos",
            "duplicates": f"{summary.duplicates:,} items share a row, up to {summary.largest_group:,} one",
            "length of a row": f"{low:.3g} to {high:.3g}, median {middle:.3g}",
            "mean cosine of two rows": f"{summary.alike:.3f}",
            "effective dimensions": f"{summary.dimensions:.1f}",
        }
        for name, value in lines.items():
            table.add_row(name, value)
        Console().print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(
        inspect_store,
        argv,
        program="python -m features.inspect",
        description="Whether features make sense: numbers, and neighbours of a few items to look at.",
        show=show,
        positional=True,
    )


if __name__ == "__main__":
    sys.exit(main())
