"""What an engine was built from and for: all that decides whether a plan may be used, and how two of them differ."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

FORMAT = 1
DIGITS = 16


class Batches(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many people at once an engine is built for: the fewest, the number it is fastest at, the most."""

    min: int
    opt: int
    max: int

    def __str__(self) -> str:
        return f"batches of {self.min} to {self.max}, best at {self.opt}"


class EngineKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides whether a plan may be used.

    ``kernels`` gives for each plugin node's settings the sha256 of its kernel's source. ``driver`` is the
    driver's branch (580), whose releases share one ABI. ``gpu`` and ``sm`` are ``any`` where ``hardware_compatibility``
    frees the plan of them. ``precision`` is the manifest's, ``flags`` are names of TensorRT's builder flags.
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
        return digest_of(self)

    @property
    def machine(self) -> tuple[str, str, str, str, int]:
        """What timings depend on beside kernels."""
        return self.tensorrt, self.gpu, self.sm, self.driver, self.cuda_major

    @property
    def content(self) -> tuple[str, str, dict[str, str]]:
        """What is computed: graph, weights and kernels."""
        return self.onnx_sha256, self.weights_sha256, self.kernels


def differences(built: EngineKey, wanted: EngineKey) -> tuple[str, ...]:
    """One phrase for each entry in which two keys differ."""
    return tuple(say(built, wanted) for fields, say in _PHRASES if _values(built, fields) != _values(wanted, fields))


def digest_of(value: object) -> str:
    """The first 16 hex digits of the sha256 of ``value`` as JSON."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:DIGITS]


def _values(key: EngineKey, fields: tuple[str, ...]) -> list[Any]:
    return [getattr(key, field) for field in fields]


def _told_kernels(built: EngineKey, wanted: EngineKey) -> str:
    """The settings themselves are long lines."""
    names = built.kernels.keys() | wanted.kernels.keys()
    changed = sum(built.kernels.get(name) != wanted.kernels.get(name) for name in names)
    return f"{changed} of the kernels of its plugin nodes, or their settings, have changed"


def _told_profiles(key: EngineKey) -> str:
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
    (("kernels",), _told_kernels),
    (("profiles",), lambda a, b: f"built for {_told_profiles(a)}, asked for {_told_profiles(b)}"),
    (("precision",), lambda a, b: f"built in {a.precision}, asked for {b.precision}"),
    (("flags",), lambda a, b: f"built with flags {_list(a.flags)}, asked for {_list(b.flags)}"),
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


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
