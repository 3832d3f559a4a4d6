"""The metrics of lines, in the text format of Prometheus. docs/how-to/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream.metrics.line_watch import LineWatch, PartState
from stream.runtime.bus import Stats

_MS = 1e-3
_PART = ("line", "part")

_GAUGES: tuple[tuple[str, str, Callable[[Stats], float]], ...] = (
    ("posestream_frames_per_second", "Items that leave a part in a second, over 5 s", lambda stats: stats.fps),
    ("posestream_waiting_items", "Items in the inbox of a part", lambda stats: stats.waiting),
    ("posestream_unfinished_items", "Items that a part has taken in and not delivered", lambda stats: stats.unfinished),
    (
        "posestream_resident_memory_bytes",
        "Resident memory of a part's process, or its share of one",
        lambda stats: stats.rss_bytes,
    ),
    ("posestream_idle_seconds", "How long ago the loop of a part last turned", lambda stats: stats.idle_ms * _MS),
)
_COUNTERS: tuple[tuple[str, str, Callable[[PartState], float]], ...] = (
    ("posestream_items", "Items that have left a part, since its process started", lambda part: part.stats.items),
    (
        "posestream_item_errors",
        "Items that failed in a part, since its process started",
        lambda part: part.stats.errors,
    ),
    ("posestream_resent_items", "Items that were sent again to a restarted part", lambda part: part.stats.resent),
    ("posestream_malformed_messages", "Messages that a part could not read", lambda part: part.stats.malformed),
    ("posestream_restarts", "Restarts of a part, since its line started", lambda part: part.restarts),
)
_PERCENTILES: tuple[tuple[str, str, Callable[[Stats], tuple[float, float]]], ...] = (
    (
        "posestream_process_seconds",
        "Time that the elements of a part take for an item, over 5 s",
        lambda stats: (stats.process_p50_ms, stats.process_p95_ms),
    ),
    (
        "posestream_age_seconds",
        "Time from the capture of a frame until it leaves a part, over 5 s",
        lambda stats: (stats.age_p50_ms, stats.age_p95_ms),
    ),
)


class LineCollector(Collector):
    """Collects from ``lines``, and counts the names in ``missing`` as lines that are down; both are called for each
    scrape."""

    def __init__(
        self, lines: Callable[[], Sequence[LineWatch]], missing: Callable[[], Sequence[str]] = lambda: ()
    ) -> None:
        self._lines, self._missing = lines, missing

    def collect(self) -> Iterable[Metric]:
        """One family for each metric, with the labels ``line`` and ``part``."""
        lines = self._lines()
        parts = [((line.name, part), state) for line in lines for part, state in line.states()]
        yield _collect_up(lines, self._missing())
        alive = GaugeMetricFamily("posestream_part_up", "1 if a part answers or has ended, else 0", labels=_PART)
        for labels, state in parts:
            alive.add_metric(labels, 0 if state.is_silent else 1)
        yield alive
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=_PART)
            for labels, state in parts:
                gauge.add_metric(labels, value(state.stats))
            yield gauge
        for name, text, count in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=_PART)
            for labels, state in parts:
                counter.add_metric(labels, count(state))
            yield counter
        for name, text, pair in _PERCENTILES:
            family = GaugeMetricFamily(name, text, labels=(*_PART, "percentile"))
            for labels, state in parts:
                for percentile, value_ms in zip(("50", "95"), pair(state.stats), strict=True):
                    family.add_metric((*labels, percentile), value_ms * _MS)
            yield family
        yield from _collect_notices(lines)


def _collect_up(lines: Sequence[LineWatch], missing: Sequence[str]) -> Metric:
    up = GaugeMetricFamily("posestream_line_up", "1 if every part of a line answers, else 0", labels=["line"])
    for line in lines:
        up.add_metric([line.name], 0 if line.trouble else 1)
    for name in missing:
        up.add_metric([name], 0)
    return up


def _collect_notices(lines: Sequence[LineWatch]) -> Iterable[Metric]:
    drops = CounterMetricFamily(
        "posestream_dropped_items", "Items dropped since the line started", labels=(*_PART, "camera", "reason")
    )
    warnings = CounterMetricFamily("posestream_warnings", "Warnings, since the exporter saw the line", labels=_PART)
    errors = CounterMetricFamily("posestream_errors", "Errors, since the exporter saw the line", labels=_PART)
    for line in lines:
        for (part, camera, reason), count in line.drops.items():
            drops.add_metric((line.name, part, camera, reason), count)
        for family, counts in ((warnings, line.warnings), (errors, line.errors)):
            for part in line.parts:
                family.add_metric((line.name, part), counts[part])
    return drops, warnings, errors
