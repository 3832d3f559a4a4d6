"""Download of one file over HTTP, resumed after a broken connection."""

from __future__ import annotations

import errno
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from engines.errors import EngineError
from engines.hub.sources import UnusableSourceError
from engines.spec.cache import CACHE_VARIABLE
from engines.url import Url, split_basic_auth

Progress = Callable[[int, int | None], None]
"""Called with the bytes downloaded so far and in total, None if the server does not state the total."""

CHUNK_BYTES = 1 << 16
TIMEOUT_S = 30.0
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Download:
    """A download for ``name`` from ``url`` to the file ``part``, which stays after an error and is resumed."""

    def __init__(self, name: str, url: Url, part: Path) -> None:
        self.name, self.url, self.part = name, url, part
        self._validator = part.with_name(f"{part.name}.tag")

    def run(self, progress: Progress) -> None:
        """Download what is missing.

        Raises :class:`UnusableSourceError`, or :class:`EngineError` if the disk is full.
        """
        with self._request() as response:
            if response is None:
                return
            is_resumed = response.status == PARTIAL_CONTENT
            done = self._size() if is_resumed else 0
            length = response.headers.get("Content-Length")
            total = done + int(length) if length else None
            self._save_validator(response)
            self._save(response, "ab" if is_resumed else "wb", done, total, progress)

    def discard(self) -> None:
        """Delete what was downloaded, so that the next call starts from the beginning."""
        self.part.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    def _save(self, response: HTTPResponse, mode: str, done: int, total: int | None, progress: Progress) -> None:
        with writing(self.name, self.part), self.part.open(mode) as file:
            progress(done, total)
            while chunk := self._read(response):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
        if total is not None and done < total:
            raise UnusableSourceError(
                f"pull {self.name}: {self.url} broke off after {done} of {total} bytes; pull again to resume"
            )

    def _read(self, response: HTTPResponse) -> bytes:
        with self._translate_errors():
            return response.read(CHUNK_BYTES)

    @contextmanager
    def _request(self) -> Iterator[HTTPResponse | None]:
        """The server's response; None if the file is complete already."""
        address, authorization = split_basic_auth(self.url.reveal())
        request = urllib.request.Request(address, headers=self._make_headers())
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        try:
            with self._translate_errors():
                response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except _CompleteError:
            yield None
            return
        with response:
            yield response

    def _make_headers(self) -> dict[str, str]:
        headers = {"User-Agent": "posestream"}
        # Without a validator, the rest of a different file could be appended to this one.
        if self._size() and self._validator.is_file():
            headers["Range"] = f"bytes={self._size()}-"
            headers["If-Range"] = self._validator.read_text("utf-8")
        return headers

    def _save_validator(self, response: HTTPResponse) -> None:
        """Store what identifies this version of the file on the server, if the server states it."""
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):
            with writing(self.name, self._validator):
                self._validator.write_text(tag, "utf-8")
        else:
            self._validator.unlink(missing_ok=True)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise network errors as :class:`UnusableSourceError` with the address and the remedy."""
        try:
            yield
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == RANGE_NOT_SATISFIABLE:
                raise _CompleteError from error
            raise UnusableSourceError(
                f"pull {self.name}: {self.url} answered {error.code} {error.reason}; "
                "if it has moved, correct url in the catalogue entry"
            ) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise UnusableSourceError(
                f"pull {self.name}: {self.url} cannot be read ({reason}); check the network and pull again"
            ) from None  # the library's error may quote a part of the address


class _CompleteError(Exception):
    """The server has no bytes beyond those already downloaded."""


@contextmanager
def writing(name: str, path: Path) -> Iterator[None]:
    """Raise the system's errors as :class:`EngineError` that names the folder and the remedy."""
    try:
        yield
    except OSError as error:
        room = "make room there, or " if error.errno in _NO_ROOM else ""
        raise EngineError(
            f"pull {name}: {path.parent} cannot be written to ({error.strerror}); {room}set {CACHE_VARIABLE} to "
            "another folder, and pull again"
        ) from None
