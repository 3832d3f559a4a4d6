"""What :func:`posestream.estimate` reads, opened as a source of frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.url import Url
from stream.caps import Caps
from stream.capture import files
from stream.capture.live_address import choose_element
from stream.capture.picture_suffixes import is_picture
from stream.capture.stills import is_still
from stream.element import Element, Source
from stream.errors import PropertyError, SourceError
from stream.messages import Eos, Frame
from stream.registry import make

Pixels = NDArray[np.uint8]
Input = str | Path | int | Pixels | Frame | Element | Iterable[str | Path] | Iterable[Pixels | Frame | None]
"""A photo, a folder, a pattern, a video, a camera, an address, frames, an element, or files of the first four kinds."""

_MIN_FPS, _MAX_FPS = 0.00001, 1_000_000
"""The first is a frame a day, as of a time lapse; times are integers of nanoseconds."""

Report = Callable[[str, SourceError], None]
"""Called with a file and what is wrong with it."""

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".apng", ".avi", ".avifs", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".ogv", ".ts", ".webm", ".wmv"}
)


def open_input(source: Input, fps: float, report: Report | None) -> Source:
    """The source that gives the frames of ``source``. Raises :class:`SourceError` for a file that is not there."""
    match source:
        case Source():
            return source
        case int():
            return make_source("camerasrc", device=str(source), camera=f"camera {source}")
        case Frame():
            return Frames([source], fps, is_sequence=False)
        case np.ndarray() if source.ndim != 4:
            return Frames([source], fps, is_sequence=False)
        case str() | Path() if str(source).startswith(("/dev/video", "/dev/v4l/")):
            return make_source("camerasrc", device=str(source), camera=str(source))
        case str() if "://" in source:
            url = Url(source)
            return make_source(choose_element(url), url=url, camera=str(url))
        case str() | Path():
            return Files(find_files(source), report)
        case Iterable():
            first, items = _peek(source)
            return Files(_find_each(items), report) if isinstance(first, str | Path) else Frames(items, fps)
    raise SourceError(
        f"{type(source).__name__} {source!r} is nothing to read frames from; give a path, a camera's number, "
        "an address, or arrays (H, W, 3) uint8"
    )


def _peek(items: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    """The first of ``items``, None where there is none, and all of them: an iterator gives each but once."""
    if isinstance(items, Collection):
        return next(iter(items), None), items
    rest = iter(items)
    begin = list(islice(rest, 1))
    return (begin[0] if begin else None), chain(begin, rest)


def _find_each(items: Iterable[Any]) -> Iterator[Path]:
    """The files that each of ``items`` names."""
    for number, item in enumerate(items):
        if not isinstance(item, str | Path):
            raise SourceError(f"item {number} is {type(item).__name__} among paths; give paths alone, or frames alone")
        yield from find_files(item)


def make_source(name: str, **properties: object) -> Source:
    """The source element called ``name``."""
    element = make(name, **properties)
    assert isinstance(element, Source)
    return element


def _are_drawn(items: Iterable[Any]) -> bool:
    """True if the first of ``items`` is a frame that testsrc has drawn; an iterator's is not known."""
    first = items[0] if isinstance(items, Sequence) and items else None
    return isinstance(first, Frame) and first.truth is not None


def find_files(location: str | Path) -> list[Path]:
    """The photos and videos that a path, a folder or a pattern names, ``2.jpg`` before ``10.jpg``.

    Of a folder only what ends as a picture or a video does; the rest is logged. Raises :class:`SourceError` where
    there are none.
    """
    folder = files.expand_home(location)
    if not folder.is_dir():
        return list(files.find_files(str(location)))
    found = files.list_folder(folder, is_photo_or_video)
    if not found:
        raise SourceError(f"folder {str(folder)!r} holds no photos and no videos; give another, or a pattern")
    files.report_skipped(folder, found)
    return list(found)


def drop_repeated(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The paths, without those that name an entry of a folder again, as ``./a.jpg`` after ``a.jpg``."""
    entries: dict[Path, Path] = {}
    for path in paths:
        entries.setdefault(path.parent.resolve() / path.name, path)
    return tuple(entries.values())


def name_files(paths: Sequence[Path]) -> dict[str, Path]:
    """The files by the names of their cameras: their paths as text, of which the second of a name gets a number."""
    names = [files.printable(path) for path in paths]
    named: dict[str, Path] = {}
    for name, path in zip(names, paths, strict=True):
        free, number = name, 2
        while free in named or (free != name and free in names):
            free, number = str(Path(name).with_stem(f"{Path(name).stem}-{number}")), number + 1
        named[free] = path
    return named


def is_photo_or_video(path: Path) -> bool:
    """True where the suffix is that of a picture or a video."""
    return is_picture(path) or path.suffix.lower() in VIDEO_SUFFIXES


class Files(Source):
    """Photos and videos one after the other, each once, as a camera of its own that is called as its path.

    A file that cannot be read is given to ``report``; where there is none, the error is raised.
    """

    src = Caps("video/raw")
    has_truth = False

    def __init__(self, paths: Iterable[Path], report: Report | None = None) -> None:
        self.paths = drop_repeated(paths)
        self._named = name_files(self.paths)
        self._report = report

    @property
    def reads_ahead(self) -> bool:
        return True

    @cached_property
    def photos(self) -> frozenset[str]:
        """The cameras that are single pictures, in which there is nothing to track."""
        return frozenset(camera for camera, path in self._named.items() if is_still(path))

    @property
    def is_sequence(self) -> bool:
        """True where some neighbours are frames of one video."""
        return len(self.photos) < len(self.paths)

    def frames(self) -> Iterator[Any]:
        """The frames of each file, then ``Eos``: what a window or a tracker holds of a file ends with it."""
        for camera, path in self._named.items():
            fault = None
            try:
                with make_source("filesrc", location=str(path), camera=camera) as file:
                    yield from file.frames()
            except SourceError as error:
                fault = error
            yield Eos(camera)
            if fault is not None:
                if self._report is None:
                    raise fault
                self._report(camera, fault)


class Frames(Source):
    """Arrays (H, W, 3) uint8 BGR, ``fps`` of them a second, or frames that are ready-made and keep their camera.

    Raises :class:`PropertyError` for an ``fps`` beyond one frame a day and 1,000,000 a second.
    """

    src = Caps("video/raw")
    camera = "frames"

    def __init__(self, items: Iterable[Any], fps: float, *, is_sequence: bool = True) -> None:
        if not _MIN_FPS <= fps <= _MAX_FPS:
            raise PropertyError(f"fps={fps} is not valid: it must be a number from {_MIN_FPS:.5f} to {_MAX_FPS:,}")
        self._items, self._fps, self.is_sequence = items, fps, is_sequence
        self.has_truth = _are_drawn(items)

    def frames(self) -> Iterator[Any]:
        """The frames, then ``Eos`` for each camera."""
        cameras: set[str] = set()
        for seq, item in enumerate(self._items):
            frame = item if item is None or isinstance(item, Frame) else self._frame(seq, item)
            if frame is not None:
                _check_pixels(seq, frame.pixels)
                cameras.add(frame.camera)
            yield frame
        yield from map(Eos, sorted(cameras))

    def _frame(self, seq: int, pixels: Any) -> Frame:
        _check_pixels(seq, pixels)
        now_ns = self.context.now_ns()
        # A copy, since a program may read its next frame into the same memory while a window still holds this one.
        return Frame(
            self.camera, seq, round(seq * 1e9 / self._fps), now_ns, pixels.copy(order="C"), {"captured": now_ns}
        )


def _check_pixels(seq: int, pixels: Any) -> None:
    """Raise :class:`SourceError` for what is no picture."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[2:] != (3,) or not pixels.size:
        kind = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise SourceError(f"frame {seq} is {kind}; give arrays (height, width, 3) uint8, BGR as OpenCV reads them")
