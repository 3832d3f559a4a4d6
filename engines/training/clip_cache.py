"""People that were drawn once are kept: drawing takes minutes, and several trainings learn from the same ones.

They lie in this user's cache, one folder for what was asked, and are read by memory mapping, so trainings side by side
share them. A folder's name is a digest of what was filmed and of the code that draws, so nothing stale is ever read;
any of it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

import engines
from engines.spec import cache
from engines.training.synthetic_samples import Filming, Tracks, film

_FIELDS: Final = {"pictures": np.uint8, "joints": np.float32, "sizes": np.float32}
_INDEX: Final = "index.json"
_DRAWS: Final = ("people/*.py", "geometry.py", "training/tracks.py")
"""The code that decides what a drawn person looks like."""


def filmed(seeds: Sequence[int], filming: Filming, workers: int, done: Callable[[], object]) -> Tracks:
    """The tracks of these scenes, from the cache or drawn and put there; ``done`` is called after each scene drawn."""
    folder = folder_of(seeds, filming)
    if not (folder / _INDEX).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=folder.parent))
        try:
            _write(part, _told(film(seeds, filming, workers), done))
            _put(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return _read(folder)


def folder_of(seeds: Sequence[int], filming: Filming) -> Path:
    """Where they are kept."""
    asked = msgspec.json.encode({"seeds": list(seeds), "filming": asdict(filming), "code": _code()}, order="sorted")
    return cache.cache_folder() / "drawn" / hashlib.sha256(asked).hexdigest()[:16]


def _code() -> str:
    root = Path(engines.__file__).parent
    files = sorted(path for pattern in _DRAWS for path in root.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _told(parts: Iterator[Tracks], done: Callable[[], object]) -> Iterator[Tracks]:
    for part in parts:
        yield part
        done()


def _write(folder: Path, parts: Iterator[Tracks]) -> None:
    """Every scene is appended as it comes, so that memory never holds them all."""
    shapes: dict[str, list[int]] = {}
    files = {name: (folder / name).open("wb") for name in _FIELDS}
    try:
        for part in parts:
            for name, file in files.items():
                values: NDArray[Any] = getattr(part, name)
                file.write(np.ascontiguousarray(values, _FIELDS[name]).tobytes())
                shapes.setdefault(name, [0, *values.shape[1:]])[0] += len(values)
    finally:
        for file in files.values():
            file.close()
    (folder / _INDEX).write_bytes(msgspec.json.encode(shapes))


def _put(part: Path, folder: Path) -> None:
    """Whole or not at all; of two that drew the same at once, the first stays."""
    try:
        part.rename(folder)
    except OSError:
        if not (folder / _INDEX).is_file():
            raise


def _read(folder: Path) -> Tracks:
    shapes = msgspec.json.decode((folder / _INDEX).read_bytes(), type=dict[str, list[int]])
    fields = {name: _mapped(folder / name, kind, tuple(shapes[name])) for name, kind in _FIELDS.items()}
    return Tracks(fields["pictures"], fields["joints"], fields["sizes"])


def _mapped(path: Path, kind: type[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if not shape[0]:
        return np.zeros(shape, kind)  # an empty file cannot be mapped
    return np.memmap(path, kind, "r", shape=shape)
