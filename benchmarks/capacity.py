"""What a camera of a cluster takes of its host: memory and processor time, and what so many cameras need by that.

    python -m benchmarks.capacity            prints a table
    python -m benchmarks.capacity --write    and writes benchmarks/results/capacity.json and capacity.md

A lane (:class:`stream.cluster.lane.Lane`) runs one camera, then four, of detection and pose with the
networks that ship; once with a process for each source, and once with all sources in one. Memory is what only these
processes have (USS); a camera's is a third of the difference. Cores are processor seconds a second, at ten frames a
second. The numbers of hosts are calculated from these figures: 16 cores and 64 GB each, four fifths of it used.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass

import psutil

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.cluster.lane import Assignment, Lane
from stream.cluster.settings import Settings

_LINE = """
{options}line:
  - testsrc: {{realtime: true, fps: 10, people: 2}}
  - queue
  - detect
  - track
  - window
  - pose
  - keypointsink
"""
_VARIANTS = {"a process for each source": "", "all sources in one": "sources_per_process: 64\n"}
_FEW, _MANY = 1, 4
_START_S = 120.0
_CORES, _GB, _USED = 16, 64, 0.8


@dataclass(frozen=True)
class Cost:
    """What a lane with some cameras takes: ``memory_mb`` that only it has, and ``cores``."""

    memory_mb: float
    cores: float


@dataclass(frozen=True)
class Outcome:
    """Of one variant: a lane with few cameras and with many."""

    few: Cost
    many: Cost

    @property
    def camera(self) -> Cost:
        """What one camera more takes."""
        more = _MANY - _FEW
        return Cost((self.many.memory_mb - self.few.memory_mb) / more, (self.many.cores - self.few.cores) / more)

    def count_hosts(self, cameras: int) -> tuple[int, int]:
        """How many hosts ``cameras`` need, by memory and by cores."""
        memory_mb, cores = cameras * self.camera.memory_mb, cameras * self.camera.cores
        return _ceil(memory_mb / 1000 / (_USED * _GB)), _ceil(cores / (_USED * _CORES))


def main() -> int:
    """Measure each variant, print, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    options = parser.parse_args()
    found = {name: measure(text, options.seconds) for name, text in _VARIANTS.items()}
    table = make_table(found)
    print(table)
    if options.write:
        write_results("capacity", {name: asdict(one) for name, one in found.items()}, table)
    return 0


def measure(options: str, seconds: float) -> Outcome:
    """The cost of a lane with few cameras and with many."""
    with tempfile.TemporaryDirectory(prefix="capacity") as folder:
        os.environ["POSESTREAM_RUN_DIR"] = folder
        lane = Lane(1, _LINE.format(options=options), "site.yaml", Settings(), "127.0.0.1")
        try:
            few, many = (_measure(lane, count, seconds) for count in (_FEW, _MANY))
        finally:
            lane.close()
    return Outcome(few, many)


def _measure(lane: Lane, cameras: int, seconds: float) -> Cost:
    given = {f"camera{n}": Assignment(n + 1, (("seed", str(n)),)) for n in range(cameras)}
    until_s = time.monotonic() + _START_S
    while not all(one.is_settled and one.fps for one in lane.follow(1, given).cameras.values()):
        if time.monotonic() > until_s:
            raise RuntimeError(f"{cameras} cameras have not started within {_START_S:g} s: {lane.follow(1, given)}")
        time.sleep(0.2)
    time.sleep(5)  # until networks are warm
    before, since_s = _processor_s(), time.monotonic()
    time.sleep(seconds)
    cores = (_processor_s() - before) / (time.monotonic() - since_s)
    return Cost(sum(process.memory_full_info().uss for process in _processes()) / 1e6, cores)


def _processes() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def _processor_s() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in _processes())


def _ceil(number: float) -> int:
    return max(1, -int(-number // 1))


def make_table(found: dict[str, Outcome]) -> str:
    """The outcomes as Markdown, below the machine."""
    head = "| sources | a lane with one camera | each further camera | 100 cameras | 1,000 | 10,000 |"
    rows = ["|---|---|---|---|---|---|"]
    for name, one in found.items():
        hosts = [max(one.count_hosts(cameras)) for cameras in (100, 1_000, 10_000)]
        rows.append(
            f"| {name} | {one.few.memory_mb:.0f} MB, {one.few.cores:.2f} cores | {one.camera.memory_mb:.0f} MB, "
            f"{one.camera.cores:.2f} cores | " + " | ".join(f"{count:,} hosts" for count in hosts) + " |"
        )
    note = f"Hosts of {_CORES} cores and {_GB} GB, {_USED:.0%} of it used, are calculated; networks run on the CPU."
    return "\n".join([describe_machine(), "", head, *rows, "", note])


if __name__ == "__main__":
    sys.exit(main())
