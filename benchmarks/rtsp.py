"""``rtspsrc`` with a real RTSP server: loss, latency, and the time to reconnect.

    python -m benchmarks.rtsp            prints two tables
    python -m benchmarks.rtsp --write    and writes benchmarks/results/rtsp.json and rtsp.md

The server loops a clip whose frames bear their number and logs when it pushed each, on the monotonic clock that all
processes of one host share, so that a frame's age is known when its pixels are there. It requires GStreamer's RTSP
server in the system's Python and the shared clips (``--server``, ``--clip``). OpenCV's VideoCapture is run beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import cv2

from benchmarks.reporting import make_parser, write_results
from stream.elements.rtspsrc import Rtspsrc
from stream.messages import Frame
from stream.testing.videos import read_number

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
LOOP = 247
"""Frames in the clip."""

Seen = tuple[float, int | None]
"""When a frame's pixels were there (monotonic seconds), and the number in it."""


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    if why := _missing(options):
        print(f"cannot measure: {why}", file=sys.stderr)
        return 1
    result = {"machine": _machine(), "seconds": options.seconds} | measure(options)
    text = tables(result)
    print(text)
    if options.write:
        write_results("rtsp", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--server", type=Path, default=SHARED / "tools" / "rtsp_server.py")
    parser.add_argument("--clip", type=Path, default=SHARED / "data" / "rtsp" / "juggle_barcode_720p24.mp4")
    parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has GStreamer's RTSP server")
    parser.add_argument("--seconds", type=float, default=10.0, help="of every steady run")
    parser.add_argument("--repetitions", type=int, default=3, help="of every outage")
    return parser.parse_args()


def _missing(options: argparse.Namespace) -> str:
    absent = [str(path) for path in (options.server, options.clip, Path(options.python)) if not path.exists()]
    return f"there is no {absent[0]}" if absent else ""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure steady runs of every client, then outages of ``rtspsrc``."""
    steady = {
        "rtspsrc, tcp": steady_run(options, lambda url: _ours(url, "tcp")),
        "rtspsrc, udp": steady_run(options, lambda url: _ours(url, "udp")),
        "cv2.VideoCapture, tcp": steady_run(options, _opencv),
    }
    outages = {
        name: [outage(options) for _ in range(options.repetitions)]
        for name, outage in (
            ("killed for 3 s", measure_kill),
            ("frozen for 6 s", measure_freeze),
            ("stop", measure_close),
        )
    }
    return {"steady": steady, "outages": outages}


# -- the server -------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """The server's process and its log; it keeps its port when it is started again."""

    options: argparse.Namespace
    folder: str

    def __post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.url = f"rtsp://127.0.0.1:{taken.getsockname()[1]}/test"
        self.log = Path(self.folder) / "push.log"

    def start(self) -> None:
        port = self.url.split(":")[2].split("/")[0]
        arguments = [str(self.options.server), str(self.options.clip), "--port", port, "--log", str(self.log)]
        self._process = subprocess.Popen([self.options.python, *arguments], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # the server is ready

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def read_log(self) -> list[tuple[int, float]]:
        """Read the number of every pushed frame, and its time."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return [(int(number), float(moment)) for number, moment in lines]


# -- steady -----------------------------------------------------------------------------------------------------------


def _ours(url: str, transport: str) -> Iterator[Frame | None]:
    source = Rtspsrc(url=url, transport=transport)  # type: ignore[arg-type]
    with source, closing(source.frames()) as frames:  # type: ignore[type-var]
        yield from frames


def _opencv(url: str) -> Iterator[Any]:
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    try:
        while True:
            is_there, pixels = capture.read()
            yield pixels if is_there else None
    finally:
        capture.release()


def steady_run(options: argparse.Namespace, client: Callable[[str], Iterator[Any]]) -> dict[str, float]:
    """A client for some seconds: when its first frame came and how old it was, the age of the others, what was lost."""
    with tempfile.TemporaryDirectory() as folder, Server(options, folder) as server:
        start_s = time.monotonic()
        seen = list(_seen(client(server.url), start_s + options.seconds))
        read_log = server.read_log()
    ages_ms = [1e3 * _age_s(moment, number, read_log) for moment, number in seen if number is not None]
    settled = sorted(ages_ms[LOOP // 8 :])  # without the first second
    steps = [(after - before) % LOOP for (_, before), (_, after) in pairwise(seen) if None not in (before, after)]  # type: ignore[operator]
    return {
        "first_frame_s": seen[0][0] - start_s,
        "first_frame_age_ms": ages_ms[0],
        "age_p50_ms": median(settled),
        "age_p95_ms": quantiles(settled, n=20)[-1],
        "frames": len(seen),
        "lost": sum(step - 1 for step in steps),
        "broken": sum(number is None for _, number in seen),
    }


def _seen(frames: Iterator[Any], until_s: float) -> Iterator[Seen]:
    with closing(frames):  # type: ignore[type-var]
        for frame in frames:
            if time.monotonic() > until_s:
                return
            if frame is not None:
                moment_s = time.monotonic()
                yield moment_s, read_number(frame.pixels if isinstance(frame, Frame) else frame)


def _age_s(moment_s: float, number: int, read_log: list[tuple[int, float]]) -> float:
    """Time since the server last pushed this number."""
    return moment_s - max(when for what, when in read_log if what == number and when < moment_s)


# -- outages ----------------------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """The frames of a source and the moments of what happens to it."""

    frames: Iterator[Frame | None]

    def run(self, seconds: float) -> None:
        """Take frames for so long."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            next(self.frames)

    def next_frame_s(self) -> float:
        """Seconds until the next frame comes."""
        start_s = time.monotonic()
        while next(self.frames) is None:
            pass
        return time.monotonic() - start_s

    def drain(self) -> None:
        """Take what had arrived already."""
        while next(self.frames) is not None:
            pass


def measure_kill(options: argparse.Namespace) -> dict[str, float]:
    """SIGKILL, three seconds of nothing, the same address again: from listening to the first frame."""
    with tempfile.TemporaryDirectory() as folder, Server(options, folder) as server:
        watch = Watch(_ours(server.url, "tcp"))
        watch.next_frame_s()
        watch.run(4.0)
        Server.__exit__(server)
        watch.run(3.0)
        server.start()
        back_s = watch.next_frame_s()
        watch.frames.close()  # type: ignore[attr-defined]
    return {"back_after_s": back_s}


def measure_freeze(options: argparse.Namespace) -> dict[str, float]:
    """SIGSTOP, six seconds, SIGCONT: from then to the first frame."""
    with tempfile.TemporaryDirectory() as folder, Server(options, folder) as server:
        watch = Watch(_ours(server.url, "tcp"))
        watch.next_frame_s()
        watch.run(4.0)
        server.signal(signal.SIGSTOP)
        watch.drain()
        watch.run(6.0)
        server.signal(signal.SIGCONT)
        back_s = watch.next_frame_s()
        watch.frames.close()  # type: ignore[attr-defined]
    return {"back_after_s": back_s}


def measure_close(options: argparse.Namespace) -> dict[str, float]:
    """The time to close: while frames arrive, while the server is frozen, and while connecting to a frozen one."""
    with tempfile.TemporaryDirectory() as folder, Server(options, folder) as server:
        frames, thawed = _ours(server.url, "tcp"), _ours(server.url, "tcp")
        Watch(frames).next_frame_s()
        Watch(thawed).next_frame_s()
        streaming_s = _close_s(frames)
        server.signal(signal.SIGSTOP)
        Watch(thawed).run(0.5)
        frozen_s = _close_s(thawed)
        connecting = _ours(server.url, "tcp")
        next(connecting)
        connecting_s = _close_s(connecting)
        server.signal(signal.SIGCONT)
    return {"streaming_s": streaming_s, "frozen_s": frozen_s, "connecting_s": connecting_s}


def _close_s(frames: Any) -> float:
    start_s = time.monotonic()
    frames.close()
    return time.monotonic() - start_s


# -- report -----------------------------------------------------------------------------------------------------------


def tables(result: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    lines = [
        f"`python -m benchmarks.rtsp --write` on {result['machine']}; {result['seconds']:g} s each.",
        "",
        "| client | first frame | its age | age p50 / p95 | frames | lost | broken |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in result["steady"].items():
        lines.append(
            f"| {name} | {run['first_frame_s']:.2f} s | {run['first_frame_age_ms']:.0f} ms | {run['age_p50_ms']:.0f} / "
            f"{run['age_p95_ms']:.0f} ms | {run['frames']} | {run['lost']} | {run['broken']} |"
        )
    lines += ["", "| what happens | time | median | all |", "|---|---|---|---|"]
    for name, runs in result["outages"].items():
        for what in runs[0]:
            values = [run[what] for run in runs]
            shown = ", ".join(f"{value:.2f}" for value in values)
            lines.append(f"| {name} | {what.removesuffix('_s').replace('_', ' ')} | {median(values):.2f} s | {shown} |")
    return "\n".join(lines)


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
