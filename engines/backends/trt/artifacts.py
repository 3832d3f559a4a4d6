"""What an export prepares for TensorRT: its own graphs beside the standard ones, and ``tensorrt.json``, their list.

``fused.onnx`` is the standard graph; ``fused.trt.onnx`` is the same network as TensorRT's parser needs it, with our
kernel in place of ``DeformConv`` if that was chosen. Both read their weights from the same file. A plain ``.onnx``
without such a list is built as it is, with TensorRT's own deformable convolution.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engines.backends.trt.options import BuildOptions, Plugin
from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.json import read_json
from engines.spec.fingerprint import hash_file
from engines.spec.manifest import FileName, Sha256

LIST = "tensorrt.json"
FORMAT = 1

Type = Literal["fp32", "fp16", "bf16", "int8"]


class PreparedGraph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One graph for TensorRT.

    ``source_sha256`` is of the standard graph it was made from; ``structure_sha256`` of itself without the weights,
    which identifies a plan without weights. ``kernels`` are the settings of its plugin nodes, each once. ``types``
    gives for every convolution and matrix product, by its node's name, the type it must run in.
    """

    file: FileName
    sha256: Sha256
    source_sha256: Sha256
    structure_sha256: Sha256
    kernels: tuple[str, ...]
    types: dict[str, Type]


class Preparation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All graphs of one export, by the names of the standard files: ``fused.onnx`` and so on.

    ``options`` are those of its engines. A pipeline that has to build one uses them too, or it would not find it again.
    """

    format: Annotated[int, Meta(ge=1)] = FORMAT
    plugin: Plugin
    precision: str
    weights_sha256: str
    options: BuildOptions = BuildOptions()
    graphs: dict[FileName, PreparedGraph]


@dataclass(frozen=True)
class Source:
    """What an engine is built from: a file, and what the engine's key holds of it."""

    part: str
    path: Path
    onnx_sha256: str
    weights_sha256: str
    precision: str
    options: BuildOptions = field(default_factory=BuildOptions)
    structure_sha256: str = ""
    kernels: tuple[str, ...] = ()
    types: dict[str, Type] = field(default_factory=dict)


def write_preparation(preparation: Preparation, folder: Path) -> None:
    """Write ``tensorrt.json``, indented, atomically."""
    write_atomically(folder / LIST, msgspec.json.format(msgspec.json.encode(preparation), indent=2) + b"\n")


def read_preparation(folder: Path) -> Preparation | None:
    """What was prepared in ``folder``, or None. Raises :class:`EngineError` if it cannot be read."""
    path = folder / LIST
    if not path.is_file():
        return None
    try:
        preparation = read_json(path, Preparation)
    except FormatError as error:
        raise EngineError(f"{error.within(str(path))}; export the network again, --to tensorrt") from error
    if preparation.format != FORMAT:
        raise EngineError(f"{path} is of format {preparation.format}, this version reads {FORMAT}; export again")
    return preparation


def read_source(path: Path) -> Source:
    """What to build for the standard graph ``path``: what was prepared for TensorRT, else the graph itself.

    Raises :class:`EngineError` if a prepared graph is missing, damaged or of another export than ``path``.
    """
    preparation = read_preparation(path.parent)
    if preparation is None or path.name not in preparation.graphs:
        return _read_plain_source(path)
    prepared = preparation.graphs[path.name]
    _check_prepared(path, prepared)
    return Source(
        part=path.stem,
        path=path.with_name(prepared.file),
        onnx_sha256=prepared.sha256,
        weights_sha256=preparation.weights_sha256,
        precision=preparation.precision,
        options=preparation.options,
        structure_sha256=prepared.structure_sha256,
        kernels=prepared.kernels,
        types=prepared.types,
    )


def _read_plain_source(path: Path) -> Source:
    """A graph without a preparation; any data file beside it may hold its weights, so all of them count."""
    if not path.is_file():
        raise EngineError(f"TensorRT: there is no file {path}; give an .onnx file, or the folder of an export")
    beside = sorted((*path.parent.glob("*.data"), *path.parent.glob(f"{path.name}*data")))
    weights = "".join(hash_file(file) for file in dict.fromkeys(beside))
    return Source(
        part=path.stem,
        path=path,
        onnx_sha256=hash_file(path),
        weights_sha256=hashlib.sha256(weights.encode()).hexdigest() if weights else "",
        precision="as in the graph",
    )


def _check_prepared(path: Path, prepared: PreparedGraph) -> None:
    again = "export the network again, --to tensorrt"
    if hash_file(path) != prepared.source_sha256:
        raise EngineError(f"{path.parent / LIST} was made from another {path.name} than the one beside it; {again}")
    graph = path.with_name(prepared.file)
    if not graph.is_file():
        raise EngineError(f"{path.parent / LIST} lists {prepared.file}, which is missing; {again}")
    if hash_file(graph) != prepared.sha256:
        raise EngineError(f"{graph} is not the graph that was prepared (its sha256 differs); {again}")


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file or nothing. Raises :class:`EngineError` if it cannot be written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise EngineError(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from error
