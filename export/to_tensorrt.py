"""Engines for an exported folder: its graphs as TensorRT wants them, their kernels, and what is built of them here.

The first half needs no GPU, and stays in the folder: where no engine can be built, whoever starts the folder on the
machine it is for builds it there. Only then is anything asked of TensorRT.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from rich.console import Console
from rich.progress import Progress

from engines.backends.trt import plans
from engines.backends.trt.artifacts import Preparation, PreparedGraph, write_atomically, write_preparation
from engines.backends.trt.cache import read_entry
from engines.backends.trt.options import BuildOptions, Plugin
from engines.errors import EngineError
from engines.plugins.deform_conv.compiler import compile_ptx
from engines.plugins.deform_conv.settings import parse_settings
from engines.spec.fingerprint import hash_file
from engines.spec.manifest import BaseManifest, Manifest, read_any_manifest
from export.graph.tensorrt_graph import structure_digest, tensorrt_graph
from export.graph.weights_file import WEIGHTS
from export.progress import step

SUFFIX = ".trt.onnx"


def build_engines(folder: Path, *, plugin: Plugin = "fused", options: BuildOptions | None = None) -> None:
    """Prepare ``folder`` for TensorRT and build its engines for the GPU that is here.

    Raises :class:`EngineError` in one line where no engine can be built here; the folder is then whole and prepared,
    and is built where it runs.
    """
    prepare(folder, plugin=plugin, options=options or BuildOptions())
    manifest = read_any_manifest(folder)
    try:
        for file in manifest.graphs.values():
            _build(folder / file)
    except EngineError as error:
        element = "pose" if isinstance(manifest, Manifest) else "posedetect"
        raise EngineError(
            f"{error} ({folder} is exported and prepared; what is left is built by the first line that runs it on its "
            f"GPU: {element} model={folder.name} backend=tensorrt)"
        ) from error


def prepare(folder: Path, *, plugin: Plugin, options: BuildOptions) -> Preparation:
    """Write ``<part>.trt.onnx`` and ``tensorrt.json`` beside the standard graphs; every kernel is compiled once.

    Raises :class:`EngineError` naming a node that TensorRT cannot import, or the compiler that is missing.
    """
    manifest = read_any_manifest(folder)
    with step(f"graphs for TensorRT, deformable layers by {plugin}"):
        graphs = {file: _prepared(folder, file, plugin) for file in manifest.graphs.values()}
    _compile({settings for graph in graphs.values() for settings in graph.kernels})
    preparation = Preparation(
        plugin=plugin,
        precision=manifest.precision,
        weights_sha256=_weights_digest(manifest),
        options=options,
        graphs=graphs,
    )
    write_preparation(preparation, folder)
    return preparation


def _prepared(folder: Path, file: str, plugin: Plugin) -> PreparedGraph:
    source = folder / file
    made = tensorrt_graph(onnx.load(source, load_external_data=False), plugin, folder)
    written = source.with_suffix("").with_suffix(SUFFIX)
    write_atomically(written, made.model.SerializeToString(deterministic=True))
    return PreparedGraph(
        file=written.name,
        sha256=hash_file(written),
        source_sha256=hash_file(source),
        structure_sha256=structure_digest(made.model),
        kernels=made.kernels,
        types=made.types,
    )


def _compile(kernels: set[str]) -> None:
    """Each kernel once, so that what does not compile is found where it is exported."""
    if kernels:
        with step(f"{len(kernels)} kernel{'s' if len(kernels) > 1 else ''} compiled"):
            for settings in sorted(kernels):
                compile_ptx(parse_settings(settings))


def _weights_digest(manifest: BaseManifest) -> str:
    return manifest.files[WEIGHTS].sha256 if WEIGHTS in manifest.files else ""


def _build(graph: Path) -> None:
    """One engine, told on stderr while it is built and in a line when it is there."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        plan = plans.get_plan(graph, announce=_say, progress=bar)
    layers = ", ".join(f"{count} in {kind}" for kind, count in read_entry(plan.path).layers.items())
    print(f"  {graph.stem}: {plan.path}: {layers}")


def _say(told: str) -> None:
    print(told, file=sys.stderr, flush=True)
