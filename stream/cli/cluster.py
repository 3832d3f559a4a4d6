"""``posestream cluster``: makes a cluster of hosts, shows it, and takes hosts out of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream import wording
from stream.cli.pairs import split_pairs
from stream.cli.registration import add_command, help_text
from stream.errors import PropertyError, TransportError
from stream.logs import print_notice

if TYPE_CHECKING:
    from rich.console import Group

    from stream.cluster.controller import Status
    from stream.cluster.membership import Membership
    from stream.cluster.node import Node, Offer
    from stream.cluster.ray_engine import ControllerClient

HELP = """Make a cluster of hosts that run the cameras of sites, show it, and take hosts out of it.

    One host is the head; the others join it, with its token. Each needs posestream with the extra ray, and the same
    network and key files. 'posestream deploy' then runs a site on all of them.

    Examples:

        posestream cluster up

        posestream cluster join 192.168.1.10:6379 --token-file token

        posestream cluster status

        posestream cluster drain node2
    """

app = typer.Typer(no_args_is_help=True, help=help_text(HELP), rich_markup_mode="rich", pretty_exceptions_enable=False)

_START_S = 120.0
_END_S = 60.0
_POLL_S = 0.2

Name = Annotated[str, typer.Option("--name", help="What this host is called; its host name without it.")]
Address = Annotated[str, typer.Option("--address", help="The address of this host, where it has several.")]
Cpus = Annotated[int | None, typer.Option("--cpus", min=1, help="CPUs for lanes; all without it.")]
Gpus = Annotated[int | None, typer.Option("--gpus", min=0, help="GPUs for lanes; all without it.")]
Label = Annotated[list[str] | None, typer.Option("--label", help="NAME=VALUE that sites may ask for; may be repeated.")]


def up(
    name: Name = "",
    address: Address = "",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the head.")] = 6379,
    cpus: Cpus = None,
    gpus: Gpus = None,
    label: Label = None,
) -> None:
    """Make this host the head of a cluster, until Ctrl-C, which ends the cluster.

    It makes a token, without which nothing is answered; copy its file to the hosts that join. What runs is kept: after
    a restart, the sites that were deployed run again.

    Example:

        posestream cluster up --address 192.168.1.10 --label zone=north
    """
    from stream.cluster.membership import Membership, find_folder, find_token, holding, save
    from stream.cluster.node import check_alive, require_ray, start_head
    from stream.runtime.signals import handle_signals

    require_ray()
    offer = _make_offer(name, address, cpus, gpus, label)
    folder = find_folder()
    token = find_token(folder, is_new=True)
    with holding(folder), handle_signals() as received:
        node = start_head(offer, port, token, folder / "ray.log")
        try:
            head = f"{_find_address(node, received)}:{port}"
            member = Membership(head, str(token), offer.name, is_head=True, pid=os.getpid())
            _start_controller(member, folder, node, received)
            save(folder, member)
            print_notice(
                f"the head is {member.head}; on other hosts: posestream cluster join {member.head} --token-file FILE, "
                f"with a copy of {token}"
            )
            while not received:
                check_alive(node)
                time.sleep(_POLL_S)
            _end_lanes(member, received)
        finally:
            node.close()


def join(
    head: Annotated[str, typer.Argument(metavar="HEAD:PORT", help="The address of the head.", show_default=False)],
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A copy of the head's token; 'token' in the folder without it.")
    ] = None,
    name: Name = "",
    address: Address = "",
    cpus: Cpus = None,
    gpus: Gpus = None,
    label: Label = None,
) -> None:
    """Let this host run cameras of a cluster, until Ctrl-C. It joins again after it was cut off.

    'posestream cluster drain' before Ctrl-C moves its cameras away without a gap that a death has.

    Example:

        posestream cluster join 192.168.1.10:6379 --token-file token --label zone=north
    """
    from stream.cluster.membership import Membership, check_token, find_folder, find_token, holding, save
    from stream.cluster.node import require_ray, start_member, stay
    from stream.runtime.signals import handle_signals
    from stream.transports.addresses import split_listen

    require_ray()
    split_listen(head, "192.168.1.10:6379", "HEAD:PORT")
    offer = _make_offer(name, address, cpus, gpus, label)
    folder = find_folder()
    token = check_token(token_file) if token_file is not None else find_token(folder)
    with holding(folder), handle_signals() as received:
        save(folder, Membership(head, str(token), offer.name, pid=os.getpid()))
        print_notice(f"{offer.name} joins the cluster of {head}; Ctrl-C leaves it")
        stay(lambda: start_member(offer, head, token, folder / "ray.log"), lambda: bool(received), print_notice)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as one line of JSON.")] = False,
) -> None:
    """Show the hosts of the cluster that this host is in, and where each camera runs.

    The number of a camera rises whenever it is placed; receivers refuse what has a lower one.

    Examples:

        posestream cluster status

        posestream cluster status --json
    """
    from rich.console import Console

    found = _find_status()
    if as_json:
        import msgspec

        print(msgspec.json.encode(found).decode())
        return
    Console(highlight=False).print(render(found))


def drain(
    host: Annotated[str, typer.Argument(help="The name of the host, as 'status' has it.", show_default=False)],
    undo: Annotated[bool, typer.Option("--undo", help="Place cameras there again.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when it has no cameras left, so that it can end.")
    ] = False,
) -> None:
    """Move the cameras of a host to others, one at a time, and place none there; what is in flight is delivered.

    Examples:

        posestream cluster drain node2

        posestream cluster drain --wait node2
    """
    if undo and wait:
        raise PropertyError("--wait has no effect with --undo; leave one of them out")
    with open_client() as (client, _):
        client.drain(host, is_drained=not undo)
        if wait:
            _wait_until_empty(client, host)


def down() -> None:
    """End what this host runs of a cluster; on the head, the whole cluster, after its cameras have drained.

    Example:

        posestream cluster down
    """
    from stream.cluster.membership import find_folder, load, require

    folder = find_folder()
    os.kill(require(folder).pid, signal.SIGTERM)
    until_s = time.monotonic() + 2 * _END_S
    while load(folder) is not None:
        if time.monotonic() > until_s:
            raise TransportError(
                f"what runs here has not ended within {2 * _END_S:g} s; run the command again, which kills its lanes"
            )
        time.sleep(_POLL_S)


for _command in (up, join, status, drain, down):
    add_command(app, _command)


def render(found: Status) -> Group:
    """The hosts, the cameras, and what waits, as tables."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    hosts = Table(box=None, pad_edge=False, collapse_padding=True)
    for title in ("host", "state", "lanes", "cameras", "CPUs", "GPUs", "labels"):
        hosts.add_column(title, justify="left" if title in ("host", "state", "labels") else "right")
    for one in found.hosts:
        labels = " ".join(f"{key}={value}" for key, value in sorted(one.labels.items()))
        hosts.add_row(
            one.name, "drained" if one.is_drained else "ready", *map(str, (one.lanes, one.cameras)), f"{one.cpus:g}",
            str(one.gpus), labels,
        )  # fmt: skip
    cameras = Table(box=None, pad_edge=False, collapse_padding=True)
    for title in ("camera", "state", "host", "lane", "number", "fps", "age p95", "drops", "address"):
        cameras.add_column(title, justify="right" if title in ("number", "fps", "age p95", "drops") else "left")
    for camera in found.cameras:
        age = "" if camera.age_p95_ms is None else f"{camera.age_p95_ms:.0f}"
        cameras.add_row(
            f"{camera.site}/{camera.name}", camera.state, camera.host, camera.lane, str(camera.number or ""),
            f"{camera.fps:.1f}", age, str(camera.dropped), camera.address,
        )  # fmt: skip
    notes = [f"{camera.site}/{camera.name}: {camera.why}" for camera in found.cameras if camera.why]
    notes += [f"{lane} waits: {why}" for lane, why in found.waiting.items()]
    notes += [f"the controller cannot go on: {found.trouble}"] if found.trouble else []
    return Group(hosts, Text(), cameras, *map(Text, notes))


def _make_offer(name: str, address: str, cpus: int | None, gpus: int | None, label: Sequence[str] | None) -> Offer:
    from stream.cluster.node import Offer

    labels = split_pairs(label or (), "NAME=VALUE", "'--label'")
    return Offer(name or socket.gethostname(), address, cpus, gpus, labels)


def _find_address(node: Node, received: Sequence[int]) -> str:
    """The address of the head that has been started, as Ray has chosen it."""
    from stream.cluster.node import check_alive

    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s and not received:
        check_alive(node)
        text = node.log.read_text(errors="replace")
        if "Ray runtime started" in text and (found := re.search(r"Local node IP: (\S+)", text)):
            return found[1]
        time.sleep(_POLL_S)
    raise TransportError(f"the head has not started within {_START_S:g} s; see {node.log}")


def _start_controller(member: Membership, folder: Path, node: Node, received: Sequence[int]) -> None:
    from stream.cluster.node import check_alive, load_engine

    check_alive(node)
    if not received:
        engine = load_engine(Path(member.token_file))
        with engine.connected(member):
            engine.start_controller(folder)


def _end_lanes(member: Membership, received: Sequence[int]) -> None:
    """Drain all lanes, unless it is asked to end twice."""
    from stream.cluster.node import load_engine

    engine = load_engine(Path(member.token_file))
    try:
        with engine.connected(member):
            engine.ControllerClient().end(lambda: len(received) > 1)
    except TransportError as error:
        print_notice(f"lanes are killed, and lose what was in flight: {error}")


def _wait_until_empty(client: ControllerClient, host: str) -> None:
    """Return when a host that is drained has no cameras left, or has ended; say how many it has until then."""
    said = 0
    while left := sum(one.cameras for one in client.status().hosts if one.name == host):
        if left != said:
            print_notice(f"{host} still has {wording.count(left, 'camera')}")
            said = left
        time.sleep(_POLL_S)


def _find_status() -> Status:
    with open_client() as (client, _):
        return client.status()


@contextmanager
def open_client() -> Iterator[tuple[ControllerClient, Membership]]:
    """The controller of the cluster that this host is in, and what is known here. Raises :class:`TransportError`."""
    from stream.cluster.membership import find_folder, require
    from stream.cluster.node import load_engine, require_ray

    require_ray()
    member = require(find_folder())
    engine = load_engine(Path(member.token_file))
    with engine.connected(member):
        yield engine.ControllerClient(), member
