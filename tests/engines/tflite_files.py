"""TFLite files that reshape tensors, written field by field: what converters make of networks in 8-bit integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int8": 9}
RESHAPE = 22
"""The number of the operator."""


@dataclass(frozen=True)
class Quantised:
    """A tensor whose real values are ``scale * (stored - zero_point)``; not quantised if ``scale`` is 0.

    ``stored`` are its values if it is constant.
    """

    name: str
    shape: Sequence[int]
    dtype: str = "int8"
    scale: float = 0.0
    zero_point: int = 0
    stored: NDArray[Any] | None = None


def save_reshapes(path: Path, tensors: Sequence[Quantised], pairs: Sequence[tuple[int, int]]) -> Path:
    """Write a network that reshapes tensor ``a`` to tensor ``b``, an output, for each (a, b) of ``pairs``.

    The first tensor is the input.
    """
    write = _Writer()
    shapes = [np.array(tensors[b].shape, np.int32) for _, b in pairs]
    known = [*tensors, *(Quantised(f"shape_{n}", shape.shape, "int32", stored=shape) for n, shape in enumerate(shapes))]
    buffers = [write.table({}), *(write.buffer(tensor) for tensor in known)]
    rows = [write.tensor(tensor, 1 + number) for number, tensor in enumerate(known)]
    operators = [
        write.table({1: write.ints([a, len(tensors) + number]), 2: write.ints([b])})
        for number, (a, b) in enumerate(pairs)
    ]
    outputs = write.ints([b for _, b in pairs])
    graph = write.table({0: write.tables(rows), 1: write.ints([0]), 2: outputs, 3: write.tables(operators)})
    code = write.table({}, {0: RESHAPE}, {3: RESHAPE})
    fields = {1: write.tables([code]), 2: write.tables([graph]), 4: write.tables(buffers)}
    write.builder.Finish(write.table(fields, words={0: 3}), file_identifier=b"TFL3")
    path.write_bytes(write.builder.Output())
    return path


class _Writer:
    """Tables and vectors of the format; each is written before what refers to it, and known by its offset."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)

    def table(
        self, offsets: dict[int, int], small: dict[int, int] | None = None, words: dict[int, int] | None = None
    ) -> int:
        """A table of fields, by their number: ``offsets`` of others, ``small`` numbers of a byte, ``words`` of four."""
        self.builder.StartObject(9)
        for slot, value in offsets.items():
            self.builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        for slot, value in (small or {}).items():
            self.builder.PrependInt8Slot(slot, value, 0)
        for slot, value in (words or {}).items():
            self.builder.PrependInt32Slot(slot, value, 0)
        return int(self.builder.EndObject())

    def tables(self, offsets: Sequence[int]) -> int:
        """A vector of tables."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def ints(self, values: Sequence[int]) -> int:
        """A vector of int32."""
        return int(self.builder.CreateNumpyVector(np.array(values, np.int32)))

    def buffer(self, tensor: Quantised) -> int:
        """The values of a constant, else an empty table."""
        if tensor.stored is None:
            return self.table({})
        return self.table({0: self.builder.CreateByteVector(tensor.stored.astype(tensor.dtype).tobytes())})

    def tensor(self, tensor: Quantised, buffer: int) -> int:
        """The description of a tensor whose values are in the buffer of that number."""
        offsets = {0: self.ints(list(tensor.shape)), 3: self.builder.CreateString(tensor.name)}
        if tensor.scale:
            scale = self.builder.CreateNumpyVector(np.array([tensor.scale], np.float32))
            zero = self.builder.CreateNumpyVector(np.array([tensor.zero_point], np.int64))
            offsets[4] = self.table({2: scale, 3: zero})
        return self.table(offsets, {1: TYPES[tensor.dtype]}, {2: buffer})
