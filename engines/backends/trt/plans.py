"""The engine for a graph on this machine: read from the cache, or built now and stored there.

TensorRT is checked before it is imported here, so a missing one is an error in one line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.progress import Progress

from engines.backends.trt import cache, requirements
from engines.backends.trt.artifacts import Source, read_source
from engines.backends.trt.cache import EngineKey
from engines.backends.trt.options import BuildOptions, Mode
from engines.backends.trt.requirements import GpuInfo
from engines.errors import EngineError
from engines.plugins.deform_conv.settings import kernel_digest

AMPERE = "sm_80"
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """An engine on disk, what it was built from and for."""

    path: Path
    key: EngineKey
    source: Source
    options: BuildOptions


def get_plan(
    path: Path,
    options: BuildOptions | None = None,
    *,
    ordinal: int = 0,
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> Plan:
    """The engine of the standard graph ``path`` for the GPU ``ordinal``, from the cache or built now.

    A build takes minutes; ``announce`` is called with one line before it begins, and whatever it raises prevents it.
    Without ``options`` the engine is built with those of its export.

    Raises :class:`EngineError` if TensorRT, the driver or the GPU is missing or unsuitable, if the graph is damaged,
    and if the build fails.
    """
    version = str(requirements.import_tensorrt().__version__)
    gpu = requirements.get_gpu_info(ordinal)
    requirements.check_gpu(version, gpu)
    source = read_source(path)
    options = options or source.options
    key = make_key(source, options, gpu, version)
    folder = cache.engine_folder(path.parent)
    found = cache.find(folder, key)
    if found is None:
        if announce is not None:
            announce(f"TensorRT {version} builds {path.name} for {gpu}, once: {cache.explain_miss(folder, key)}")
        found = _build(folder, key, source, options, target_architecture(options, gpu), progress)
    return Plan(found, key, source, options)


def get_plan_in_mode(path: Path, mode: Mode, announce: Announce) -> Plan:
    """:func:`get_plan`, except that a ``mode`` without builds raises :class:`EngineError` where one would begin."""
    return get_plan(path, announce=announce if mode.builds else _refuse_to_build)


def _refuse_to_build(reason: str) -> NoReturn:
    raise EngineError(
        f"{reason}; but tensorrt:nobuild builds nothing: choose backend=tensorrt, or export --to tensorrt"
    )


def make_key(source: Source, options: BuildOptions, gpu: GpuInfo, version: str) -> EngineKey:
    """Everything that an engine of ``source`` built here and now would depend on.

    A plan that is to be refitted holds no weights, so its key is that of the graph without them.
    """
    stripped = options.refit and bool(source.structure_sha256)
    return EngineKey(
        part=source.part,
        onnx_sha256=source.structure_sha256 if stripped else source.onnx_sha256,
        weights_sha256="" if stripped else source.weights_sha256,
        kernels={settings: kernel_digest(settings) for settings in source.kernels},
        tensorrt=_compatible_release(version, options),
        gpu=gpu.name if options.hardware == "none" else "any",
        sm={"none": gpu.sm, "same-capability": gpu.sm, "ampere+": "8.0 or newer"}[options.hardware],
        driver=gpu.driver.split(".", 1)[0],
        cuda_major=gpu.cuda_major,
        profiles=(options.batches,),
        flags=options.flags,
        hardware_compatibility=options.hardware,
        precision=source.precision,
        workspace_bytes=options.workspace_mib << 20,
        optimization_level=options.optimization_level,
    )


def target_architecture(options: BuildOptions, gpu: GpuInfo) -> str:
    """The architecture that kernels are compiled for: PTX runs on that and on all newer ones.

    An engine for Ampere and newer that is built on an older GPU is refused by TensorRT itself.
    """
    return AMPERE if options.hardware == "ampere+" else gpu.architecture


def _compatible_release(version: str, options: BuildOptions) -> str:
    """A version-compatible plan loads in every later minor release of its major one."""
    return f"{version.split('.', 1)[0]}.x" if options.version_compatible else version


def _build(
    folder: Path, key: EngineKey, source: Source, options: BuildOptions, architecture: str, progress: Progress | None
) -> Path:
    from engines.backends.trt.builder import build

    built = build(source, options, architecture, cache.read_timing_cache(folder, key), progress)
    cache.write_timing_cache(folder, key, built.timings)
    return cache.store(folder, key, built.plan, built.layers)
