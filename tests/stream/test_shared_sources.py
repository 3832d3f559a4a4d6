"""Cameras that share a process: a fault of one does not concern the others, but for a crash of the process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
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
from tests.stream.live_sources import MjpegCamera
from tests.stream.toys.notebook import key_of, lines_in

pytestmark = [pytest.mark.survival, pytest.mark.usefixtures("no_leaks")]

# Nothing here waits so long on a machine that is not broken.
_LONG_S = 100.0
HALL, YARD, DOOR = "hall", "yard", "door"


@pytest.fixture(autouse=True)
def short_paths(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path_factory.mktemp("r")))  # paths of sockets have to be short


class Cameras:
    """A line of these sources, by camera, up to ``most`` of which share a process; and what has arrived of each."""

    def __init__(self, folder: Path, most: int, sources: Mapping[str, str]) -> None:
        self._folder = folder
        self.stderr: list[tuple[str, str]] = []
        lines = [f"{text} name={name} camera={name} ! queue name=frames leaky=no" for name, text in sources.items()]
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


def unruly(folder: Path, most: int, **cameras: str) -> Cameras:
    """Cameras with these properties."""
    source = "tests.stream.toys.unruly orders={0}/{1} {2}"
    return Cameras(folder, most, {name: source.format(folder, name, given) for name, given in cameras.items()})


def is_gapless(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_cameras_share_processes_and_each_is_a_part_of_its_own(tmp_path: Path) -> None:
    with unruly(tmp_path, 2, hall="", yard="", door="") as cameras:
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
    with unruly(tmp_path, 8, hall="", yard="") as cameras:
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
    with unruly(tmp_path, 8, hall="is_missing=true", yard="") as cameras, missing:
        cameras.supervisor.wait(_LONG_S)


def test_the_cameras_of_a_process_that_crashes_are_restarted_in_smaller_groups(tmp_path: Path) -> None:
    with unruly(tmp_path, 3, hall="", yard="", door="") as cameras:
        cameras.wait_for_frames()
        crashed = cameras.supervisor.pids[HALL]
        cameras.order(HALL, "crash")
        for camera in (HALL, YARD, DOOR):
            cameras.wait_for_restart(camera, 1)
        cameras.wait_for_frames()
        assert len(set(cameras.supervisor.pids.values()) - {crashed}) == 4
        cameras.order(YARD, "hang")
        began_s = time.monotonic()
        cameras.supervisor.kill()
        assert cameras.supervisor.wait(_LONG_S)
        assert time.monotonic() - began_s < 5, "a part that hangs does not delay it"
    assert any(part == "sources-1" and "unruly.py" in text for part, text in cameras.stderr), "where it crashed"
    for numbers in map(cameras.numbers, (HALL, YARD, DOOR)):
        assert numbers == sorted(set(numbers))


def test_a_camera_that_hangs_ends_its_process_and_is_alone_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.runtime.shared_process._CANCEL_S", 0.5)
    with unruly(tmp_path, 3, hall="", yard="", door="") as cameras:
        cameras.wait_for_frames()
        cameras.order(HALL, "hang")
        cameras.wait_for_restart(YARD, 1)
        cameras.wait_for_restart(HALL, 1)
        cameras.wait_for_frames()
        pids = cameras.supervisor.pids
        cameras.stop()
    assert pids[YARD] == pids[DOOR] != pids[HALL]
    assert cameras.numbers(YARD) == sorted(set(cameras.numbers(YARD)))


def test_cameras_that_refuse_or_freeze_do_not_concern_those_beside_them(tmp_path: Path) -> None:
    with (
        closing(MjpegCamera(10**6, every_s=0.04)) as good,
        closing(MjpegCamera(5, stays_open=True)) as frozen,
        closing(MjpegCamera(0, answer=404)) as absent,
    ):
        source = "rtspsrc url={} max_items=100 retry={} stall_timeout_s=1 backoff_s=0.1"
        sources = {
            HALL: source.format(good.url, "reconnect"),
            YARD: source.format(frozen.url, "reconnect"),
            DOOR: source.format(absent.url, "always"),
        }
        absent.close()
        with Cameras(tmp_path, 8, sources) as cameras:
            cameras.wait_for(lambda: cameras.numbers(HALL) and cameras.numbers(YARD))
            connections = frozen.connections
            cameras.wait_for(lambda: frozen.connections >= connections + 2)
            cameras.wait_for(lambda: cameras.numbers(YARD)[-1] >= 10)
            began_s = time.monotonic()
            notices = cameras.stop()
            assert time.monotonic() - began_s < 10
    assert is_gapless(cameras.numbers(HALL))
    assert cameras.numbers(YARD) == sorted(set(cameras.numbers(YARD)))
    assert not [notice for notice in notices if isinstance(notice, bus.Restarted)]
    assert any(part == YARD and "no picture for" in text for part, text in cameras.stderr)
    assert any(part == DOOR and "Connection refused" in text for part, text in cameras.stderr)
    assert HALL not in {part for part, text in cameras.stderr if "unavailable" in text}
    assert "hunter2" not in str(cameras.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_no_shared_process_outlives_its_supervisor(number: signal.Signals, tmp_path: Path) -> None:
    script = (
        "import sys; from stream.pipeline.launch import parse_yaml\n"
        "from stream.runtime.supervisor import Supervisor\n"
        "sys.exit(Supervisor(parse_yaml(sys.argv[1])).run())"
    )
    source = "tests.stream.toys.unruly"
    sink = {"tests.stream.toys.notebook": {"location": f"{tmp_path}/notes"}}
    line = json.dumps({"sources_per_process": 4, "line": [source, "queue", sink]})
    process = subprocess.Popen([sys.executable, "-c", script, line], start_new_session=True)
    deadline_s = time.monotonic() + _LONG_S
    while not lines_in(tmp_path / "notes"):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as Ctrl-C does, which reaches the whole foreground group
    assert process.wait(_LONG_S) == (number if number == signal.SIGINT else -number)
    assert ((tmp_path / "notes").read_text()[-4:] == "end\n") == (number == signal.SIGINT)
