"""People a second and latency of an export on backends, with and without features that are used again."""

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
from export.gpu_selftest.running import ring, slots_of, whole

BATCHES = (1, 8)
WARM_UP = 5
LEAST = 10


def speed(work: Work, *, folder: str, backends: str, seconds: str = "1") -> Found:
    """Each case for so many ``seconds``; from arrays of the host to arrays of the host, as a line sees it."""
    manifest = read_manifest(work.folder / folder)
    rows = [
        row
        for backend in backends.split(",")
        for way in (_whole, _reused)
        for row in way(work, folder, manifest, backend, float(seconds))
    ]
    best = max(rows, key=lambda row: float(row["people_s"]))
    told = f"{best['people_s']:.0f} people a second ({best['backend']}, {best['way']}, {best['batch']} at once)"
    return Found(f"{told}, {_first(rows)['latency_ms']:.2f} ms for one", {"rows": rows})


def _first(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The quickest for one person."""
    return min((row for row in rows if row["batch"] == 1), key=lambda row: float(row["latency_ms"]))


def _whole(work: Work, folder: str, manifest: Manifest, backend: str, seconds: float) -> list[dict[str, Any]]:
    with whole(work.folder / folder, manifest, backend) as points:
        timed = {people: _latency_ms(_call(points, _windows(manifest, people)), seconds) for people in BATCHES}
    return [_row(folder, backend, "whole windows", people, ms) for people, ms in timed.items()]


def _reused(work: Work, folder: str, manifest: Manifest, backend: str, seconds: float) -> list[dict[str, Any]]:
    """A key frame: the newest frame of everybody is kept, and everybody's window read."""
    rows = []
    with ring(work.folder / folder, manifest, backend) as made:
        for people in BATCHES:
            crops = _windows(manifest, people)
            slots = slots_of(*crops.shape[:2])
            for frame in range(manifest.signature.frames):
                made.store(slots[:, frame].copy(), crops[:, frame].copy())
            newest, latest = slots[:, -1].copy(), crops[:, -1].copy()

            def key_frame(newest: Any = newest, latest: Any = latest, slots: Any = slots) -> None:
                made.store(newest, latest)
                made.read(slots)

            rows.append(_row(folder, backend, "maps kept", people, _latency_ms(key_frame, seconds)))
    return rows


def _windows(manifest: Manifest, people: int) -> Array:
    """(people, T, …) of noise, which costs as much as people do."""
    return calibration.Samples(calibration.noise(manifest.signature, people), "noise").inputs(manifest.signature)


def _call(points: Callable[[Array], Array], windows: Array) -> Callable[[], object]:
    return lambda: points(np.ascontiguousarray(windows))


def _row(folder: str, backend: str, way: str, people: int, latency_ms: float) -> dict[str, Any]:
    return {
        "export": folder,
        "backend": backend,
        "way": way,
        "batch": people,
        "latency_ms": round(latency_ms, 3),
        "people_s": round(1e3 * people / latency_ms, 1),
    }


def _latency_ms(call: Callable[[], object], seconds: float) -> float:
    """The median of calls one after the other, after some to warm up."""
    for _ in range(WARM_UP):
        call()
    times: list[float] = []
    ends_s = time.monotonic() + seconds
    while len(times) < LEAST or time.monotonic() < ends_s:
        began_s = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - began_s))
    return median(times)
