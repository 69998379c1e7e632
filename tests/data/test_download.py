"""Against a server on this machine, with small files in the true formats."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mmrec.data import download as module
from mmrec.data.download import Source, download, fetch
from mmrec.errors import DataError


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.break_after = 0
        self.ranges = True

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        name, wanted = self.path.strip("/"), self.headers.get("Range", "")
        self.server.asked.append((name, wanted))
        data = self.server.files.get(name)
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if wanted and self.server.ranges else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if self.server.break_after:
            end = min(end, start + self.server.break_after)
        self.wfile.write(data[start:end])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_a_download_that_breaks_off_goes_on(server: Server, tmp_path: Path) -> None:
    server.files["a"] = bytes(range(256)) * 40
    server.break_after = 4000
    fetch(server.address("a"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == server.files["a"]
    assert [wanted for _, wanted in server.asked] == ["", "bytes=4000-", "bytes=8000-"]
    fetch(server.address("a"), tmp_path / "a")
    assert len(server.asked) == 3, "what is there is not fetched again"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_an_earlier_process_fetched_is_kept(server: Server, tmp_path: Path) -> None:
    server.files["a"] = bytes(range(256)) * 40
    server.break_after = 1000
    with pytest.raises(DataError, match=r"broke off|cannot be fetched"):
        fetch(server.address("a"), tmp_path / "a", attempts=2)
    assert (tmp_path / "a.part").stat().st_size == 2000
    server.break_after = 0
    fetch(server.address("a"), tmp_path / "a", md5=hashlib.md5(server.files["a"]).hexdigest())
    assert server.asked[-1] == ("a", "bytes=2000-")
    (tmp_path / "b.part").write_bytes(server.files["a"])
    fetch(server.address("a"), tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == server.files["a"], "whole, only its name was not yet changed"


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.files["a"], server.ranges = b"whole", False
    (tmp_path / "a.part").write_bytes(b"xx")
    fetch(server.address("a"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_a_wrong_file_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["a"] = b"something else"
    with pytest.raises(DataError, match=r"has the MD5 .*, expected 0000: it was deleted"):
        fetch(server.address("a"), tmp_path / "a", md5="0000")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match=r"the server answered 404"):
        fetch(server.address("none"), tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot be fetched"):
        fetch("http://127.0.0.1:1/a", tmp_path / "none", attempts=1)


def amazon(server: Server, counts: tuple[int, int, int] | None) -> Source:
    """Six users and items that all clicked each other, and a user who clicked once: outside the 5-core."""
    rows = [(f"A{user}", f"B{item}") for user in range(6) for item in range(6)] + [("once", "B0")]
    reviews = [
        {"reviewerID": user, "asin": item, "overall": 5.0, "unixReviewTime": 1400000000 + at}
        for at, (user, item) in enumerate(rows)
    ]
    server.files["reviews_Mugs_5.json.gz"] = gzip.compress("\n".join(map(json.dumps, reviews)).encode())
    meta = "\n".join(repr({"asin": f"B{item}", "title": f"Mug {item}"}) for item in range(6))
    server.files["meta_Mugs.json.gz"] = gzip.compress(meta.encode(), mtime=0)
    files = {server.address(name): "" for name in server.files}
    return Source(files, "amazon", "for tests", "nobody", counts=counts)


def test_a_dataset_is_fetched_filtered_split_and_counted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SOURCES", {"mugs": amazon(server, (6, 6, 36))})
    words = {"out": str(tmp_path / "mugs"), "raw": str(tmp_path / "raw")}
    with caplog.at_level("INFO", logger="mmrec"):
        download("mugs", **words)
    assert "licence: for tests" in caplog.text
    assert "please cite: nobody" in caplog.text
    clicks = pl.read_parquet(tmp_path / "mugs" / "clicks.parquet")
    assert clicks.group_by("label").len().sort("label")["len"].to_list() == [24, 6, 6]
    assert pl.read_parquet(tmp_path / "mugs" / "items.parquet")["title"].to_list()[0] == "Mug 0"
    asked = len(server.asked)
    download("mugs", **words, layout="mmrec")
    assert len(server.asked) == asked
    assert (tmp_path / "mugs" / "mugs.inter").is_file()


def test_other_counts_than_published_are_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SOURCES", {"mugs": amazon(server, (6, 6, 35))})
    with pytest.raises(DataError, match=r"comes to 6 users, 6 items, 36 clicks, the published one has .* 35"):
        download("mugs", out=str(tmp_path / "mugs"), raw=str(tmp_path / "raw"))
    assert not (tmp_path / "mugs").exists()
    with pytest.raises(DataError, match=r"there is no dataset 'mug'; did you mean 'mugs'"):
        download("mug")


def test_archives(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        lines = [f"{user}\t{item}\t5\t{user + item}" for user in range(6) for item in range(6)]
        archive.writestr("ml/u.data", "\n".join(lines))
    server.files["ml.zip"] = stream.getvalue()
    source = Source({server.address("ml.zip"): ""}, "movielens", "", "", k_core=0, counts=(6, 6, 36))
    monkeypatch.setattr(module, "SOURCES", {"ml": source})
    download("ml", out=str(tmp_path / "ml"), raw=str(tmp_path / "raw"))
    assert pl.read_parquet(tmp_path / "ml" / "clicks.parquet").height == 36
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("../outside", "x")
    (tmp_path / "raw" / "ml.zip").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=r"lies outside of it"):
        download("ml", out=str(tmp_path / "ml2"), raw=str(tmp_path / "raw"))
    (tmp_path / "raw" / "ml.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"cannot be unpacked"):
        download("ml", out=str(tmp_path / "ml2"), raw=str(tmp_path / "raw"))
