"""The ledger of a message as spans: one for the frame, and in it one for each step that the frame went through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import set_span_in_context

from engines.redaction import redact
from stream.protocol.pose_message import PoseMessage

_SERVICE = "posestream"
_BEGIN, _RECEIVED = "captured", "received"


class SpanFactory:
    """Makes the spans of messages with OpenTelemetry's SDK.

    A frame is a trace: the span ``frame`` lasts from capture to reception, and each step of the ledger is a span within
    it, which ends when the step has finished and begins when the one before did; ``received`` is the way from the
    publisher. Times are those of the hosts that took them; where their clocks disagree, a span has no length.
    """

    def __init__(self) -> None:
        self._finished = InMemorySpanExporter()
        provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: _SERVICE}), sampler=ALWAYS_ON, shutdown_on_exit=False
        )
        provider.add_span_processor(SimpleSpanProcessor(self._finished))
        self._tracer = provider.get_tracer(_SERVICE)

    def make(self, messages: Iterable[PoseMessage]) -> Sequence[ReadableSpan]:
        """Return the spans of all ``messages``."""
        self._finished.clear()
        for message in messages:
            self._trace(message)
        spans: Sequence[ReadableSpan] = self._finished.get_finished_spans()
        return spans

    def _trace(self, message: PoseMessage) -> None:
        times = sorted((time_ns, step) for step, time_ns in message.ledger.items() if step != _BEGIN)
        times.append((message.received_ns, _RECEIVED))
        began_ns = end_ns = message.ledger.get(_BEGIN, message.wall_ns)
        frame = self._tracer.start_span("frame", start_time=began_ns, attributes=_attributes(message))
        within = set_span_in_context(frame)
        for time_ns, step in times:
            step_began_ns, end_ns = end_ns, max(end_ns, time_ns)
            self._tracer.start_span(step, within, start_time=step_began_ns).end(end_ns)
        frame.end(end_ns)


def _attributes(message: PoseMessage) -> dict[str, str | int]:
    """What tells a frame from others. The path of its file is left out: it may be an address with a password."""
    width, height = message.size
    return {
        "posestream.camera": redact(message.camera),
        "posestream.session": message.session,
        "posestream.frame_seq": message.frame_seq,
        "posestream.people": len(message.people),
        "posestream.model": redact(message.model),
        "posestream.width_px": width,
        "posestream.height_px": height,
    }
