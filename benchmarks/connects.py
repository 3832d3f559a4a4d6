"""Growth of a publisher over two thousand subscribers that connect, receive a message and leave.

    python -m benchmarks.connects             prints a table
    python -m benchmarks.connects --write     and writes benchmarks/results/connects.json and connects.md

Its process has the publisher alone; memory, descriptors and threads are read after some connections to warm up, and at
the end. One subscriber in four leaves without reading, as one that is killed does.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

import psutil
import zmq

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.elements.keypointsink import KeypointSink
from stream.testing import make_poses

_WARM_UP = 200
_TIMEOUT_MS = 30_000


@dataclass(frozen=True)
class Resources:
    """The resources of the publisher's process."""

    rss_kib: int
    descriptors: int
    threads: int


def main() -> None:
    """Connect again and again, and print what grew."""
    parser = make_parser(__doc__)
    parser.add_argument("--connects", type=int, default=2000)
    options = parser.parse_args()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=publish, args=(theirs,), daemon=True)
    process.start()
    endpoint: str = ours.recv()
    began_s = time.monotonic()
    _connect(endpoint, _WARM_UP)
    before = _measure(process.pid)
    _connect(endpoint, options.connects)
    time.sleep(2)  # for the ends of the last connections
    after = _measure(process.pid)
    ours.send("end")
    process.join()
    rows = [
        (
            f"{options.connects} subscribers in {time.monotonic() - began_s:.0f} s, after {_WARM_UP} to warm up; "
            f"{describe_machine()}, load {os.getloadavg()[0]:.0f}"
        ),
        "",
        "| publisher | before | after | more a subscriber |",
        "|---|---|---|---|",
    ]
    for name, first in asdict(before).items():
        last = asdict(after)[name]
        rows.append(f"| {name} | {first} | {last} | {(last - first) / options.connects:.3f} |")
    text = "\n".join(rows)
    print(text)
    if options.write:
        write_results("connects", {"before": asdict(before), "after": asdict(after)}, text)


def publish(pipe: Connection) -> None:
    """Publish a message every 20 ms until asked to end; send the endpoint first."""
    sink = KeypointSink(bind="tcp://127.0.0.1:*", linger_s=0)
    with sink:
        assert sink._publisher is not None
        pipe.send(sink._publisher.endpoint)
        seq = 0
        while not pipe.poll(0.02):
            sink.consume(make_poses(seq, "hall"))
            seq += 1


def _connect(endpoint: str, count: int) -> None:
    with zmq.Context() as context:
        for index in range(count):
            with context.socket(zmq.SUB) as subscriber:
                subscriber.linger = 0
                subscriber.subscribe(b"poses/hall")
                subscriber.subscribe(f"snapshot/{index:x}/poses/hall".encode())
                subscriber.connect(endpoint)
                if index % 4 and not subscriber.poll(_TIMEOUT_MS):
                    raise RuntimeError(f"subscriber {index} received nothing in {_TIMEOUT_MS / 1000:.0f} s")


def _measure(pid: int | None) -> Resources:
    process = psutil.Process(pid)
    return Resources(process.memory_info().rss // 1024, process.num_fds(), process.num_threads())


if __name__ == "__main__":
    main()
