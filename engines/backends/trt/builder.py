"""From an ONNX graph to a serialized engine, with TensorRT 10.13 to 11, and a check of the precision it runs in.

Networks are strongly typed: a layer runs in the type that the graph gives it, and TensorRT never lowers it.
Import this module after ``requirements.import_tensorrt()`` only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import tensorrt as trt
from rich.progress import Progress, TaskID

from engines.backends.trt import inspector
from engines.backends.trt.artifacts import Source
from engines.backends.trt.logger import Logger, raise_failure
from engines.backends.trt.options import BuildOptions
from engines.errors import EngineError, install_hint

T = TypeVar("T")

_HARDWARE = {
    "none": trt.HardwareCompatibilityLevel.NONE,
    "ampere+": trt.HardwareCompatibilityLevel.AMPERE_PLUS,
    "same-capability": trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY,
}


@dataclass(frozen=True)
class Built:
    """A plan, the timings that were taken for it, and how many of its layers run in each type."""

    plan: bytes
    timings: bytes
    layers: dict[str, int]


def build(
    source: Source, options: BuildOptions, architecture: str, timings: bytes = b"", progress: Progress | None = None
) -> Built:
    """Build ``source`` for the current GPU, with kernels for ``architecture``; ``timings`` are an earlier build's.

    Raises :class:`EngineError` if TensorRT fails or a layer does not run in its type. Ctrl-C ends the build at its next
    step and is raised then.
    """
    log, monitor = Logger(quiet=True), ProgressMonitor(progress)
    return run_interruptibly(lambda: _build(source, options, architecture, timings, log, monitor), monitor.stop)


def load_plugins(log: trt.ILogger, architecture: str) -> None:
    """Register TensorRT's own plugins and ours; both must be there before a graph is parsed.

    Raises :class:`EngineError` if TensorRT has no plugin library.
    """
    if not trt.init_libnvinfer_plugins(log, ""):
        raise EngineError(
            f"TensorRT {trt.__version__} has no plugins: its library libnvinfer_plugin is missing or of another "
            f"version; reinstall it {install_hint('tensorrt', '--force-reinstall')}"
        )
    from engines.plugins.deform_conv.plugin import register

    register(architecture)


def refit(engine: trt.ICudaEngine, source: Source, log: trt.ILogger) -> None:
    """Fill ``engine``, which was built without weights, with those of ``source``.

    Raises :class:`EngineError` if the engine is of another graph, so that weights do not match.
    """
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(source.path)):
        reason = parser.get_error(0).desc() if parser.num_errors else "it gives no reason"
        raise EngineError(
            f"TensorRT cannot put the weights of {source.path.name} into its engine: {reason}; build it again"
        )
    if missing := refitter.get_missing_weights():
        raise EngineError(
            f"the engine of {source.path.name} lacks {len(missing)} weights that the graph does not name, the first is "
            f"{missing[0]!r}; delete the engine and build it again"
        )
    if not refitter.refit_cuda_engine():
        raise EngineError(f"TensorRT refused the weights of {source.path.name}; delete the engine and build it again")


class ProgressMonitor(trt.IProgressMonitor):
    """Shows the phases of a build on ``progress``, if given; :meth:`stop` ends the build.

    TensorRT calls it from several threads, and phases contain phases.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def is_stopped(self) -> bool:
        """True once :meth:`stop` was called."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End the build at the next step of any of its phases."""
        self._stopped.set()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by TensorRT."""
        if self._progress is None:
            return
        with self._lock:
            indent = "  " if parent_phase else ""
            self._tasks[phase_name] = self._progress.add_task(f"{indent}{phase_name}", total=num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Called by TensorRT; False ends the build."""
        with self._lock:
            if self._progress is not None and phase_name in self._tasks:
                self._progress.update(self._tasks[phase_name], completed=step + 1)
        return not self.is_stopped

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT."""
        with self._lock:
            task = self._tasks.pop(phase_name, None)
            if self._progress is not None and task is not None:
                self._progress.remove_task(task)


def run_interruptibly(work: Callable[[], T], stop: Callable[[], None]) -> T:
    """``work()`` in a thread of its own; Ctrl-C calls ``stop``, waits for the end of ``work`` and is raised then.

    A build runs for minutes inside one call. In the main thread no signal handler would run until it returns, and a
    KeyboardInterrupt raised in one of TensorRT's callbacks would have to pass through C++.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tensorrt-build") as thread:
        future = thread.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            stop()
            future.exception()
            raise


def _build(
    source: Source, options: BuildOptions, architecture: str, timings: bytes, log: Logger, monitor: ProgressMonitor
) -> Built:
    load_plugins(log, architecture)
    builder = _create_builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = _parse(network, source, log)
    config = _create_config(builder, options, monitor)
    if options.version_compatible:
        config.plugins_to_serialize = parser.get_used_vc_plugin_libraries()
    config.add_optimization_profile(_create_profile(builder, network, options, source.part))
    cache = config.create_timing_cache(timings)
    config.set_timing_cache(cache, False)
    serialized = builder.build_serialized_network(network, config)
    if monitor.is_stopped:
        return Built(b"", b"", {})  # discarded: run_interruptibly raises Ctrl-C
    if serialized is None:
        raise_failure(f"TensorRT did not build {source.part!r} for {options.batches}", "build_serialized_network", log)
    plan = bytes(serialized)
    return Built(plan, bytes(config.get_timing_cache().serialize()), _check_layers(plan, source, options, log))


def _create_builder(log: Logger) -> trt.Builder:
    try:
        return trt.Builder(log)
    except TypeError:
        # What the bindings raise if the library returned no builder: CUDA did not start.
        raise_failure(f"TensorRT {trt.__version__} did not start", "trt.Builder", log)


def _parse(network: trt.INetworkDefinition, source: Source, log: Logger) -> trt.OnnxParser:
    parser = trt.OnnxParser(network, log)
    parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)  # a version-compatible engine needs it, others may have it
    if not parser.parse_from_file(str(source.path)):
        raise _parse_error(source.path.name, parser)
    return parser


def _parse_error(graph: str, parser: trt.OnnxParser) -> EngineError:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if not errors:
        return EngineError(f"TensorRT {trt.__version__} cannot read {graph} and gives no reason; export it again")
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return EngineError(
        f"TensorRT {trt.__version__} cannot import node {first.node_name()!r} ({first.node_operator()}) of {graph}: "
        f"{' '.join(first.desc().split())}{more}; export again with --plugin nvidia, or use backend=onnxrt:cuda"
    )


def _create_config(builder: trt.Builder, options: BuildOptions, monitor: ProgressMonitor) -> trt.IBuilderConfig:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    config.builder_optimization_level = options.optimization_level
    config.hardware_compatibility_level = _HARDWARE[options.hardware]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # without it the layers' types cannot be checked
    config.progress_monitor = monitor
    for name in options.flags:
        config.set_flag(trt.BuilderFlag.__members__[name])
    return config


def _create_profile(
    builder: trt.Builder, network: trt.INetworkDefinition, options: BuildOptions, part: str
) -> trt.IOptimizationProfile:
    """The first size of every input is the batch; all others must be fixed."""
    profile, batches = builder.create_optimization_profile(), options.batches
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        first, *rest = tensor.shape
        if min(rest, default=0) < 0:
            raise EngineError(
                f"TensorRT: input {tensor.name!r} of {part!r} is {tuple(tensor.shape)}: only the batch may vary; "
                "export it with a fixed picture size"
            )
        sizes = (batches.min, batches.opt, batches.max) if first < 0 else (first, first, first)
        profile.set_shape(tensor.name, *((size, *rest) for size in sizes))
    return profile


def _check_layers(plan: bytes, source: Source, options: BuildOptions, log: Logger) -> dict[str, int]:
    """How many layers run in each type. Raises :class:`EngineError` if one does not run in the graph's type."""
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = options.version_compatible
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise_failure(f"TensorRT did not build {source.part!r}", "deserialize_cuda_engine", log)
    if options.refit:
        refit(engine, source, log)
    information = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    layers = inspector.parse_layers(information)
    inspector.check_precision(layers, source.types)
    return inspector.count_layers(layers)
