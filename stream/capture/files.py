"""Finding the files that a location names."""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from engines.redaction import mask_credentials
from engines.url import Url
from stream.capture.live_address import choose_element
from stream.capture.picture_suffixes import is_picture
from stream.capture.regular_file import PIPE_REMEDY, check_regular
from stream.errors import SourceError

_log = logging.getLogger(__name__)


def find_files(location: str) -> tuple[Path, ...]:
    """Find the files that ``location`` names, in natural order (``2.png`` before ``10.png``).

    A folder stands for the pictures in it, a pattern for the files that match it; neither for hidden files, as in a
    shell. Raises :class:`SourceError` if there are none, and for a pipe or a device.
    """
    mask_credentials(location)
    path = expand_home(location)
    check_regular(path)
    if path.is_dir():
        return _find_pictures(path)
    if path.exists():
        return (path,)
    if glob.has_magic(location):
        return _match(path)
    raise SourceError(f"there is no {location!r} (looked in {Path.cwd()}); {_hint(location)}")


def expand_home(location: str | Path) -> Path:
    """The path with a leading ``~`` or ``~user`` expanded, unless a file is called so or there is no such user.

    Raises :class:`SourceError` for text that is no path, as that of a shell's variable that is not set.
    """
    if location == "":
        raise SourceError("'' is not the name of a file; give a path, or . for this folder")
    path = Path(location)
    try:
        return path if path.exists() else path.expanduser()
    except RuntimeError:  # what follows the ~ is no user
        return path
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{str(location)[:80]!r} is not the name of a file: {why}; check the path") from None


def list_folder(folder: Path, is_wanted: Callable[[Path], bool]) -> tuple[Path, ...]:
    """List the files in ``folder`` that are wanted and not hidden (macOS writes ``._x.png`` beside ``x.png``)."""
    return _sort(path for path in folder.iterdir() if not _is_hidden(path) and is_wanted(path) and path.is_file())


def report_skipped(folder: Path, taken: Collection[Path]) -> None:
    """Log what else is in a folder of which the files ``taken`` are read."""
    skipped = [path for path in folder.iterdir() if path not in taken]
    if skipped:
        level = logging.INFO if all(map(_is_hidden, skipped)) else logging.WARNING
        _log.log(level, "folder %r: %d files are read; %s left out", str(folder), len(taken), _describe(skipped))


def printable(path: Path) -> str:
    r"""The path as text that can be sent and printed, with bytes that are not UTF-8 as ``\xe9``."""
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")


def _find_pictures(folder: Path) -> tuple[Path, ...]:
    pictures = list_folder(folder, is_picture)
    if not pictures:
        others = _describe(folder.iterdir())
        raise SourceError(
            f"folder {str(folder)!r} holds no pictures ({f'only {others}' if others else 'it is empty'}); "
            f"for the videos in it write a pattern, as in '{folder}/*.mp4'"
        )
    return pictures


def _match(pattern: Path) -> tuple[Path, ...]:
    matches = glob.iglob(str(pattern), recursive=True)  # noqa: PTH207  Path.glob finds hidden files too
    files = _sort(path for path in map(Path, matches) if path.is_file())
    if not files:
        raise SourceError(f"no file matches {str(pattern)!r} (looked in {Path.cwd()}); check the folder and the suffix")
    return files


def _sort(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(paths, key=_natural_key))


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key: numbers by value, the rest alphabetically."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts]


def _describe(entries: Iterable[Path]) -> str:
    """``2 .mp4, 1 folder, 3 hidden``; empty if there are none."""
    counts = sorted(Counter(map(_kind, entries)).items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{number} {kind}" for kind, number in counts)


def _kind(path: Path) -> str:
    if _is_hidden(path):
        return "hidden"
    return "folder" if path.is_dir() else path.suffix.lower() or "without a suffix"


def _hint(location: str) -> str:
    if location == "-":
        return f"standard input cannot be read; {PIPE_REMEDY}"
    if location.lower().startswith("file:"):
        return "write the path alone"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", location):
        return f"an address is for {choose_element(Url(location))}"
    if re.search(r"%\d*d", location):
        return f"write a pattern, as in {re.sub(r'%[0-9]*d', '*', Path(location).name)!r}"
    return "check the path"
