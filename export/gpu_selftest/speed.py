"""People per second and latency of an export on backends, with and without a feature cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from engines.spec.manifest import Manifest, read_manifest
from engines.spec.tensors import Array
from export import calibration
from export.gpu_selftest.results import Found, Work
from export.gpu_selftest.running import make_slots, open_cache, open_whole

BATCHES = (1, 8)
WARM_UP = 5
MIN_CALLS = 10


def measure_speed(work: Work, *, folder: str, backends: str, seconds: str = "1") -> Found:
    """Time each case for ``seconds``, from host arrays to host arrays, as a pipeline runs it."""
    manifest = read_manifest(work.folder / folder)
    rows = [
        row
        for backend in backends.split(",")
        for way in (_measure_whole, _measure_split)
        for row in way(work, folder, manifest, backend, float(seconds))
    ]
    best = max(rows, key=lambda row: float(row["people_s"]))
    fastest = f"{best['people_s']:.0f} people per second ({best['backend']}, {best['way']}, {best['batch']} at once)"
    return Found(f"{fastest}, {_find_fastest(rows)['latency_ms']:.2f} ms for one", {"rows": rows})


def _find_fastest(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row with the lowest latency for one person."""
    return min((row for row in rows if row["batch"] == 1), key=lambda row: float(row["latency_ms"]))


def _measure_whole(work: Work, folder: str, manifest: Manifest, backend: str, seconds: float) -> list[dict[str, Any]]:
    with open_whole(work.folder / folder, manifest, backend) as points:
        timed = {
            people: _measure_latency_ms(_bind(points, _make_windows(manifest, people)), seconds) for people in BATCHES
        }
    return [_make_row(folder, backend, "whole windows", people, ms) for people, ms in timed.items()]


def _measure_split(work: Work, folder: str, manifest: Manifest, backend: str, seconds: float) -> list[dict[str, Any]]:
    """A key frame: the newest frame of every person is stored, and every window read."""
    rows = []
    with open_cache(work.folder / folder, manifest, backend) as made:
        for people in BATCHES:
            crops = _make_windows(manifest, people)
            slots = make_slots(*crops.shape[:2])
            for frame in range(manifest.signature.frames):
                made.store(slots[:, frame].copy(), crops[:, frame].copy())
            newest, latest = slots[:, -1].copy(), crops[:, -1].copy()

            def key_frame(newest: Any = newest, latest: Any = latest, slots: Any = slots) -> None:
                made.store(newest, latest)
                made.read(slots)

            rows.append(_make_row(folder, backend, "feature cache", people, _measure_latency_ms(key_frame, seconds)))
    return rows


def _make_windows(manifest: Manifest, people: int) -> Array:
    """(people, T, …) of noise, which takes as long as real crops."""
    return calibration.Samples(calibration.make_noise(manifest.signature, people), "noise").inputs(manifest.signature)


def _bind(points: Callable[[Array], Array], windows: Array) -> Callable[[], object]:
    return lambda: points(np.ascontiguousarray(windows))


def _make_row(folder: str, backend: str, way: str, people: int, latency_ms: float) -> dict[str, Any]:
    return {
        "export": folder,
        "backend": backend,
        "way": way,
        "batch": people,
        "latency_ms": round(latency_ms, 3),
        "people_s": round(1e3 * people / latency_ms, 1),
    }


def _measure_latency_ms(call: Callable[[], object], seconds: float) -> float:
    """The median of consecutive calls, after some to warm up."""
    for _ in range(WARM_UP):
        call()
    times: list[float] = []
    deadline_s = time.monotonic() + seconds
    while len(times) < MIN_CALLS or time.monotonic() < deadline_s:
        began_s = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - began_s))
    return median(times)
