"""Messages per second that reach 1, 10 and 100 subscribers without loss, while one more subscriber is stuck.

    python -m benchmarks.publisher            prints a table
    python -m benchmarks.publisher --write    and writes benchmarks/results/publisher.json and publisher.md

A message is five people of 17 joints. `keypointsink` encodes each, numbers it and retains it; its rivals are a
plain pyzmq PUB socket that sends ready-made bytes of the same message, and one that sends it as JSON. Subscribers
are SUB sockets that count, in two processes. The rate is raised step by step until one of them misses a message or the
publisher falls behind; the last rate without is the figure. All rivals take turns at each number of subscribers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import socket as network
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import zmq

from benchmarks.reporting import make_parser, write_results
from stream.elements.keypointsink import KeypointSink
from stream.messages import Poses
from stream.protocol.schema import encode_poses, poses_map
from stream.testing import make_poses

SUBSCRIBERS = (1, 10, 100)
RATES = (100, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000, 10_000, 15_000, 20_000, 30_000)
OURS, PLAIN, AS_JSON = "keypointsink", "plain pyzmq, ready bytes", "plain pyzmq, JSON"
MAX_WAITING = 1000  # pyzmq's default, for all
PROCESSES = 2
TOPIC = b"poses/hall"
SESSION = "0" * 16

Send = Callable[[int], object]


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    result = measure(options.seconds)
    text = table(result)
    print(text)
    if options.write:
        write_results("publisher", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each rate is held")
    return parser.parse_args()


def measure(seconds: float) -> dict[str, Any]:
    """The highest rate without loss of every publisher, for every number of subscribers."""
    load_before = os.getloadavg()[0]
    rivals = {OURS: open_keypointsink, PLAIN: open_plain, AS_JSON: open_json}
    figures = [
        {"subscribers": count, "rival": rival, **find_highest_rate(publishing, count, seconds)}
        for count in SUBSCRIBERS
        for rival, publishing in rivals.items()
    ]
    return {
        "machine": {"python": platform.python_version(), "zmq": zmq.zmq_version(), "cores": os.cpu_count()},
        "load_before": load_before,
        "seconds": seconds,
        "bytes": {"msgpack": len(_bytes(0)), "json": len(_json(0))},
        "figures": figures,
    }


def find_highest_rate(publishing: Callable[[], Any], count: int, seconds: float) -> dict[str, Any]:
    """Raise the rate until a subscriber loses a message; a failed rate is tried twice."""
    best: dict[str, Any] = {"rate": 0, "us_a_message": None}
    for rate in RATES:
        for _ in range(2):
            point = measure_rate(publishing, count, rate, seconds)
            if point["kept_up"] and point["lost"] == 0:
                best = {"rate": rate, "us_a_message": point["us_a_message"]}
                break
        else:
            return {**best, "failed_at": rate, "lost": point["lost"], "kept_up": point["kept_up"]}
    return {**best, "failed_at": None}


def measure_rate(publishing: Callable[[], Any], count: int, rate: int, seconds: float) -> dict[str, Any]:
    """Publish ``rate`` messages a second for ``seconds``; what the subscribers missed, and what one message cost."""
    with publishing() as (endpoint, send, warm), stuck_subscriber(endpoint), run_subscribers(endpoint, count) as pipes:
        wait_subscribed(warm, pipes)
        sent, took_s, busy_s = send_paced(send, rate, seconds)
        for pipe in pipes:
            pipe.send(sent)
        received = sum(pipe.recv() for pipe in pipes)
    return {
        "lost": sent * count - received,
        "kept_up": took_s < seconds * 1.05,
        "us_a_message": busy_s / sent * 1e6,
    }


def send_paced(send: Send, rate: int, seconds: float) -> tuple[int, float, float]:
    """Send at an even rate, in ticks of a millisecond: how many, how long in all, and how long within ``send``."""
    total, sent, busy_s = round(rate * seconds), 0, 0.0
    start_s = time.perf_counter()
    while sent < total:
        due = min(total, int((time.perf_counter() - start_s) * rate) + 1)
        start = time.perf_counter()
        for number in range(sent, due):
            send(number)
        busy_s += time.perf_counter() - start
        sent = due
        time.sleep(0.001)
    return sent, time.perf_counter() - start_s, busy_s


# -- publishers --------------------------------------------------------------------------------------------------------


@contextmanager
def open_keypointsink() -> Iterator[tuple[str, Send, Callable[[], None]]]:
    """The element itself, encoding included."""
    with KeypointSink(bind="tcp://127.0.0.1:*", max_waiting=MAX_WAITING) as sink:
        items = [_poses(number) for number in range(50)]

        def send(number: int) -> None:
            item = items[number % 50]
            sink.consume(dataclasses.replace(item, frame=dataclasses.replace(item.frame, seq=number)))

        yield sink.endpoint, send, lambda: None  # new subscribers get a snapshot; no need to warm up


@contextmanager
def open_plain() -> Iterator[tuple[str, Send, Callable[[], None]]]:
    """A plain pyzmq socket with encoded messages."""
    ready = [_bytes(number) for number in range(50)]
    with _pub() as (endpoint, socket):
        yield endpoint, lambda number: socket.send_multipart((TOPIC, ready[number % 50])), lambda: _warm(socket)


@contextmanager
def open_json() -> Iterator[tuple[str, Send, Callable[[], None]]]:
    """A plain pyzmq socket with JSON."""
    with _pub() as (endpoint, socket):
        yield endpoint, lambda number: socket.send_multipart((TOPIC, _json(number))), lambda: _warm(socket)


@contextmanager
def _pub() -> Iterator[tuple[str, zmq.Socket[bytes]]]:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger, socket.sndhwm = 1000, MAX_WAITING
        yield f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}", socket


def _warm(socket: zmq.Socket[bytes]) -> None:
    socket.send_multipart((b"snapshot/warm", b""))


def _poses(number: int) -> Poses:
    return make_poses(number, "hall", count=5)


def _bytes(number: int) -> bytes:
    return encode_poses(_poses(number), session=SESSION, seq=number)


_ITEMS = [_poses(number) for number in range(50)]


def _json(number: int) -> bytes:
    return json.dumps(poses_map(_ITEMS[number % 50], session=SESSION, seq=number)).encode()


# -- subscribers -------------------------------------------------------------------------------------------------------


@contextmanager
def run_subscribers(endpoint: str, count: int) -> Iterator[list[Connection]]:
    """``count`` subscribers in a few processes, and a pipe to each process."""
    shares = [len(range(number, count, PROCESSES)) for number in range(min(PROCESSES, count))]
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for share in shares:
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=count_messages, args=(endpoint, share, theirs), daemon=True)
        process.start()
        pipes.append(mine)
        processes.append(process)
    yield pipes
    for process in processes:
        process.join(10)
        process.kill()


def wait_subscribed(warm: Callable[[], None], pipes: list[Connection]) -> None:
    """Wait until every subscriber has received a message, and so will receive all further ones."""
    waiting = list(pipes)
    while waiting:
        warm()
        waiting = [pipe for pipe in waiting if not pipe.poll(0.02)]
    for pipe in pipes:
        pipe.recv()


def count_messages(endpoint: str, count: int, pipe: Connection) -> None:
    """Count the messages on ``count`` sockets until all or no more arrive; the work of one process."""
    with zmq.Context() as context:
        sockets = [_subscribe(context, endpoint, number) for number in range(count)]
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        _wait_first(poller, set(sockets))
        pipe.send("ready")
        pipe.send(_count(poller, pipe, count))
        for socket in sockets:
            socket.close(0)


def _subscribe(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, number: int) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.SUB)
    socket.connect(endpoint)
    socket.subscribe("poses/")
    socket.subscribe(f"snapshot/{os.getpid()}-{number}/poses/")  # answered by open_keypointsink
    socket.subscribe("snapshot/warm")  # sent by the others
    return socket


def _wait_first(poller: zmq.Poller, silent: set[zmq.Socket[bytes]]) -> None:
    while silent:
        for socket, _ in poller.poll():
            socket.recv_multipart()
            silent.discard(socket)


def _count(poller: zmq.Poller, pipe: Connection, count: int) -> int:
    """Count the poses received on all sockets, until as many have arrived as the publisher sent."""
    received, sent = 0, None
    while sent is None or received < sent * count:
        events = poller.poll(500)
        for socket, _ in events:
            received += _drain(socket)
        if sent is None and pipe.poll():
            sent = pipe.recv()
        elif sent is not None and not events:
            break
    return received


def _drain(socket: zmq.Socket[bytes]) -> int:
    """Count the waiting poses, at most a hundred, so that every socket gets its turn."""
    poses = 0
    for _ in range(100):
        try:
            poses += socket.recv_multipart(zmq.DONTWAIT)[0].startswith(b"poses/")
        except zmq.Again:
            break
    return poses


@contextmanager
def stuck_subscriber(endpoint: str) -> Iterator[None]:
    """A TCP client that subscribes to everything in ZMTP 3.1 and then never reads again."""
    host, port = endpoint.removeprefix("tcp://").split(":")
    with network.create_connection((host, int(port))) as client:
        client.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32))
        ready = b"\x05READY\x0bSocket-Type\0\0\0\x03SUB"
        client.sendall(b"\x04" + bytes([len(ready)]) + ready)
        client.recv(64)
        time.sleep(0.05)
        client.sendall(b"\x00\x01\x01")
        yield


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    size = result["bytes"]
    conditions = (
        f"{result['machine']['cores']} cores for publisher and subscribers together, load {result['load_before']:.1f} "
        f"before; libzmq {result['machine']['zmq']}; a message is {size['msgpack']} bytes ({size['json']} as JSON). "
        f"One more subscriber is stuck throughout; each rate is held for {result['seconds']:g} s."
    )
    rows = [
        conditions,
        "",
        "| subscribers | publisher | messages/s to each, none lost | deliveries/s | publisher's time a message |",
        "|---|---|---|---|---|",
    ]
    for figure in result["figures"]:
        each, count = figure["rate"], figure["subscribers"]
        rows.append(f"| {count} | {figure['rival']} | {each} | {each * count} | {figure['us_a_message']:.0f} µs |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
