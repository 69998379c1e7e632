"""Photos from a server on this machine that also misbehaves."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from features.download import Downloads
from features.extract import main
from features.sources import PhotoError
from features.store import open_stores


def photo(value: int = 50) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(stream, "png")
    return stream.getvalue()


class Server(ThreadingHTTPServer):
    """Counts what it is asked, and how much of it at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.now = self.most = 0
        self.lock = threading.Lock()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        with self.server.lock:
            self.server.asked[name] += 1
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            self.answer(name.split("?")[0].partition("-")[0], name)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with self.server.lock:
                self.server.now -= 1

    def answer(self, kind: str, name: str) -> None:
        body, data = photo(), {"Content-Type": "image/png"}
        if kind == "missing":
            return self.send(404, b"not here", {"Content-Type": "text/html"})
        if kind == "page":
            return self.send(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        if kind == "redirect":
            return self.send(302, b"", {"Location": "/good-from-redirect"})
        if kind == "loop":
            return self.send(302, b"", {"Location": "/loop"})
        if kind == "file":
            return self.send(302, b"", {"Location": "file:///etc/passwd"})
        if kind == "flaky" and self.server.asked[name] < 3:
            return self.send(503, b"busy", {})
        if kind == "dead":
            return self.send(500, b"broken", {})
        if kind == "slow":
            time.sleep(1.5)
        if kind == "busy":
            time.sleep(0.05)
        if kind == "huge":
            return self.send(200, b"x" * 10, {"Content-Length": str(10**10)})
        if kind == "endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(10**6):
                self.wfile.write(b"x" * 65536)
            return None
        if kind == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(200):
                self.wfile.write(b"x")
                time.sleep(0.05)
            return None
        if kind == "torn":
            return self.send(200, body[:20], {"Content-Length": str(len(body))})
        if kind == "empty":
            return self.send(200, b"", data)
        return self.send(200, body, data)

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def downloads(tmp_path: Path) -> Downloads:
    return Downloads(tmp_path / "kept", timeout=0.4, deadline=0.5, retries=2, max_bytes=10**6, wait=0.01)


def test_fetched_once_and_kept(server: Server, downloads: Downloads, tmp_path: Path) -> None:
    assert downloads.read(server.address("good")) == photo()
    assert downloads.read(server.address("good")) == photo()
    assert Downloads(tmp_path / "kept").read(server.address("good")) == photo()
    assert server.asked == {"good": 1}
    assert downloads.read(server.address("redirect")) == photo()
    assert downloads.read(server.address("flaky")) == photo(), "the third attempt is answered"


@pytest.mark.parametrize(
    ("name", "reason", "asked"),
    [
        ("missing", "the server answered 404", 1),
        ("page", "the server sent text/html, not a photo", 1),
        ("loop", "too many redirects", 6),
        ("file", "no address of the web|cannot be fetched", 1),
        ("dead", "too many redirects or errors of the server", 3),
        ("slow", "did not answer in time", 3),
        ("huge", "10,000,000,000 bytes, at most 1,000,000 are fetched", 1),
        ("endless", "more than 1,000,000 bytes", 1),
        ("drip", "took more than 0.5 seconds", 1),
        ("torn", "broke off", None),
        ("empty", "the server sent nothing", 1),
    ],
)
def test_a_server_that_misbehaves(
    server: Server, downloads: Downloads, tmp_path: Path, name: str, reason: str, asked: int | None
) -> None:
    started = time.monotonic()
    with pytest.raises(PhotoError, match=reason):
        downloads.read(server.address(name))
    assert time.monotonic() - started < 20, "whatever it does, it is given up"
    count = server.asked[name]
    assert asked in (None, count)
    with pytest.raises(PhotoError, match=reason):
        downloads.read(server.address(name))
    assert server.asked[name] == count, "a failed address is not asked again"
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file()], "nothing half-fetched"


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/a.png", "http://", "http://a b/c", "http://[::1"])
def test_addresses_without_a_server(downloads: Downloads, address: str) -> None:
    with pytest.raises(PhotoError):
        downloads.read(address)


def test_no_more_connections_than_allowed(server: Server, tmp_path: Path) -> None:
    downloads = Downloads(tmp_path / "kept", connections=3)
    names = [server.address(f"busy-{number}") for number in range(12)]
    threads = [threading.Thread(target=downloads.read, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 12
    assert server.most <= 3


def test_a_table_of_addresses(server: Server, tmp_path: Path) -> None:
    cells = {"a": "good-1", "b": "missing", "c": "good-2", "d": "page"}
    rows = [f"{item},{server.address(name)}" for item, name in cells.items()]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,photo", *rows]), encoding="utf-8")
    words = [f"--items={tmp_path / 'items.csv'}", f"--out={tmp_path / 'out'}", "--image_column=photo"]
    for _ in range(2):
        assert main([*words, "--encoder=demo"]) == 0
    store = open_stores(tmp_path / "out")["image"]
    assert store.present.tolist() == [True, False, True, False]
    assert [one["reason"] for one in store.manifest["broken"]] == [
        "the server answered 404",
        "the server sent text/html, not a photo",
    ]
    assert (server.asked["good-1"], server.asked["good-2"]) == (1, 1)
