"""A server of one file, entries of the catalogue that point to it, and what of them came into the cache."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.hub.pulling import pull
from engines.spec import cache

WEIGHTS = bytes(range(256)) * 2000


@dataclass
class Shelf:
    """What the server has, and what it was asked for."""

    content: bytes = WEIGHTS
    tag: str = '"one"'
    cut_after: int | None = None
    missing: bool = False
    ranges: list[str | None] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    address: str = ""


@contextmanager
def serve() -> Iterator[Shelf]:
    """A server of one file."""
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shelf.ranges.append(self.headers.get("Range"))
            shelf.authorizations.append(self.headers.get("Authorization"))
            if shelf.missing:
                self.send_error(404)
                return
            start = self._start()
            if start is not None and start >= len(shelf.content):
                self.send_error(416)
                return
            self.send_response(200 if start is None else 206)
            rest = shelf.content[start or 0 :]
            self.send_header("Content-Length", str(len(rest)))
            self.send_header("ETag", shelf.tag)
            self.end_headers()
            self.wfile.write(rest[: shelf.cut_after])

        def _start(self) -> int | None:
            asked = self.headers.get("Range")
            same = self.headers.get("If-Range") == shelf.tag
            return int(asked.removeprefix("bytes=").removesuffix("-")) if asked and same else None

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    shelf.address = f"http://127.0.0.1:{server.server_port}/weights"
    yield shelf
    server.shutdown()
    server.server_close()
    thread.join()


def write(path: Path, url: str, **fields: object) -> None:
    """An entry with one address, and the ``fields`` of that."""
    write_sources(path, {"files": [{"url": url, **fields}]})


def write_sources(path: Path, *sources: object) -> None:
    entry = {"kind": "detector", "title": "a network", "licence": "MIT", "sources": sources}
    path.write_text(json.dumps(entry | {"detector": {"name": "net", "family": "yolox"}}))


def list_cache() -> list[str]:
    return sorted(file.name for file in (cache.cache_folder() / "models").glob("[!.]*"))


def pull_error(entry: Path) -> str:
    with pytest.raises(EngineError) as caught:
        pull(str(entry))
    assert "\n" not in str(caught.value)
    return str(caught.value)
