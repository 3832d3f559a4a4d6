"""Where sinks write: names from cameras, missing folders, and what cannot be written to."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from engines.formats.output_files import Opener, open_alone, open_temporary
from stream.capture.regular_file import describe_kind
from stream.errors import FullDiskError, PropertyError, TransportError

_log = logging.getLogger(__name__)

_File = TypeVar("_File")

REMOVED = "it was removed while the line ran"
"""Why a file cannot be written that another program has removed."""

_ESCAPES = str.maketrans({"%": "%25", "/": "%2F", "\0": "%00"})


def insert_camera(location: str, camera: str) -> str:
    """Replace ``{camera}`` in ``location``, and ``~`` before it; the names of two cameras never become one.

    >>> insert_camera("out/{camera}.mp4", "hall"), insert_camera("out/{camera}.mp4", "floor 1/hall")
    ('out/hall.mp4', 'out/floor 1%2Fhall.mp4')
    """
    name = camera.translate(_ESCAPES)
    expanded = os.path.expanduser(location)  # noqa: PTH111 - it may be "-", and a camera's name may begin with ~
    return expanded.replace("{camera}", name.replace(".", "%2E") if set(name) == {"."} else name)


def number_file(path: Path, number: int) -> Path:
    """The file ``number`` of a series that begins with ``path``, which is number 1.

    >>> [str(number_file(Path("out.mp4"), number)) for number in (1, 2)]
    ['out.mp4', 'out.2.mp4']
    """
    return path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")


def find_numbered(path: Path) -> dict[int, Path]:
    """The files of a series that exist, by number (:func:`number_file`)."""
    pattern = re.compile(rf"{re.escape(path.stem)}\.([1-9]\d*){re.escape(path.suffix)}")
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    numbered = {int(match[1]): each for each in beside if (match := pattern.fullmatch(each.name))}
    found = {number: each for number, each in numbered.items() if number > 1}
    if path.exists():
        found[1] = path
    return dict(sorted(found.items()))


def find_first(path: Path) -> Path | None:
    """The first file of the series in which ``path`` would be a later one; None where it has no such number.

    >>> find_first(Path("out.2.mp4")), find_first(Path("out.mp4"))
    (PosixPath('out.mp4'), None)
    """
    name, _, number = path.stem.rpartition(".")
    is_later = name and re.fullmatch(r"[1-9]\d*", number) and number != "1"
    return path.with_name(name + path.suffix) if is_later else None


def warn_of_later_files(path: Path, owner: str, until: str) -> None:
    """Warn of later files of the series that an earlier run left: the first stays ``until`` this run writes over it."""
    old = [later for number, later in find_numbered(path).items() if number > 1]
    if old:
        _log.warning("%s: %s is of an earlier run (such files: %d); it stays until %s", owner, old[0], len(old), until)


def refuse_numbered(targets: Mapping[str, str], owner: str) -> None:
    """Raise :class:`PropertyError` where the file of one camera, by its path, is called as a later one of another's
    series (:func:`number_file`)."""
    for target, camera in targets.items():
        other = targets.get(str(find_first(Path(target)) or ""))
        if other is not None:
            raise PropertyError(
                f"{owner}: {target} is the file of camera {camera!r} and, after a restart, that of {other!r}; "
                "set camera= to another name"
            )


def make_folder_of(path: Path, owner: str) -> None:
    """Make the folder of the file or folder ``path`` if it is missing, and say so. Raises :class:`TransportError`."""
    folder = path.parent
    if not folder.is_dir():
        _make_folder(folder, owner)
        _log.warning("%s made the folder %s, which was not there", owner, folder)


def make_folder(path: Path, owner: str) -> None:
    """Make the folder ``path`` that ``owner`` fills, unless it is there. Raises :class:`TransportError`."""
    make_folder_of(path, owner)
    _make_folder(path, owner)


def check_target(path: Path, owner: str) -> None:
    """Raise :class:`TransportError` if ``path`` is there and not a regular file, which a file cannot replace."""
    kind = "a folder" if path.is_dir() else describe_kind(path)
    if kind:
        raise write_error(owner, path, f"it is {kind}, not a file")


def choose_opener(number: int) -> Opener:
    """How to open the file ``number`` of a series, of which only the first has a name that the user gave."""
    return open_alone if number == 1 else open_temporary


def finish_each(files: Iterable[_File], finish: Callable[[_File], object]) -> None:
    """Finish every file, also after one that cannot be finished. Raises a :class:`TransportError` of all of those,
    each text once."""
    errors: list[TransportError] = []
    for file in files:
        try:
            finish(file)
        except TransportError as error:
            errors.append(error)
    if errors:
        raise type(errors[0])("; ".join(dict.fromkeys(map(str, errors))))


def check_present(file: io.FileIO, path: Path, owner: str) -> None:
    """Raise :class:`TransportError` if the file that is open was removed, and with it what was written."""
    if not os.fstat(file.fileno()).st_nlink:
        raise write_error(owner, path, REMOVED)


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def write_error(
    owner: str, path: Path | str, why: OSError | str, elsewhere: str = "choose another location="
) -> TransportError:
    """The error of ``owner``, which cannot write ``path``; a :class:`FullDiskError` where there is no room. Its remedy
    is to write ``elsewhere``."""
    is_full = isinstance(why, OSError) and why.errno in _FULL
    text = why if isinstance(why, str) else why.strerror or str(why)
    remedy = f"make room, or {elsewhere}" if is_full else elsewhere
    return (FullDiskError if is_full else TransportError)(f"{owner} cannot write {path}: {text}; {remedy}")


def _make_folder(folder: Path, owner: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise write_error(owner, folder, f"it is {describe_kind(folder) or 'a file'}, not a folder") from None
    except OSError as error:
        raise write_error(owner, folder, error) from None
