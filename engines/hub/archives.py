"""Files out of zips, wheels and tar archives, one at a time; no path that an archive names is written to."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from engines.hub.sources import UnusableSourceError

T = TypeVar("T")

_CHUNK_BYTES = 1 << 20
_DAMAGES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)
_UNSUPPORTED = RuntimeError
"""What ``zipfile`` raises for a file with a password, and its subclass for an unknown compression."""


def extract(what: str, archive: Path, member: str, target: Path) -> None:
    """Write the only file in ``archive`` whose path ends in ``member`` to ``target``; ``what`` begins errors.

    Raises :class:`UnusableSourceError` if it is no archive, is damaged, or has no such file or several, and ``OSError``
    where ``target`` cannot be written.
    """
    with _open(what, archive, member) as source, target.open("wb") as file:
        while chunk := _read(what, lambda: source.read(_CHUNK_BYTES)):
            file.write(chunk)


@contextmanager
def _open(what: str, path: Path, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with _read(what, lambda: zipfile.ZipFile(path)) as archive:
            name = _find(what, archive.namelist(), member)
            with _read(what, lambda: archive.open(name)) as file:
                yield file
        return
    try:
        tar = tarfile.open(path)  # noqa: SIM115 - closed by the next with
    except _DAMAGES:
        raise UnusableSourceError(f"{what} is neither a zip nor a tar archive; pull again") from None
    with tar:
        names = _read(what, lambda: [entry.name for entry in tar.getmembers() if entry.isfile()])
        found = tar.extractfile(_find(what, names, member))
        assert found is not None
        with found:
            yield found


def _read(what: str, read: Callable[[], T]) -> T:
    """The result of ``read``, which reads from the archive and writes nothing."""
    try:
        return read()
    except _DAMAGES as error:
        raise UnusableSourceError(f"{what} is damaged ({error}); pull again") from None
    except _UNSUPPORTED as error:
        raise UnusableSourceError(f"{what} cannot be read ({error}); name another archive in the entry") from None


def _find(what: str, names: Sequence[str], member: str) -> str:
    found = [name for name in names if f"/{name}".endswith(f"/{member}")]
    if len(found) != 1:
        raise UnusableSourceError(
            f"{what} contains {len(found)} files called {member!r}, expected one; it has {', '.join(names[:8])}"
        )
    return found[0]
