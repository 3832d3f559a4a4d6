"""Engines kept on disk, each beside a small JSON that says everything it was built from and for.

TensorRT checks nearly none of this itself: a plan of other weights runs without a word, one of another GPU or release
does not load at all, and a timing cache believes that a plugin whose kernel was edited is as fast as before. So the key
below decides, and where it does not match, :func:`why_not` says which entries differ.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from engines.backends.trt.keys import DIGITS, EngineKey, differences, digest_of
from engines.errors import EngineError
from engines.spec.cache import cache_folder
from engines.spec.manifest import File, digest

FOLDER = "tensorrt"


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands beside an engine: its key, the file itself, and how many layers run in each type."""

    key: EngineKey
    engine: File
    built: str
    layers: dict[str, int]


def engine_folder(artefact: Path) -> Path:
    """Where engines of the graphs in ``artefact`` are kept: inside it; in this user's cache where it is read-only."""
    if os.access(artefact, os.W_OK):
        return artefact / FOLDER
    return cache_folder() / FOLDER / hashlib.sha256(str(artefact.resolve()).encode()).hexdigest()[:DIGITS]


def find(folder: Path, key: EngineKey) -> Path | None:
    """The engine of exactly this key, None where there is none."""
    path = _engine(folder, key)
    return path if path.is_file() and _sidecar(path).is_file() else None


def read(path: Path) -> bytes:
    """The plan in ``path``. Raises :class:`EngineError` where it is not, or no longer, what was built."""
    entry = entry_of(path)
    if path.stat().st_size != entry.engine.bytes or digest(path).sha256 != entry.engine.sha256:
        raise EngineError(f"engine {path} is damaged: it is not the file that was built; delete it and start again")
    return path.read_bytes()


def entry_of(path: Path) -> Entry:
    """What was written beside the engine ``path``. Raises :class:`EngineError` where that is missing or damaged."""
    sidecar = _sidecar(path)
    try:
        return msgspec.json.decode(sidecar.read_bytes(), type=Entry)
    except OSError as error:
        raise EngineError(
            f"engine {path}: {sidecar.name}: {error.strerror}; delete the engine and start again"
        ) from error
    except msgspec.DecodeError as error:
        raise EngineError(f"engine {path}: {sidecar.name} is damaged ({error}); delete both and start again") from error


def store(folder: Path, key: EngineKey, plan: bytes | memoryview, layers: dict[str, int]) -> Path:
    """Keep ``plan``, whole or not at all, and forget what it supersedes.

    The sidecar is written last: an engine without one was never finished and is not found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = _engine(folder, key)
    write_whole(path, plan)
    built = datetime.now(UTC).isoformat(timespec="seconds")
    entry = Entry(key=key, engine=digest(path), built=built, layers=layers)
    write_whole(_sidecar(path), msgspec.json.format(msgspec.json.encode(entry), indent=2) + b"\n")
    _forget_superseded(folder, key)
    return path


def entries(folder: Path, part: str) -> Iterator[tuple[Path, Entry]]:
    """Every whole engine of ``part`` in ``folder``; what is damaged is left out."""
    for path in sorted(folder.glob(f"{part}-*.engine")):
        try:
            yield path, entry_of(path)
        except EngineError:
            continue


def why_not(folder: Path, key: EngineKey) -> str:
    """Why no engine in ``folder`` can be used, in one line: how the nearest differs, or that there is none."""
    told = [differences(entry.key, key) for _, entry in entries(folder, key.part)]
    if not told:
        return f"{folder} holds no engine of {key.part!r} yet"
    return f"the nearest engine of {key.part!r} does not fit: {'; '.join(sorted(told, key=len)[0])}"


def why_refused(path: Path, now: EngineKey | None = None) -> str:
    """What to say when TensorRT gave no engine for a whole plan: its key against ``now``, and the remedy."""
    told = differences(entry_of(path).key, now) if now else ()
    reason = "; ".join(told) or "the plan is whole and its key fits, so TensorRT's log above says why"
    return f"TensorRT does not load {path}: {reason}; delete it and start again to build it for this machine"


def timing_cache_path(folder: Path, key: EngineKey) -> Path:
    """Where layer timings of this machine, these kernels and this part are kept.

    An ahead-of-time plugin is timed by the shapes and types of its tensors alone, so timings outlive an edit of its
    kernel or settings; hence both are in the name.
    """
    return folder / f"timing-{key.part}-{digest_of(key.machine)[:8]}-{digest_of(key.kernels)}.cache"


def read_timing_cache(folder: Path, key: EngineKey) -> bytes:
    """Timings of earlier builds, empty where there are none; those of other kernels on this machine are deleted."""
    path = timing_cache_path(folder, key)
    for other in folder.glob(f"timing-{key.part}-{digest_of(key.machine)[:8]}-*.cache"):
        if other != path:
            other.unlink(missing_ok=True)
    return path.read_bytes() if path.is_file() else b""


def write_timing_cache(folder: Path, key: EngineKey, timings: bytes | memoryview) -> None:
    """Keep the timings of a build for the next."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(timing_cache_path(folder, key), timings)


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file at once or not at all. Raises :class:`EngineError` where it cannot be written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise EngineError(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from error


def _engine(folder: Path, key: EngineKey) -> Path:
    return folder / f"{key.part}-{key.digest}.engine"


def _sidecar(engine: Path) -> Path:
    return engine.with_suffix(".json")


def _forget_superseded(folder: Path, key: EngineKey) -> None:
    """Delete engines of this part whose graph, weights or kernels are no longer those of its folder."""
    for path, entry in entries(folder, key.part):
        if entry.key.content != key.content:
            path.unlink(missing_ok=True)
            _sidecar(path).unlink(missing_ok=True)
