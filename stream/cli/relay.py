"""``posestream relay``: one address for the keypoints of many publishers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream import wording
from stream.logs import print_notice

if TYPE_CHECKING:
    from stream.protocol.relay_server import RelayServer


def relay(
    bind: Annotated[
        str, typer.Option("--bind", help="Where subscribers connect, as to a keypointsink.")
    ] = "tcp://127.0.0.1:5570",
    publishers: Annotated[
        str, typer.Option("--publishers", help="Where lines connect: their keypointsink relay=.")
    ] = "tcp://127.0.0.1:5571",
    keys: Annotated[
        Path | None, typer.Option("--keys", help="The relay's .key_secret file; needed beyond this host.")
    ] = None,
    clients: Annotated[
        Path | None, typer.Option("--clients", help="Folder with the .key files of the subscribers admitted; else all.")
    ] = None,
    publisher_keys: Annotated[
        Path | None,
        typer.Option("--publisher-keys", help="Folder with the .key files of the lines admitted; needed with --keys."),
    ] = None,
    placements: Annotated[
        Path | None, typer.Option("--placements", help="File that keeps the cameras' placements beyond a restart.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Prefix of every topic, e.g. 'site1/'.")] = "",
    max_rate: Annotated[
        float,
        typer.Option(
            "--max-rate", min=1, help="Messages a second of each camera, in units of 16 KiB; the rest is lost."
        ),
    ] = 1000.0,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", min=1, help="Messages kept for a subscriber that does not keep up.")
    ] = 256,
    max_subscribers: Annotated[
        int, typer.Option("--max-subscribers", min=1, help="Connections of subscribers at a time.")
    ] = 256,
    max_publishers: Annotated[
        int, typer.Option("--max-publishers", min=1, help="Connections of lines at a time.")
    ] = 256,
) -> None:
    """Pass the keypoints of many lines on to subscribers, who need one address for all, until Ctrl-C.

    Lines connect to it (keypointsink relay=…), so their hosts need no open port. Subscribers connect to it as to any
    keypointsink. Of two lines with one camera the second is refused, unless its placement= is higher. Beyond this host
    it needs CURVE keys on both sides.

    Examples:

        posestream relay

        posestream launch 'testsrc camera=hall ! detect ! track ! window ! pose ! keypointsink relay=tcp://127.0.0.1:5571'

        posestream relay --bind tcp://0.0.0.0:5570 --publishers tcp://0.0.0.0:5571 --keys keys/server.key_secret
        --clients clients --publisher-keys lines
    """
    from stream.protocol.relay_server import RelayServer
    from stream.runtime.signals import handle_signals
    from stream.transports.curve import Keys

    with RelayServer(
        bind,
        publishers,
        keys=Keys.load(keys) if keys else None,
        clients=clients,
        publisher_keys=publisher_keys,
        prefix=prefix,
        max_waiting=max_waiting,
        max_subscribers=max_subscribers,
        max_publishers=max_publishers,
        rate=max_rate,
        placements=placements,
    ) as server:
        print_notice(f"lines publish at {server.publishers}; subscribe with 'posestream subscribe {server.bind}'")
        with handle_signals() as received:
            server.run(lambda: bool(received))
        print_notice(_summarise(server))


def _summarise(server: RelayServer) -> str:
    """One line: what was passed on, and what was not, by reason.

    It is called while the sockets are open, since what is connected counts too.
    """
    relayed, published = server.statistics()
    reasons = {
        "lost before the relay": relayed.lost,
        "over --max-rate": relayed.dropped,
        "refused": relayed.refused,
        "malformed": relayed.malformed,
        "times that a subscriber did not keep up": published.overflows,
    }
    rest = "".join(f"; {count:,} {reason}" for reason, count in reasons.items() if count)
    return (
        f"passed on {wording.count(relayed.forwarded, 'message')} of {wording.count(relayed.cameras, 'camera')}{rest}"
    )
