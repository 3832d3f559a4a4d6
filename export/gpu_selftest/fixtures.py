"""A small temporal network, exported with random weights; and engines built of that for TensorRT."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

from engines.backends.trt.options import BuildOptions, Plugin
from engines.spec.manifest import Manifest, Precision, read_manifest
from export.gpu_selftest.machine import require_exporter
from export.gpu_selftest.results import FailedError, Found, Work

LARGEST_BATCH = 8
OPTIONS = BuildOptions(max_batch=LARGEST_BATCH)


def export(work: Work, *, precision: str) -> Found:
    """Into ``<precision>`` of the work folder, measured against PyTorch as every export is."""
    require_exporter()
    from export.exporter import export_network
    from export.stages import Request
    from export.weights import Choice

    out, kind = work.folder / precision, cast(Precision, precision)
    export_network(Request(work.network, Choice(random=True), precision=kind, out=out))
    return _told(read_manifest(out))


def _told(manifest: Manifest) -> Found:
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


def engines(work: Work, *, precision: str, plugin: str) -> Found:
    """Into ``<precision>-<plugin>``: a copy of the export, prepared for TensorRT and built for the GPU here."""
    from export.to_tensorrt import build_engines

    folder = work.folder / f"{precision}-{plugin}"
    shutil.copytree(work.folder / precision, folder)
    build_engines(folder, plugin=cast(Plugin, plugin), options=OPTIONS)
    layers = {part: layers_of(folder, file) for part, file in read_manifest(folder).graphs.items()}
    if precision == "fp16" and (whole := [part for part, counts in layers.items() if not counts.get("fp16")]):
        raise FailedError(f"no layer of {', '.join(whole)} runs in fp16", figures={"layers": layers})
    told = "; ".join(f"{part} {_counts(counts)}" for part, counts in layers.items())
    return Found(f"layers, by TensorRT's inspector: {told}", {"layers": layers})


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "unknown"


def layers_of(folder: Path, file: str) -> dict[str, int]:
    """How many layers of the engine of a graph run in each type."""
    from engines.backends.trt import cache

    found = [entry.layers for _, entry in cache.list_entries(cache.engine_folder(folder), Path(file).stem)]
    if len(found) != 1:
        raise FailedError(f"{len(found)} engines of {file} were kept, one was built")
    return found[0]
