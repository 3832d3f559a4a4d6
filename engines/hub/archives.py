"""Files out of zips, wheels and tar archives, one at a time; no path that an archive names is written to."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engines.errors import EngineError


def extract(what: str, archive: Path, member: str, target: Path) -> None:
    """Write the only file in ``archive`` whose path ends in ``member`` to ``target``; ``what`` begins errors.

    Raises :class:`EngineError` if it is no archive, is damaged, or has no such file or several.
    """
    with _open(what, archive, member) as source, target.open("wb") as file:
        try:
            shutil.copyfileobj(source, file)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError) as error:
            raise EngineError(f"{what} is damaged ({error}); pull again") from None


@contextmanager
def _open(what: str, path: Path, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, archive.open(_find(what, archive.namelist(), member)) as file:
            yield file
        return
    try:
        tar = tarfile.open(path)  # noqa: SIM115 - closed by the next with
    except (tarfile.TarError, EOFError, OSError):
        raise EngineError(f"{what} is neither a zip nor a tar archive; pull again") from None
    with tar:
        names = _read(what, lambda: [entry.name for entry in tar.getmembers() if entry.isfile()])
        found = tar.extractfile(_find(what, names, member))
        assert found is not None
        with found:
            yield found


def _read(what: str, read: Callable[[], list[str]]) -> list[str]:
    try:
        return read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise EngineError(f"{what} is damaged ({error}); pull again") from None


def _find(what: str, names: Sequence[str], member: str) -> str:
    found = [name for name in names if f"/{name}".endswith(f"/{member}")]
    if len(found) != 1:
        raise EngineError(
            f"{what} contains {len(found)} files called {member!r}, expected one; it has {', '.join(names[:8])}"
        )
    return found[0]
