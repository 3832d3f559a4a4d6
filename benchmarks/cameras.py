"""Frames that a camera of a site loses while another one is added and removed again and again.

    python -m benchmarks.cameras             prints a table
    python -m benchmarks.cameras --write     and writes benchmarks/results/cameras.json and cameras.md

The lines are real processes whose elements do no work (:mod:`benchmarks.empty`). A round adds a camera, waits for its
first keypoints, removes it, and waits until its line has ended. The camera that stays sends ten frames a second; a gap
in ``frame_seq`` is a frame that it dropped, one in ``seq`` a message that was lost.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.pipeline.launch import parse_launch
from stream.protocol.subscriber import Subscriber
from stream.site.folder import CameraFolder
from stream.site.site import Site
from stream.site.template import Template

_LINE = (
    "testsrc realtime=true fps=10 width=64 height=64 people=1 ! benchmarks.empty.find ! window ! "
    "benchmarks.empty.estimate past=0 ! keypointsink"
)
_STAYS, _COMES = "stays", "comes"


class Watch:
    """Runs a site and follows the camera that stays."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.numbers: list[tuple[int, int]] = []
        """``seq`` and ``frame_seq`` of each of its messages."""

    def address(self, camera: str) -> str:
        """Where a camera publishes; empty if the site does not have it."""
        self._site.turn()
        return next((report.address for report in self._site.reports if report.name == camera), "")

    def follow(self, subscriber: Subscriber, is_done: Callable[[], bool]) -> None:
        """Take messages until ``is_done``."""
        while not is_done():
            self._site.turn()
            message = next(subscriber)
            self.numbers.append((message.seq, message.frame_seq))

    def come_and_go(self, subscriber: Subscriber) -> None:
        """Add the other camera, wait for its keypoints, and remove it."""
        self._site.add(_COMES, {"seed": "1"})
        with Subscriber(self.address(_COMES)) as other:
            self.follow(subscriber, lambda: other.poll() is not None)
        self._site.remove(_COMES)
        self.follow(subscriber, lambda: not self.address(_COMES))

    def count_gaps(self) -> tuple[int, int]:
        """Gaps in ``seq`` and in ``frame_seq``."""
        pairs = list(itertools.pairwise(self.numbers))
        return sum(b[0] - a[0] != 1 for a, b in pairs), sum(b[1] - a[1] != 1 for a, b in pairs)


def main() -> None:
    """Add and remove a camera so often, and print what the other one lost."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        template = Template(parse_launch(_LINE), "cameras.yaml")
        site = Site(template, CameraFolder(Path(folder) / "d"), on_stderr=lambda line: print(line, file=sys.stderr))
        try:
            watch, began_s = Watch(site), time.monotonic()
            site.add(_STAYS, {})
            with Subscriber(watch.address(_STAYS), timeout_s=60) as subscriber:
                for _ in range(options.rounds):
                    watch.come_and_go(subscriber)
                lost = subscriber.statistics.total.lost
        finally:
            site.close()
    seconds, (gaps, frame_gaps) = time.monotonic() - began_s, watch.count_gaps()
    text = "\n".join(
        [
            f"{describe_machine()}, load {os.getloadavg()[0]:.0f}",
            "",
            "| added and removed | in | messages of the camera that stays | gaps in seq | gaps in frame_seq | lost |",
            "|---|---|---|---|---|---|",
            f"| {options.rounds} times | {seconds:.0f} s | {len(watch.numbers)} | {gaps} | {frame_gaps} | {lost} |",
        ]
    )
    print(text)
    if options.write:
        result = {"rounds": options.rounds, "messages": len(watch.numbers), "gaps": gaps, "frame_gaps": frame_gaps}
        write_results("cameras", result, text)


if __name__ == "__main__":
    main()
