"""A lane runs the cameras that it was given, in real processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream.cluster.lane import Assignment, Lane, Report
from stream.cluster.settings import Settings
from stream.errors import LaunchError
from stream.protocol.subscriber import Subscriber

LINE = """
line:
  - testsrc: {realtime: true, fps: 10, width: 64, height: 64, people: 1, noise: 1}
  - tests.toys.oracle
  - keypointsink
"""


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    opened = Lane(7, LINE, "site.yaml", Settings(), "127.0.0.1")
    yield opened
    opened.close()


def follow_until(lane: Lane, cameras: dict[str, Assignment], is_so: Callable[[Report], bool]) -> Report:
    """Give orders again and again, as a controller does."""
    until_s = time.monotonic() + 60
    while not is_so(report := lane.follow(1, cameras)):
        assert time.monotonic() < until_s, report
        time.sleep(0.1)
    return report


def test_a_camera_runs_is_given_anew_and_drained(lane: Lane, no_leaks: None) -> None:
    hall = {"hall": Assignment(3, (("seed", "4"),))}
    report = follow_until(lane, hall, lambda found: found.cameras["hall"].is_settled)
    assert (report.turn, report.cameras["hall"].number, report.cameras["hall"].state) == (1, 3, "running")
    with Subscriber(report.cameras["hall"].address) as subscriber:
        assert next(subscriber).camera == "hall"
    anew = {"hall": Assignment(9, (("seed", "4"),))}
    follow_until(lane, anew, lambda found: found.cameras["hall"].number == 9)
    follow_until(lane, {}, lambda found: not found.cameras)


def test_a_camera_that_cannot_run_says_why(lane: Lane) -> None:
    report = lane.follow(1, {"hall": Assignment(3, (("sed", "4"),))})
    assert report.cameras["hall"].state == "failed"
    assert report.cameras["hall"].is_settled
    assert "no property 'sed'; did you mean 'seed'?" in report.cameras["hall"].why


def test_a_line_that_is_no_template_is_refused() -> None:
    with pytest.raises(LaunchError, match=r"site\.yaml has 1 sources and 0 keypointsinks"):
        Lane(7, "line: [testsrc, fakesink]", "site.yaml", Settings(), "127.0.0.1")
