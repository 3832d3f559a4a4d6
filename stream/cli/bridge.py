"""``posestream bridge``: passes the keypoints that a line publishes on to MQTT, Kafka, OSC or WebSocket."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from stream import wording
from stream.cli.pairs import split_pairs
from stream.cli.subscribe import Cameras, ClientKey, ServerKey, UntilEnd
from stream.errors import TransportError
from stream.logs import print_notice

if TYPE_CHECKING:
    from engines.url import Url
    from stream.bridges.bridge import Bridge

_log = logging.getLogger(__name__)

MaxWaiting = Annotated[int, typer.Option("--max-waiting", min=1, help="Messages kept while the other side is away.")]


def bridge(
    to: Annotated[
        str, typer.Argument(help="Where to: mqtt://HOST:PORT/TOPIC, or mqtts://, kafka://, osc:// or ws://.")
    ],
    address: Annotated[str, typer.Option("--from", help="Where a keypointsink publishes.")] = "tcp://127.0.0.1:5570",
    camera: Cameras = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0, help="Messages a second of each camera; 0 for all. MQTT: 5, others: all."),
    ] = None,
    people: Annotated[bool, typer.Option("--people", help="A message for each person (MQTT, Kafka).")] = False,
    qos: Annotated[int, typer.Option("--qos", min=0, max=1, help="Quality of service (MQTT).")] = 0,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="NAME=VALUE for librdkafka (Kafka); may be repeated.")
    ] = None,
    max_waiting: MaxWaiting = 100,
    until_end: UntilEnd = False,
    server_key: ServerKey = None,
    client_key: ClientKey = None,
) -> None:
    """Pass the keypoints that a line publishes on, as JSON (OSC: as numbers), until Ctrl-C.

    It may be started before the line and before the broker, and connects again to both. ${NAME} in the address stands
    for a variable of the environment, so that no password is typed.

    Examples:

        posestream bridge mqtt://192.168.1.20/posestream --rate 5

        posestream bridge mqtts://me:${PASSWORD}@broker.example.org/site --people --camera hall

        posestream bridge kafka://192.168.1.30:9092/poses

        posestream bridge osc://127.0.0.1:9000

        posestream bridge ws://127.0.0.1:8765
    """
    from engines.url import Url
    from stream.bridges.bridge import Bridge
    from stream.bridges.opening import open_outlet
    from stream.bridges.rate_limit import RateLimit
    from stream.protocol.subscriber import Subscriber

    target, options = Url(to), split_pairs(option or (), "NAME=VALUE", "'--option'")
    with (
        open_outlet(target, people=people, qos=qos, options=options) as outlet,
        Subscriber(
            address, camera=camera or None, until_end=until_end, server_key=server_key, client_key=client_key
        ) as subscriber,
    ):
        limit = RateLimit(outlet.default_rate_hz if rate is None else rate or None)
        running = Bridge(subscriber, outlet, target, limit=limit, max_waiting=max_waiting, report=_log.warning)
        run_bridge(running, target, thinned="left out by the rate", until_end=until_end)


def run_bridge(bridge: Bridge, target: Url, *, thinned: str, until_end: bool) -> None:
    """Run ``bridge`` until Ctrl-C or the cameras' end, and print what was sent, and what was not, by reason.

    ``thinned`` says what became of the messages that its limit left out. Raises :class:`TransportError` if the cameras
    have ended (``until_end``) and something was lost or not delivered.
    """
    from stream.runtime.signals import handle_signals

    with handle_signals() as received:
        bridge.run(lambda: bool(received))
    bridge.close()
    sent = ", ".join(f"{camera}: {count:,}" for camera, count in sorted(bridge.sent.items())) or "nothing"
    reasons = {thinned: bridge.thinned, "not delivered": bridge.undelivered, "lost before the bridge": bridge.lost}
    reasons |= bridge.unread
    rest = "".join(f"; {count:,} {reason}" for reason, count in reasons.items() if count)
    print_notice(f"sent {sent}{rest}")
    if bridge.undelivered and until_end:
        raise TransportError(
            f"{target} has not taken {bridge.undelivered:,} messages; check that it runs, or keep more of them for it "
            "with --max-waiting"
        )
    if bridge.lost and until_end:
        raise TransportError(
            f"{wording.count(bridge.lost, 'message')} did not reach the bridge, since they came faster than it passed "
            "them on, or their publisher had lost them"
        )
