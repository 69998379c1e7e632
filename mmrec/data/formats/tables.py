"""Layouts of delimited tables: our own, MMRec, RecBole, Elliot, MovieLens, MicroLens, X-Wines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from features.store import open_stores
from mmrec.data.columns import find_column
from mmrec.data.formats.base import LABELS, BadRows, Exchange, checked
from mmrec.errors import DataError


def scan(path: Path, separator: str, names: Sequence[str] | None = None, quote: bool = True) -> pl.LazyFrame:
    """A table of text, read when it is needed.

    Args:
        path: the file; may be gzipped.
        separator: between two cells.
        names: of the columns, where the first line does not say them.
        quote: whether cells may be quoted.

    Raises:
        DataError: no such file, or nothing in it.
    """
    try:
        if not path.is_file() or path.stat().st_size == 0:
            raise DataError(f"{path}: no such file, or an empty one")
        return pl.scan_csv(
            path,
            separator=separator,
            has_header=names is None,
            new_columns=list(names) if names is not None else None,
            infer_schema=False,
            quote_char='"' if quote else None,
            truncate_ragged_lines=True,
            encoding="utf8-lossy",
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as a table ({' '.join(str(error).split())[:120]})"
        ) from error


def clicks_of(path: Path, table: pl.LazyFrame, bad: BadRows, *, first_line: int = 2) -> pl.LazyFrame:
    """Clicks of a table whose columns have their usual names, see `read_interactions`."""
    names = table.collect_schema().names()
    chosen = {
        role: find_column(path, names, role, None) for role in ("user", "item", "rating", "time", "label")
    }
    columns = [
        pl.col(names[at]).str.strip_chars().alias(role) for role, at in chosen.items() if at is not None
    ]
    numbers = {role: f"the {role}" for role in ("rating", "time", "label") if chosen[role] is not None}
    found = table.select(columns)
    if chosen["label"] is not None:
        words = {word: str(number) for number, word in enumerate(LABELS)}
        found = found.with_columns(pl.col("label").str.to_lowercase().replace(words))
    if chosen["time"] is not None and _has_dates(found):
        date = pl.col("time").str.to_datetime(strict=False).dt.epoch("s").cast(pl.String)
        found = found.with_columns(pl.coalesce(pl.when(pl.col("time").str.contains("-")).then(date), "time"))
    kept = checked(found, path, bad, first_line=first_line, numbers=numbers)
    return kept.with_columns(pl.col("label").cast(pl.Int8)) if chosen["label"] is not None else kept


def _has_dates(table: pl.LazyFrame) -> bool:
    """Whether times are dates; looking at some of them spares reading millions of numbers as dates."""
    return bool(table.head(1000).select(pl.col("time").str.contains("-").any()).collect().item())


def read_own(folder: Path, bad: BadRows) -> Exchange:
    """Our layout: clicks and items as .parquet, .csv or .tsv, features in stores."""
    clicks, items = _table(folder, "clicks"), _table(folder, "items")
    if clicks is None:
        raise DataError(f"{folder} has no clicks.parquet, .csv or .tsv")
    table = pl.scan_parquet(clicks) if clicks.suffix == ".parquet" else scan(clicks, _separator(clicks))
    found = clicks_of(clicks, table.with_columns(pl.all().cast(pl.String)), bad)
    rows = None
    if items is not None:
        rows = pl.scan_parquet(items) if items.suffix == ".parquet" else scan(items, _separator(items))
    stores = folder / "features"
    return Exchange(found, rows, open_stores(stores) if stores.is_dir() else {})


def read_mmrec(folder: Path, bad: BadRows) -> Exchange:
    """MMRec: one .inter with `x_label`, and `*_feat.npy` whose row n is item n."""
    path = _only(folder, "*.inter")
    stores = open_stores(folder) if any(folder.glob("*_feat.npy")) else {}
    return Exchange(clicks_of(path, scan(path, "\t", quote=False), bad), None, stores)


def read_recbole(folder: Path, bad: BadRows) -> Exchange:
    """RecBole's atomic files: `name:type` headers, tabs; .inter, or one of it per split, and .item."""
    parts = {label: sorted(folder.glob(f"*.{label}.inter")) for label in LABELS}
    if any(parts.values()):
        frames = [
            clicks_of(files[0], scan(files[0], "\t", quote=False), bad).with_columns(
                label=pl.lit(number, dtype=pl.Int8)
            )
            for number, files in enumerate(parts.values())
            if files
        ]
        clicks = pl.concat(frames, how="diagonal")
    else:
        path = _only(folder, "*.inter")
        clicks = clicks_of(path, scan(path, "\t", quote=False), bad)
    items = sorted(folder.glob("*.item"))
    rows = None
    if items:
        table = scan(items[0], "\t", quote=False)
        rows = table.rename({name: name.partition(":")[0] for name in table.collect_schema().names()})
    return Exchange(clicks, rows)


def read_elliot(folder: Path, bad: BadRows) -> Exchange:
    """Elliot: train.tsv, val.tsv, test.tsv without header: user, item, and maybe rating and time."""
    frames = []
    for number, names in enumerate((("train",), ("val", "valid", "validation"), ("test",))):
        path = next((folder / f"{name}.tsv" for name in names if (folder / f"{name}.tsv").is_file()), None)
        if path is None:
            continue
        with path.open(encoding="utf-8", errors="replace") as stream:
            width = len(stream.readline().split("\t"))
        columns = ["user", "item", "rating", "time"][: max(2, min(width, 4))]
        part = clicks_of(path, scan(path, "\t", columns, quote=False), bad, first_line=1)
        frames.append(part.with_columns(label=pl.lit(number, dtype=pl.Int8)))
    if not frames:
        raise DataError(f"{folder} has no train.tsv: expected Elliot's train.tsv, val.tsv and test.tsv")
    return Exchange(pl.concat(frames, how="diagonal"))


def read_movielens(folder: Path, bad: BadRows) -> Exchange:
    """MovieLens 100k (u.data, u.item), 1M and 10M (ratings.dat, movies.dat), later ones (ratings.csv)."""
    names = ("user", "item", "rating", "time")
    if (path := folder / "u.data").is_file():
        clicks = clicks_of(path, scan(path, "\t", names), bad, first_line=1)
        items = _split_lines(folder / "u.item", "|", ("item_id", "title"))
    elif (path := folder / "ratings.dat").is_file():
        whole = scan(path, "\x1f", ("line",), quote=False).select(pl.col("line").str.split("::"))
        parts = [pl.col("line").list.get(at, null_on_oob=True).alias(name) for at, name in enumerate(names)]
        clicks = clicks_of(path, whole.select(parts), bad, first_line=1)
        items = _split_lines(folder / "movies.dat", "::", ("item_id", "title", "genres"))
    else:
        path = folder / "ratings.csv"
        clicks = clicks_of(path, scan(path, ","), bad)
        movies = folder / "movies.csv"
        items = scan(movies, ",").rename({"movieId": "item_id"}) if movies.is_file() else None
    return Exchange(clicks, items)


def read_microlens(folder: Path, bad: BadRows) -> Exchange:
    """MicroLens: `*_pairs.csv` (user, item, timestamp), `*_titles.csv` and a folder of covers."""
    path = _only(folder, "*_pairs.csv")
    titles = sorted(folder.glob("*_titles.csv"))
    items = None
    if titles:
        table = scan(titles[0], ",")
        first, *rest = table.collect_schema().names()
        items = table.rename({first: "item_id", **({rest[0]: "title"} if rest else {})})
    covers = sorted(path for path in folder.glob("*covers*") if path.is_dir())
    return Exchange(clicks_of(path, scan(path, ","), bad), items, {}, covers[0] if covers else None)


def read_x_wines(folder: Path, bad: BadRows) -> Exchange:
    """X-Wines: ratings, wines, and label photos named by WineID."""
    path, wines = _only(folder, "XWines_*_ratings.csv"), _only(folder, "XWines_*_wines.csv")
    table = scan(path, ",").select(user="UserID", item="WineID", rating="Rating", time="Date")
    photos = folder / "images"
    items = scan(wines, ",").rename({"WineID": "item_id", "WineName": "title"})
    return Exchange(clicks_of(path, table, bad), items, {}, photos if photos.is_dir() else None)


def write_own(data: Exchange, folder: Path) -> None:
    """Our layout: clicks.parquet, items.parquet."""
    data.clicks.sink_parquet(folder / "clicks.parquet")
    if data.items is not None:
        data.items.sink_parquet(folder / "items.parquet")


def write_mmrec(data: Exchange, folder: Path) -> None:
    """MMRec: users and items numbered from 0 in the order of their ids, their ids beside; features as .npy.

    Raises:
        DataError: without split labels, which MMRec needs.
    """
    if "label" not in data.clicks.collect_schema().names():
        raise DataError("MMRec's layout needs split labels and the data have none; set --split")
    clicks = data.clicks
    for role, column, file in (
        ("user", "userID", "u_id_mapping.csv"),
        ("item", "itemID", "i_id_mapping.csv"),
    ):
        ids = clicks.select(pl.col(role).unique()).collect(engine="streaming").to_series().sort()
        numbers = pl.DataFrame({role: ids, column: np.arange(len(ids))})
        numbers.select(pl.col(role).alias("id"), column).write_csv(folder / file, separator="\t")
        clicks = clicks.join(numbers.lazy(), on=role, how="left", maintain_order="left")
        if role == "item":
            for name, store in data.features.items():
                np.save(folder / f"{name}_feat.npy", store.join(ids.to_list())[0])
    chosen = clicks.select("userID", "itemID", pl.col("label").alias("x_label"))
    chosen.sink_csv(folder / f"{folder.name.strip('.').split('.')[0]}.inter", separator="\t")


def write_recbole(data: Exchange, folder: Path) -> None:
    """RecBole: a .inter, or one per split where there are labels, and a .item."""
    kinds = {
        "user": "user_id:token",
        "item": "item_id:token",
        "rating": "rating:float",
        "time": "timestamp:float",
    }
    names = data.clicks.collect_schema().names()
    columns = [pl.col(name).alias(kinds[name]) for name in names if name in kinds]
    stem = folder.name.strip(".").split(".")[0]
    if "label" in names:
        for number, label in enumerate(LABELS):
            part = data.clicks.filter(pl.col("label") == number).select(columns)
            part.sink_csv(folder / f"{stem}.{label}.inter", separator="\t", quote_style="never")
    else:
        data.clicks.select(columns).sink_csv(folder / f"{stem}.inter", separator="\t", quote_style="never")
    if data.items is not None:
        plain = pl.all().cast(pl.String).str.replace_all(r"[\t\r\n]+", " ")
        table = data.items.select(plain)
        headers = {
            name: f"{name}:token{'' if name == 'item_id' else '_seq'}"
            for name in table.collect_schema().names()
        }
        table.rename(headers).sink_csv(folder / f"{stem}.item", separator="\t", quote_style="never")


def write_elliot(data: Exchange, folder: Path) -> None:
    """Elliot: a .tsv per split, no header; rating 1 where there is none."""
    names = data.clicks.collect_schema().names()
    rating = pl.col("rating") if "rating" in names else pl.lit(1.0).alias("rating")
    columns = ["user", "item", rating, *(["time"] if "time" in names else [])]
    for number, name in enumerate(("train", "val", "test")):
        part = data.clicks.filter(pl.col("label") == number) if "label" in names else data.clicks
        if "label" in names or number == 0:
            part.select(columns).sink_csv(
                folder / f"{name}.tsv", separator="\t", include_header=False, quote_style="never"
            )


def write_ducho(data: Exchange, folder: Path) -> None:
    """Ducho's output: `<modality>/<item id>.npy`, one vector each; `features.imported` reads such folders.

    Raises:
        DataError: without features, or for ids that no file can be named by.
    """
    if not data.features:
        raise DataError("Ducho's layout holds features and the data have none")
    for name, store in data.features.items():
        ids = store.ids[store.present].tolist()
        if wrong := next((one for one in ids if "/" in one or "\0" in one or one in (".", "..")), None):
            raise DataError(f"no file can be named by the item id '{wrong}', which Ducho's layout needs")
        (folder / name).mkdir()
        for one, row in zip(ids, np.flatnonzero(store.present), strict=True):
            np.save(folder / name / f"{one}.npy", np.asarray(store.matrix[row], dtype=np.float32))


READERS: Mapping[str, Callable[[Path, BadRows], Exchange]] = {
    "own": read_own,
    "mmrec": read_mmrec,
    "recbole": read_recbole,
    "elliot": read_elliot,
    "movielens": read_movielens,
    "microlens": read_microlens,
    "x-wines": read_x_wines,
}
WRITERS: Mapping[str, Callable[[Exchange, Path], None]] = {
    "own": write_own,
    "mmrec": write_mmrec,
    "recbole": write_recbole,
    "elliot": write_elliot,
    "ducho": write_ducho,
}


def _table(folder: Path, stem: str) -> Path | None:
    paths = (folder / f"{stem}{suffix}" for suffix in (".parquet", ".csv", ".tsv"))
    return next((path for path in paths if path.is_file()), None)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"{folder} has {len(found)} files {pattern}, expected one")
    return found[0]


def _separator(path: Path) -> str:
    return "," if path.suffix == ".csv" else "\t"


def _split_lines(path: Path, separator: str, names: Sequence[str]) -> pl.LazyFrame | None:
    """Old MovieLens tables: Latin-1, no header."""
    if not path.is_file():
        return None
    text = path.read_bytes()
    try:
        lines = text.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = text.decode("latin-1").splitlines()
    rows = pl.DataFrame({"line": lines}).lazy().select(pl.col("line").str.split(separator))
    return rows.select(
        pl.col("line").list.get(at, null_on_oob=True).alias(name) for at, name in enumerate(names)
    )
