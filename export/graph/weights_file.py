"""One file of weights for all graphs of a network: ONNX external data, each distinct tensor stored once.

Fused, backbone and head hold the same weights, which are compared by their bytes and written once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import numpy_helper

from engines.errors import EngineError
from engines.spec.manifest import Part

WEIGHTS = "weights.data"
ALIGNMENT = 64
"""Bytes: a cache line, and enough for any vector instruction when the file is mapped."""
MIN_BYTES = 1024
"""Smaller tensors stay in the graph: shapes and indices, which ONNX Runtime reads when it optimises."""


class Store:
    """An open file of tensors."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offsets: dict[bytes, int] = {}

    def add(self, content: bytes) -> int:
        """The offset of these bytes, which are appended unless they are in the file already."""
        key = hashlib.sha256(content).digest()
        if key not in self._offsets:
            self._file.write(bytes(-self._file.tell() % ALIGNMENT))
            self._offsets[key] = self._file.tell()
            self._file.write(content)
        return self._offsets[key]


def write_graphs(models: Mapping[Part, onnx.ModelProto], folder: Path) -> dict[Part, str]:
    """Write ``<part>.onnx`` and their common weights; the models then refer to that file. Returns the names."""
    with (folder / WEIGHTS).open("wb") as file:
        store = Store(file)
        for model in models.values():
            for tensor in model.graph.initializer:
                _move_to_store(tensor, store)
    return {part: write_graph(model, part, folder) for part, model in models.items()}


def write_graph(model: onnx.ModelProto, part: Part, folder: Path) -> str:
    """Write one graph, whose weights are in the file already, and return its file name."""
    name = f"{part}.onnx"
    (folder / name).write_bytes(model.SerializeToString(deterministic=True))
    return name


def _move_to_store(tensor: onnx.TensorProto, store: Store) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise EngineError(f"weight {tensor.name!r} is outside its graph already; it cannot be stored again")
    array = numpy_helper.to_array(tensor)
    if array.nbytes < MIN_BYTES:
        return
    content = array.tobytes()
    if tensor.data_type in _PACKED:  # two values per byte, or no numpy type: their bytes are not portable
        return
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", WEIGHTS), ("offset", store.add(content)), ("length", len(content))):
        tensor.external_data.add(key=key, value=str(value))


_PACKED = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.STRING)
