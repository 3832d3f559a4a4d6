"""Finding the files that a location names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from glob import has_magic
from pathlib import Path

from stream.capture.stills import is_still
from stream.credentials import redact
from stream.errors import SourceError


def find_files(location: str) -> tuple[Path, ...]:
    """Find the files that ``location`` names, in natural order (``2.png`` before ``10.png``).

    A folder stands for the pictures in it, a pattern for the files that match it. Raises :class:`SourceError` if there
    are none.
    """
    path = Path(location).expanduser()
    if path.is_dir():
        return _find_pictures(path)
    if not path.exists() and has_magic(location):
        return _match(path)
    if not path.exists():
        raise SourceError(f"there is no {redact(location)!r} (looked in {Path.cwd()}); {_hint(path)}")
    return (path,)


def _find_pictures(folder: Path) -> tuple[Path, ...]:
    pictures = [path for path in folder.iterdir() if is_still(path) and not path.name.startswith(".")]
    if not pictures:
        raise SourceError(
            f"folder {str(folder)!r} holds no pictures ({_describe_content(folder)}); "
            f"for the videos in it write a pattern, as in '{folder}/*.mp4'"
        )
    return tuple(sorted(pictures, key=_natural_key))


def _match(pattern: Path) -> tuple[Path, ...]:
    files = [path for path in _glob(pattern) if path.is_file()]
    if not files:
        raise SourceError(f"no file matches {str(pattern)!r} (looked in {Path.cwd()}); check the folder and the suffix")
    return tuple(sorted(files, key=_natural_key))


def _glob(pattern: Path) -> Iterator[Path]:
    anchor = Path(pattern.anchor)  # Path.glob takes relative patterns only
    return anchor.glob(str(pattern.relative_to(anchor)))


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key: numbers by value, the rest alphabetically."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts]


def _describe_content(folder: Path) -> str:
    entries = sum(1 for _ in folder.iterdir())
    return "it is empty" if entries == 0 else f"{entries} other {'entry' if entries == 1 else 'entries'}"


def _hint(path: Path) -> str:
    if re.match(r"[a-z]+:/", str(path)):
        return "an address is for rtspsrc"
    if re.search(r"%\d*d", path.name):
        return f"write a pattern, as in {re.sub(r'%[0-9]*d', '*', path.name)!r}"
    return "check the path"
