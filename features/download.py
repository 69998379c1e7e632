"""Photos from the web: a bounded number at a time, each fetched once, kept on disk."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from features.files import atomic_file, content_hash
from features.sources import MAX_BYTES, PhotoError

_PIECE = 64 * 1024


class Downloads:
    """Fetches addresses and keeps what came, under the hash of the address; may be used by many threads.

    An address that failed is not asked again by the same process, so that a dead server costs its time-outs
    once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        connections: int = 16,
        timeout: float = 20.0,
        deadline: float = 120.0,
        retries: int = 2,
        redirects: int = 5,
        max_bytes: int = MAX_BYTES,
        wait: float = 0.5,
    ) -> None:
        """Nothing is fetched yet.

        Args:
            folder: where photos are kept.
            connections: addresses fetched at the same time.
            timeout: seconds to wait for a connection, or for the next piece.
            deadline: seconds that one photo may take as a whole, so that a server that drips is given up.
            retries: further attempts after errors that may pass: no answer, 429 and 5xx.
            redirects: how many are followed.
            max_bytes: larger photos are not fetched.
            wait: seconds before the first retry; twice as many before the next.
        """
        self.folder = folder
        self.timeout, self.deadline, self.max_bytes = timeout, deadline, max_bytes
        self._retries, self._redirects, self._wait = retries, redirects, wait
        self._free = threading.BoundedSemaphore(connections)
        self._connections = connections
        self._failed: dict[str, str] = {}
        self._lock = threading.Lock()
        self._http: Any = None

    def read(self, address: str) -> bytes:
        """A photo's bytes, from the disk if it was fetched before.

        Raises:
            PhotoError: it cannot be had; with the reason.
            MMRecError: the disk is full.
        """
        path = self._path(address)
        if not path.is_file():
            with self._lock:
                reason = self._failed.get(address)
            if reason is not None:
                raise PhotoError(reason)
            with self._free:
                if not path.is_file():  # the same address in two items
                    self._fetch(address, path)
        try:
            return path.read_bytes()
        except OSError as error:
            raise PhotoError(error.strerror or "cannot be read") from error

    def _path(self, address: str) -> Path:
        name = content_hash(address)
        return self.folder / name[:2] / name

    def _fetch(self, address: str, path: Path) -> None:
        try:
            data = self._get(address)
        except PhotoError as error:
            with self._lock:
                self._failed[address] = str(error)
            raise
        with atomic_file(path) as temporary:
            temporary.write_bytes(data)

    def _get(self, address: str) -> bytes:
        import urllib3

        try:
            parts = urlsplit(address)
        except ValueError as error:
            raise PhotoError(f"no address of the web ({error})") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PhotoError("no address of the web")
        retry = urllib3.Retry(
            total=self._retries + self._redirects,
            connect=self._retries,
            read=self._retries,
            status=self._retries,
            other=0,
            redirect=self._redirects,
            status_forcelist=(429, 500, 502, 503, 504),
            backoff_factor=self._wait,
            backoff_max=10,
            respect_retry_after_header=False,  # a server may ask for an hour
        )
        until = time.monotonic() + self.deadline
        try:
            answer = self._pool().request(
                "GET",
                address,
                preload_content=False,
                retries=retry,
                timeout=urllib3.Timeout(connect=self.timeout, read=self.timeout),
            )
            try:
                return self._body(answer, until)
            finally:
                # What is left of a body is not waited for; a connection read to its end is used again.
                if answer.closed or answer.length_remaining == 0:
                    answer.release_conn()
                else:
                    answer.close()
        except urllib3.exceptions.MaxRetryError as error:
            raise PhotoError(_reason(error.reason or error)) from error
        except urllib3.exceptions.HTTPError as error:
            raise PhotoError(_reason(error)) from error
        except (OSError, ValueError) as error:  # names that no resolver takes, hosts that are no names
            raise PhotoError(_reason(error)) from error

    def _body(self, answer: Any, until: float) -> bytes:
        if answer.status != 200:
            raise PhotoError(f"the server answered {answer.status}")
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind.startswith("text/") or kind in ("application/json", "application/xhtml+xml"):
            raise PhotoError(f"the server sent {kind}, not a photo")
        declared = answer.headers.get("Content-Length", "")
        if declared.isdigit() and int(declared) > self.max_bytes:
            raise PhotoError(f"{int(declared):,} bytes, at most {self.max_bytes:,} are fetched")
        pieces, size = [], 0
        while piece := answer.read1(_PIECE):
            size += len(piece)
            if size > self.max_bytes:
                raise PhotoError(f"more than {self.max_bytes:,} bytes")
            if time.monotonic() > until:
                raise PhotoError(f"took more than {self.deadline:g} seconds")
            pieces.append(piece)
        if declared.isdigit() and size < int(declared) and not answer.headers.get("Content-Encoding"):
            raise PhotoError(f"the server broke off after {size:,} of {int(declared):,} bytes")
        if size == 0:
            raise PhotoError("the server sent nothing")
        return b"".join(pieces)

    def _pool(self) -> Any:
        import urllib3

        with self._lock:
            if self._http is None:
                agent = {"User-Agent": "mmrec-features", "Accept": "image/*,*/*;q=0.5"}
                self._http = urllib3.PoolManager(
                    num_pools=64, maxsize=self._connections, block=False, headers=agent
                )
            return self._http


def _reason(error: BaseException) -> str:
    text = str(error)
    for begin in ("too many", "Read timed out", "Connection refused", "Name or service", "Connection broken"):
        if begin.lower() in text.lower():
            return {
                "too many": "too many redirects or errors of the server",
                "Read timed out": "the server did not answer in time",
                "Connection refused": "the server cannot be reached (connection refused)",
                "Name or service": "there is no such server",
                "Connection broken": "the server broke off",
            }[begin]
    return f"cannot be fetched ({' '.join(text.split())[:100]})"
