"""Follows the lines of this host and serves their metrics over HTTP."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from stream.errors import TransportError
from stream.metrics.collector import LineCollector
from stream.metrics.running_lines import RunningLines
from stream.transports.addresses import is_loopback_host

_log = logging.getLogger(__name__)

_POLL_S = 0.1


_MAX_CONNECTIONS = 32
"""At a time; Prometheus has one. Further ones are closed unanswered."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the arguments of the base class
        # A client that says nothing or goes away is no fault of ours, and anyone could fill the log with tracebacks.
        _log.debug("no answer to %s", client_address, exc_info=True)


class _QuietHandler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name in the base class
        pass


class Exporter:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz`` on ``host``:``port``; a context manager.

    It follows the lines in ``run_dirs``, or every line of this user where there are none; lines come and go. Raises
    :class:`TransportError` for an address that cannot be listened on.
    """

    def __init__(self, host: str, port: int, run_dirs: Sequence[Path] = ()) -> None:
        self._running, self._is_local = RunningLines(run_dirs), is_loopback_host(host)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(LineCollector(lambda: self._running.lines, lambda: self._running.missing))
        self._metrics = make_wsgi_app(registry)
        try:
            self._server = make_server(host, port, self._answer, _Server, _QuietHandler)
        except OSError as error:
            raise TransportError(
                f"metrics cannot be served on {host}:{port}: {error.strerror}; choose another --listen"
            ) from None
        self.address = f"http://{host}:{self._server.server_port}/metrics"
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Follow the lines until ``is_stopped``."""
        while not is_stopped():
            self._running.follow()
            time.sleep(_POLL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._running.close()

    # -- HTTP ----------------------------------------------------------------------------------------------------------

    def _answer(self, environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if self._is_local and not _is_local_name(environment.get("HTTP_HOST", "")):
            return _reply(start, HTTPStatus.MISDIRECTED_REQUEST, "ask for 127.0.0.1 or localhost")
        path = environment.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environment, start)
            return answer
        if path == "/healthz":  # this process answers
            return _reply(start, HTTPStatus.OK, "ok")
        if path == "/readyz":
            lines = self._running.lines
            trouble = [f"{line.name}: {line.trouble}" for line in lines if line.trouble]
            missing = [f"{name}: no line runs" for name in self._running.missing]
            missing += [] if missing or lines else ["no line runs"]
            status = HTTPStatus.SERVICE_UNAVAILABLE if trouble or missing else HTTPStatus.OK
            return _reply(start, status, "\n".join(trouble + missing) or "ok")
        return _reply(start, HTTPStatus.NOT_FOUND, "see /metrics, /healthz and /readyz")


def _is_local_name(host: str) -> bool:
    """True for a name of this host: a page of another site can make its own lead here (DNS rebinding)."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return not host or (name is not None and is_loopback_host(name))


def _reply(start: StartResponse, status: HTTPStatus, text: str) -> list[bytes]:
    start(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]
