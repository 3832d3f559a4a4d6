"""Sends spans to a collector of OpenTelemetry, such as Jaeger, Tempo or the Collector, by OTLP over HTTP."""

from __future__ import annotations

import logging
import re
import sys
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from engines.redaction import redact
from engines.url import Url, split_basic_auth
from stream.bridges.outlet import Outlet, split_address
from stream.bridges.spans import SpanFactory
from stream.errors import TransportError
from stream.protocol.pose_message import PoseMessage

__all__ = ("OtlpOutlet",)

_PORT = 4318
_PATH = "/v1/traces"
_MAX_BATCH = 256
_BATCH_S = 0.5
_TIMEOUT_S = 4.0
_CLOSE_S = 5.0
_RETRY = (429, 502, 503, 504)
"""What a collector answers that may take the same spans later (OTLP 1.x, "Retryable Response Codes")."""
_ABOUT_SPANS = (400, 401, 403, 413)
_MAX_CHARS = 200


class OtlpOutlet(Outlet):
    """Sends each message as a trace to the collector at ``address``: http or https, with ``/v1/traces`` as its path
    unless it has another.

    A thread of its own sends them in batches; while the collector is away, the last batch is kept. Variables of
    OpenTelemetry, such as ``OTEL_EXPORTER_OTLP_HEADERS``, count. Raises :class:`TransportError` for any other address.
    """

    def __init__(self, address: Url) -> None:
        if urlsplit(str(address)).scheme not in ("http", "https"):
            raise TransportError(
                f"{str(address)!r} is no address of OTLP over HTTP; write http://HOST:{_PORT} or https://HOST:{_PORT}"
            )
        split_address(address, _PORT)
        endpoint, authorization = split_basic_auth(address.reveal())
        self._session = _Session()
        self._exporter = OTLPSpanExporter(
            _add_path(endpoint),
            headers={"Authorization": authorization} if authorization else None,
            timeout=_TIMEOUT_S,
            session=self._session,
        )
        # It logs each attempt, and the bridge says once what is wrong.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._factory = SpanFactory()
        self._batch: list[PoseMessage] = []
        self._lost = 0
        self._changed = threading.Condition()
        self._is_closing = self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def send(self, message: PoseMessage) -> bool:
        """Add the message to the next batch; False when the last one waits for the collector, or the next is full."""
        with self._changed:
            if (self._batch and self.trouble) or len(self._batch) >= _MAX_BATCH:
                return False
            self._batch.append(message)
            return True

    @property
    def trouble(self) -> str:
        """Why the collector did not take the last batch."""
        return self._session.answer.trouble

    @property
    def keeps(self) -> bool:
        """False if the collector would refuse the same spans again."""
        return not self._session.answer.is_final

    @property
    def lost(self) -> int:
        """Messages that the collector refused for good, in whole or in part, and those that waited at the end."""
        return self._lost

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(_CLOSE_S)
        if not self._is_closed:
            self._is_closed = True
            self._exporter.shutdown()
        with self._changed:
            self._lost += len(self._batch)
            self._batch.clear()

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing, _BATCH_S)
                is_last, batch = self._is_closing, list(self._batch)
            if batch:
                self._export(batch)

    def _export(self, batch: list[PoseMessage]) -> None:
        self._exporter.export(self._factory.make(batch))
        answer = self._session.answer
        with self._changed:
            if answer.is_final:
                self._lost += min(len(batch), answer.rejected)
                del self._batch[: len(batch)]


@dataclass(frozen=True)
class _Answer:
    """What became of a batch: why it was not taken, how many spans were rejected, and False if it may be sent again."""

    trouble: str = ""
    rejected: int = 0
    is_final: bool = True


class _Session(requests.Session):
    """Keeps what the collector said last, of which the exporter says only whether the status was an error.

    It takes redirections, which it does not follow, for success, and does not read how many spans were rejected.
    """

    answer = _Answer()

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        try:
            response = super().request(*arguments, **options)
            self.answer = _read_answer(response)
        except requests.RequestException as error:
            self.answer = _Answer(_find_reason(error), is_final=False)
            raise
        return response


def _read_answer(response: requests.Response) -> _Answer:
    status = f"{response.status_code} {response.reason}"
    if response.status_code in _RETRY:
        return _Answer(f"it answers {status}", is_final=False)
    if response.is_redirect:
        place = redact(response.headers["Location"])
        return _Answer(f"it redirects to {place}; write that address", sys.maxsize)
    kind = response.headers.get("Content-Type", "")
    if not response.ok or (response.content and not re.search("protobuf|json", kind)):
        no_collector = "" if response.status_code in _ABOUT_SPANS else "; is an OTLP collector at this address?"
        return _Answer(f"it answers {status}{no_collector}", sys.maxsize)
    return _read_rejections(response.content) if "protobuf" in kind else _Answer()


def _read_rejections(content: bytes) -> _Answer:
    try:
        found = ExportTraceServiceResponse.FromString(content).partial_success
    except DecodeError:
        return _Answer("its answer is damaged")
    count, why = found.rejected_spans, " ".join(redact(found.error_message).split())[:_MAX_CHARS]
    return _Answer(f"it rejects {count} spans: {why or 'it does not say why'}", count) if count else _Answer()


def _find_reason(error: BaseException) -> str:
    """What the system said at first, or that nothing was said in time."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    reason = ""
    cause: BaseException | None = error
    while cause is not None:
        reason = getattr(cause, "strerror", None) or reason
        cause = cause.__cause__ or cause.__context__
    return reason or type(error).__name__


def _add_path(endpoint: str) -> str:
    """An address with the path of traces if it has none.

    >>> _add_path("http://tempo:4318"), _add_path("https://example.org/otlp/v1/traces")
    ('http://tempo:4318/v1/traces', 'https://example.org/otlp/v1/traces')
    """
    parts = urlsplit(endpoint)
    return urlunsplit(parts if parts.path.strip("/") else parts._replace(path=_PATH))
