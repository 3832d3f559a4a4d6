"""An engine on the GPU: its inputs and outputs in numpy's terms, and the batches it takes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import tensorrt as trt

from engines.backends.trt import cache, plans, requirements
from engines.backends.trt.logger import Logger, quote_errors, raise_failure
from engines.backends.trt.memory import Stream, fixed_sizes
from engines.errors import EngineError
from engines.spec.tensors import Description, Tensor

DTYPES = {
    trt.DataType.FLOAT: "float32",
    trt.DataType.HALF: "float16",
    trt.DataType.UINT8: "uint8",
    trt.DataType.INT8: "int8",
    trt.DataType.INT32: "int32",
    trt.DataType.INT64: "int64",
    trt.DataType.BOOL: "bool",
}
"""The types that numpy has too; it lacks BF16, FP8, INT4 and FP4."""

ANY = -1
PROFILE = 0
"""Engines built here have one optimisation profile."""


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
        """The rows of each run that a batch takes, at most ``largest``."""
        return [slice(first, min(first + self.largest, batch)) for first in range(0, batch, self.largest)]

    def check(self, model: str, rows: Collection[int]) -> int:
        """The batch, from the rows of every input. Raises :class:`EngineError` unless they are equal and enough."""
        if len(set(rows)) != 1:
            raise EngineError(
                f"{model}: its inputs were fed {sorted(set(rows))} rows; feed all of them the same number"
            )
        (batch,) = set(rows)
        last = batch % self.largest or min(batch, self.largest)
        if last < self.smallest:
            raise EngineError(
                f"{model}: its engine takes batches of {self.smallest} to {self.largest}, but was fed {batch}; "
                "feed more, or build it again for smaller ones"
            )
        return batch


@dataclass(frozen=True)
class LoadedEngine:
    """An engine on the GPU, its inputs and outputs, its log and its device; ``name`` stands in error messages."""

    name: str
    engine: trt.ICudaEngine
    interface: Interface
    log: Logger
    device: str

    @property
    def description(self) -> Description:
        """What the backend's ``describe()`` returns."""
        return Description(self.interface.inputs, self.interface.outputs, self.device, self.interface.largest)

    @property
    def scratch_bytes(self) -> int:
        """Device memory that any run of it needs."""
        return int(self.engine.device_memory_size_v2)


def load_engine(plan: plans.Plan, name: str, stream: Stream) -> LoadedEngine:
    """Deserialize a plan, with its weights, onto the GPU whose context is current.

    Raises :class:`EngineError` if it does not load or has tensors that numpy cannot hold.
    """
    gpu, log = requirements.get_gpu_info(), Logger()
    _load_plugins(plan, log, gpu)
    engine = _deserialize(plan, log)
    if plan.options.refit:
        from engines.backends.trt.builder import refit

        refit(engine, plan.source, log)
    interface = read_interface(engine, name, stream)
    return LoadedEngine(name, engine, interface, log, f"{gpu.name}, TensorRT {trt.__version__}")


def read_interface(engine: trt.ICudaEngine, model: str, stream: Stream) -> Interface:
    """The inputs and outputs of ``engine``. Raises :class:`EngineError` for the first that numpy cannot hold."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    input_names = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    inputs = tuple(_read_tensor(engine, model, name, engine.get_tensor_shape(name)) for name in input_names)
    smallest, largest = _find_batches(engine, model, inputs)
    shapes = _find_output_shapes(engine, model, inputs, largest, stream)
    outputs = tuple(_read_tensor(engine, model, name, shapes[name]) for name in names if name not in input_names)
    return Interface(inputs, tuple(_with_batch_of(tensor, inputs) for tensor in outputs), smallest, largest)


def create_context(engine: trt.ICudaEngine, stream: Stream) -> trt.IExecutionContext | None:
    """A context without scratch memory; None if TensorRT makes none.

    The profile is set explicitly: of several contexts, older releases gave it to the first alone.
    """
    context = engine.create_execution_context(strategy=trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    is_set = context is not None and context.set_optimization_profile_async(PROFILE, stream.handle)
    return context if is_set else None


def batch_shape(tensor: Tensor, batch: int) -> tuple[int, ...]:
    """The shape of ``tensor`` at a batch of ``batch``."""
    return (batch, *fixed_sizes(tensor))


def _read_tensor(engine: trt.ICudaEngine, model: str, name: str, shape: trt.Dims) -> Tensor:
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


def _find_batches(engine: trt.ICudaEngine, model: str, inputs: tuple[Tensor, ...]) -> tuple[int, int]:
    """The smallest and the largest batch that every input takes."""
    ranges = [_batch_range(engine, tensor) for tensor in inputs]
    smallest, largest = max(low for low, _ in ranges), min(high for _, high in ranges)
    if smallest > largest:
        raise EngineError(f"{model}: its inputs have no batch in common ({ranges}); build the engine again")
    return smallest, largest


def _batch_range(engine: trt.ICudaEngine, tensor: Tensor) -> tuple[int, int]:
    if tensor.shape[0] is not None:
        return tensor.shape[0], tensor.shape[0]
    low, _, high = engine.get_tensor_profile_shape(tensor.name, PROFILE)
    return int(low[0]), int(high[0])


def _find_output_shapes(
    engine: trt.ICudaEngine, model: str, inputs: tuple[Tensor, ...], batch: int, stream: Stream
) -> dict[str, trt.Dims]:
    """At the largest batch: some output sizes are known only once the inputs have theirs."""
    context = create_context(engine, stream)
    if context is None:
        raise EngineError(f"{model}: TensorRT made no execution context of it; its log above says why")
    for tensor in inputs:
        context.set_input_shape(tensor.name, batch_shape(tensor, batch))
    names = (engine.get_tensor_name(index) for index in range(engine.num_io_tensors))
    return {name: context.get_tensor_shape(name) for name in names}


def _with_batch_of(output: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """The output with a batch that varies as that of the inputs."""
    return Tensor(output.name, (inputs[0].shape[0], *output.shape[1:]), output.dtype)


def _load_plugins(plan: plans.Plan, log: Logger, gpu: requirements.GpuInfo) -> None:
    """TensorRT's own, which a plan refers to. Ours are inside the plan, and needed only to read the graph again."""
    if plan.options.refit:
        from engines.backends.trt.builder import load_plugins

        load_plugins(log, plans.target_architecture(plan.options, gpu))
    else:
        trt.init_libnvinfer_plugins(log, "")


def _deserialize(plan: plans.Plan, log: Logger) -> trt.ICudaEngine:
    runtime = _create_runtime(plan.path.name, log)
    runtime.engine_host_code_allowed = plan.options.version_compatible
    engine = runtime.deserialize_cuda_engine(cache.read(plan.path))
    if engine is None and log.is_out_of_memory:
        raise_failure(plan.path.name, "deserialize_cuda_engine", log)
    if engine is None:
        raise EngineError(f"{cache.explain_refusal(plan.path, plan.key)} ({quote_errors(log.take_errors())})")
    return engine


def _create_runtime(name: str, log: Logger) -> trt.Runtime:
    try:
        return trt.Runtime(log)
    except TypeError:
        # What the bindings raise if the library returned none.
        raise_failure(name, "trt.Runtime", log)
