"""Fetch a catalogue entry's weights into the cache: resumed where they broke off, checked, and put there whole or not.

Nothing else in posestream goes to the network for a model; a line whose weights are missing says what to pull.
"""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from engines import catalogue
from engines.catalogue import Entry
from engines.errors import EngineError

Progress = Callable[[int, int | None], None]
"""Called with the bytes here so far and, where the server says, the bytes in all."""

CHUNK_BYTES = 1 << 16
TIMEOUT_S = 30.0
PARTIAL, ALREADY_WHOLE = 206, 416


@dataclass(frozen=True)
class Pulled:
    """Where the weights are now, under which licence they came, and the sha256 of what the address gave.

    It is empty when they were here already.
    """

    path: Path
    licence: str
    sha256: str = ""

    def __str__(self) -> str:
        return (
            f"{self.path} (licence: {self.licence}; {f'sha256 {self.sha256}' if self.sha256 else 'was here already'})"
        )


def pull(model: str, progress: Progress | None = None, *, again: bool = False) -> Pulled:
    """Bring the weights of a catalogue entry here; does nothing when they are, unless ``again``.

    Raises :class:`EngineError` in one line when the address does not answer, breaks off (what came is kept, and a
    second call goes on from there), or gives something other than its ``sha256`` or its ``member`` say.
    """
    name, entry = catalogue.entry(model)
    path = catalogue.cached(name)
    if path.is_file() and not again:
        return Pulled(path, entry.licence)
    path.parent.mkdir(parents=True, exist_ok=True)
    download = _Download(name, entry.url, path.with_name(f"{name}.part"))
    download.run(progress or _silent)
    digest = download.sha256()
    try:
        _check_digest(name, entry, digest)
        _install(name, entry, download.part, path)
    finally:
        # Whatever is wrong with a whole file, adding to it will not mend it.
        download.forget()
    return Pulled(path, entry.licence, digest)


def _silent(here: int, whole: int | None) -> None:
    """Progress for nobody."""


class _Download:
    """One address and the ``.part`` file that what it gives is added to."""

    def __init__(self, name: str, url: str, part: Path) -> None:
        self.name, self.url, self.part = name, url, part
        self._validator = part.with_suffix(".tag")

    def run(self, progress: Progress) -> None:
        """Fetch what is missing."""
        with self._answer() as answer:
            if answer is None:
                return
            going_on = answer.status == PARTIAL
            here = self._size() if going_on else 0
            length = answer.headers.get("Content-Length")
            whole = here + int(length) if length else None
            self._remember(answer)
            self._save(answer, "ab" if going_on else "wb", here, whole, progress)

    def sha256(self) -> str:
        """Of all that is here."""
        with self.part.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def forget(self) -> None:
        """Remove what is here, so that the next call begins anew."""
        self.part.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    def _save(self, answer: HTTPResponse, mode: str, here: int, whole: int | None, progress: Progress) -> None:
        with self.part.open(mode) as file, self._said_plainly():
            progress(here, whole)
            while chunk := answer.read(CHUNK_BYTES):
                file.write(chunk)
                here += len(chunk)
                progress(here, whole)
        if whole is not None and here < whole:
            raise EngineError(
                f"pull {self.name}: {self.url} broke off after {here} of {whole} bytes; pull again to go on from there"
            )

    @contextmanager
    def _answer(self) -> Iterator[HTTPResponse | None]:
        """The server's answer; None when it has nothing to add to what is here."""
        request = urllib.request.Request(self.url, headers=self._headers())
        try:
            with self._said_plainly():
                answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except _AlreadyWholeError:
            yield None
            return
        with answer:
            yield answer

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": "posestream"}
        # Without what identifies the file, the rest of another file might be added to this one.
        if self._size() and self._validator.is_file():
            headers["Range"] = f"bytes={self._size()}-"
            headers["If-Range"] = self._validator.read_text("utf-8")
        return headers

    def _remember(self, answer: HTTPResponse) -> None:
        """Keep what identifies this very file on the server, if it says anything."""
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):
            self._validator.write_text(tag, "utf-8")
        else:
            self._validator.unlink(missing_ok=True)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    @contextmanager
    def _said_plainly(self) -> Iterator[None]:
        """What the network has to say, in one line with the address and the remedy."""
        try:
            yield
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == ALREADY_WHOLE:
                raise _AlreadyWholeError from error
            raise EngineError(
                f"pull {self.name}: {self.url} answered {error.code} {error.reason}; "
                "if it has moved, correct url in the catalogue entry"
            ) from error
        except (OSError, HTTPException) as error:
            why = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise EngineError(
                f"pull {self.name}: {self.url} cannot be read ({why}); check the network and pull again"
            ) from error


class _AlreadyWholeError(Exception):
    """The server has no bytes beyond those that are here."""


def _check_digest(name: str, entry: Entry, digest: str) -> None:
    if entry.sha256 not in (None, digest):
        raise EngineError(
            f"pull {name}: {entry.url} gave a file with sha256 {digest}, but the catalogue says {entry.sha256}; "
            "it was thrown away: do not use it before you know why"
        )


def _install(name: str, entry: Entry, part: Path, path: Path) -> None:
    """Put the weights in their place in one step."""
    if entry.member is None:
        part.replace(path)
        return
    unpacked = path.with_suffix(".unpacked")
    with _member(name, entry, part) as (archive, member), archive.open(member) as source, unpacked.open("wb") as target:
        shutil.copyfileobj(source, target)
    unpacked.replace(path)


@contextmanager
def _member(name: str, entry: Entry, part: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """The one file in the zip whose path ends in ``entry.member``."""
    try:
        archive = zipfile.ZipFile(part)
    except zipfile.BadZipFile as error:
        raise EngineError(f"pull {name}: {entry.url} gave something that is not a zip; pull again") from error
    with archive:
        found = [inside for inside in archive.namelist() if f"/{inside}".endswith(f"/{entry.member}")]
        if len(found) != 1:
            raise EngineError(
                f"pull {name}: {entry.url} holds {len(found)} files called {entry.member!r}, not one; "
                f"it has {', '.join(archive.namelist()[:8])}"
            )
        yield archive, found[0]
