"""Where the age of keypoints comes from: the ledger of a line, stage by stage.

    python -m benchmarks.age            prints a table for each line
    python -m benchmarks.age --write    and writes benchmarks/results/age.json and age.md
    python -m benchmarks.age --only now

Three people at 640x480 and 30 frames per second (``--fps``), without the first second of keypoints. *Working* is the
time in elements, *waiting* that for future frames and for a part that is busy with an earlier frame, *transport* the
rest between two parts: packing, the link, waking up. Each line runs once; the machine must be quiet.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.cli.demo import free_port
from stream.pipeline.launch import parse_launch
from stream.protocol.pose_message import PoseMessage
from stream.protocol.subscriber import Subscriber
from stream.runtime.meter import percentile
from stream.runtime.supervisor import Supervisor

Stage = tuple[str, str]
"""An element, and what it is called in the table."""

DETECT: Sequence[Stage] = (("detect model=truth ! track", "detect"),)
WINDOW: Stage = ("window", "window")


@dataclass(frozen=True)
class Line:
    """The parts of a line after its source, each with its stages; its sink publishes."""

    name: str
    parts: Sequence[Sequence[Stage]]


def make_lines() -> list[Line]:
    """The lines to compare: as they were, and as they are now."""
    old, new = ("pose model=fami-small threads=1", "pose"), ("pose model=fami-small lookahead=0", "pose")
    single = ("pose model=hrnet-small", "pose")
    return [
        Line("before", [DETECT, [WINDOW], [old], []]),
        Line("fewer parts", [DETECT, [WINDOW, old]]),
        Line("now", [DETECT, [WINDOW, new]]),
        Line("single frame", [DETECT, [WINDOW, single]]),
    ]


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    lines = [line for line in make_lines() if not options.only or line.name in options.only]
    result: dict[str, Any] = {"machine": describe_machine(), "fps": options.fps, "lines": {}}
    for line in lines:
        load = os.getloadavg()[0]
        messages = run(line, options.frames, options.fps)
        begin = messages[0].frame_seq + options.fps
        judged = [message for message in messages if message.frame_seq >= begin]
        spent = account(line, judged)
        result["lines"][line.name] = {
            "load": load,
            "arrived": len(judged) / (options.frames - begin),
            "spent": spent,
        }
    text = table(result)
    print(text)
    if options.write:
        write_results("age", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--only", nargs="+", choices=[line.name for line in make_lines()], default=[])
    return parser.parse_args()


def describe(line: Line, address: str, frames: int, fps: int) -> str:
    """The launch string of ``line``, with a stamp after each of its stages and at the beginning of each part."""
    texts = [f"testsrc realtime=true fps={fps} num_frames={frames} ! {_stamp('source')}"]
    for number, stages in enumerate(line.parts):
        marked = [f"{element} ! {_stamp(name)}" for element, name in stages]
        texts.append(" ! ".join([_stamp(f"into part {number}"), *marked]))
    return " ! queue ! ".join(texts) + f" ! keypointsink bind={address}"


def _stamp(step: str) -> str:
    return f"benchmarks.empty.stamp step='{step}'"


def run(line: Line, frames: int, fps: int) -> list[PoseMessage]:
    """All messages that arrive."""
    address = f"tcp://127.0.0.1:{free_port(0)}"
    messages: list[PoseMessage] = []
    with (
        Subscriber(address) as subscriber,
        Supervisor(parse_launch(describe(line, address, frames, fps))) as supervisor,
    ):
        supervisor.play()
        while not supervisor.wait(timeout_s=0.0):
            if (message := subscriber.poll(timeout_s=0.2)) is not None:
                messages.append(message)
    return messages


# -- the ledger ------------------------------------------------------------------------------------------------------


def account(line: Line, messages: Sequence[PoseMessage]) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of every message by stage and kind, and their ``age``."""
    spent: dict[str, dict[str, list[float]]] = {}
    for index, message in enumerate(messages):
        sums: Counter[tuple[str, str]] = Counter()
        for stage, kind, took_ns in _spend(line, message, messages[:index]):
            sums[stage, kind] += took_ns
        for (stage, kind), took_ns in sums.items():
            spent.setdefault(stage, {}).setdefault(kind, []).append(took_ns / 1e6)
        spent.setdefault("age", {}).setdefault("", []).append((message.received_ns - message.wall_ns) / 1e6)
    return spent


def _spend(line: Line, message: PoseMessage, earlier: Sequence[PoseMessage]) -> Iterator[tuple[str, str, int]]:
    """Each stage, what was done there, and for how long, ns."""
    ledger = message.ledger
    yield "source", "working", ledger["source"] - ledger["captured"]
    last = "source"
    for number, stages in enumerate(line.parts):
        begin, end = f"into part {number}", stages[-1][1] if stages else "published"
        # What the part was busy with until then; a frame that was dropped downstream is not known here.
        free_ns = max((other.ledger[end] for other in earlier[-8:] if other.ledger[end] <= ledger[begin]), default=0)
        waited_ns = max(0, free_ns - ledger[last])
        name = stages[0][1] if stages else "sink"
        yield name, "waiting", waited_ns
        yield name, "transport", ledger[begin] - ledger[last] - waited_ns
        last = begin
        for _, stage in stages:
            yield stage, "waiting" if stage == WINDOW[1] else "working", ledger[stage] - ledger[last]
            last = stage
    yield "sink", "working", ledger["published"] - ledger[last]
    yield "subscriber", "transport", message.received_ns - ledger["published"]


# -- the table -------------------------------------------------------------------------------------------------------

KINDS = ("working", "waiting", "transport")


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    blocks = [f"{result['machine']}; three people, 640x480, {result['fps']} frames per second; ms, p50 / p95."]
    for name, rows in result["lines"].items():
        ages = rows["spent"].get("age", {"": []})[""]
        blocks += [
            "",
            f"**{name}**, load before {rows['load']:.1f}: age {_both(ages)} ms, {100 * rows['arrived']:.1f} % arrived",
            "",
            f"| stage | {' | '.join(KINDS)} |",
            "|---" * (len(KINDS) + 1) + "|",
            *(
                f"| {stage} | {' | '.join(_both(spent.get(kind, [])) for kind in KINDS)} |"
                for stage, spent in rows["spent"].items()
                if stage != "age"
            ),
        ]
    return "\n".join(blocks)


def _both(values: Sequence[float]) -> str:
    return f"{percentile(sorted(values), 50):.1f} / {percentile(sorted(values), 95):.1f}" if values else ""


if __name__ == "__main__":
    raise SystemExit(main())
