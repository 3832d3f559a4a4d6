"""What an engine says of its inputs and outputs, in numpy's terms, and how large its batches may be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import tensorrt as trt

from engines.backends.trt.memory import Lane, fixed_sizes
from engines.errors import EngineError
from engines.spec.tensors import Tensor

DTYPES = {
    trt.DataType.FLOAT: "float32",
    trt.DataType.HALF: "float16",
    trt.DataType.UINT8: "uint8",
    trt.DataType.INT8: "int8",
    trt.DataType.INT32: "int32",
    trt.DataType.INT64: "int64",
    trt.DataType.BOOL: "bool",
}
"""The types that numpy has too; BF16, FP8, INT4 and FP4 it has not."""

ANY = -1
PROFILE = 0
"""Engines of this project have one optimisation profile."""


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs of one engine, in its order, their batch None where it may vary.

    ``smallest`` and ``largest`` bound the batch of one run.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    smallest: int
    largest: int

    def parts(self, batch: int) -> list[slice]:
        """The rows of each run that a batch takes: more than ``largest`` do not go at once."""
        return [slice(first, min(first + self.largest, batch)) for first in range(0, batch, self.largest)]

    def check(self, model: str, rows: Collection[int]) -> int:
        """The batch, from the rows of every input. Raises :class:`EngineError` unless they agree and are enough."""
        if len(set(rows)) != 1:
            raise EngineError(f"{model}: its inputs have one batch, but were fed {sorted(set(rows))} rows")
        (batch,) = set(rows)
        last = batch % self.largest or min(batch, self.largest)
        if last < self.smallest:
            raise EngineError(
                f"{model}: its engine takes batches of {self.smallest} to {self.largest}, but was fed {batch}; "
                "feed more, or build it again for smaller ones"
            )
        return batch


def interface_of(engine: trt.ICudaEngine, model: str, lane: Lane) -> Interface:
    """Raises :class:`EngineError` naming the first tensor that cannot be fed from or read into a numpy array."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    given = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    inputs = tuple(_tensor(engine, model, name, engine.get_tensor_shape(name)) for name in given)
    smallest, largest = _batches(engine, model, inputs)
    shapes = _output_shapes(engine, model, inputs, largest, lane)
    outputs = tuple(_tensor(engine, model, name, shapes[name]) for name in names if name not in given)
    return Interface(inputs, tuple(_of_any_batch(tensor, inputs) for tensor in outputs), smallest, largest)


def new_context(engine: trt.ICudaEngine, lane: Lane) -> trt.IExecutionContext | None:
    """A context that is to be given its scratch memory; None where TensorRT makes none.

    The profile is chosen by name: of several contexts, older releases gave it to the first alone.
    """
    context = engine.create_execution_context(strategy=trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    chosen = context is not None and context.set_optimization_profile_async(PROFILE, lane.handle)
    return context if chosen else None


def full_shape(tensor: Tensor, batch: int) -> tuple[int, ...]:
    """The shape of a batch."""
    return (batch, *fixed_sizes(tensor))


def _tensor(engine: trt.ICudaEngine, model: str, name: str, shape: trt.Dims) -> Tensor:
    sizes = tuple(None if size == ANY else int(size) for size in shape)
    dtype = engine.get_tensor_dtype(name)
    if dtype not in DTYPES:
        raise EngineError(
            f"{model}: its tensor {name!r} is {dtype.name}, which numpy does not have; export it with inputs and "
            "outputs of fp32 or fp16"
        )
    if not sizes or None in sizes[1:] or engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
        raise EngineError(
            f"{model}: its tensor {name!r} is {Tensor(name, sizes, DTYPES[dtype])}; only the batch may vary and every "
            "tensor must lie on the GPU: export it with fixed sizes"
        )
    return Tensor(name, sizes, DTYPES[dtype])


def _batches(engine: trt.ICudaEngine, model: str, inputs: tuple[Tensor, ...]) -> tuple[int, int]:
    """The smallest and the largest batch that every input takes."""
    ranges = [_range(engine, tensor) for tensor in inputs]
    smallest, largest = max(low for low, _ in ranges), min(high for _, high in ranges)
    if smallest > largest:
        raise EngineError(f"{model}: its inputs have no batch in common ({ranges}); build the engine again")
    return smallest, largest


def _range(engine: trt.ICudaEngine, tensor: Tensor) -> tuple[int, int]:
    if tensor.shape[0] is not None:
        return tensor.shape[0], tensor.shape[0]
    low, _, high = engine.get_tensor_profile_shape(tensor.name, PROFILE)
    return int(low[0]), int(high[0])


def _output_shapes(
    engine: trt.ICudaEngine, model: str, inputs: tuple[Tensor, ...], batch: int, lane: Lane
) -> dict[str, trt.Dims]:
    """Of the largest batch: an engine by itself may leave open what only follows from its inputs."""
    context = new_context(engine, lane)
    if context is None:
        raise EngineError(f"{model}: TensorRT made no execution context of it; its log above says why")
    for tensor in inputs:
        context.set_input_shape(tensor.name, full_shape(tensor, batch))
    names = (engine.get_tensor_name(index) for index in range(engine.num_io_tensors))
    return {name: context.get_tensor_shape(name) for name in names}


def _of_any_batch(output: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """An output's batch is known by now, but varies as that of the inputs."""
    return Tensor(output.name, (inputs[0].shape[0], *output.shape[1:]), output.dtype)
