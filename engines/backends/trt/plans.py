"""The engine for a graph on this machine: the one that is cached, or one that is built now and kept.

Nothing here imports TensorRT before it is known to be there, so every way in which it is not gets its line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from engines.backends.trt import caching, device, versions
from engines.backends.trt.device import DeviceFacts
from engines.backends.trt.keys import EngineKey
from engines.backends.trt.options import BuildOptions
from engines.backends.trt.preparation import Source, source_of
from engines.plugins.deform_conv.settings import kernel_digest

AMPERE = "sm_80"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """An engine on disk, what it was built from and for."""

    path: Path
    key: EngineKey
    source: Source
    options: BuildOptions


def plan_for(
    path: Path,
    options: BuildOptions | None = None,
    *,
    ordinal: int = 0,
    say: Say | None = None,
    bar: Progress | None = None,
) -> Plan:
    """The engine of the standard graph ``path`` for the GPU ``ordinal``; ``say`` is told before minutes are spent.

    Without ``options`` it is built as its export says.

    Raises :class:`EngineError` in one line where TensorRT, the driver or the GPU is missing or does not fit, where the
    graph is damaged, and where it cannot be built.
    """
    version = str(versions.require().__version__)
    facts = device.facts(ordinal)
    versions.check_device(version, facts)
    source = source_of(path)
    options = options or source.options
    key = key_of(source, options, facts, version)
    folder = caching.engine_folder(path.parent)
    found = caching.find(folder, key)
    if found is None:
        if say is not None:
            say(f"TensorRT {version} builds {path.name} for {facts}, once: {caching.why_not(folder, key)}")
        found = _built(folder, key, source, options, target(options, facts), bar)
    return Plan(found, key, source, options)


def key_of(source: Source, options: BuildOptions, facts: DeviceFacts, version: str) -> EngineKey:
    """All that an engine of ``source`` built here and now would depend on.

    A plan that is to be refitted holds no weights, so it is known by the graph without them.
    """
    stripped = options.refit and bool(source.structure_sha256)
    return EngineKey(
        part=source.part,
        onnx_sha256=source.structure_sha256 if stripped else source.onnx_sha256,
        weights_sha256="" if stripped else source.weights_sha256,
        kernels={settings: kernel_digest(settings) for settings in source.kernels},
        tensorrt=_release(version, options),
        gpu=facts.name if options.hardware == "none" else "any",
        sm={"none": facts.sm, "same-capability": facts.sm, "ampere+": "8.0 or newer"}[options.hardware],
        driver=facts.driver.split(".", 1)[0],
        cuda_major=facts.cuda_major,
        profiles=(options.batches,),
        flags=options.flags,
        hardware_compatibility=options.hardware,
        precision=source.precision,
        workspace_bytes=options.workspace_mib << 20,
        optimization_level=options.optimization_level,
    )


def target(options: BuildOptions, facts: DeviceFacts) -> str:
    """The architecture that kernels are compiled for: PTX runs on that and on all that is newer.

    Raises nothing: an engine for Ampere and newer that is built on an older GPU is refused by TensorRT itself.
    """
    return AMPERE if options.hardware == "ampere+" else facts.architecture


def _release(version: str, options: BuildOptions) -> str:
    """A version-compatible plan loads in every later minor release of its major one."""
    return f"{version.split('.', 1)[0]}.x" if options.version_compatible else version


def _built(
    folder: Path, key: EngineKey, source: Source, options: BuildOptions, architecture: str, bar: Progress | None
) -> Path:
    from engines.backends.trt.building import build

    built = build(source, options, architecture, caching.read_timing_cache(folder, key), bar)
    caching.write_timing_cache(folder, key, built.timings)
    return caching.store(folder, key, built.plan, built.layers)
