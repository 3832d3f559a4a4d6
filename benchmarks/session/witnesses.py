"""Clients of a session that receive what they can and note what is missing: of the line, of the broker, of the page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.session.programs import Site
from stream.errors import PosestreamError
from stream.protocol.subscriber import Subscriber

_POLL_S = 0.2
_PERIOD_S = 1.0


@dataclass
class Numbers:
    """What a subscriber of one camera received: the run of the sink, ``seq`` and ``frame_seq`` of its messages; and
    when, by the wall clock, ns."""

    messages: list[tuple[str, int, int]] = field(default_factory=list)
    arrived_ns: dict[int, int] = field(default_factory=dict)
    ages_ms: list[float] = field(default_factory=list)
    lost: int = 0
    longest_s: float = 0.0
    """The longest time without a message."""
    fault: str = ""

    @property
    def gaps(self) -> int:
        """Messages that are missing, by ``seq``."""
        return self._count_missing(1)

    @property
    def dropped(self) -> int:
        """Frames that the line dropped, by ``frame_seq``."""
        return self._count_missing(2)

    @property
    def runs(self) -> int:
        """How many runs of the sink there were: one more than it was restarted."""
        return len({run for run, _, _ in self.messages})

    def _count_missing(self, place: Literal[1, 2]) -> int:
        return sum(b[place] - a[place] - 1 for a, b in pairwise(self.messages) if a[0] == b[0])


@contextmanager
def subscribing(address: str) -> Iterator[Numbers]:
    """Follow a camera meanwhile."""
    numbers, stop = Numbers(), threading.Event()

    def follow() -> None:
        last_s = time.monotonic()
        try:
            with Subscriber(address, max_waiting=1000) as subscriber:
                while not stop.is_set():
                    message = subscriber.poll(_POLL_S)
                    if numbers.messages:
                        numbers.longest_s = max(numbers.longest_s, time.monotonic() - last_s)
                    if message is None or message.retained:
                        continue
                    last_s = time.monotonic()
                    numbers.messages.append((message.session, message.seq, message.frame_seq))
                    numbers.arrived_ns[message.frame_seq] = time.time_ns()
                    numbers.ages_ms.append(message.age_ms)
                numbers.lost = subscriber.statistics.total.lost
        except PosestreamError as error:
            numbers.fault = str(error)

    thread = threading.Thread(target=follow, name=address)
    thread.start()
    try:
        yield numbers
    finally:
        stop.set()
        thread.join()


class Listener:
    """A client of the broker: when the frames of each camera arrived, by the wall clock, ns."""

    def __init__(self, port: int) -> None:
        self.arrived_ns: dict[str, dict[int, int]] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("site/#")
        self._client.on_message = self._take
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        now_ns = time.time_ns()
        with contextlib.suppress(ValueError):  # TOPIC/status is a word
            frame = json.loads(message.payload)
            self.arrived_ns.setdefault(frame["camera"], {})[frame["frame"]] = now_ns

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Seen:
    """How many frames a viewer of the page received, the longest time without one, and how often it was cut off."""

    frames: int = 0
    longest_s: float = 0.0
    faults: list[str] = field(default_factory=list)


@contextmanager
def viewing(site: Site) -> Iterator[Seen]:
    """Watch the first two cameras on the page meanwhile, as a browser does."""
    seen, stop = Seen(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_view(site, seen, stop)), name="viewer")
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


async def _view(site: Site, seen: Seen, stop: threading.Event) -> None:
    try:
        async with _connect(site) as viewer:
            await viewer.send(json.dumps({"show": [0, 1]}))
            last_s = time.monotonic()
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    packet = await asyncio.wait_for(viewer.recv(), _POLL_S)
                    if isinstance(packet, bytes):
                        seen.frames, last_s = seen.frames + 1, time.monotonic()
                        camera = json.loads(packet[4 : 4 + int.from_bytes(packet[:4])])["camera"]
                        await viewer.send(json.dumps({"drawn": camera}))
                if seen.frames:
                    seen.longest_s = max(seen.longest_s, time.monotonic() - last_s)
    except (OSError, ConnectionClosed) as error:
        seen.faults.append(str(error))


def _connect(site: Site, **options: Any) -> connect:
    headers = {"Authorization": f"Bearer {site.token}"}
    return connect(
        f"{site.address.replace('http', 'ws')}/frames",
        additional_headers=headers,
        compression=None,
        max_size=2**24,
        ping_interval=None,
        **options,
    )


async def hang(site: Site, stop: threading.Event) -> None:
    """Ask the page for its cameras, say that every frame is drawn, and read nothing, with the smallest buffer."""
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        host, _, port = site.address.removeprefix("http://").partition(":")
        small.connect((host, int(port)))
        small.setblocking(False)
        with contextlib.suppress(OSError, ConnectionClosed):
            viewer: ClientConnection = await _connect(site, sock=small, max_queue=1, close_timeout=0.1)
            viewer.transport.pause_reading()
            await viewer.send(json.dumps({"show": [0, 1]}))
            while not stop.is_set():
                await viewer.send(json.dumps({"drawn": 0}))
                await viewer.send(json.dumps({"drawn": 1}))
                await asyncio.sleep(_PERIOD_S / 10)
            viewer.transport.abort()
