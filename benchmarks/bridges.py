"""How much later keypoints reach clients of MQTT, Kafka, OSC and WebSocket through ``posestream bridge``, and what a
broker that is away for ten seconds costs.

    python -m benchmarks.bridges            prints a table
    python -m benchmarks.bridges --write    and writes benchmarks/results/bridges.json and bridges.md

A publisher sends a person at 25 frames a second; the age is from the call of ``keypointsink`` until the other client
has the message. Mosquitto is killed and started again in the middle; what the bridge then says that it could not
deliver is the loss. Kafka's cluster is the one that librdkafka brings for tests, which cannot be killed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.reporting import describe_machine, make_parser, write_results
from benchmarks.session.programs import Program, Programs, find_program, free_port, wait_until
from stream.elements.keypointsink import KeypointSink
from stream.testing import make_poses

_FPS = 25
_SETTLE_S = 5.0

Arrived = Callable[[int], None]
"""Called with the number of a frame when it has arrived."""


@dataclass(frozen=True)
class Outcome:
    """Of one kind of bridge; ``undelivered`` is None where nothing was away."""

    messages: int
    p50_ms: float
    p95_ms: float
    undelivered: int | None


def main() -> int:
    """Measure each kind of bridge, print, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each bridge")
    parser.add_argument("--away", type=float, default=10.0, help="seconds without a broker")
    options = parser.parse_args()
    mosquitto = find_program("mosquitto")
    if mosquitto is None:
        print("cannot measure: there is no mosquitto; apt-get install mosquitto", file=sys.stderr)
        return 1
    found: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="bridges") as folder, Programs(Path(folder)) as programs:
        broker, port = programs.mosquitto(mosquitto)
        for qos in ("0", "1"):
            to = f"mqtt://127.0.0.1:{port}/site"
            words = ("--qos", qos, "--max-waiting", "1000")
            name = f"MQTT, quality of service {qos}"
            away = (broker, options.away)
            found[name] = measure(programs, to, words, lambda arrived: _mqtt(port, arrived), options.seconds, away)
        with _cluster() as address:
            to = f"kafka://{address}/poses"
            found["Kafka"] = measure(programs, to, (), lambda arrived: _kafka(address, arrived), options.seconds)
        port = free_port()
        found["OSC"] = measure(programs, f"osc://127.0.0.1:{port}", (), lambda do: _osc(port, do), options.seconds)
        to = f"ws://127.0.0.1:{free_port()}"
        found["WebSocket"] = measure(programs, to, (), lambda arrived: _websocket(to, arrived), options.seconds)
    happened = (
        f"{_FPS} messages a second for {options.seconds:g} s; the broker was away for {options.away:g} s; "
        f"{describe_machine()}, load {os.getloadavg()[0]:.0f}"
    )
    text = "\n".join(
        [
            happened,
            "",
            "| bridge | messages | later, ms: p50 / p95 | not delivered, with the broker away |",
            "|---|---|---|---|",
            *(
                f"| {name} | {one.messages} | {one.p50_ms:.1f} / {one.p95_ms:.1f} | "
                f"{'' if one.undelivered is None else one.undelivered} |"
                for name, one in found.items()
            ),
        ]
    )
    print(text)
    if options.write:
        write_results("bridges", {name: asdict(one) for name, one in found.items()}, text)
    return 0


def measure(
    programs: Programs,
    to: str,
    words: tuple[str, ...],
    listening: Callable[[Arrived], Any],
    seconds: float,
    away: tuple[Program, float] | None = None,
) -> Outcome:
    """Let a bridge run for so long; with ``away``, kill the broker after the first half, for so many seconds."""
    sent_s: dict[int, float] = {}
    later_ms: dict[int, float] = {}

    def arrived(number: int) -> None:
        if number in sent_s:
            later_ms.setdefault(number, (time.monotonic() - sent_s[number]) * 1e3)

    with ExitStack() as stack:
        sink = stack.enter_context(KeypointSink(bind="tcp://127.0.0.1:*", linger_s=0))
        bridge = programs.posestream(
            f"bridge-{free_port()}", "bridge", to, "--from", sink.endpoint, "--rate", "0", *words
        )
        stack.enter_context(listening(arrived))
        stack.enter_context(_publishing(sink, sent_s))
        wait_until(lambda: later_ms, f"something comes through the bridge to {to}")
        later_ms.clear()
        time.sleep(seconds)
        late_ms = list(later_ms.values())
        if away is not None:
            broker, away_s = away
            broker.kill()
            time.sleep(away_s)
            broker.start()
            time.sleep(_SETTLE_S)
    bridge.signal(signal.SIGINT)
    bridge.process.wait(60)
    p50, p95 = np.percentile(late_ms, (50, 95)).round(2).tolist()
    lost = re.search(r"([\d,]+) not delivered", bridge.output)
    undelivered = None if away is None else int(lost[1].replace(",", "")) if lost else 0
    return Outcome(len(late_ms), p50, p95, undelivered)


@contextmanager
def _publishing(sink: KeypointSink, sent_s: dict[int, float]) -> Iterator[None]:
    stop = threading.Event()

    def publish() -> None:
        start_s, number = time.monotonic(), 0
        while not stop.wait(max(0.0, start_s + number / _FPS - time.monotonic())):
            poses = make_poses(number, "hall")
            sent_s[number] = time.monotonic()
            sink.consume(poses)
            number += 1

    with _in_thread(publish):
        yield
        stop.set()


@contextmanager
def _in_thread(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def _mqtt(port: int, arrived: Arrived) -> Iterator[None]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda client, *_: client.subscribe("site/hall")
    client.on_message = lambda _client, _data, message: arrived(json.loads(message.payload)["frame"])
    client.connect_async("127.0.0.1", port)
    client.loop_start()
    yield
    client.disconnect()
    client.loop_stop()


@contextmanager
def _cluster() -> Iterator[str]:
    """The address of a cluster of Kafka, which lives as long as a producer of this process."""
    producer = Producer({"test.mock.num.brokers": "1"})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"


@contextmanager
def _kafka(address: str, arrived: Arrived) -> Iterator[None]:
    options = {
        "bootstrap.servers": address,
        "group.id": "benchmark",
        "fetch.wait.max.ms": 5,
    }  # the cluster waits for all of it
    consumer, stop = Consumer(options), threading.Event()
    consumer.subscribe(["poses"])

    def consume() -> None:
        while not stop.is_set():
            message = consumer.poll(0.1)
            if message is not None and not message.error():
                arrived(json.loads(message.value() or b"")["frame"])

    with _in_thread(consume):
        yield
        stop.set()
    consumer.close()


@contextmanager
def _osc(port: int, arrived: Arrived) -> Iterator[None]:
    dispatcher = Dispatcher()
    dispatcher.map("/posestream/hall/frame", lambda _address, number, *_: arrived(number))
    with BlockingOSCUDPServer(("127.0.0.1", port), dispatcher) as server, _in_thread(server.serve_forever):
        yield
        server.shutdown()


@contextmanager
def _websocket(address: str, arrived: Arrived) -> Iterator[None]:
    stop = threading.Event()

    def listen() -> None:
        while not stop.is_set():
            try:
                with connect(address) as client:
                    while not stop.is_set():
                        arrived(json.loads(client.recv(1))["frame"])
            except (OSError, TimeoutError, ConnectionClosed):  # the bridge is not there yet
                stop.wait(0.2)

    with _in_thread(listen):
        yield
        stop.set()


if __name__ == "__main__":
    sys.exit(main())
