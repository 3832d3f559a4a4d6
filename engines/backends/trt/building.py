"""From an ONNX graph to a serialized engine, with TensorRT 10.13 to 11, and the proof of what it runs in.

Networks are strongly typed: a layer runs in the type that the graph gives it, and nothing is lowered behind its back.
Import this module after ``versions.require()`` only.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorrt as trt
from rich.progress import Progress

from engines.backends.trt import inspecting
from engines.backends.trt.options import BuildOptions
from engines.backends.trt.preparation import Source
from engines.backends.trt.refitting import refit
from engines.backends.trt.refusals import why_no_engine
from engines.backends.trt.watching import Log, Watch, interruptible, why_no_parse
from engines.errors import EngineError

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
    source: Source, options: BuildOptions, architecture: str, timings: bytes = b"", bar: Progress | None = None
) -> Built:
    """Build ``source`` for the GPU that is current, kernels for ``architecture``; ``timings`` are an earlier build's.

    Raises :class:`EngineError` in one line where TensorRT cannot, and where a layer does not run in its type. Ctrl-C
    ends the build at its next step and is raised then.
    """
    log, watch = Log(), Watch(bar)
    return interruptible(lambda: _build(source, options, architecture, timings, log, watch), watch.stop)


def load_plugins(log: trt.ILogger, architecture: str) -> None:
    """Register TensorRT's own plugins and ours; both must be there before a graph is parsed.

    Raises :class:`EngineError` where TensorRT has no plugin library.
    """
    if not trt.init_libnvinfer_plugins(log, ""):
        raise EngineError(
            f"TensorRT {trt.__version__} gave no plugins: its library libnvinfer_plugin is missing or of another "
            "version; reinstall it: pip install --force-reinstall 'posestream[tensorrt]'"
        )
    from engines.plugins.deform_conv.plugin import register

    register(architecture)


def _build(source: Source, options: BuildOptions, architecture: str, timings: bytes, log: Log, watch: Watch) -> Built:
    load_plugins(log, architecture)
    builder = _builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = _parsed(network, source, log)
    config = _config(builder, options, watch)
    if options.version_compatible:
        config.plugins_to_serialize = parser.get_used_vc_plugin_libraries()
    config.add_optimization_profile(_profile(builder, network, options, source.part))
    cache = config.create_timing_cache(timings)
    config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    if plan is None and not watch.stopped:
        raise why_no_engine(source.part, list(log.errors), options)
    if plan is None:
        return Built(b"", b"", {})  # nobody receives it: Ctrl-C is raised by who waits
    whole = bytes(plan)
    return Built(whole, bytes(config.get_timing_cache().serialize()), _proven(whole, source, options, log))


def _builder(log: Log) -> trt.Builder:
    try:
        return trt.Builder(log)
    except TypeError as error:
        # The bindings' way to say that the library gave no builder: CUDA did not start.
        said = log.errors[-1] if log.errors else str(error)
        raise EngineError(f"TensorRT {trt.__version__} did not start: {said}; look at nvidia-smi") from error


def _parsed(network: trt.INetworkDefinition, source: Source, log: Log) -> trt.OnnxParser:
    parser = trt.OnnxParser(network, log)
    parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)  # what a version-compatible engine needs, harmless else
    if not parser.parse_from_file(str(source.path)):
        raise why_no_parse(source.path.name, parser)
    return parser


def _config(builder: trt.Builder, options: BuildOptions, watch: Watch) -> trt.IBuilderConfig:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    config.builder_optimization_level = options.optimization_level
    config.hardware_compatibility_level = _HARDWARE[options.hardware]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or nothing could be proven afterwards
    config.progress_monitor = watch
    for name in options.flags:
        config.set_flag(trt.BuilderFlag.__members__[name])
    return config


def _profile(
    builder: trt.Builder, network: trt.INetworkDefinition, options: BuildOptions, part: str
) -> trt.IOptimizationProfile:
    """The first size of every input is the batch; all others must be known."""
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


def _proven(plan: bytes, source: Source, options: BuildOptions, log: Log) -> dict[str, int]:
    """How many layers run in each type, once all that the graph demands is found in the engine."""
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = options.version_compatible
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise why_no_engine(source.part, list(log.errors), options)
    if options.refit:
        refit(engine, source, log)
    inspector = engine.create_engine_inspector()
    layers = inspecting.layers_of(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    inspecting.prove(layers, source.types)
    return inspecting.counts(layers)
