"""TensorRT engines for an exported folder: its graphs as TensorRT needs them, their kernels, and engines built here.

The graphs and kernels need no GPU and stay in the folder. If no engine can be built here, the first pipeline that runs
the folder on its target builds it there.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from engines.backends.trt import plans
from engines.backends.trt.artifacts import Preparation, PreparedGraph, write_atomically, write_preparation
from engines.backends.trt.cache import read_entry
from engines.backends.trt.options import BuildOptions, Plugin
from engines.errors import EngineError
from engines.plugins.deform_conv.compiler import compile_ptx
from engines.plugins.deform_conv.settings import parse_settings
from engines.spec.fingerprint import hash_file
from engines.spec.manifest import BaseManifest, Manifest, read_any_manifest
from export.graph.tensorrt_graph import make_tensorrt_graph, structure_digest
from export.graph.weights_file import WEIGHTS
from export.progress import announce, build_progress, step

SUFFIX = ".trt.onnx"


def build_engines(folder: Path, *, plugin: Plugin = "fused", options: BuildOptions | None = None) -> None:
    """Prepare ``folder`` for TensorRT and build its engines for this GPU.

    Raises :class:`EngineError` if an engine cannot be built here; the folder is then complete and prepared, and its
    engines are built where it runs.
    """
    prepare(folder, plugin=plugin, options=options or BuildOptions())
    manifest = read_any_manifest(folder)
    try:
        for file in manifest.graphs.values():
            _build_engine(folder / file)
    except EngineError as error:
        element = "pose" if isinstance(manifest, Manifest) else "posedetect"
        raise EngineError(
            f"{error} ({folder} is exported and prepared; missing engines are built by the first pipeline that runs it "
            f"on its GPU: {element} model={folder.name} backend=tensorrt)"
        ) from error


def prepare(folder: Path, *, plugin: Plugin, options: BuildOptions) -> Preparation:
    """Write ``<part>.trt.onnx`` and ``tensorrt.json`` beside the standard graphs; every kernel is compiled once.

    Raises :class:`EngineError` naming a node that TensorRT cannot import, or the compiler that is missing.
    """
    manifest = read_any_manifest(folder)
    with step(f"graphs for TensorRT, deformable layers by {plugin}"):
        graphs = {file: _prepare_graph(folder, file, plugin) for file in manifest.graphs.values()}
    _compile_kernels({settings for graph in graphs.values() for settings in graph.kernels})
    preparation = Preparation(
        plugin=plugin,
        precision=manifest.precision,
        weights_sha256=_weights_digest(manifest),
        options=options,
        graphs=graphs,
    )
    write_preparation(preparation, folder)
    return preparation


def _prepare_graph(folder: Path, file: str, plugin: Plugin) -> PreparedGraph:
    source = folder / file
    graph = make_tensorrt_graph(onnx.load(source, load_external_data=False), plugin, folder)
    path = source.with_suffix("").with_suffix(SUFFIX)
    write_atomically(path, graph.model.SerializeToString(deterministic=True))
    return PreparedGraph(
        file=path.name,
        sha256=hash_file(path),
        source_sha256=hash_file(source),
        structure_sha256=structure_digest(graph.model),
        kernels=graph.kernels,
        types=graph.types,
    )


def _compile_kernels(kernels: set[str]) -> None:
    """Compile each kernel once, so that errors are found at export."""
    if kernels:
        with step(f"{len(kernels)} kernel{'s' if len(kernels) > 1 else ''} compiled"):
            for settings in sorted(kernels):
                compile_ptx(parse_settings(settings))


def _weights_digest(manifest: BaseManifest) -> str:
    return manifest.files[WEIGHTS].sha256 if WEIGHTS in manifest.files else ""


def _build_engine(graph: Path) -> None:
    """Build one engine with progress on stderr, and print where it is."""
    with build_progress() as bar:
        plan = plans.get_plan(graph, announce=announce, progress=bar)
    layers = ", ".join(f"{count} in {kind}" for kind, count in read_entry(plan.path).layers.items())
    print(f"  {graph.stem}: {plan.path}: {layers}")
