"""Engines on disk, each beside a small JSON file that holds everything it was built from and for.

TensorRT checks almost none of this itself: a plan with other weights runs without an error, one of another GPU or
release does not load at all, and a timing cache assumes that a plugin whose kernel was edited is as fast as before. So
:class:`EngineKey` decides, and on a miss :func:`explain_miss` names the entries that differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from engines.backends.trt.artifacts import write_atomically
from engines.backends.trt.options import Batches
from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.json import read_json
from engines.spec.cache import cache_folder
from engines.spec.fingerprint import fingerprint_bytes, hash_file
from engines.spec.manifest import File, describe_file

FOLDER = "tensorrt"
FORMAT = 1


class EngineKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides whether a plan may be used.

    ``kernels`` maps each plugin node's settings to the sha256 of its kernel's source. ``driver`` is the driver's branch
    (580), whose releases share one ABI. ``gpu`` and ``sm`` are ``any`` if ``hardware_compatibility`` makes the plan
    independent of them. ``precision`` is the manifest's, ``flags`` are names of TensorRT's builder flags.
    """

    format: int = FORMAT
    part: str
    onnx_sha256: str
    weights_sha256: str
    kernels: dict[str, str]
    tensorrt: str
    gpu: str
    sm: str
    driver: str
    cuda_major: int
    profiles: tuple[Batches, ...]
    flags: tuple[str, ...]
    hardware_compatibility: str
    precision: str
    workspace_bytes: int
    optimization_level: int

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the sha256 of all of it."""
        return short_digest(self)

    @property
    def machine(self) -> tuple[str, str, str, str, int]:
        """What timings depend on besides kernels."""
        return self.tensorrt, self.gpu, self.sm, self.driver, self.cuda_major

    @property
    def content(self) -> tuple[str, str, dict[str, str]]:
        """What is computed: graph, weights and kernels."""
        return self.onnx_sha256, self.weights_sha256, self.kernels


def differences(built: EngineKey, wanted: EngineKey) -> tuple[str, ...]:
    """One phrase for each entry in which two keys differ."""
    return tuple(say(built, wanted) for fields, say in _PHRASES if _values(built, fields) != _values(wanted, fields))


def short_digest(value: object) -> str:
    """The first 16 hex digits of the sha256 of ``value`` as JSON."""
    return fingerprint_bytes(msgspec.json.encode(value, order="deterministic"))


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON file beside an engine: its key, size and sha256, and how many layers run in each type."""

    key: EngineKey
    engine: File
    built: str
    layers: dict[str, int]


def engine_folder(export: Path) -> Path:
    """Where engines of the graphs in ``export`` are kept: inside it, or in this user's cache if it is read-only."""
    if os.access(export, os.W_OK):
        return export / FOLDER
    return cache_folder() / FOLDER / fingerprint_bytes(str(export.resolve()).encode())


def find(folder: Path, key: EngineKey) -> Path | None:
    """The engine with exactly this key, or None."""
    path = _engine_path(folder, key)
    return path if path.is_file() and _entry_path(path).is_file() else None


def read(path: Path) -> bytes:
    """The plan in ``path``. Raises :class:`EngineError` if it is not what was built."""
    entry = read_entry(path)
    if path.stat().st_size != entry.engine.bytes or hash_file(path) != entry.engine.sha256:
        raise EngineError(f"engine {path} is damaged: it is not the file that was built; delete it and start again")
    return path.read_bytes()


def read_entry(path: Path) -> Entry:
    """What was written beside the engine ``path``. Raises :class:`EngineError` if that is missing or damaged."""
    sidecar = _entry_path(path)
    try:
        return read_json(sidecar, Entry)
    except FormatError as error:
        raise EngineError(f"engine {path}: {error.within(sidecar.name)}; delete both and start again") from error


def store(folder: Path, key: EngineKey, plan: bytes | memoryview, layers: dict[str, int]) -> Path:
    """Write ``plan`` atomically and delete what it supersedes.

    The JSON file is written last: an engine without one was never finished and is not found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = _engine_path(folder, key)
    write_atomically(path, plan)
    built = datetime.now(UTC).isoformat(timespec="seconds")
    entry = Entry(key=key, engine=describe_file(path), built=built, layers=layers)
    write_atomically(_entry_path(path), msgspec.json.format(msgspec.json.encode(entry), indent=2) + b"\n")
    _delete_superseded(folder, key)
    return path


def list_entries(folder: Path, part: str) -> Iterator[tuple[Path, Entry]]:
    """Every complete engine of ``part`` in ``folder``; damaged ones are skipped."""
    for path in sorted(folder.glob(f"{part}-*.engine")):
        try:
            yield path, read_entry(path)
        except EngineError:
            continue


def explain_miss(folder: Path, key: EngineKey) -> str:
    """Why no engine in ``folder`` can be used, in one line: how the nearest differs, or that there is none."""
    found = [differences(entry.key, key) for _, entry in list_entries(folder, key.part)]
    if not found:
        return f"{folder} holds no engine of {key.part!r} yet"
    return f"the nearest engine of {key.part!r} does not fit: {'; '.join(sorted(found, key=len)[0])}"


def explain_refusal(path: Path, now: EngineKey | None = None) -> str:
    """Why TensorRT refused an undamaged plan: how its key differs from ``now``, and the remedy."""
    found = differences(read_entry(path).key, now) if now else ()
    reason = "; ".join(found) or "the plan is undamaged and its key fits, so TensorRT's log above says why"
    return f"TensorRT does not load {path}: {reason}; delete it and start again to build it for this machine"


def timing_cache_path(folder: Path, key: EngineKey) -> Path:
    """Where layer timings of this machine, these kernels and this part are kept.

    TensorRT identifies an ahead-of-time plugin by the shapes and types of its tensors alone, so timings would survive
    an edit of its kernel or settings; hence both are in the name.
    """
    return folder / f"timing-{key.part}-{short_digest(key.machine)[:8]}-{short_digest(key.kernels)}.cache"


def read_timing_cache(folder: Path, key: EngineKey) -> bytes:
    """Timings of earlier builds, or nothing; those of other kernels on this machine are deleted."""
    path = timing_cache_path(folder, key)
    for other in folder.glob(f"timing-{key.part}-{short_digest(key.machine)[:8]}-*.cache"):
        if other != path:
            other.unlink(missing_ok=True)
    return path.read_bytes() if path.is_file() else b""


def write_timing_cache(folder: Path, key: EngineKey, timings: bytes | memoryview) -> None:
    """Keep the timings of a build for the next."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(timing_cache_path(folder, key), timings)


def _engine_path(folder: Path, key: EngineKey) -> Path:
    return folder / f"{key.part}-{key.digest}.engine"


def _entry_path(engine: Path) -> Path:
    return engine.with_suffix(".json")


def _delete_superseded(folder: Path, key: EngineKey) -> None:
    """Delete engines of this part whose graph, weights or kernels are no longer those of its folder."""
    for path, entry in list_entries(folder, key.part):
        if entry.key.content != key.content:
            path.unlink(missing_ok=True)
            _entry_path(path).unlink(missing_ok=True)


def _values(key: EngineKey, fields: tuple[str, ...]) -> list[Any]:
    return [getattr(key, field) for field in fields]


def _compare_kernels(built: EngineKey, wanted: EngineKey) -> str:
    """A count: the settings themselves are long lines."""
    names = built.kernels.keys() | wanted.kernels.keys()
    changed = sum(built.kernels.get(name) != wanted.kernels.get(name) for name in names)
    return f"{changed} of the kernels of its plugin nodes, or their settings, have changed"


def _format_profiles(key: EngineKey) -> str:
    return " and ".join(map(str, key.profiles)) or "its one fixed batch"


_PHRASES: tuple[tuple[tuple[str, ...], Callable[[EngineKey, EngineKey], str]], ...] = (
    (("format",), lambda a, b: f"written in format {a.format}, this version reads {b.format}"),
    (("part",), lambda a, b: f"it is the graph {a.part!r}, not {b.part!r}"),
    (("gpu", "sm"), lambda a, b: f"built on {a.gpu} ({a.sm}), this is {b.gpu} ({b.sm})"),
    (("tensorrt",), lambda a, b: f"built by TensorRT {a.tensorrt}, this is {b.tensorrt}"),
    (
        ("driver", "cuda_major"),
        lambda a, b: f"built with driver {a.driver} (CUDA {a.cuda_major}), this is {b.driver} (CUDA {b.cuda_major})",
    ),
    (("onnx_sha256",), lambda a, b: f"its graph was {a.onnx_sha256[:12]}…, is now {b.onnx_sha256[:12]}…"),
    (("weights_sha256",), lambda a, b: f"its weights were {a.weights_sha256[:12]}…, are now {b.weights_sha256[:12]}…"),
    (("kernels",), _compare_kernels),
    (("profiles",), lambda a, b: f"built for {_format_profiles(a)}, asked for {_format_profiles(b)}"),
    (("precision",), lambda a, b: f"built in {a.precision}, asked for {b.precision}"),
    (("flags",), lambda a, b: f"built with flags {_format_flags(a.flags)}, asked for {_format_flags(b.flags)}"),
    (
        ("hardware_compatibility",),
        lambda a, b: f"built for hardware {a.hardware_compatibility!r}, asked for {b.hardware_compatibility!r}",
    ),
    (
        ("workspace_bytes",),
        lambda a, b: f"built with {a.workspace_bytes >> 20} MiB of workspace, asked for {b.workspace_bytes >> 20}",
    ),
    (
        ("optimization_level",),
        lambda a, b: f"built at optimisation level {a.optimization_level}, asked for {b.optimization_level}",
    ),
)


def _format_flags(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
