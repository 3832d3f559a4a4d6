"""The description of a pipeline that ``posestream validate`` prints: parts, links with their caps, look-ahead."""

from __future__ import annotations

from collections.abc import Iterator

from stream.pipeline.pipeline import Pipeline, QueueSpec
from stream.pipeline.wiring import Part
from stream.registry import label


def describe(pipeline: Pipeline) -> str:
    """Several lines of text, the same on every machine: nothing is opened and no model is run."""
    sections = [
        ("parts, each a process", _list_parts(pipeline)),
        ("links and their caps", _list_links(pipeline)),
        ("look-ahead", look_ahead(pipeline)),
        ("in flight", [f"at most {pipeline.in_flight} frames of each camera"]),
    ]
    return "\n".join(line for title, body in sections for line in _format_section(title, list(body)))


def look_ahead(pipeline: Pipeline) -> Iterator[str]:
    """``window: future=2: 67 ms at 30 fps`` for every element that waits for later frames."""
    for part in pipeline.parts:
        for element in part.elements:
            sink, src = pipeline.get_caps(element)
            if src is not None and "future" in src.fields and (sink is None or "future" not in sink.fields):
                future = src.get("future")
                yield f"{label(element)}: future={future}: {_format_delay(pipeline, part, future)}"


def _format_delay(pipeline: Pipeline, part: Part, future: int) -> str:
    """The duration of ``future`` frames, for each frame rate of the cameras upstream."""
    if future == 0:
        return "no delay"
    rates = (source.nominal_fps for source in pipeline.find_sources(part.cameras))
    known = sorted({fps for fps in rates if fps})
    delays = ", ".join(f"{1000 * future / fps:.0f} ms at {fps:g} fps" for fps in known or [30.0])
    return delays if known else f"{delays}, if that is the camera's rate"


def _list_parts(pipeline: Pipeline) -> Iterator[str]:
    parts = pipeline.parts
    width = max(len(part.name) for part in parts)
    for part in parts:
        inbox = f"{_format_queue(pipeline.queues[part.inbox])} ! " if part.inbox else ""
        ends = f" ! queue {' and '.join(part.outboxes)}" if part.outboxes else ""
        yield f"{part.name:<{width}}  {inbox}{' ! '.join(label(element) for element in part.elements)}{ends}"


def _format_queue(queue: QueueSpec) -> str:
    keeps = "" if queue.leaky == "no" else f" max_items={queue.max_items}"
    address = f" address={queue.address}" if queue.address else ""
    return f"queue {queue.name} (leaky={queue.leaky}{keeps}{address})"


def _list_links(pipeline: Pipeline) -> Iterator[str]:
    for link in pipeline.links:
        yield f"{link.upstream} -> {link.downstream}: {link.caps}"
    for end in pipeline.open_ends:
        yield f"{end} -> nothing: its output is discarded; end the line with a sink"


def _format_section(title: str, body: list[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in body)] if body else []
