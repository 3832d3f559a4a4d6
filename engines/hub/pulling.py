"""``pull``: the weights of a catalogue entry into the cache, once: resumed, checked, and installed atomically."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from engines.errors import EngineError
from engines.hub import catalogue
from engines.hub.archives import extract
from engines.hub.catalogue import Entry
from engines.hub.download import Download, Progress, writing
from engines.hub.packages import download_package
from engines.hub.sources import PACKAGES, Integrity, RemoteFile, Source, UnusableSourceError
from engines.spec.cache import OFFLINE_VARIABLE, is_offline
from engines.spec.fingerprint import hash_file
from engines.spec.network import Checkpoint
from engines.url import Url

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PullResult:
    """The ``path`` of the weights, their ``licence``, and the ``sha256`` of that file.

    ``sha256`` is empty if the weights were in the cache already. ``is_checked`` is false if it was downloaded and the
    catalogue knows no digest of it.
    """

    path: Path
    licence: str
    sha256: str = ""
    is_checked: bool = True

    def __str__(self) -> str:
        origin = f"sha256 {self.sha256}" if self.sha256 else "was here already"
        doubt = "" if self.is_checked else ", which was compared with nothing: the catalogue knows none"
        return f"{self.path} (licence: {self.licence}; {origin}{doubt})"


def pull(model: str, progress: Progress | None = None, *, again: bool = False) -> PullResult:
    """Download the weights of a catalogue entry, unless they are in the cache and ``again`` is false.

    The sources of the entry are tried in order, verified ones first. A second process that pulls the same waits for the
    first. Raises :class:`EngineError` if no source answers or the download breaks off, in which case the next call
    resumes it; if a file differs from the digests of the entry; and if ``POSESTREAM_OFFLINE`` is set.
    """
    name, entry = _find_entry(model)
    choices = _list_choices(name, entry)
    if (found := _find_here(choices)) and not again:
        return PullResult(found.path, found.licence)
    if is_offline():
        raise EngineError(f"pull {name}: {OFFLINE_VARIABLE} is set, which forbids downloads; unset it and pull again")
    with _lock(name, choices[0].path):
        if (found := _find_here(choices)) and not again:
            return PullResult(found.path, found.licence)
        return _install_first(choices, progress or (lambda *_: None))


def _find_entry(model: str) -> tuple[str, Entry]:
    if model in catalogue.SHIPPED:
        raise EngineError(f"pull {model}: it ships with posestream, so there is nothing to download")
    if not catalogue.is_entry(model):
        names = [*catalogue.list_names(), *catalogue.SETS]
        nearest = " or ".join(map(repr, get_close_matches(model, names, n=3, cutoff=0.4)))
        hint = f"did you mean {nearest}?" if nearest else "'posestream models' lists all"
        raise EngineError(f"pull {model}: no network has this name; {hint}")
    return catalogue.find_entry(model)


# -- what to download -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """A file to put at ``path``. ``sha256`` has the digits that are known; ``member`` is the file in an archive."""

    url: Url
    path: Path
    sha256: str = ""
    member: str | None = None
    integrity: Integrity | None = None

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")


@dataclass(frozen=True)
class _Choice:
    """All files of one source, the one that a backend opens first."""

    name: str
    licence: str
    files: tuple[_File, ...]

    @property
    def path(self) -> Path:
        return self.files[0].path


def _list_choices(name: str, entry: Entry) -> list[_Choice]:
    if entry.network is not None:
        return [_choose_checkpoint(name, entry.network.checkpoints)]
    sources = sorted(entry.sources, key=lambda source: not source.verified)
    return [_make_choice(name, entry, source) for source in sources]


def _make_choice(name: str, entry: Entry, source: Source) -> _Choice:
    return _Choice(name, entry.licence, tuple(_make_file(name, file) for file in source.files))


def _make_file(name: str, file: RemoteFile) -> _File:
    path = catalogue.cached_path(name, file.suffix)
    return _File(file.url, path, file.sha256 or "", file.member, file.integrity)


def _choose_checkpoint(name: str, checkpoints: Sequence[Checkpoint]) -> _Choice:
    """The first checkpoint that is in the cache or can be downloaded."""
    if not checkpoints:
        raise EngineError(f"pull {name}: no weights are published for it; train it ('posestream train')")
    for checkpoint in checkpoints:
        path = catalogue.checkpoint_path(checkpoint)
        if checkpoint.url or path.is_file():
            file = _File(checkpoint.url, path, checkpoint.sha256)
            return _Choice(name, checkpoint.licence, (file,))
    first = checkpoints[0]
    raise EngineError(
        f"pull {name}: its weights cannot be downloaded by a program: get {first.file} ({first.where}; licence: "
        f"{first.licence}) and put it at {catalogue.checkpoint_path(first)}"
    )


def _find_here(choices: Sequence[_Choice]) -> _Choice | None:
    return next((choice for choice in choices if all(file.path.is_file() for file in choice.files)), None)


# -- download and installation ----------------------------------------------------------------------------------------


@contextmanager
def _lock(name: str, path: Path) -> Iterator[None]:
    """Hold the lock of ``path`` among all processes; the file of the lock stays, since another may wait for it."""
    with writing(name, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.stem}.lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("pull %s: another process downloads it; waiting for that", name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_first(choices: Sequence[_Choice], progress: Progress) -> PullResult:
    """Install the first choice that can be reached and is what the entry says."""
    failures: list[EngineError] = []
    for choice in choices:
        try:
            digest = _install(choice, progress)
        except UnusableSourceError as error:
            failures.append(error)
            continue
        for failure in failures:
            _log.warning("%s; another source had it", failure)
        return PullResult(choice.path, choice.licence, digest, all(file.sha256 for file in choice.files))
    if len(failures) == 1:
        raise failures[0]
    raise EngineError(f"{failures[0]}; {len(failures) - 1} more failed, the last: {failures[-1]}")


def _install(choice: _Choice, progress: Progress) -> str:
    """Download and check all files, then put each in place, the first one last; its digest."""
    digests = [_fetch(choice.name, file, progress) for file in choice.files]
    for file in reversed(choice.files):
        with writing(choice.name, file.path):
            file.part.replace(file.path)
    return digests[0]


def _fetch(name: str, file: _File, progress: Progress) -> str:
    """Download one file to its ``part``, checked; its digest. What is wrong is deleted, since it cannot be resumed."""
    archive = file.path.with_name(f"{file.path.name}.archive")
    download = Download(name, file.url, archive if file.member else file.part)
    what = f"pull {name}: {file.url}"
    with writing(name, file.path):
        _download(name, file, download, progress)
        try:
            _check_integrity(what, download.part, file.integrity)
            if file.member:
                extract(what, archive, file.member, file.part)
                download.discard()
            digest = hash_file(file.part)
            _check_digest(what, digest, file.sha256)
        except BaseException:
            download.discard()
            file.part.unlink(missing_ok=True)
            raise
    file.part.with_name(f"{file.part.name}.tag").unlink(missing_ok=True)
    return digest


def _download(name: str, file: _File, download: Download, progress: Progress) -> None:
    if str(file.url).startswith(PACKAGES):
        progress(0, None)
        download_package(name, str(file.url), download.part)
    else:
        download.run(progress)


def _check_integrity(what: str, path: Path, integrity: Integrity | None) -> None:
    if integrity is None:
        return
    algorithm, _, expected = integrity.partition("-")
    with path.open("rb") as file:
        actual = base64.b64encode(hashlib.file_digest(file, algorithm).digest()).decode()
    if actual != expected:
        raise UnusableSourceError(_mismatch(what, algorithm, actual, expected))


def _check_digest(what: str, digest: str, expected: str) -> None:
    if not digest.startswith(expected):
        raise UnusableSourceError(_mismatch(what, "sha256", digest, expected))


def _mismatch(what: str, algorithm: str, actual: str, expected: str) -> str:
    return (
        f"{what} has {algorithm} {actual}, but the catalogue says {expected}; "
        "the file was deleted; find out why they differ before you use it"
    )
