"""Age of frames on the page of ``posestream view``, and what viewers cost the line.

    python -m benchmarks.page             prints a table
    python -m benchmarks.page --write     and writes benchmarks/results/page.json and page.md

A publisher sends drawn frames of 1280x720 at 15 a second, each with its number in the picture; ``posestream view``
serves them to a headless Chromium, which reads the number from its canvas, and to nine clients that acknowledge at
once. Without viewers, with one and with ten take turns. *Consume* is how long ``keypointsink`` keeps the line for a
frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from benchmarks.browser import Page, open_browser
from benchmarks.reporting import describe_machine, make_parser, write_results
from engines.datasets.synthetic.scene import Scene
from stream.elements.keypointsink import KeypointSink
from stream.messages import Frame, Poses
from stream.testing.videos import write_number

_FPS, _SIZE, _SCENE_FRAMES = 15, (1280, 720), 30
_VIEWERS = (0, 1, 10)
_SETTLE_S = 3.0
_WATCH = """(() => {
  window.seen = [];
  const canvas = document.querySelector(".card canvas"), pen = canvas.getContext("2d");
  new MutationObserver(() => {
    const row = pen.getImageData(0, 8, 224, 1).data;
    let number = 0;
    for (let bit = 0; bit < 12; bit++) number += (row[4 * (bit * 16 + 8)] > 128) << bit;
    window.seen.push([number, Number(canvas.dataset.frame), Number(canvas.dataset.ageMs)]);
  }).observe(canvas, { attributes: true, attributeFilter: ["data-age-ms"] });
})()"""


def main() -> None:
    """Measure in turns, and print a table."""
    parser = make_parser(__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    consume_ms: dict[int, list[float]] = defaultdict(list)
    ages_ms: dict[int, list[float]] = defaultdict(list)
    with (
        publishing() as (pipe, endpoint),
        viewing(endpoint) as address,
        tempfile.TemporaryDirectory() as folder,
        open_browser(Path(folder)) as browser,
    ):
        for _ in range(options.turns):
            for viewers in _VIEWERS:
                pipe.send("begin")
                ages_ms[viewers] += watch(browser, address, viewers, options.seconds)
                pipe.send("end")
                consume_ms[viewers] += pipe.recv()
    rows = [make_row(viewers, consume_ms[viewers], ages_ms[viewers]) for viewers in _VIEWERS]
    text = "\n".join(
        [
            f"{options.turns} turns of {options.seconds:g} s; {describe_machine()}, load {os.getloadavg()[0]:.0f}",
            "",
            "| viewers | consume, ms: p50 / p95 | frames drawn | age on the canvas, ms: p50 / p95 |",
            "|---|---|---|---|",
            *rows,
        ]
    )
    print(text)
    if options.write:
        result = {"consume_ms": summarise(consume_ms), "age_ms": summarise(ages_ms)}
        write_results("page", result, text)


def summarise(values_ms: Mapping[int, list[float]]) -> dict[int, dict[str, float]]:
    """The number, median and 95th percentile of each list that is not empty."""
    return {
        viewers: {
            "count": len(values),
            **dict(zip(("p50", "p95"), np.percentile(values, (50, 95)).round(2), strict=True)),
        }
        for viewers, values in values_ms.items()
        if values
    }


def make_row(viewers: int, consume_ms: list[float], ages_ms: list[float]) -> str:
    """One line of the table."""
    age = " / ".join(f"{value:.0f}" for value in np.percentile(ages_ms, (50, 95))) if ages_ms else ""
    consume = " / ".join(f"{value:.2f}" for value in np.percentile(consume_ms, (50, 95)))
    return f"| {viewers} | {consume} | {len(ages_ms) or ''} | {age} |"


def watch(browser: Page, address: str, viewers: int, seconds: float) -> list[float]:
    """Let so many viewers watch, the browser first; return the ages of what it drew, ms.

    Raises :class:`RuntimeError` if a number in a picture is not that of its keypoints.
    """
    if not viewers:
        browser.open("about:blank")
        time.sleep(_SETTLE_S + seconds)
        return []
    browser.open(address)
    browser.wait_for("document.querySelector('.card canvas')?.dataset.frame > 0")
    stop = threading.Event()
    others = threading.Thread(target=asyncio.run, args=(follow(address, viewers - 1, stop),))
    others.start()
    time.sleep(_SETTLE_S)
    browser.run(_WATCH)
    time.sleep(seconds)
    seen = browser.run("window.seen")
    stop.set()
    others.join()
    wrong = [(number, frame) for number, frame, _ in seen if number != frame % 4096]
    if wrong:
        raise RuntimeError(f"the canvas shows the picture of another frame than its keypoints: {wrong[:5]}")
    return [age_ms for _, _, age_ms in seen]


async def follow(address: str, count: int, stop: threading.Event) -> None:
    """Follow the first camera with so many clients."""

    async def one() -> None:
        async with connect(address.replace("http", "ws") + "frames", compression=None, max_size=2**24) as viewer:
            await viewer.send(json.dumps({"show": [0]}))
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    packet = await asyncio.wait_for(viewer.recv(), 0.5)
                    if isinstance(packet, bytes):
                        await viewer.send(json.dumps({"drawn": 0}))

    await asyncio.gather(*(one() for _ in range(count)))


@contextmanager
def viewing(endpoint: str) -> Iterator[str]:
    """Run ``posestream view``; the address of its page."""
    command = [sys.executable, "-m", "posestream", "view", endpoint, "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = re.search(r"http://\S+", process.stderr.readline())
        if found is None:
            raise RuntimeError("posestream view has not started")
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@contextmanager
def publishing() -> Iterator[tuple[Connection, str]]:
    """Run :func:`publish` in a process; its pipe and where it publishes."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=publish, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours, ours.recv()
    finally:
        ours.send("stop")
        process.join()


def publish(pipe: Connection) -> None:
    """Publish frames at a steady rate; from "begin" to "end", measure how long each keeps the line, ms."""
    moments = [make_moment(index) for index in range(_SCENE_FRAMES)]
    with KeypointSink(bind="tcp://127.0.0.1:*", linger_s=0, pictures=True) as sink:
        pipe.send(sink.endpoint)
        spent_ms: list[float] = []
        start_s, seq = time.monotonic(), 0
        while (word := _read(pipe)) != "stop":
            if word == "begin":
                spent_ms = []
            elif word == "end":
                pipe.send(spent_ms)
            poses = number(moments[seq % _SCENE_FRAMES], seq)
            began_s = time.perf_counter()
            sink.consume(poses)
            spent_ms.append((time.perf_counter() - began_s) * 1e3)
            seq += 1
            time.sleep(max(0.0, start_s + seq / _FPS - time.monotonic()))


def _read(pipe: Connection) -> Any:
    return pipe.recv() if pipe.poll() else None


def make_moment(index: int) -> Poses:
    """Three people who walk, with the truth as their keypoints."""
    moment = Scene(3, 3, *_SIZE).at(index / _FPS)
    frame = Frame("hall", index, 0, 0, moment.pixels)
    scores = np.ones(len(moment.boxes), np.float32)
    return Poses(frame, moment.boxes, scores, moment.ids, np.asarray(moment.keypoints, np.float32), "coco17")


def number(poses: Poses, seq: int) -> Poses:
    """The same as frame ``seq``, captured now, with its number in the picture."""
    write_number(poses.frame.pixels, seq % 4096)
    frame = Frame("hall", seq, 0, time.time_ns(), poses.frame.pixels)
    return Poses(frame, poses.boxes, poses.scores, poses.ids, poses.keypoints, poses.skeleton)


if __name__ == "__main__":
    main()
