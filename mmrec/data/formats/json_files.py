"""Layouts of JSON files: Amazon reviews (2014, 2018, 2023), LATTICE and MMSSL; and PyG's HeteroData."""

from __future__ import annotations

import ast
import gzip
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mmrec.data.formats.base import BadRows, Exchange
from mmrec.errors import DataError

_CHUNK = 100_000  # lines turned into a table at a time
_MAX_LINE = 4 * 2**20
_REVIEW = {  # the names of 2014 and 2018, then of 2023
    "user": ("reviewerID", "user_id"),
    "item": ("asin", "parent_asin"),
    "rating": ("overall", "rating"),
    "time": ("unixReviewTime", "timestamp"),
}
_PHOTOS = ("hi_res", "large", "thumb")


def read_amazon(folder: Path, bad: BadRows) -> Exchange:
    """Amazon reviews and meta data: `reviews_*` or `*.jsonl`, and `meta_*`; gzipped or not.

    A line is JSON, or a Python literal as in 2014. Times are in seconds; those of 2023 are divided by 1,000.
    An item of 2023 goes by its parent_asin, as the meta data do.
    """
    files = sorted(
        path for path in folder.iterdir() if path.suffixes[-1:] in ([".gz"], [".json"], [".jsonl"])
    )
    meta = [path for path in files if path.name.startswith("meta_")]
    reviews = [path for path in files if path not in meta]
    if not reviews:
        raise DataError(f"{folder} has no reviews: expected reviews_*.json.gz, *.json or *.jsonl, and meta_*")
    clicks = _gathered((row for path in reviews for row in _reviews(path, bad)), _CLICKS)
    if clicks.head(1).collect().is_empty():
        raise DataError(f"{folder}: no review can be used; the first problems: {list(bad.count)[:3]}")
    items = _gathered((row for path in meta for row in _meta(path, bad)), _ITEMS) if meta else None
    return Exchange(clicks, items)


_CLICKS = {"user": pl.String, "item": pl.String, "rating": pl.Float64, "time": pl.Float64}
_ITEMS = {
    name: pl.String for name in ("item_id", "title", "description", "brand", "categories", "price", "photo")
}


def _lines(path: Path, bad: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered objects of a file with one in each line."""
    wrong: dict[str, list[tuple[int, str]]] = {}
    count: dict[str, int] = {}
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as stream:
            for number in range(1, 2**62):
                line = stream.readline(_MAX_LINE)
                if not line:
                    break
                found = _parsed(line)
                if isinstance(found, dict):
                    yield number, found
                elif line.strip():
                    kind = "the line is no object" if found is None else found
                    count[kind] = count.get(kind, 0) + 1
                    if count[kind] <= 10:
                        wrong.setdefault(kind, []).append(
                            (number, line[:80].decode(errors="replace").strip())
                        )
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read to its end ({error}); fetch it again") from error
    for kind, lines in wrong.items():
        bad.add(path, kind, count[kind], lines)


def _parsed(line: bytes) -> dict[str, Any] | str | None:
    text = line.decode("utf-8", errors="replace").strip()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return "the line is neither JSON nor a Python literal"
    return found if isinstance(found, dict) else None


def _reviews(path: Path, bad: BadRows) -> Iterator[dict[str, Any]]:
    lacking: dict[str, list[tuple[int, str]]] = {}
    count: dict[str, int] = {}
    for number, row in _lines(path, bad):
        found = {
            role: next((row[name] for name in names if name in row), None) for role, names in _REVIEW.items()
        }
        if "parent_asin" in row:
            found["item"] = row["parent_asin"]
        wrong = next((f"no {role}" for role in ("user", "item") if not isinstance(found[role], str)), None)
        for role in ("rating", "time"):
            if isinstance(found[role], bool) or not isinstance(found[role], int | float):
                wrong = wrong or f"the {role} is not a number"
        if wrong is not None:
            count[wrong] = count.get(wrong, 0) + 1
            if count[wrong] <= 10:
                lacking.setdefault(wrong, []).append((number, str(row)[:80]))
            continue
        if "timestamp" in row:
            found["time"] = row["timestamp"] / 1000
        yield found
    for kind, lines in lacking.items():
        bad.add(path, kind, count[kind], lines)


def _meta(path: Path, bad: BadRows) -> Iterator[dict[str, Any]]:
    lacking: list[tuple[int, str]] = []
    count = 0
    for number, row in _lines(path, bad):
        name = row.get("parent_asin") or row.get("asin")
        if not isinstance(name, str):
            count += 1
            lacking.append((number, str(row)[:80])) if count <= 10 else None
            continue
        yield {
            "item_id": name,
            "title": _text(row.get("title")),
            "description": _text(row.get("description")),
            "brand": _text(row.get("brand") or row.get("store")),
            "categories": _text(row.get("categories") or row.get("category")),
            "price": _text(row.get("price")),
            "photo": _photo(row),
        }
    bad.add(path, "no item", count, lacking)


def _text(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        parts = [part for one in value if (part := _text(one))]
        return " ".join(dict.fromkeys(parts)) or None
    return " ".join(str(value).split()) or None if isinstance(value, str | int | float) else None


def _photo(row: Mapping[str, Any]) -> str | None:
    """The address of the first photo: `imUrl` (2014), `imageURLHighRes` (2018), `images` (2023)."""
    for name in ("imUrl", "imageURLHighRes", "imageURL", "images"):
        value = row.get(name)
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, dict):
            value = next((value[size] for size in _PHOTOS if value.get(size)), None)
        if isinstance(value, str) and value.startswith("http"):
            return value
    return None


def _gathered(rows: Iterator[dict[str, Any]], schema: Mapping[str, Any]) -> pl.LazyFrame:
    """Rows as a table on disk, in parts, so that memory stays bounded."""
    folder = tempfile.TemporaryDirectory(prefix="mmrec-convert-")
    _kept.append(folder)
    part: list[dict[str, Any]] = []
    count = 0

    def write() -> None:
        nonlocal count
        pl.DataFrame(part, schema=schema).write_parquet(Path(folder.name, f"{count:06}.parquet"))
        part.clear()
        count += 1

    for row in rows:
        part.append(row)
        if len(part) == _CHUNK:
            write()
    if part or count == 0:
        write()
    return pl.scan_parquet(Path(folder.name, "*.parquet"))


_kept: list[tempfile.TemporaryDirectory[str]] = []  # removed when the program ends


def read_lattice(folder: Path, bad: BadRows) -> Exchange:
    """LATTICE and MMSSL: train.json, val.json, test.json of lists of items by user; also within `5-core/`."""
    place = folder / "5-core" if (folder / "5-core").is_dir() else folder
    frames = []
    for number, name in enumerate(("train", "val", "test")):
        path = place / f"{name}.json"
        if not path.is_file():
            raise DataError(f"{place} has no {name}.json: expected train.json, val.json and test.json")
        try:
            lists = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: is no JSON ({str(error)[:80]}); fetch it again") from error
        if not isinstance(lists, dict):
            raise DataError(f"{path}: holds {type(lists).__name__}, expected lists of items by user")
        wrong = [
            (0, f"{user}: {str(items)[:60]}") for user, items in lists.items() if not isinstance(items, list)
        ]
        bad.add(path, "the user's items are no list", len(wrong), wrong)
        pairs = [
            (str(user), str(item))
            for user, items in lists.items()
            if isinstance(items, list)
            for item in items
        ]
        frame = pl.DataFrame(pairs, schema={"user": pl.String, "item": pl.String}, orient="row")
        frames.append(frame.with_columns(label=pl.lit(number, dtype=pl.Int8)))
    clicks = pl.concat(frames)
    if clicks.is_empty():
        raise DataError(f"{place}: no user has an item")
    return Exchange(clicks.lazy())


def write_lattice(data: Exchange, folder: Path) -> None:
    """LATTICE and MMSSL: `5-core/train.json` and so on.

    Raises:
        DataError: without split labels.
    """
    if "label" not in data.clicks.collect_schema().names():
        raise DataError("this layout needs split labels and the data have none; set --split")
    place = folder / "5-core"
    place.mkdir()
    for number, name in enumerate(("train", "val", "test")):
        part = data.clicks.filter(pl.col("label") == number).group_by("user", maintain_order=True).agg("item")
        lists = {user: items for user, items in part.collect().iter_rows()}
        (place / f"{name}.json").write_text(json.dumps(lists), encoding="utf-8")


def write_pyg(data: Exchange, folder: Path) -> None:
    """PyG: `hetero.pt`, the dictionary of a HeteroData, with `ids.json`; read back with weights_only.

    `HeteroData.from_dict(torch.load("hetero.pt", weights_only=True))` gives the graph: nodes user and item,
    edges (user, clicks, item) with `label`, `rating` and `time` where the data have them, `x_<modality>`.
    """
    import torch

    clicks = data.clicks.collect(engine="streaming")
    ids = {role: sorted(clicks[role].unique().to_list()) for role in ("user", "item")}
    numbered = {
        role: clicks[role].replace_strict({name: at for at, name in enumerate(names)}, return_dtype=pl.Int64)
        for role, names in ids.items()
    }
    index = np.stack([numbered["user"].to_numpy(), numbered["item"].to_numpy()])
    edges = {"edge_index": torch.from_numpy(index.copy())}
    for name in ("label", "rating", "time"):
        if name in clicks.columns:
            edges[name] = torch.from_numpy(clicks[name].to_numpy().copy())
    nodes = {role: {"num_nodes": len(names)} for role, names in ids.items()}
    features = {
        f"x_{name}": torch.from_numpy(store.join(ids["item"])[0]) for name, store in data.features.items()
    }
    content = {"user": nodes["user"], "item": nodes["item"] | features, ("user", "clicks", "item"): edges}
    torch.save(content, folder / "hetero.pt")
    (folder / "ids.json").write_text(json.dumps(ids), encoding="utf-8")


def read_pyg(folder: Path, bad: BadRows) -> Exchange:
    """What `write_pyg` writes; without ids.json nodes go by their numbers."""
    import torch

    path = folder / "hetero.pt"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        edges = next(value for key, value in content.items() if isinstance(key, tuple) and key[2] == "item")
        index = edges["edge_index"]
        ids = {
            role: [str(at) for at in range(int(index[row].max()) + 1)]
            for row, role in enumerate(("user", "item"))
        }
        if (folder / "ids.json").is_file():
            ids = json.loads((folder / "ids.json").read_bytes())
        columns: dict[str, Any] = {
            role: [ids[role][at] for at in index[row].tolist()] for row, role in enumerate(("user", "item"))
        }
    except Exception as error:  # whatever a file of another kind brings
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path}: is no dictionary of a HeteroData with clicks ({reason})") from error
    for name, kind in (("rating", pl.Float64), ("time", pl.Float64), ("label", pl.Int8)):
        if name in edges:
            columns[name] = pl.Series(edges[name].numpy()).cast(kind)
    return Exchange(pl.DataFrame(columns).lazy())


READERS: Mapping[str, Callable[[Path, BadRows], Exchange]] = {
    "amazon": read_amazon,
    "lattice": read_lattice,
    "pyg": read_pyg,
}
WRITERS: Mapping[str, Callable[[Exchange, Path], None]] = {"lattice": write_lattice, "pyg": write_pyg}
