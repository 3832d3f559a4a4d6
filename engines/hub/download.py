"""Download of a catalogue entry's weights into the cache: resumed, checked, and installed atomically.

Nothing else in posestream downloads models; a pipeline whose weights are missing names the command that fetches them.
"""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from engines.errors import EngineError
from engines.hub import catalogue
from engines.hub.catalogue import Entry
from engines.spec.fingerprint import hash_file
from engines.spec.network import Checkpoint
from engines.url import Url, split_basic_auth

Progress = Callable[[int, int | None], None]
"""Called with the bytes downloaded so far and in total, None if the server does not state the total."""

CHUNK_BYTES = 1 << 16
TIMEOUT_S = 30.0
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True)
class PullResult:
    """The ``path`` of the weights, their ``licence``, and the ``sha256`` of the downloaded file.

    ``sha256`` is empty if the weights were in the cache already.
    """

    path: Path
    licence: str
    sha256: str = ""

    def __str__(self) -> str:
        origin = f"sha256 {self.sha256}" if self.sha256 else "was here already"
        return f"{self.path} (licence: {self.licence}; {origin})"


def pull(model: str, progress: Progress | None = None, *, again: bool = False) -> PullResult:
    """Download the weights of a catalogue entry, unless they are in the cache and ``again`` is false.

    Raises :class:`EngineError` if the address does not answer or the download breaks off, in which case the next call
    resumes it, and if the file does not have the ``sha256`` or the ``member`` of the entry.
    """
    if model in catalogue.SHIPPED:
        raise EngineError(f"pull {model}: it ships with posestream, so there is nothing to download")
    if not catalogue.is_entry(model):
        names = catalogue.list_names()
        nearest = " or ".join(map(repr, get_close_matches(model, names, n=3, cutoff=0.4)))
        hint = f"did you mean {nearest}?" if nearest else "'posestream models' lists all"
        raise EngineError(f"pull {model}: no network has this name; {hint}")
    item = _find_item(*catalogue.find_entry(model))
    path = item.path
    if path.is_file() and not again:
        return PullResult(path, item.licence)
    path.parent.mkdir(parents=True, exist_ok=True)
    download = _Download(item.name, item.url, path.with_name(f"{path.stem}.part"))
    download.run(progress or (lambda *_: None))
    digest = hash_file(download.part)
    try:
        _check_digest(item, digest)
        _install(item, download.part)
    finally:
        # A complete file that is wrong cannot be resumed.
        download.discard()
    return PullResult(path, item.licence, digest)


@dataclass(frozen=True)
class _Item:
    """A file to download to ``path``. ``sha256`` has the digits that are known; ``member`` is the file in a zip."""

    name: str
    url: Url
    path: Path
    licence: str
    sha256: str = ""
    member: str | None = None


def _find_item(name: str, entry: Entry) -> _Item:
    if entry.network is not None:
        return _find_checkpoint(name, entry.network.checkpoints)
    return _Item(name, entry.url, catalogue.weights_path(name), entry.licence, entry.sha256 or "", entry.member)


def _find_checkpoint(name: str, checkpoints: Sequence[Checkpoint]) -> _Item:
    """The first checkpoint that is in the cache or can be downloaded."""
    if not checkpoints:
        raise EngineError(f"pull {name}: no weights are published for it; train it ('posestream train')")
    for checkpoint in checkpoints:
        path = catalogue.checkpoint_path(checkpoint)
        if checkpoint.url or path.is_file():
            return _Item(name, checkpoint.url, path, checkpoint.licence, checkpoint.sha256)
    first = checkpoints[0]
    raise EngineError(
        f"pull {name}: its weights cannot be downloaded by a program: get {first.file} ({first.where}; licence: "
        f"{first.licence}) and put it at {catalogue.checkpoint_path(first)}"
    )


class _Download:
    """A download from ``url`` to the file ``part``."""

    def __init__(self, name: str, url: Url, part: Path) -> None:
        self.name, self.url, self.part = name, url, part
        self._validator = part.with_suffix(".tag")

    def run(self, progress: Progress) -> None:
        """Download what is missing."""
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
        with self.part.open(mode) as file, self._translate_errors():
            progress(done, total)
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
        if total is not None and done < total:
            raise EngineError(
                f"pull {self.name}: {self.url} broke off after {done} of {total} bytes; pull again to resume"
            )

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
            self._validator.write_text(tag, "utf-8")
        else:
            self._validator.unlink(missing_ok=True)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise network errors as :class:`EngineError` with the address and the remedy."""
        try:
            yield
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == RANGE_NOT_SATISFIABLE:
                raise _CompleteError from error
            raise EngineError(
                f"pull {self.name}: {self.url} answered {error.code} {error.reason}; "
                "if it has moved, correct url in the catalogue entry"
            ) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise EngineError(
                f"pull {self.name}: {self.url} cannot be read ({reason}); check the network and pull again"
            ) from None  # the library's error may quote a part of the address


class _CompleteError(Exception):
    """The server has no bytes beyond those already downloaded."""


def _check_digest(item: _Item, digest: str) -> None:
    if not digest.startswith(item.sha256):
        raise EngineError(
            f"pull {item.name}: {item.url} has sha256 {digest}, but the catalogue says {item.sha256}; "
            "the file was deleted; find out why they differ before you use it"
        )


def _install(item: _Item, part: Path) -> None:
    """Move the weights to their path atomically."""
    if item.member is None:
        part.replace(item.path)
        return
    unpacked = item.path.with_suffix(".unpacked")
    with _open_zip(item, part) as (archive, member), archive.open(member) as source, unpacked.open("wb") as target:
        shutil.copyfileobj(source, target)
    unpacked.replace(item.path)


@contextmanager
def _open_zip(item: _Item, part: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """The archive, and the name of the only file in it whose path ends in ``item.member``."""
    try:
        archive = zipfile.ZipFile(part)
    except zipfile.BadZipFile as error:
        raise EngineError(f"pull {item.name}: {item.url} is not a zip; pull again") from error
    with archive:
        found = [name for name in archive.namelist() if f"/{name}".endswith(f"/{item.member}")]
        if len(found) != 1:
            raise EngineError(
                f"pull {item.name}: {item.url} contains {len(found)} files called {item.member!r}, expected one; "
                f"it has {', '.join(archive.namelist()[:8])}"
            )
        yield archive, found[0]
