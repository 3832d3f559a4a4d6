"""What a camera takes of its host, and what 100, 1,000 and 10,000 of them need by that.

    python -m benchmarks.capacity                                calculates with the costs that were recorded
    python -m benchmarks.capacity --write                        and writes results/capacity.json and the page's tables
    python -m benchmarks.capacity --measure ../shared --write    measures the costs before

The line is that of deploy/site.yaml: a video of three people, 720p as H.264, in place of a camera; YOLOX-nano finds
people in every second frame; TinyPose at 256x192 estimates each. It is measured in one process, with one part more at
a time: the processor time of a frame, and the memory that only this process has (USS). So the machine may be busy,
though processor time is longer there too: the load is recorded. What the links and the sink add is recorded by
:mod:`benchmarks.line` and :mod:`benchmarks.publisher`. Calculated are hosts, which have whole lanes, and simulated is
the controller that places them (:mod:`benchmarks.placement`). ``--measure`` needs the folder that has the networks and
the video, which are not part of the project. The page is docs/explanation/capacity.md.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import psutil

from benchmarks import placement
from benchmarks.reporting import RESULTS, describe_machine, make_parser, write_results
from stream.cli.doctor_checks import NEEDED_SHM_MIB
from stream.pipeline.launch import parse_launch
from stream.testing.videos import write_video

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "capacity.md"
_TABLES = re.compile(r"(<!-- capacity: begin -->\n).*(<!-- capacity: end -->)", re.DOTALL)

SITES = (100, 1_000, 10_000)
_SIZE, _FPS = (1280, 720), 10
_SOURCE = "filesrc location={clip} loop=true num_frames={frames}"
_PARTS = {
    "source": _SOURCE,
    "detect, track": "detect model={shared}/data/models/yolox_nano.onnx interval=2 ! track",
    "window, pose, predict": "window ! pose model={shared}/data/real/tinypose_256_192.onnx ! predict",
}
_VIDEO = "data/clips/felix_exercise.avi"
_CLIP_FRAMES, _WARM = 24, 6
_MORE_SOURCES = 4

_CORES, _GB, _MBIT, _USED = 16, 64, 1000.0, 0.8
"""A host, and how much of it is used."""

_STREAM_MBIT = 4.0
"""What a camera sends, which is not measured: 720p as H.264, as many cameras are set."""

_PER_LANE = 4


class Part(msgspec.Struct, frozen=True):
    """A part of a line: processor time a frame, and the memory that only its process has; 0 where it has none."""

    name: str
    ms: float
    memory_mb: float = 0.0


class Costs(msgspec.Struct, frozen=True):
    """What one camera takes, with so many ``people`` in a frame. ``empty_mb`` is the memory of a process of ours that
    does nothing, as of a lane's that supervises, ``frames_mb`` the shared memory of a camera's frames,
    ``shared_source_mb`` what a further camera takes in a process that reads several."""

    machine: str
    load: float
    people: float
    parts: tuple[Part, ...]
    empty_mb: float
    frames_mb: float
    shared_source_mb: float


class Recorded(msgspec.Struct, frozen=True):
    """What the page is made of: the costs, what was measured elsewhere, and the controller's simulation."""

    costs: Costs
    message_bytes: int
    relay_ms: float
    simulated: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Camera:
    """What a camera with ``fps`` frames a second takes of its host."""

    cores: float
    memory_mb: float
    mbit: float

    @property
    def limits(self) -> dict[str, int]:
        """How many of them a host carries, by each of its limits."""
        return {
            "cores": int(_USED * _CORES / self.cores),
            "memory": int(_USED * _GB * 1000 / self.memory_mb),
            "network": int(_USED * _MBIT / self.mbit),
        }

    @property
    def lanes_a_host(self) -> int:
        """How many whole lanes a host carries; 0 where it carries none of this size."""
        return min(self.limits.values()) // _PER_LANE


def calculate(recorded: Recorded, fps: float, *, shares_sources: bool = True) -> Camera:
    """What a camera takes, whose source is in a process of its own or together with those of its lane."""
    costs = recorded.costs
    source, *others = costs.parts
    cores = sum(part.ms for part in costs.parts) * fps / 1000
    lane_mb = costs.empty_mb / _PER_LANE
    source_mb = source.memory_mb / _PER_LANE + costs.shared_source_mb if shares_sources else source.memory_mb
    memory_mb = source_mb + sum(part.memory_mb for part in others) + costs.frames_mb + lane_mb
    return Camera(cores, memory_mb, _STREAM_MBIT + recorded.message_bytes * 8 * fps / 1e6)


def main() -> int:
    """Calculate, print, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--measure", type=Path, metavar="SHARED", help="measure the costs first, with this folder's files"
    )
    parser.add_argument("--frames", type=int, default=24, help="that are measured")
    options = parser.parse_args()
    kept = RESULTS / "capacity.json"
    if not (options.measure or kept.exists()):
        print(f"cannot calculate: no costs are recorded in {kept}; give --measure", file=sys.stderr)
        return 1
    if options.measure and not (options.measure / _VIDEO).exists():
        print(f"cannot measure: there is no {options.measure / _VIDEO}", file=sys.stderr)
        return 1
    costs = measure(options.measure, options.frames) if options.measure else read().costs
    recorded = simulate(costs)
    text = make_tables(recorded)
    print(text)
    if options.write:
        write_results("capacity", msgspec.to_builtins(recorded), text)
        PAGE.write_text(fill(PAGE.read_text("utf-8"), text), "utf-8")
    return 0


def read() -> Recorded:
    """What was recorded last."""
    return msgspec.json.decode((RESULTS / "capacity.json").read_bytes(), type=Recorded)


def fill(page: str, tables: str) -> str:
    """The page with these tables."""
    return _TABLES.sub(lambda match: f"{match[1]}{tables}\n{match[2]}", page)


def simulate(costs: Costs) -> Recorded:
    """Let the controller place the cameras of each site on hosts that carry what is calculated."""
    relay = json.loads((RESULTS / "relay.json").read_text())
    message_bytes = json.loads((RESULTS / "publisher.json").read_text())["bytes"]["msgpack"]
    relay_ms = 1000 * relay["relay"]["cpu_share"] * relay["seconds"] / relay["relay"]["forwarded"]
    lanes = calculate(Recorded(costs, message_bytes, relay_ms, ()), _FPS).lanes_a_host
    if not lanes:
        raise SystemExit(f"cannot calculate: a lane of {_PER_LANE} cameras needs more than a host has")
    found = [placement.measure(cameras, _PER_LANE, lanes) for cameras in SITES]
    return Recorded(costs, message_bytes, relay_ms, tuple(map(asdict, found)))


# -- costs -------------------------------------------------------------------------------------------------------------


def measure(shared: Path, frames: int) -> Costs:
    """The costs of a camera on this machine."""
    load = os.getloadavg()[0]
    empty_mb = _own_mb()
    # A process for each, so that none has memory of another; it shares with this one what is imported.
    with tempfile.TemporaryDirectory(prefix="cap") as folder, get_context("fork").Pool(1, maxtasksperchild=1) as alone:
        clip = Path(folder) / "clip.mp4"
        alone.apply(_write_clip, (shared / _VIDEO, clip))
        found, line = [alone.apply(_run, ("",))], ""
        for text in _PARTS.values():
            line += " ! " * bool(line) + text.format(clip=clip, frames=frames + _WARM, shared=shared.absolute())
            found.append(alone.apply(_run, (line,)))
        source = _PARTS["source"].format(clip=clip, frames=frames)
        many = [f"{source} camera=c{number} ! queue name=frames" for number in range(1 + _MORE_SOURCES)]
        of_many = alone.apply(_run, ("; ".join([*many, "from frames ! benchmarks.empty.stamp step=all"]),))
    _, one, *_, whole = found
    parts = [
        Part(name, later.ms - before.ms, empty_mb + max(0.0, later.memory_mb - before.memory_mb))
        for name, (before, later) in zip(_PARTS, pairwise(found), strict=True)
    ]
    shared_mb = max(0.0, of_many.memory_mb - one.memory_mb) / _MORE_SOURCES
    frames_mb = NEEDED_SHM_MIB * 2**20 / 1e6 * _SIZE[0] * _SIZE[1] / (1920 * 1080)
    recorded = _read_recorded()
    return Costs(describe_machine(), load, whole.people, (*parts, *recorded), empty_mb, frames_mb, shared_mb)


def _read_recorded() -> tuple[Part, Part]:
    """What was measured elsewhere: the sink, and the links of five processes that take all of two cores."""
    publisher, line = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("publisher", "line"))
    (one,) = [one for one in publisher["figures"] if (one["subscribers"], one["rival"]) == (1, "keypointsink")]
    cores = int(re.search(r"(\d+) cores", line["machine"])[1])  # type: ignore[index]
    links_ms = 1000 * cores / statistics.median(run["fps"] for run in line["fast"])
    return Part("keypointsink", one["us_a_message"] / 1000), Part("links, at most", links_ms)


@dataclass(frozen=True)
class _Found:
    ms: float = 0.0
    memory_mb: float = 0.0
    people: float = 0.0


def _run(line: str) -> _Found:
    """The processor time of a frame, the memory at the end, and the people of a frame, of a line in this process."""
    count, people, began_s, memory_mb = 0, 0, 0.0, _own_mb()
    for item in parse_launch(line).run() if line else ():
        count += 1
        people += len(getattr(item, "boxes", ()))
        if count == _WARM:
            began_s = time.process_time()
        memory_mb = memory_mb if count % 10 else _own_mb()
    return _Found(1000 * (time.process_time() - began_s) / max(1, count - _WARM), memory_mb, people / max(1, count))


def _write_clip(video: Path, clip: Path) -> None:
    """The first pictures of a video, enlarged."""
    capture = cv2.VideoCapture(str(video))
    pictures = [cv2.resize(capture.read()[1], _SIZE).astype(np.uint8) for _ in range(_CLIP_FRAMES)]
    write_video(clip, pictures, fps=_FPS)


def _own_mb() -> float:
    return psutil.Process().memory_full_info().uss / 1e6


# -- tables ------------------------------------------------------------------------------------------------------------


def make_tables(recorded: Recorded) -> str:
    """The tables of the page."""
    costs = recorded.costs
    return "\n".join(
        [
            f"*Costs*, measured on {costs.machine}, load {costs.load:.0f} before; {costs.people:.1f} people a frame:",
            "",
            *_table(("part", "processor time a frame", "memory of its process"), _cost_rows(costs)),
            "",
            f"*A host* of {_CORES} cores, {_GB} GB and {_MBIT / 1000:g} Gbit/s, {_USED:.0%} of each used, calculated:",
            "",
            *_table(_HOST_HEAD, _host_rows(recorded)),
            "",
            f"*Sites* of {_FPS} frames a second, on such hosts, calculated; sources of a lane together:",
            "",
            *_table(_SITE_HEAD, _site_rows(recorded)),
            "",
            "*The controller*, simulated with these lanes and hosts, and an eighth more of them:",
            "",
            *_table(_PLACEMENT_HEAD, map(_placement_row, recorded.simulated)),
        ]
    )


_HOST_HEAD = (
    "frames a second",
    "sources",
    "a camera takes",
    "cameras by cores",
    "by memory",
    "by network",
    "`cpus` of a lane",
)
_SITE_HEAD = ("cameras", "lanes", "hosts", "video to the hosts", "keypoints to the relays", "relays, at most")
_PLACEMENT_HEAD = (
    *("cameras", "hosts", "all placed in", "imbalance", "of a dead host", "placed again in", "others that moved"),
    "imbalance then",
)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _cost_rows(costs: Costs) -> Iterator[Sequence[str]]:
    for part in costs.parts:
        yield part.name, f"{part.ms:.1f} ms", f"{part.memory_mb:.0f} MB" if part.memory_mb else ""
    yield "the process of a lane", "", f"{costs.empty_mb:.0f} MB"
    yield "a further source in a process of several", "the same", f"{costs.shared_source_mb:.0f} MB"
    yield "frames in shared memory", "", f"{costs.frames_mb:.0f} MB"


def _host_rows(recorded: Recorded) -> Iterator[Sequence[str]]:
    for fps in (5, 10, 15, 30):
        for shares, name in ((False, "a process each"), (True, "together")):
            camera = calculate(recorded, fps, shares_sources=shares)
            takes = f"{camera.cores:.2f} cores, {camera.memory_mb:.0f} MB, {camera.mbit:.1f} Mbit/s"
            limits = camera.limits
            least = min(limits, key=lambda name: limits[name])
            bounds = [f"**{count}**" if name == least else str(count) for name, count in limits.items()]
            yield str(fps), name, takes, *bounds, f"{_PER_LANE * camera.cores:.1f}"


def _site_rows(recorded: Recorded) -> Iterator[Sequence[str]]:
    camera = calculate(recorded, _FPS)
    for cameras in SITES:
        lanes = -(-cameras // _PER_LANE)
        keypoints = cameras * recorded.message_bytes * 8 * _FPS / 1e6
        relays = max(1, -int(-cameras * _FPS * recorded.relay_ms / 1000 / _USED // 1))
        yield (
            *(f"{cameras:,}", f"{lanes:,}", f"{-(-lanes // camera.lanes_a_host):,}"),
            *(f"{cameras * _STREAM_MBIT / 1000:.1f} Gbit/s", f"{keypoints:,.0f} Mbit/s", f"{relays}"),
        )


def _placement_row(found: Mapping[str, Any]) -> Sequence[str]:
    one = placement.Outcome(**found)
    return (
        *(f"{one.cameras:,}", f"{one.hosts:,}", f"{one.placed_s * 1e3:,.0f} ms", f"{one.imbalance:.2f}"),
        *(f"{one.lost}", f"{one.replaced_s * 1e3:.0f} ms", f"{one.moved}", f"{one.imbalance_after:.2f}"),
    )


if __name__ == "__main__":
    sys.exit(main())
