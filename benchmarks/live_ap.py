"""AP of a live line and of the same network offline, on synthetic people and over RTSP.

    python -m benchmarks.live_ap            prints a table
    python -m benchmarks.live_ap --write    and writes benchmarks/results/live_ap.json and live_ap.md

It runs ``posestream eval live`` with ground-truth boxes: ``detect`` takes them from ``testsrc``, and over RTSP they are
looked up by the number in each picture. So only the line and the network's time lower the score. ``predict`` leaves
what was seen as it is, so that one run gives the readings with and without forecasts. RTSP requires GStreamer's server
in the system's Python (``--server``, ``--python``); without it, its columns are omitted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.reporting import describe_machine, make_parser, write_results
from benchmarks.rtsp import SHARED, Server
from engines.datasets.synthetic.scene import Scene
from engines.hub.catalogue import DEFAULT_MODEL
from stream.cli.demo import free_port
from stream.evaluation.line_variants import Request
from stream.evaluation.live import Evaluation
from stream.evaluation.report import READINGS
from stream.evaluation.runs import Span
from stream.pipeline.launch import parse_launch
from stream.testing.drawn_clip import write_drawn

SIZE = (640, 480)
PEOPLE = 3
SEED = 0
CLIP_S = 4
"""Duration of the looped clip, shorter than the span, so that the span includes a turn."""


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.live_ap {' '.join(sys.argv[1:])}".rstrip(),
        "machine": describe_machine(),
        "runs": dict(_runs(options)),
    }
    text = table(result)
    print(text)
    if options.write:
        write_results("live_ap", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="what 'pose model=' takes")
    parser.add_argument("--fps", type=int, nargs="+", default=[15, 30], help="frames a second of the sources")
    parser.add_argument("--seconds", type=float, default=6.0, help="how much of each source's time is judged")
    parser.add_argument("--server", type=Path, default=SHARED / "tools" / "rtsp_server.py")
    parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has GStreamer's RTSP server")
    return parser.parse_args()


def _runs(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    for fps in options.fps:
        yield f"testsrc, {fps} fps", _evaluate_testsrc(options, fps)
    if why := _missing(options):
        print(f"without RTSP: {why}", file=sys.stderr)
        return
    for fps in options.fps:
        yield f"RTSP, {fps} fps", _evaluate_stream(options, fps)


def _missing(options: argparse.Namespace) -> str:
    for path in (options.server, Path(options.python)):
        if not path.exists():
            return f"there is no {path}"
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    has = subprocess.run([options.python, "-c", probe], capture_output=True, check=False).returncode == 0
    return "" if has else f"{options.python} lacks GStreamer's RTSP server (gir1.2-gst-rtsp-server-1.0, python3-gi)"


def _evaluate_testsrc(options: argparse.Namespace, fps: int) -> dict[str, Any]:
    width, height = SIZE
    source = f"testsrc fps={fps} seed={SEED} people={PEOPLE} width={width} height={height}"
    return _evaluate(options, Request(parse_launch(_line(options, source, "detect model=truth"))))


def _evaluate_stream(options: argparse.Namespace, fps: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        clip, truth = Path(folder) / "clip.mp4", Path(folder) / "truth.json"
        write_drawn(clip, truth, Scene(SEED, PEOPLE, *SIZE), CLIP_S * fps, fps)
        server = argparse.Namespace(server=options.server, python=options.python, clip=clip)
        with Server(server, folder) as served:
            line = _line(options, f"rtspsrc url={served.url}", f"stream.testing.numbered truth={truth}")
            return _evaluate(options, Request(parse_launch(line), truth, clip))


def _line(options: argparse.Namespace, source: str, detector: str) -> str:
    pose = f"pose model='{options.model}'"
    return f"{source} ! queue ! {detector} ! track ! queue ! window ! {pose} ! predict ! keypointsink"


def _evaluate(options: argparse.Namespace, request: Request) -> dict[str, Any]:
    before = os.getloadavg()[0]
    report = Evaluation(f"tcp://127.0.0.1:{free_port(0)}", Span(options.seconds)).run(request).map()
    return report | {"load": [round(load, 1) for load in (before, os.getloadavg()[0])]}


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    runs: dict[str, dict[str, Any]] = result["runs"]
    first = next(iter(runs.values()))
    scene = f"model `{first['model']}`, {PEOPLE} people at {SIZE[0]}x{SIZE[1]}, true boxes"
    return "\n".join(
        [
            f"`{result['command']}` on {result['machine']}; {scene}.",
            "",
            f"| {first['measure']}, %; PCK@0.2, % | {' | '.join(runs)} |",
            "|---" * (len(runs) + 1) + "|",
            f"| load of the machine, before and after | {' | '.join(_load(run) for run in runs.values())} |",
            f"| frames, of them dropped | {' | '.join(_counts(run) for run in runs.values())} |",
            f"| age of keypoints, p50 / p95 | {' | '.join(_ages(run) for run in runs.values())} |",
            *(
                f"| {words} | {' | '.join(_scores(run, name) for run in runs.values())} |"
                for name, words in READINGS.items()
            ),
            *(f"\n{name}: {note}." for name, run in runs.items() for note in run["notes"]),
        ]
    )


def _load(run: dict[str, Any]) -> str:
    return " / ".join(f"{load:.1f}" for load in run["load"])


def _counts(run: dict[str, Any]) -> str:
    return f"{run['frames']}, {run['dropped']}"


def _ages(run: dict[str, Any]) -> str:
    return f"{run['age_ms']['p50']:.0f} / {run['age_ms']['p95']:.0f} ms"


def _scores(run: dict[str, Any], name: str) -> str:
    reading = run["readings"][name]
    return f"{reading['AP']:.1f}; {reading['PCK@0.2']:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
