"""``posestream trace`` and its outlet, against a receiver of OTLP that reads it with OpenTelemetry's own classes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from engines.url import Url
from stream.__main__ import execute
from stream.errors import TransportError
from tests.stream.bridges.frames import make_message
from tests.stream.bridges.test_outlets import free_port, wait_for
from tests.stream.cli.test_subscribe import publishing

pytest.importorskip("opentelemetry.sdk", reason="traces need the extra 'trace'")

Capture = pytest.CaptureFixture[str]
NS_PER_MS = 1_000_000


@dataclass
class Collector:
    """What was received, and what to answer."""

    address: str = ""
    spans: list[Any] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    resources: list[Any] = field(default_factory=list)
    status: int = 200
    answer: bytes = b""
    kind: str = "application/x-protobuf"

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(resource.resource))
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


def attributes(one: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in one.attributes}


@contextmanager
def collecting(port: int = 0, **answers: Any) -> Iterator[Collector]:
    collector = Collector(**answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.headers.append(
                {name.lower(): value for name, value in self.headers.items()} | {"path": self.path}
            )
            self.send_response(collector.status)
            self.send_header("Content-Type", collector.kind)
            self.send_header("Content-Length", str(len(collector.answer)))
            if collector.status == 301:
                self.send_header("Location", "https://me:geheim@other.example/v1/traces")
            self.end_headers()
            self.wfile.write(collector.answer)
            if collector.status == 200:
                collector.take(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        collector.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield collector
        server.shutdown()
        thread.join()


@contextmanager
def tracing(address: str) -> Iterator[Any]:
    from stream.bridges.otlp import OtlpOutlet

    with OtlpOutlet(Url(address)) as outlet:
        yield outlet


def make_timed(seq: int = 7) -> Any:
    message = make_message(seq)
    steps = {"captured": 0, "decoded": 2, "inferred": 30, "published": 31}
    ledger = {step: message.wall_ns + ms * NS_PER_MS for step, ms in steps.items()}
    return replace(message, ledger=ledger, received_ns=message.wall_ns + 33 * NS_PER_MS, file="rtsp://me:geheim@cam/1")


def test_a_frame_is_a_trace_with_a_span_for_each_step() -> None:
    with collecting() as collector:
        with tracing(collector.address) as outlet:
            assert outlet.send(make_timed())
        assert (outlet.trouble, outlet.lost) == ("", 0)
    (frame,) = collector.named("frame")
    began_ns = make_timed().wall_ns
    steps = [span for span in collector.spans if span is not frame]
    found = {
        span.name: tuple(
            (time - began_ns) // NS_PER_MS for time in (span.start_time_unix_nano, span.end_time_unix_nano)
        )
        for span in collector.spans
    }
    assert found == {
        "frame": (0, 33),
        "decoded": (0, 2),
        "inferred": (2, 30),
        "published": (30, 31),
        "received": (31, 33),
    }
    assert {(span.trace_id, span.parent_span_id) for span in steps} == {(frame.trace_id, frame.span_id)}
    assert attributes(frame) == {
        "posestream.camera": "hall",
        "posestream.session": "",
        "posestream.frame_seq": 7,
        "posestream.people": 1,
        "posestream.model": "",
        "posestream.width_px": 640,
        "posestream.height_px": 480,
    }
    assert collector.resources[0]["service.name"] == "posestream"
    assert collector.headers[0]["path"] == "/v1/traces"


def test_no_secret_is_in_what_is_sent() -> None:
    from engines.redaction import mask_credentials

    mask_credentials("rtsp://admin:hunter22@cam")
    with collecting() as collector, tracing(collector.address.replace("//", "//me:geheim@")) as outlet:
        assert outlet.send(replace(make_timed(), camera="hunter22", model="rtsp://admin:x@cam/net"))
    sent = str(collector.spans)
    assert "posestream.camera" in sent
    assert [word for word in ("hunter22", "geheim", "admin") if word in sent] == []
    assert collector.headers[0]["authorization"] == "Basic bWU6Z2VoZWlt"


def test_a_clock_that_is_behind_makes_no_negative_span() -> None:
    message = make_timed()
    with collecting() as collector, tracing(collector.address) as outlet:
        assert outlet.send(replace(message, received_ns=message.wall_ns))
        wait_for(lambda: collector.spans, "spans arrive")
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in collector.spans)
    assert len(collector.spans) == 5


def test_one_frame_in_so_many_is_traced_and_the_rest_counted(capsys: Capture) -> None:
    with collecting() as collector, publishing(5) as address:
        assert execute(["trace", "--otlp", collector.address, "--from", address, "--every", "2", "--until-end"]) == 0
    frames = sorted((attributes(span)["posestream.camera"], attributes(span)["posestream.frame_seq"]) for span in collector.named("frame"))  # fmt: skip # noqa: E501
    assert frames == [(camera, seq) for camera in ("hall", "yard") for seq in (0, 2, 4)]
    assert capsys.readouterr().err == "sent hall: 3, yard: 3; 4 not sampled\n"


def test_a_collector_that_is_away_gets_its_spans_when_it_is_back() -> None:
    port = free_port()
    with tracing(f"http://127.0.0.1:{port}") as outlet:
        assert outlet.send(make_timed(1))
        wait_for(lambda: outlet.trouble == "Connection refused", outlet.trouble)
        assert not outlet.send(make_timed(2))
        with collecting(port) as collector:
            wait_for(lambda: outlet.send(make_timed(2)), outlet.trouble)
            wait_for(lambda: len(collector.named("frame")) == 2, "both arrive")
    assert (outlet.trouble, outlet.lost) == ("", 0)


def rejecting(count: int) -> bytes:
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    answer = trace_service_pb2.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans, answer.partial_success.error_message = count, "too\nmany"
    encoded: bytes = answer.SerializeToString()
    return encoded


@pytest.mark.parametrize(
    ("answers", "trouble"),
    [
        (lambda: {"status": 401}, "it answers 401 Unauthorized"),
        (lambda: {"status": 404}, "it answers 404 Not Found; is an OTLP collector at this address?"),
        (lambda: {"status": 301}, "it redirects to https://***@other.example/v1/traces; write that address"),
        (
            lambda: {"kind": "text/html", "answer": b"<html>"},
            "it answers 200 OK; is an OTLP collector at this address?",
        ),
        (lambda: {"answer": rejecting(3)}, "it rejects 3 spans: too many"),
        (lambda: {"answer": b"\xff"}, "its answer is damaged"),
    ],
)
def test_what_a_collector_does_not_take_is_said_and_counted(
    answers: Callable[[], dict[str, Any]], trouble: str, capsys: Capture
) -> None:
    with collecting(**answers()) as collector, tracing(collector.address) as outlet:
        assert outlet.send(make_timed())
        wait_for(lambda: outlet.trouble, "it says so")
        assert (outlet.trouble, outlet.keeps) == (trouble, False)
        wait_for(lambda: outlet.send(make_timed(8)), "the next one may pass")
    assert outlet.lost == (0 if "damaged" in trouble else 2)
    assert capsys.readouterr().err == "", "the library prints nothing besides"


def test_a_collector_that_never_comes_is_an_error_even_when_quiet(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.bridges.otlp._TIMEOUT_S", 0.5)
    to = f"http://127.0.0.1:{free_port()}"
    with publishing(1) as address:
        assert execute(["trace", "-q", "--otlp", to, "--from", address, "--every", "1", "--until-end"]) == 1
    assert capsys.readouterr().err.startswith(f"posestream: {to} has not taken 2 messages; check that it runs, or ")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("grpc://me:geheim@h:4317", "'grpc://***@h:4317' is no address of OTLP over HTTP; write http://HOST:4318 or "),
        ("http://", "http:// has no host; write http://HOST:4318"),
        ("http://h:99999", "http://h:99999 has no valid port"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(address: str, message: str) -> None:
    with pytest.raises(TransportError) as caught, tracing(address):
        pass
    assert str(caught.value).startswith(message)
