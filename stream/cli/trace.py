"""``posestream trace``: sends the ledgers of what a line publishes to a collector of OpenTelemetry, as spans."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from engines.errors import install_hint
from stream.cli.bridge import MaxWaiting, run_bridge
from stream.cli.subscribe import Cameras, ClientKey, ServerKey, UntilEnd
from stream.errors import TransportError

_log = logging.getLogger(__name__)

_MODULES = ("google", "opentelemetry", "requests")


def trace(
    otlp: Annotated[
        str, typer.Option("--otlp", help="The collector, OTLP over HTTP; /v1/traces is its path if it has none.")
    ] = "http://127.0.0.1:4318",
    address: Annotated[str, typer.Option("--from", help="Where a keypointsink publishes.")] = "tcp://127.0.0.1:5570",
    camera: Cameras = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Trace one frame in so many of each camera.")] = 100,
    max_waiting: MaxWaiting = 100,
    until_end: UntilEnd = False,
    server_key: ServerKey = None,
    client_key: ClientKey = None,
) -> None:
    """Send where the time of frames goes to a collector of OpenTelemetry (Jaeger, Tempo), until Ctrl-C.

    Each sampled frame is a trace, with a span for each step from its capture to its reception here. It costs the line
    nothing. ${NAME} in the address stands for a variable of the environment, so that no password is typed.

    Examples:

        posestream trace

        posestream trace --otlp http://192.168.1.20:4318 --every 30 --camera hall

        posestream trace --otlp 'https://me:${PASSWORD}@otlp.example.org/v1/traces'
    """
    from engines.url import Url
    from stream.bridges.bridge import Bridge
    from stream.bridges.sampling import Sampling
    from stream.protocol.subscriber import Subscriber

    try:
        from stream.bridges.otlp import OtlpOutlet
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _MODULES:
            raise
        raise TransportError(f"traces need opentelemetry-exporter-otlp-proto-http; {install_hint('trace')}") from None

    target = Url(otlp)
    with (
        OtlpOutlet(target) as outlet,
        Subscriber(
            address, camera=camera or None, until_end=until_end, server_key=server_key, client_key=client_key
        ) as subscriber,
    ):
        limit = Sampling(every)
        running = Bridge(subscriber, outlet, target, limit=limit, max_waiting=max_waiting, report=_log.warning)
        run_bridge(running, target, thinned="not sampled", until_end=until_end)
