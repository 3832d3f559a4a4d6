"""``posestream metrics``: serves the metrics of the lines that run on this host to Prometheus."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from engines.errors import install_hint
from stream.errors import TransportError
from stream.logs import print_notice

_log = logging.getLogger(__name__)


def metrics(
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT to serve on.")] = "127.0.0.1:9464",
    run_dir: Annotated[
        list[Path] | None,
        typer.Option("--run-dir", help="A line's folder; may be repeated. All your lines without it."),
    ] = None,
) -> None:
    """Serve the metrics of running lines to Prometheus, until Ctrl-C: /metrics, and /healthz and /readyz.

    It is a process of its own beside the lines, which may come and go. A line is called by the name of its --run-dir.
    docs/how-to/metrics.md lists the metrics.

    Examples:

        posestream metrics

        posestream metrics --listen 0.0.0.0:9464 --run-dir /run/posestream/hall
    """
    from stream.runtime.signals import handle_signals
    from stream.transports.addresses import is_loopback_host, split_listen

    try:
        from stream.metrics.exporter import Exporter
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise TransportError(f"metrics need prometheus-client; {install_hint('metrics')}") from None

    host, port = split_listen(listen, "127.0.0.1:9464")
    with Exporter(host, port, run_dir or ()) as exporter:
        print_notice(f"metrics are on {exporter.address}")
        if not is_loopback_host(host):
            _log.warning("anyone who reaches this host can read the names of lines, parts and cameras, and their rates")
        with handle_signals() as received:
            exporter.run(lambda: bool(received))
