"""Streaming AP of the networks that ship, with forecasts and without, at the ages of a quiet machine.

    python -m benchmarks.streaming            prints a table
    python -m benchmarks.streaming --write    and writes benchmarks/results/streaming.json and streaming.md

A line runs in one process, as fast as it can, and its keypoints are dated as if each had come after ``--ages``, so that
no load on the machine changes the result: what a reader sees at the moment of a frame depends on the age only through
the number of frame periods that it takes. The scenes are none of those to which the forecasts were fitted.
``posestream eval live`` measures the same with real ages.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.reporting import describe_machine, make_parser, write_results
from engines.evaluation.live import Answer
from engines.evaluation.loop_alignment import Loop
from stream.element import Context, Transform
from stream.elements.predict import Predict
from stream.elements.smooth import Smooth
from stream.evaluation.alignment import Alignment
from stream.evaluation.ground_truth import load_judge
from stream.evaluation.line_variants import Request
from stream.evaluation.live import make_report
from stream.evaluation.runs import Span, to_record
from stream.messages import Poses
from stream.pipeline.executor import run_in_process
from stream.pipeline.launch import parse_launch
from stream.protocol import schema
from stream.protocol.pose_message import PoseMessage

BEGIN_NS = 1_764_000_000_000_000_000
SPAN = Span(seconds=100, warmup_s=1.0)
AGES = {("fami-small", 15): 99.0, ("fami-small", 30): 98.0, ("hrnet-small", 15): 20.0, ("hrnet-small", 30): 17.0}
"""Measured medians, ms, three people on two quiet cores: at 30 frames per second by ``benchmarks.age``, at 15 by an
earlier trial."""

COLUMNS = ("offline", "held", "forecast", "held, smoothed", "forecast, smoothed")


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.streaming {' '.join(sys.argv[1:])}".rstrip(),
        "machine": describe_machine(),
        "rows": list(_rows(options)),
    }
    text = table(result)
    print(text)
    if options.write:
        write_results("streaming", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["fami-small", "hrnet-small"])
    parser.add_argument("--fps", type=int, nargs="+", default=[15, 30])
    parser.add_argument("--pace", type=float, nargs="+", default=[0.5, 1.0, 2.0], help="speed of people")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 301])
    parser.add_argument("--seconds", type=float, default=6.0, help="of each scene")
    parser.add_argument("--age", type=float, help="age of keypoints in ms, instead of those measured with each network")
    return parser.parse_args()


def _rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for model in options.models:
        for fps in options.fps:
            for pace in options.pace:
                age_ms = options.age or AGES[model, fps]
                scenes = [_measure(model, fps, pace, seed, age_ms, options.seconds) for seed in options.seeds]
                mean = {name: sum(one[name] for one in scenes) / len(scenes) for name in scenes[0]}
                print(model, fps, pace, mean, file=sys.stderr, flush=True)
                yield {"model": model, "fps": fps, "pace": pace, "age_ms": age_ms, **mean}


def _measure(model: str, fps: int, pace: float, seed: int, age_ms: float, seconds: float) -> dict[str, float]:
    """AP by column."""
    source = f"testsrc fps={fps} pace={pace} seed={seed} people=3 num_frames={round(seconds * fps)}"
    line = parse_launch(f"{source} ! detect model=truth ! track ! window ! pose model='{model}'")
    poses = [_date(item) for item in run_in_process(line.parts) if isinstance(item, Poses)]
    request = Request(parse_launch(f"{source} ! detect model=truth ! window ! pose ! keypointsink"))
    raw = _score(request, _forecast(poses, age_ms), age_ms)
    smoothed = _score(request, _forecast(_pass([Smooth()], poses, age_ms), age_ms), age_ms)
    streamed = [each[name] for each in (raw, smoothed) for name in ("streaming", "now")]
    return dict(zip(COLUMNS, (raw["offline"], *streamed), strict=True))


class _Clock:
    time_ns = 0

    def now_ns(self) -> int:
        return self.time_ns


def _date(poses: Poses) -> Poses:
    return replace(poses, frame=replace(poses.frame, wall_ns=BEGIN_NS + poses.frame.pts_ns))


def _forecast(poses: Sequence[Poses], age_ms: float) -> list[Poses]:
    return _pass([Predict()], poses, age_ms)


def _pass(elements: Sequence[Transform], poses: Sequence[Poses], age_ms: float) -> list[Poses]:
    """Pass the poses through elements, at a clock that shows the capture of each and ``age_ms``."""
    found = list(poses)
    for element in elements:
        clock = _Clock()
        element.context = Context(now_ns=clock.now_ns)
        passed: list[Poses] = []
        with element:
            for item in found:
                clock.time_ns = item.frame.wall_ns + round(age_ms * 1e6)
                passed += element.process(item)
        found = passed
    return found


def _score(request: Request, poses: Sequence[Poses], age_ms: float) -> dict[str, float]:
    """AP by reading."""
    messages = [_publish(item, seq, age_ms) for seq, item in enumerate(poses)]
    loop = Loop.from_times([message.pts_ns for message in messages])
    offline = {one.frame_seq: to_record(one) for one in messages}
    answers = tuple(Answer(one.frame_seq, one.wall_ns, one.received_ns, to_record(one)) for one in messages)
    alignment = Alignment(loop, answers, offline, None, {one.frame_seq: one for one in messages})
    report = make_report(request, alignment, load_judge(request), SPAN, "")
    return {name: reading.scores["AP"] for name, reading in report.readings.items()}


def _publish(poses: Poses, seq: int, age_ms: float) -> PoseMessage:
    """The message as a subscriber receives it, ``age_ms`` after the capture."""
    message = schema.decode(schema.encode_poses(poses, session="0" * 16, seq=seq))
    assert isinstance(message, PoseMessage)
    return replace(message, received_ns=message.wall_ns + round(age_ms * 1e6))


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"`{result['command']}` on {result['machine']}; COCO's AP (OKS), %; ages are those of a quiet machine.",
        "",
        f"| network | fps | pace | age | {' | '.join(COLUMNS)} |",
        "|---" * (4 + len(COLUMNS)) + "|",
    ]
    for row in result["rows"]:
        scores = " | ".join(f"{row[name]:.1f}" for name in COLUMNS)
        lines.append(f"| `{row['model']}` | {row['fps']} | {row['pace']:g} | {row['age_ms']:.0f} ms | {scores} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
