"""The steps that export a small temporal network with random weights and build TensorRT engines of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

from engines.backends.trt.options import BuildOptions, Plugin
from engines.spec.manifest import Manifest, Precision, read_manifest
from export.gpu_selftest.machine import require_exporter
from export.gpu_selftest.results import FailedError, Found, Work

MAX_BATCH = 8
OPTIONS = BuildOptions(max_batch=MAX_BATCH)


def make_export(work: Work, *, precision: str) -> Found:
    """Export into ``<precision>`` of the work folder, measured against PyTorch as every export is."""
    require_exporter()
    from export.exporter import export_network
    from export.stages import Request
    from export.weights import Choice

    out, kind = work.folder / precision, cast(Precision, precision)
    export_network(Request(work.network, Choice(random=True), precision=kind, out=out))
    return _describe(read_manifest(out))


def _describe(manifest: Manifest) -> Found:
    worst = max(manifest.parity.values(), key=lambda account: account.heatmap_error)
    figures = {
        part: {"heatmap_error": account.heatmap_error, "shift_px_max": account.shift_px_max}
        for part, account in manifest.parity.items()
    }
    return Found(
        f"{', '.join(manifest.graphs)} of {manifest.signature.name}: heatmaps within {worst.heatmap_error:.1e} of "
        f"PyTorch's, keypoints within {worst.shift_px_max:.2f} px",
        {"network": manifest.signature.name, "parity": figures},
    )


def make_engines(work: Work, *, precision: str, plugin: str) -> Found:
    """Build engines of a copy of the export, in ``<precision>-<plugin>``, for this GPU."""
    from export.to_tensorrt import build_engines

    folder = work.folder / f"{precision}-{plugin}"
    shutil.copytree(work.folder / precision, folder)
    build_engines(folder, plugin=cast(Plugin, plugin), options=OPTIONS)
    layers = {part: read_layers(folder, file) for part, file in read_manifest(folder).graphs.items()}
    if precision == "fp16" and (missing := [part for part, counts in layers.items() if not counts.get("fp16")]):
        raise FailedError(f"no layer of {', '.join(missing)} runs in fp16", figures={"layers": layers})
    listed = "; ".join(f"{part} {_format_counts(counts)}" for part, counts in layers.items())
    return Found(f"layers, by TensorRT's inspector: {listed}", {"layers": layers})


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "unknown"


def read_layers(folder: Path, file: str) -> dict[str, int]:
    """How many layers of the engine of a graph run in each type."""
    from engines.backends.trt import cache

    found = [entry.layers for _, entry in cache.list_entries(cache.engine_folder(folder), Path(file).stem)]
    if len(found) != 1:
        raise FailedError(f"there are {len(found)} engines of {file}, one was built")
    return found[0]
