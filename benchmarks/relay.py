"""How much later keypoints reach subscribers through ``posestream relay`` than from 100 lines themselves.

    python -m benchmarks.relay             prints a table
    python -m benchmarks.relay --write     and writes benchmarks/results/relay.json and relay.md

Every line publishes one camera, five people of 17 joints a frame, and every subscriber reads one. In turns of a second,
the lines publish at their own addresses, and at the relay, a process of its own; so both ways see the same load. The
time of a message is from its `published` stamp until the subscriber has it. Lines and subscribers are `keypointsink`s
and SUB sockets, in a few processes, on this machine; the subscribers count what they lost as the protocol says.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil
import zmq

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.elements.keypointsink import KeypointSink
from stream.protocol import topics
from stream.protocol.relay_publisher import RelayPublisher
from stream.protocol.relay_server import RelayServer
from stream.protocol.sequence import Reception
from stream.testing import make_poses

DIRECT, RELAYED = "direct", "relay"
WAYS = (DIRECT, RELAYED)
_ANY = "tcp://127.0.0.1:*"
_TURN_S = 1.0
_PROCESSES = 5
_WARM_UP_S = 4.0
_TIMEOUT_S = 120.0
_SPAWN = multiprocessing.get_context("spawn")


def main() -> None:
    """Measure, print, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--lines", type=int, default=100, help="and as many subscribers")
    parser.add_argument("--fps", type=float, default=3.0, help="frames a second of each line")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    result = measure(options.lines, options.fps, options.seconds)
    result |= {"load_before": load_before, "load_after": os.getloadavg()[0]}
    text = describe(result)
    print(text)
    if options.write:
        write_results("relay", result, text)


def measure(count: int, fps: float, seconds: float) -> dict[str, Any]:
    """The times in ms and the counts of both ways, and what the relay took."""
    cameras = [f"camera{number:03}" for number in range(count)]
    shares = [cameras[start::_PROCESSES] for start in range(min(_PROCESSES, count))]
    with run(run_relay) as (relay, relay_process), ExitStack() as stack:
        bind, publishers = relay.recv()
        rss_before = relay_process.memory_info().rss
        lines = [stack.enter_context(run(run_lines, share, publishers, fps))[0] for share in shares]
        addresses: dict[str, str] = {}
        for line in lines:
            addresses |= _receive(line)
        readers = [stack.enter_context(run(run_readers, share, addresses, bind))[0] for share in shares]
        for reader in readers:
            _receive(reader)
        for line in lines:
            line.send("go")
        time.sleep(_WARM_UP_S)
        for reader in readers:
            reader.send("begin")
        cpu_before, began_s = sum(relay_process.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        cpu = (sum(relay_process.cpu_times()[:2]) - cpu_before) / (time.monotonic() - began_s)
        rss_after = relay_process.memory_info().rss
        sent = _sum(_ask(lines))
        found = _ask(readers)
        relay.send("end")
        statistics = _receive(relay)
    return {
        "lines": count,
        "fps": fps,
        "seconds": seconds,
        "ways": {way: _summarise(way, sent, found) for way in WAYS},
        "relay": {"rss_before": rss_before, "rss_after": rss_after, "cpu_share": cpu, **statistics},
    }


def describe(result: dict[str, Any]) -> str:
    """The result as a page."""
    ways, relay = result["ways"], result["relay"]
    ratio = {name: ways[RELAYED][name] / ways[DIRECT][name] for name in ("p50_ms", "p95_ms")}
    rows = [
        (
            f"{result['lines']} lines of {result['fps']:g} frames a second and {result['lines']} subscribers, "
            f"{result['seconds']:.0f} s; {describe_machine()}, load {result['load_before']:.0f} before and "
            f"{result['load_after']:.0f} after"
        ),
        "",
        "| way | p50 ms | p95 ms | published | received | lost | dropped by lines |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {way} | {one['p50_ms']:.2f} | {one['p95_ms']:.2f} | {one['sent']:,} | {one['received']:,} "
            f"| {one['lost']} | {one['dropped']} |"
            for way, one in ways.items()
        ),
        f"| relay / direct | **{ratio['p50_ms']:.2f}** | **{ratio['p95_ms']:.2f}** | | | | |",
        "",
        (
            f"The relay: {relay['rss_before'] / 2**20:.0f} MiB before the first line, "
            f"{relay['rss_after'] / 2**20:.0f} MiB at the end, {relay['cpu_share'] * 100:.0f} % of a core; passed on "
            f"{relay['forwarded']:,}, lost before it {relay['lost']}, refused {relay['refused']}, over its rate "
            f"{relay['dropped']}, times that a subscriber did not keep up {relay['overflows']}."
        ),
    ]
    return "\n".join(rows)


def _summarise(way: str, sent: dict[str, int], found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    times_ms = np.concatenate([one[way]["times_ms"] for one in found])
    p50, p95 = np.percentile(times_ms, (50, 95))
    counts = {name: sum(one[way][name] for one in found) for name in ("received", "lost")}
    return {"p50_ms": p50, "p95_ms": p95, "sent": sent[way], "dropped": sent[f"{way} dropped"], **counts}


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {name: sum(one[name] for one in counts) for name in counts[0]}


# -- processes ---------------------------------------------------------------------------------------------------------


@contextmanager
def run(work: Any, *arguments: Any) -> Iterator[tuple[Connection, psutil.Process]]:
    """A process that does ``work``, and a pipe to it."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        yield ours, psutil.Process(process.pid)
    finally:
        process.join(10)
        process.kill()


def _receive(pipe: Connection) -> Any:
    if not pipe.poll(_TIMEOUT_S):
        raise RuntimeError(f"a process of the benchmark did not answer within {_TIMEOUT_S:.0f} s")
    return pipe.recv()


def _ask(pipes: Sequence[Connection]) -> list[Any]:
    for pipe in pipes:
        pipe.send("end")
    return [_receive(pipe) for pipe in pipes]


def run_relay(pipe: Connection) -> None:
    """The relay; sends its addresses, and its counters at the end."""
    with RelayServer(_ANY, _ANY) as server:
        pipe.send((server.bind, server.publishers))
        server.run(pipe.poll)
        relayed, published = server.statistics()
        pipe.send({**dataclasses.asdict(relayed), "overflows": published.overflows})


def run_lines(pipe: Connection, cameras: Sequence[str], publishers: str, fps: float) -> None:
    """Publish each camera both ways, in turns; sends the direct addresses, and the counts at the end."""
    with ExitStack() as stack:
        direct = {name: stack.enter_context(KeypointSink(bind=_ANY, linger_s=0)) for name in cameras}
        relayed = {name: stack.enter_context(KeypointSink(relay=publishers)) for name in cameras}
        pipe.send({name: sink.endpoint for name, sink in direct.items()})
        pipe.recv()
        sent = _publish(pipe, {DIRECT: direct, RELAYED: relayed}, fps)
        dropped = sum(
            sink._publisher.dropped for sink in relayed.values() if isinstance(sink._publisher, RelayPublisher)
        )
        time.sleep(2 * _TURN_S)  # heartbeats say what the last numbers were
        pipe.send({**sent, f"{DIRECT} dropped": 0, f"{RELAYED} dropped": dropped})


def _publish(pipe: Connection, sinks: dict[str, dict[str, KeypointSink]], fps: float) -> dict[str, int]:
    """Publish one camera after the other, at an even rate, until asked to end."""
    cameras = list(sinks[DIRECT])
    sent = dict.fromkeys(sinks, 0)
    items = {name: make_poses(0, name, count=5) for name in cameras}
    due_s, number = time.monotonic(), 0
    while not pipe.poll(max(0.0, due_s - time.monotonic())):
        due_s = max(due_s + 1 / (fps * len(cameras)), time.monotonic())  # what is late is not made up for
        way = WAYS[int(time.time() / _TURN_S) % 2]
        name = cameras[number % len(cameras)]
        item = items[name]
        frame = dataclasses.replace(item.frame, seq=number, wall_ns=time.time_ns())
        sinks[way][name].consume(dataclasses.replace(item, frame=frame))
        sent[way] += 1
        number += 1
    return sent


# -- subscribers -------------------------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """A subscriber of one camera, one way."""

    way: str
    socket: zmq.Socket[bytes]
    reception: Reception
    times_ms: list[float] = field(default_factory=list)

    def read(self) -> None:
        """Read what waits."""
        while True:
            try:
                topic, payload = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            now_ns = time.time_ns()
            for message in self.reception.take(topic, payload, now_ns):
                if not message.retained:
                    self.times_ms.append((now_ns - message.ledger["published"]) / 1e6)


def run_readers(pipe: Connection, cameras: Sequence[str], addresses: dict[str, str], relay: str) -> None:
    """Read each camera both ways until asked to end; sends the times and counts."""
    with zmq.Context() as context, ExitStack() as stack:
        readers = [
            _Reader(way, stack.enter_context(_subscribe(context, address, name)), Reception(frozenset([name])))
            for name in cameras
            for way, address in ((DIRECT, addresses[name]), (RELAYED, relay))
        ]
        poller = zmq.Poller()
        for reader in readers:
            poller.register(reader.socket, zmq.POLLIN)
        by_socket = {reader.socket: reader for reader in readers}

        def read(timeout_ms: int) -> None:
            for socket, _ in poller.poll(timeout_ms):
                by_socket[socket].read()

        while not all(reader.reception.alive for reader in readers):
            read(100)
        pipe.send("ready")
        while not pipe.poll():
            read(100)
        pipe.recv()  # warm by now
        for reader in readers:
            reader.times_ms.clear()
        while not pipe.poll():
            read(100)
        until_s = time.monotonic() + 2 * _TURN_S  # for the last heartbeats
        while time.monotonic() < until_s:
            read(100)
        pipe.send({way: _count([reader for reader in readers if reader.way == way]) for way in WAYS})


def _subscribe(context: zmq.Context[zmq.Socket[bytes]], address: str, camera: str) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    socket.connect(address)
    topic = topics.poses_topic(camera)
    for each in (topics.heartbeat_topic(), topics.skeleton_topic(""), topic, topics.snapshot_topic(camera, topic)):
        socket.subscribe(each)
    return socket


def _count(readers: Sequence[_Reader]) -> dict[str, Any]:
    totals = [reader.reception.statistics().total for reader in readers]
    return {
        "times_ms": np.array([each for reader in readers for each in reader.times_ms]),
        "received": sum(total.messages for total in totals),
        "lost": sum(total.lost for total in totals),
    }


if __name__ == "__main__":
    main()
