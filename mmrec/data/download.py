"""Public datasets from their official places: `python -m mmrec.data.download amazon-baby`."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from features.command_line import run_command
from features.progress import progress_bar
from mmrec.data.convert import convert
from mmrec.errors import DataError, nearest

log = logging.getLogger("mmrec")

_PIECE = 256 * 1024
_TIMEOUT = 30.0
_MAX_UNPACKED = 8 * 2**30


@dataclass(frozen=True)
class Source:
    """Where a dataset is, and what it should come to.

    Attributes:
        files: address -> MD5 where it is published, else an empty text.
        layout: `source_format` of `mmrec.data.convert`.
        licence: in a line.
        citation: in a line.
        k_core: users and items with fewer clicks go, as in the published splits.
        counts: users, items and clicks after that; None where they are not known.
    """

    files: Mapping[str, str]
    layout: str
    licence: str
    citation: str
    k_core: int = 5
    counts: tuple[int, int, int] | None = None


def _amazon(name: str, counts: tuple[int, int, int]) -> Source:
    base = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
    files = {f"{base}/reviews_{name}_5.json.gz": "", f"{base}/meta_{name}.json.gz": ""}
    return Source(
        files,
        "amazon",
        "for research, as its page says: https://jmcauley.ucsd.edu/data/amazon/",
        "McAuley et al.: Image-based recommendations on styles and substitutes, SIGIR 2015",
        counts=counts,
    )


SOURCES: Mapping[str, Source] = {
    "amazon-baby": _amazon("Baby", (19_445, 7_050, 160_792)),
    "amazon-sports": _amazon("Sports_and_Outdoors", (35_598, 18_357, 296_337)),
    "amazon-clothing": _amazon("Clothing_Shoes_and_Jewelry", (39_387, 23_033, 278_677)),
    "movielens-100k": Source(
        {
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip": "0e33842e24a9c977be4e0107933c0723",
        },
        "movielens",
        "for research, no redistribution: the README in the archive",
        "Harper and Konstan: The MovieLens datasets, ACM TiiS 5(4), 2015",
        k_core=0,
        counts=(943, 1_682, 100_000),
    ),
    "movielens-1m": Source(
        {
            "https://files.grouplens.org/datasets/movielens/ml-1m.zip": "c4d9eecfca2ab87c1945afe126590906",
        },
        "movielens",
        "for research, no redistribution: the README in the archive",
        "Harper and Konstan: The MovieLens datasets, ACM TiiS 5(4), 2015",
        k_core=0,
        counts=(6_040, 3_706, 1_000_209),
    ),
}


def download(
    dataset: str, out: str | None = None, raw: str | None = None, layout: str = "own", split_seed: int = 0
) -> Path:
    """Fetch a public dataset, check it, and make the dataset that papers use of it.

    What was fetched is kept, and a download that broke off goes on where it was. The split is MMRec's: per
    user at random, 8 : 1 : 1.

    Args:
        dataset: amazon-baby, amazon-sports, amazon-clothing, movielens-100k or movielens-1m.
        out: Folder for the dataset; data/<dataset> if not given.
        raw: Folder for what is fetched; data/raw/<dataset> if not given.
        layout: Layout to write, as target_format of mmrec.data.convert.
        split_seed: Seed of the split.

    Returns:
        The folder.
    """
    if dataset not in SOURCES:
        raise DataError(f"there is no dataset '{dataset}'{nearest(dataset, SOURCES)}")
    source = SOURCES[dataset]
    target, kept = Path(out or f"data/{dataset}"), Path(raw or f"data/raw/{dataset}")
    log.info("licence: %s", source.licence)
    log.info("please cite: %s", source.citation)
    for address, digest in source.files.items():
        fetch(address, kept / Path(urlsplit(address).path).name, md5=digest)
    with tempfile.TemporaryDirectory() as folder:
        place = _unpacked(kept, Path(folder))
        data = convert(
            str(place),
            str(target),
            source_format=source.layout,
            target_format=layout,
            split="random",
            split_seed=split_seed,
            k_core=source.k_core,
        )
        clicks = data.clicks.collect()
    found = (clicks["user"].n_unique(), clicks["item"].n_unique(), clicks.height)
    text = "{:,} users, {:,} items, {:,} clicks"
    if source.counts is not None and found != source.counts:
        shutil.rmtree(target)
        expected = text.format(*source.counts)
        raise DataError(
            f"{dataset} comes to {text.format(*found)}, the published one has {expected}: the files in "
            f"{kept} are others; delete them and download again"
        )
    log.info("%s: %s in %s", dataset, text.format(*found), target)
    return target


def fetch(address: str, path: Path, *, md5: str = "", attempts: int = 5) -> None:
    """Download a file; what was there of it is kept, and the rest asked for.

    Args:
        address: http or https.
        path: where it goes; `<name>.part` until it is whole.
        md5: hex digits it must have, or an empty text.
        attempts: how often a connection that breaks off is taken up again.

    Raises:
        DataError: not to be had, or another file than expected.
    """
    import urllib3

    if path.is_file():
        _check(path, md5, address)
        log.info("%s is there already", path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=_TIMEOUT, read=_TIMEOUT), retries=False)
    problem = ""
    for _ in range(attempts):
        try:
            if _fetch_on(http, address, part):
                break
            problem = "the server broke off"
        except (urllib3.exceptions.HTTPError, OSError) as error:
            problem = " ".join(str(error).split())[:120]
    else:
        size = part.stat().st_size if part.exists() else 0
        raise DataError(f"{address} cannot be fetched ({problem}); {size:,} bytes are kept, try again later")
    _check(part, md5, address)
    os.replace(part, path)


def _fetch_on(http: Any, address: str, part: Path) -> bool:
    """Append what is lacking; whether the file is whole now."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "mmrec", **({"Range": f"bytes={have}-"} if have else {})}
    answer = http.request("GET", address, headers=headers, preload_content=False, redirect=True, retries=5)
    try:
        if answer.status == 416:  # nothing lies behind what is there
            return _total(answer) in (None, have)
        if answer.status not in (200, 206):
            raise DataError(f"{address}: the server answered {answer.status}; see the dataset's page")
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length", "")
        total = (have if resumed else 0) + int(length) if length.isdigit() else None
        with (
            part.open("ab" if resumed else "wb") as stream,
            progress_bar(f"{part.name.removesuffix('.part')}, KiB", (total or 0) // 1024) as advance,
        ):
            advance((have if resumed else 0) // 1024)
            while piece := answer.read1(_PIECE):
                stream.write(piece)
                advance(len(piece) // 1024)
        return total is None or part.stat().st_size == total
    finally:
        answer.close()


def _total(answer: Any) -> int | None:
    size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(size) if size.isdigit() else None


def _check(path: Path, md5: str, address: str) -> None:
    if not md5:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        path.unlink()
        raise DataError(f"{address} has the MD5 {found}, expected {md5}: it was deleted, download it again")


def _unpacked(folder: Path, target: Path) -> Path:
    """The folder of the files: itself, or what its .zip holds, with nothing outside of `target`."""
    archives = sorted(folder.glob("*.zip"))
    if not archives:
        return folder
    try:
        with zipfile.ZipFile(archives[0]) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_UNPACKED:
                raise DataError(f"{archives[0]} would be over {_MAX_UNPACKED // 2**30} GiB unpacked")
            for entry in archive.infolist():
                if not (target / entry.filename).resolve().is_relative_to(target.resolve()):
                    raise DataError(f"{archives[0]} holds '{entry.filename}', which lies outside of it")
            archive.extractall(target)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise DataError(
            f"{archives[0]} cannot be unpacked ({error}); delete it and download again"
        ) from error
    inner = [path for path in target.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 else target


def main(argv: Sequence[str] | None = None, run: Callable[..., Path] = download) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(
        run,
        argv,
        program="python -m mmrec.data.download",
        description="A public dataset from its official place.",
        positional=True,
    )


if __name__ == "__main__":
    sys.exit(main())
