"""Cameras that share a process: a fault of one does not concern the others, but for a crash of the process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil
import pytest

from stream.errors import StartError
from stream.pipeline.launch import parse_launch
from stream.pipeline.pipeline import Pipeline
from stream.runtime import bus
from stream.runtime.restart_policy import RestartPolicy
from stream.runtime.supervisor import Supervisor
from tests.stream.toys.notebook import key_of, lines_in

pytestmark = [pytest.mark.survival, pytest.mark.usefixtures("no_leaks")]

# Nothing here waits so long on a machine that is not broken.
_LONG_S = 100.0
HALL, YARD, DOOR = "hall", "yard", "door"


@pytest.fixture(autouse=True)
def short_paths(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path_factory.mktemp("r")))  # paths of sockets have to be short


class Cameras:
    """A line of live cameras that share processes, up to ``most`` each, and what has arrived of each camera."""

    def __init__(self, folder: Path, most: int, **cameras: str) -> None:
        self._folder = folder
        self.stderr: list[tuple[str, str]] = []
        source = "tests.stream.toys.unruly name={0} camera={0} orders={1}/{0} {2} ! queue name=frames leaky=no"
        lines = [source.format(camera, folder, properties) for camera, properties in cameras.items()]
        pipeline = parse_launch(
            "; ".join([*lines, f"from frames ! tests.stream.toys.notebook location={folder}/notes"])
        )
        self.supervisor = Supervisor(
            Pipeline(*pipeline.lines, in_flight=100, sources_per_process=most),
            policy=RestartPolicy(hang_s=1.0, restarts=1000),
            on_stderr=lambda part, text: self.stderr.append((part, text)),
        )

    def __enter__(self) -> Self:
        self.supervisor.play()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.__exit__(None, None, None)

    def order(self, camera: str, order: str) -> None:
        """Have a camera do something, and wait until it begins to."""
        path = self._folder / camera
        path.with_suffix(".draft").write_text(order)
        path.with_suffix(".draft").rename(path)
        self.wait_for(lambda: not path.exists())

    def numbers(self, camera: str) -> list[int]:
        """What has arrived of a camera."""
        return [seq for name, seq in map(key_of, lines_in(self._folder / "notes")) if name == camera]

    def wait_for(self, is_so: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + _LONG_S
        while not is_so():
            assert time.monotonic() < deadline_s, (self.supervisor.statistics, self.stderr)
            time.sleep(0.01)

    def wait_for_frames(self, count: int = 10) -> None:
        """Wait for so many more frames of every camera."""
        before = {camera: len(self.numbers(camera)) for camera in self.supervisor.parts[:-1]}
        self.wait_for(lambda: all(len(self.numbers(camera)) >= seen + count for camera, seen in before.items()))

    def wait_for_restart(self, camera: str, incarnation: int) -> None:
        self.wait_for(lambda: (stats := self.supervisor.statistics.get(camera)) and stats.incarnation >= incarnation)

    def stop(self) -> list[bus.AnyNotice]:
        """End the line; its notices."""
        self.supervisor.stop()
        assert self.supervisor.wait(_LONG_S)
        return list(self.supervisor.messages())


def is_gapless(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_cameras_share_processes_and_each_is_a_part_of_its_own(tmp_path: Path) -> None:
    with Cameras(tmp_path, 2, hall="", yard="", door="") as cameras:
        cameras.wait_for_frames(30)
        pids = cameras.supervisor.pids
        assert len({pids[camera] for camera in (HALL, YARD, DOOR)}) == 2
        stats = cameras.supervisor.statistics
        assert {stats[camera].state for camera in (HALL, YARD, DOOR)} == {"PLAYING"}
        both = psutil.Process(pids[HALL]).memory_info().rss
        assert 0 < stats[HALL].rss_bytes < 0.6 * both, "its share of what two have"
        cameras.order(YARD, "warn")
        cameras.order(DOOR, "end")
        cameras.wait_for(lambda: cameras.supervisor.statistics[DOOR].finished)
        notices = cameras.stop()
    warnings = [(notice.part, notice.text) for notice in notices if isinstance(notice, bus.Warning_)]
    dark = [warning for warning in warnings if "dark" in warning[1]]  # another counts the frames before the first
    assert dark == [(YARD, "yard is dark")]
    assert [text for text in cameras.stderr if "dark" in text[1]] == [(YARD, "warning: yard is dark")]
    assert not [notice for notice in notices if isinstance(notice, bus.Restarted)]
    assert all(map(is_gapless, map(cameras.numbers, (HALL, YARD, DOOR))))


def test_a_camera_that_is_lost_is_restarted_alone_and_goes_on_counting(tmp_path: Path) -> None:
    with Cameras(tmp_path, 8, hall="", yard="") as cameras:
        cameras.wait_for_frames()
        pids = cameras.supervisor.pids
        for incarnation in (1, 2):
            cameras.order(HALL, "lost")
            cameras.wait_for_restart(HALL, incarnation)
            cameras.wait_for_frames()
        assert cameras.supervisor.pids == pids
        notices = cameras.stop()
    restarts = [(notice.part, notice.why) for notice in notices if isinstance(notice, bus.Restarted)]
    assert restarts == [(HALL, "lost 'hall'; plug it in")] * 2
    assert ("hall", "hall: lost 'hall'; plug it in") in cameras.stderr
    assert is_gapless(cameras.numbers(YARD))
    numbers = cameras.numbers(HALL)
    assert numbers == sorted(set(numbers)), "none came twice, and the count went on"


def test_a_camera_that_is_missing_ends_the_line_as_it_does_alone(tmp_path: Path) -> None:
    missing = pytest.raises(StartError, match=r"^hall: no such camera; plug it in$")
    with Cameras(tmp_path, 8, hall="is_missing=true", yard="") as cameras, missing:
        cameras.supervisor.wait(_LONG_S)


def test_the_cameras_of_a_process_that_was_killed_are_restarted_in_smaller_groups(tmp_path: Path) -> None:
    with Cameras(tmp_path, 3, hall="", yard="", door="") as cameras:
        cameras.wait_for_frames()
        killed = cameras.supervisor.pids[HALL]
        os.kill(killed, signal.SIGKILL)
        for camera in (HALL, YARD, DOOR):
            cameras.wait_for_restart(camera, 1)
        cameras.wait_for_frames()
        assert len(set(cameras.supervisor.pids.values()) - {killed}) == 4
        cameras.stop()
    for numbers in map(cameras.numbers, (HALL, YARD, DOOR)):
        assert numbers == sorted(set(numbers))


def test_a_camera_that_hangs_ends_its_process_and_is_alone_from_then_on(tmp_path: Path) -> None:
    with Cameras(tmp_path, 3, hall="", yard="", door="") as cameras:
        cameras.wait_for_frames()
        cameras.order(HALL, "hang")
        cameras.wait_for_restart(YARD, 1)
        cameras.wait_for_restart(HALL, 1)
        cameras.wait_for_frames()
        pids = cameras.supervisor.pids
        cameras.stop()
    assert pids[YARD] == pids[DOOR] != pids[HALL]
    assert cameras.numbers(YARD) == sorted(set(cameras.numbers(YARD)))


def test_a_crash_says_where_it_was_and_a_killed_line_ends_at_once(tmp_path: Path) -> None:
    with Cameras(tmp_path, 3, hall="", yard="") as cameras:
        cameras.wait_for_frames()
        cameras.order(HALL, "crash")
        cameras.wait_for_restart(YARD, 1)
        cameras.wait_for_frames()
        cameras.order(YARD, "hang")
        began_s = time.monotonic()
        cameras.supervisor.kill()
        assert cameras.supervisor.wait(_LONG_S)
        assert time.monotonic() - began_s < 5
    assert any(part == "sources-1" and "unruly.py" in text for part, text in cameras.stderr)
