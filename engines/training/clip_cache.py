"""A cache of rendered synthetic people: rendering takes minutes, and several trainings use the same people.

Each set of tracks or pictures has a folder in the user's cache, read by memory mapping, so that concurrent trainings
share it. The folder's name is a digest of the settings and of the rendering code, so that stale entries are never read.
Any of it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

import engines
from engines.formats.json import read_json
from engines.spec import cache
from engines.training.drawn_pictures import DrawnPictures, PictureSettings, draw_scene
from engines.training.synthetic_samples import Tracks, TrackSettings, render_scenes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Fields = Mapping[str, type[Any]]

_TRACK_FIELDS: Final[Fields] = {"pictures": np.uint8, "joints": np.float32, "sizes": np.float32}
_PICTURE_FIELDS: Final[Fields] = {"pixels": np.uint8, "counts": np.int64, "joints": np.float32, "boxes": np.float32}
_INDEX: Final = "index.json"
RENDERING_CODE: Final = (
    "datasets/synthetic/*.py",
    "vision/crop.py",
    "skeletons.py",
    "training/synthetic_samples.py",
)
"""The code that determines the pixels and joints of a synthetic person, as patterns under ``engines/``."""
_PICTURE_CODE: Final = "training/drawn_pictures.py"


def load_or_render(
    seeds: Sequence[int], settings: TrackSettings, workers: int, on_scene: Callable[[], object]
) -> Tracks:
    """The tracks of these scenes, from the cache or rendered into it; calls ``on_scene`` after each rendered scene."""
    folder = cache_path(seeds, settings)
    return Tracks(**load_or_make(folder, _TRACK_FIELDS, lambda: render_scenes(seeds, settings, workers), on_scene))


def load_or_draw(seeds: Sequence[int], settings: PictureSettings, on_scene: Callable[[], object]) -> DrawnPictures:
    """The same for whole pictures."""
    folder = cache_path(seeds, settings)
    return DrawnPictures(
        **load_or_make(folder, _PICTURE_FIELDS, lambda: (draw_scene(seed, settings) for seed in seeds), on_scene)
    )


def load_or_make(
    folder: Path,
    fields: Fields,
    render: Callable[[], Iterator[object]],
    on_scene: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """The arrays in ``folder``, of the types in ``fields``. Unless it exists, the attributes of those names of what
    ``render`` makes are written there first, one after the other."""
    if not (folder / _INDEX).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=folder.parent))
        try:
            _write(part, _notify(render(), on_scene), fields)
            _publish(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return _read(folder, fields)


def cache_path(seeds: Sequence[int], settings: DataclassInstance) -> Path:
    """The folder of these tracks or pictures."""
    code = _hash_code(_PICTURE_CODE) if isinstance(settings, PictureSettings) else _hash_code()
    key = {"seeds": list(seeds), "settings": asdict(settings), "code": code}
    digest = hashlib.sha256(msgspec.json.encode(key, order="sorted")).hexdigest()
    return cache.cache_folder() / "synthetic" / digest[:16]


def _hash_code(*further: str) -> str:
    root = Path(engines.__file__).parent
    files = sorted(path for pattern in (*RENDERING_CODE, *further) for path in root.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _notify(parts: Iterator[T], on_scene: Callable[[], object]) -> Iterator[T]:
    for part in parts:
        yield part
        on_scene()


def _write(folder: Path, parts: Iterator[object], fields: Fields) -> None:
    """Append scene by scene, so that memory never holds all of them."""
    shapes: dict[str, list[int]] = {}
    files = {name: (folder / name).open("wb") for name in fields}
    try:
        for part in parts:
            for name, file in files.items():
                values: NDArray[Any] = getattr(part, name)
                file.write(np.ascontiguousarray(values, fields[name]).tobytes())
                shapes.setdefault(name, [0, *values.shape[1:]])[0] += len(values)
    finally:
        for file in files.values():
            file.close()
    (folder / _INDEX).write_bytes(msgspec.json.encode(shapes))


def _publish(part: Path, folder: Path) -> None:
    """Move a complete folder into place; if two processes rendered the same tracks, the first one stays."""
    try:
        part.rename(folder)
    except OSError:
        if not (folder / _INDEX).is_file():
            raise


def _read(folder: Path, fields: Fields) -> dict[str, Any]:
    shapes = read_json(folder / _INDEX, dict[str, list[int]])
    return {name: _map(folder / name, kind, tuple(shapes[name])) for name, kind in fields.items()}


def _map(path: Path, kind: type[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if not shape[0]:
        return np.zeros(shape, kind)  # an empty file cannot be mapped
    return np.memmap(path, kind, "r", shape=shape)
