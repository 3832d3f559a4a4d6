"""Fetch a catalogue entry's weights into the cache: resumed where they broke off, checked, and put there whole or not.

Nothing else in posestream goes to the network for a model; a line whose weights are missing says what to pull.
"""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from engines.errors import EngineError
from engines.hub import catalogue
from engines.hub.catalogue import Entry
from engines.spec.network import Checkpoint

Progress = Callable[[int, int | None], None]
"""Called with the bytes here so far and, where the server says, the bytes in all."""

CHUNK_BYTES = 1 << 16
TIMEOUT_S = 30.0
PARTIAL, ALREADY_WHOLE = 206, 416


@dataclass(frozen=True)
class PullResult:
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


def pull(model: str, progress: Progress | None = None, *, again: bool = False) -> PullResult:
    """Bring the weights of a catalogue entry here; does nothing when they are, unless ``again``.

    Raises :class:`EngineError` in one line when the address does not answer, breaks off (what came is kept, and a
    second call goes on from there), or gives something other than its ``sha256`` or its ``member`` say.
    """
    wanted = _wanted(*catalogue.find_entry(model))
    path = wanted.path
    if path.is_file() and not again:
        return PullResult(path, wanted.licence)
    path.parent.mkdir(parents=True, exist_ok=True)
    download = _Download(wanted.name, wanted.url, path.with_name(f"{path.stem}.part"))
    download.run(progress or _silent)
    digest = download.sha256()
    try:
        _check_digest(wanted, digest)
        _install(wanted, download.part)
    finally:
        # Whatever is wrong with a whole file, adding to it will not mend it.
        download.forget()
    return PullResult(path, wanted.licence, digest)


@dataclass(frozen=True)
class _Wanted:
    """One file to fetch: ``sha256`` are the digits known of it, perhaps none; ``member`` names it in a zip."""

    name: str
    url: str
    path: Path
    licence: str
    sha256: str = ""
    member: str | None = None


def _wanted(name: str, entry: Entry) -> _Wanted:
    if entry.network is not None:
        return _wanted_checkpoint(name, entry.network.checkpoints)
    return _Wanted(name, entry.url, catalogue.weights_path(name), entry.licence, entry.sha256 or "", entry.member)


def _wanted_checkpoint(name: str, checkpoints: Sequence[Checkpoint]) -> _Wanted:
    """The first that is here or can be fetched; else, what to do by hand."""
    if not checkpoints:
        raise EngineError(f"pull {name}: nobody has published weights for it; it has to be trained")
    for told in checkpoints:
        path = catalogue.checkpoint_path(told)
        if told.url or path.is_file():
            return _Wanted(name, told.url, path, told.licence, told.sha256)
    told = checkpoints[0]
    raise EngineError(
        f"pull {name}: no program can fetch its weights: get {told.file} ({told.where}; licence: {told.licence}) "
        f"and put it at {catalogue.checkpoint_path(told)}"
    )


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


def _check_digest(wanted: _Wanted, digest: str) -> None:
    if not digest.startswith(wanted.sha256):
        raise EngineError(
            f"pull {wanted.name}: {wanted.url} gave a file with sha256 {digest}, but the catalogue says "
            f"{wanted.sha256}; it was thrown away: do not use it before you know why"
        )


def _install(wanted: _Wanted, part: Path) -> None:
    """Put the weights in their place in one step."""
    if wanted.member is None:
        part.replace(wanted.path)
        return
    unpacked = wanted.path.with_suffix(".unpacked")
    with _member(wanted, part) as (archive, member), archive.open(member) as source, unpacked.open("wb") as target:
        shutil.copyfileobj(source, target)
    unpacked.replace(wanted.path)


@contextmanager
def _member(wanted: _Wanted, part: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """The one file in the zip whose path ends in ``wanted.member``."""
    try:
        archive = zipfile.ZipFile(part)
    except zipfile.BadZipFile as error:
        raise EngineError(f"pull {wanted.name}: {wanted.url} gave something that is not a zip; pull again") from error
    with archive:
        found = [inside for inside in archive.namelist() if f"/{inside}".endswith(f"/{wanted.member}")]
        if len(found) != 1:
            raise EngineError(
                f"pull {wanted.name}: {wanted.url} holds {len(found)} files called {wanted.member!r}, not one; "
                f"it has {', '.join(archive.namelist()[:8])}"
            )
        yield archive, found[0]
