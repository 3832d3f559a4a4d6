"""The loop of the supervisor, on a clock that moves while it waits for notices: phases, restarts, silence, ends."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from stream.errors import PartError, StartError, TransportError
from stream.pipeline.launch import parse_launch
from stream.runtime import bus, monitor
from stream.runtime.monitor import Monitor, Orders, Plan, open_monitor
from stream.runtime.process import PartProcess
from stream.runtime.restart_policy import RestartPolicy
from stream.runtime.worker import CANNOT_START
from tests.stream.runtime.bench import Clock, FakeProcess, Notes, Spawner

PARTS = ("testsrc", "detect")
LINE = "testsrc num_frames=1 ! queue ! detect model=truth ! fakesink"


class Hub:
    """The supervisor's end of the bus: what waits there, and what was published when."""

    def __init__(self, clock: Clock) -> None:
        self.posts: list[bytes] = []
        self.targets: list[tuple[float, bus.Target]] = []
        self._clock = clock

    def receive(self, timeout_ms: int) -> list[bytes]:
        self._clock.now_s += timeout_ms / 1000
        posts, self.posts = self.posts, []
        return posts

    def publish_target(self, notice: bytes) -> None:
        target = bus.decode(notice)
        assert isinstance(target, bus.Target)
        self.targets.append((self._clock.now_s, target))

    def publish(self, notice: bytes) -> None:
        assert bus.decode(notice) is not None


class Line:
    """A line of two parts whose processes are fake. They beat at every turn while ``beats`` is True."""

    def __init__(self, external: frozenset[str] = frozenset()) -> None:
        self.clock, self.orders = Clock(), Orders()
        self.hub, self.spawner = Hub(self.clock), Spawner()
        self.notices: list[bus.AnyNotice] = []
        self.beats, self.finished, self.idle_ms, self.in_long_step = True, False, 0.0, False
        self.state: bus.State = "PAUSED"
        policy = RestartPolicy()
        pipeline = parse_launch(LINE)
        plan = Plan(pipeline, PARTS, external, (), policy, lambda *_: None)
        processes = [
            PartProcess(part, self.spawner, Notes(), policy, lambda *_: None, lambda _pid: psutil.STATUS_RUNNING)
            for part in PARTS
            if part not in external
        ]
        self.monitor = Monitor(plan, self.orders, Path(), processes, self.hub, self.notices.append, now_s=self.clock)

    def process(self, part: str) -> FakeProcess:
        return self.spawner.last(part)

    def post(self, notice: bus.AnyNotice) -> None:
        self.hub.posts.append(bus.encode(notice))

    def beat(self, part: str, pid: int) -> None:
        state, finished, idle_ms = self.state, self.finished, self.idle_ms
        in_long_step = self.in_long_step and part == PARTS[-1]
        self.post(
            bus.Stats(part=part, state=state, pid=pid, finished=finished, idle_ms=idle_ms, in_long_step=in_long_step)
        )

    def turn(self, seconds: float = 0.0) -> None:
        """Turn once, or for so long."""
        end_s = self.clock.now_s + seconds
        while True:
            for part, processes in self.spawner.started.items():
                if self.beats and processes[-1].code is None:
                    self.beat(part, processes[-1].pid)
            self.monitor.turn()
            if self.clock.now_s >= end_s or self.monitor.phase == "done":
                return

    def restarts(self) -> list[bus.Restarted]:
        return [notice for notice in self.notices if isinstance(notice, bus.Restarted)]

    def warnings(self) -> list[str]:
        return [notice.text for notice in self.notices if isinstance(notice, bus.Warning_)]


@pytest.fixture
def line() -> Line:
    """A line that plays."""
    line = Line()
    line.turn(1.0)
    line.state = "PLAYING"
    line.turn(1.0)
    assert (line.monitor.phase, line.monitor.state) == ("running", "PLAYING")
    return line


# -- what a line has lost, and what it needs ---------------------------------------------------------------------------


def test_a_line_that_fails_names_what_it_had_lost_before(line: Line) -> None:
    text = "TransportError: the disk is full"
    line.post(bus.Error(part="detect", element="fakesink", camera="testsrc", seq=7, text=text))
    for _ in range(6):
        line.process("detect").code = -signal.SIGKILL
        line.turn(7.0)
    with pytest.raises(PartError) as raised:
        line.monitor.run_to_end()
    assert str(raised.value) == (
        "detect was restarted 5 times within 60 s and failed again; last error: it was killed by SIGKILL; "
        "frames lost before that: fakesink failed on 1 frame of camera 'testsrc', last on 7: " + text
    )


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"\xff")], ids=["removed", "overwritten"])
def test_the_text_of_the_line_is_there_for_other_parts_though_it_was_spoiled(
    spoil: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def spawn(_part: str, line: str, run_dir: Path, *_: object, is_restart: bool) -> FakeProcess:
        read.extend([line, (run_dir / "line.yaml").read_text()])
        return FakeProcess(1)

    monkeypatch.setattr(monitor, "spawn_part", spawn)
    plan = Plan(parse_launch(LINE), PARTS, frozenset(), (), RestartPolicy(), lambda *_: None)
    with closing(open_monitor(plan, Orders(), tmp_path / "run", lambda _: None)) as opened:
        text = (tmp_path / "run" / "line.yaml").read_text()
        spoil(tmp_path / "run" / "line.yaml")
        opened.processes[0].start(0.0)
        opened.processes[0].signal(signal.SIGKILL)
    assert read == [text, text]


def test_a_line_whose_run_directory_was_removed_says_so_when_a_part_is_restarted(tmp_path: Path) -> None:
    plan = Plan(parse_launch(LINE), PARTS, frozenset(), (), RestartPolicy(), lambda *_: None)
    with closing(open_monitor(plan, Orders(), tmp_path / "run", lambda _: None)) as opened:
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(TransportError, match=r"/run/line.yaml cannot be written: No such file or directory; make"):
            opened.processes[0].start(0.0)


def test_a_line_whose_part_cannot_be_started_again_names_what_it_had_lost_before(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise TransportError("the run directory is full")

    line.post(bus.Error(part="detect", element="fakesink", camera="testsrc", seq=7, text="OSError: odd"))
    line.process("detect").code = -signal.SIGKILL
    monkeypatch.setattr(line.monitor.processes[1], "_spawn", refuse)
    with pytest.raises(TransportError) as raised:
        line.monitor.run_to_end()
    assert str(raised.value) == (
        "the run directory is full; frames lost before that: "
        "fakesink failed on 1 frame of camera 'testsrc', last on 7: OSError: odd"
    )


# -- targets and phases -----------------------------------------------------------------------------------------------


def test_parts_play_when_all_of_them_have_paused() -> None:
    line = Line()
    line.state = "READY"
    line.turn(1.0)
    assert (line.monitor.phase, line.hub.targets[-1][1]) == ("starting", bus.Target(state="PAUSED"))
    line.state = "PAUSED"
    line.turn(0.5)
    assert (line.monitor.phase, line.hub.targets[-1][1]) == ("running", bus.Target(state="PLAYING"))


def test_the_target_is_published_again_every_quarter_second_and_at_once_when_it_changes(line: Line) -> None:
    line.turn(2.0)
    pauses_s = [later - earlier for (earlier, _), (later, _) in pairwise(line.hub.targets[-6:])]
    assert all(0.24 < pause_s < 0.31 for pause_s in pauses_s), pauses_s  # the first turn of 50 ms after 250 ms
    line.orders.target = "PAUSED"
    line.turn()
    assert line.hub.targets[-1] == (line.clock.now_s, bus.Target(state="PAUSED"))


def test_a_line_whose_parts_have_finished_ends_when_their_processes_have(line: Line) -> None:
    line.finished = True
    line.turn(0.1)
    assert (line.monitor.phase, line.hub.targets[-1][1].state) == ("quitting", "NULL")
    for part in PARTS:
        line.process(part).code = 0
    line.monitor.run_to_end()
    assert line.monitor.phase == "done"
    assert not line.restarts()


def test_a_stop_ends_the_streams_and_what_is_not_delivered_after_ten_seconds_is_lost(line: Line) -> None:
    line.orders.ending = "stop"
    line.turn(9.9)
    assert (line.monitor.phase, line.hub.targets[-1][1]) == ("ending", bus.Target(state="PLAYING", ending=True))
    line.turn(0.3)
    assert (line.monitor.phase, line.process("detect").signals) == ("quitting", [])
    line.turn(3.2)
    assert (line.monitor.phase, line.process("detect").signals[0]) == ("done", signal.SIGKILL)


def test_a_stop_waits_for_a_part_that_still_writes_its_file(line: Line) -> None:
    line.orders.ending, line.in_long_step = "stop", True
    line.turn(60)
    assert line.monitor.phase == "ending"
    line.in_long_step = False
    line.turn(0.5)
    assert line.monitor.phase == "quitting"


def test_a_stop_of_a_line_that_starts_waits_for_the_parts_that_have_opened_something_alone() -> None:
    line = Line()
    line.beats, line.state = False, "READY"
    line.turn(0.1)
    line.beat("testsrc", line.process("testsrc").pid)
    line.turn(0.1)
    assert line.monitor.phase == "starting"
    line.orders.ending = "stop"
    line.turn(0.1)
    assert (line.monitor.phase, line.hub.targets[-1][1].state) == ("quitting", "NULL")
    assert (line.process("testsrc").signals, line.process("detect").signals[0]) == ([], signal.SIGKILL)
    line.process("testsrc").code = 0
    line.monitor.run_to_end()
    assert (line.monitor.phase, line.restarts()) == ("done", [])


def test_a_kill_ends_every_process_at_once(line: Line) -> None:
    line.orders.ending = "kill"
    line.turn(0.1)
    assert (line.monitor.phase, line.process("testsrc").signals[0]) == ("done", signal.SIGKILL)
    assert not line.restarts()


# -- restarts ---------------------------------------------------------------------------------------------------------


def test_pauses_before_restarts_double_and_the_sixth_end_within_a_minute_is_the_last(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(6):
        line.process("detect").code = 1
        line.turn(2.0)
    delays_ms = [(notice.count, notice.delay_ms) for notice in line.restarts()]
    assert delays_ms == [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1600)]
    assert len(line.spawner.started["detect"]) == 6
    assert caplog.messages[0] == "detect is restarted in 100 ms: it ended with exit code 1"
    assert line.hub.targets[-1][1].state == "NULL"
    line.turn(4.0)
    reason = "detect was restarted 5 times within 60 s and failed again; last error: it ended with exit code 1"
    with pytest.raises(PartError, match=f"^{reason}$"):
        line.monitor.run_to_end()


def test_a_part_is_restarted_after_its_pause_and_not_before(line: Line) -> None:
    line.process("detect").code = 1
    noticed_s = line.clock.now_s + 0.05
    while len(line.spawner.started["detect"]) == 1:
        line.turn()
    assert 0.099 < line.clock.now_s - noticed_s < 0.151  # the first turn of 50 ms after 100 ms


def test_restarts_that_are_far_apart_are_not_held_against_a_part(line: Line) -> None:
    for _ in range(8):
        line.process("detect").code = 1
        line.turn(13.0)
    assert line.monitor.phase == "running"
    assert len(line.restarts()) == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hall: no such camera; plug it in", "testsrc: hall: no such camera; plug it in"),
        ("testsrc: no such camera", "testsrc: no such camera"),
        ("testsrc cannot write a.jsonl: it is full", "testsrc cannot write a.jsonl: it is full"),
    ],
)
def test_a_part_that_cannot_start_is_not_restarted(text: str, expected: str) -> None:
    line = Line()
    line.turn()
    line.post(bus.Error(part="testsrc", text=text, fatal=True, needs_user=True))
    line.turn()
    line.process("testsrc").code = CANNOT_START
    line.turn(4.0)
    assert not line.restarts()
    with pytest.raises(StartError, match=f"^{expected}$"):
        line.monitor.run_to_end()


def test_a_part_that_is_silent_for_four_seconds_is_killed_and_restarted(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.beats = False
    first = line.process("detect")
    line.turn(3.9)
    assert first.signals == []
    line.turn(0.5)
    assert first.signals == [signal.SIGKILL]
    assert [notice.why for notice in line.restarts() if notice.part == "detect"] == ["it was killed by SIGKILL"]
    warning = next(text for text in line.warnings() if text.startswith("detect is silent for 4."))
    assert warning.endswith(" s; it is killed")
    assert warning in caplog.messages


def test_a_part_that_hangs_in_one_item_for_ten_seconds_is_killed_and_restarted(line: Line) -> None:
    line.idle_ms = 9_900.0
    line.turn(5.0)
    assert not line.warnings()
    line.idle_ms = 10_100.0
    line.turn()
    line.idle_ms = 0.0
    line.turn(1.0)
    assert line.warnings() == [f"{part} is hung in one step for 10.1 s; it is killed" for part in PARTS]
    assert [len(line.spawner.started[part]) for part in PARTS] == [2, 2]


def test_parts_are_not_blamed_for_time_in_which_the_supervisor_was_stopped(line: Line) -> None:
    line.beats = False
    line.clock.now_s += 60.0
    line.turn(3.0)
    assert not line.warnings()


def test_a_late_heartbeat_of_a_process_that_has_ended_does_not_count(line: Line) -> None:
    former = line.process("detect")
    former.code = 1
    line.turn(0.5)
    line.beats, line.finished = False, True
    line.beat("detect", former.pid)
    line.turn()
    assert not line.monitor.statistics["detect"].finished


# -- errors and external parts ----------------------------------------------------------------------------------------


def test_an_error_that_only_the_user_can_correct_fails_the_run_after_its_end(line: Line) -> None:
    line.post(bus.Error(part="testsrc", text="clip.mp4 is damaged; copy the file again", needs_user=True))
    line.turn(1.0)
    assert line.monitor.phase == "running"
    line.finished = True
    line.turn(5.0)
    with pytest.raises(PartError, match=r"^testsrc: clip.mp4 is damaged; copy the file again$"):
        line.monitor.run_to_end()


def test_every_camera_that_failed_is_named_once_with_what_was_lost_elsewhere(line: Line) -> None:
    for camera, file in (("hall", "a.mp4"), ("roof", "b.mp4"), ("hall", "a.mp4")):
        line.post(bus.Error(part="testsrc", camera=camera, text=f"{file} is damaged; copy it again", needs_user=True))
    line.post(bus.Qos(part="detect", camera="testsrc", reason="stale", dropped=2, total=2))
    line.turn(1.0)
    line.finished = True
    line.turn(5.0)
    with pytest.raises(PartError) as caught:
        line.monitor.run_to_end()
    assert str(caught.value) == (
        "testsrc: camera 'hall': a.mp4 is damaged; copy it again; "
        "testsrc: camera 'roof': b.mp4 is damaged; copy it again; "
        "the line ran to its end without all of its frames: detect dropped 2 frames of camera 'testsrc' (stale)"
    )


def test_a_line_that_has_lost_frames_of_a_file_fails_at_its_end_unless_it_is_killed() -> None:
    for ending in ("", "kill"):
        line = Line()
        line.turn(1.0)
        error = bus.Error(part="detect", element="fakesink", camera="testsrc", seq=0, text="OSError: disk full")
        line.post(error)
        line.turn()
        line.finished = True
        line.orders.ending = ending
        line.turn(1.0)
        for part in PARTS:
            line.process(part).code = 0
        if ending == "kill":
            line.monitor.run_to_end()
            continue
        with pytest.raises(
            PartError, match="its frames: fakesink failed on 1 frame of camera 'testsrc', last on 0: OSE"
        ):
            line.monitor.run_to_end()


def test_an_external_part_is_not_started_and_counts_once_it_reports() -> None:
    line = Line(external=frozenset({"detect"}))
    line.turn(0.2)
    assert list(line.spawner.started) == ["testsrc"]
    assert line.monitor.phase == "running"
    line.beat("detect", pid=7)
    line.turn()
    line.state = "PLAYING"
    line.turn(0.1)
    assert line.monitor.state == "PAUSED"
    line.beat("detect", pid=7)
    line.turn()
    assert line.monitor.state == "PLAYING"


def test_what_is_no_notice_of_a_part_is_ignored(line: Line) -> None:
    line.notices.clear()
    line.beats = False
    line.post(bus.Eos(part="another", camera="hall"))
    line.hub.posts.append(b"noise")
    line.turn()
    assert line.notices == []


def test_closing_it_kills_what_still_runs(line: Line) -> None:
    line.monitor.close()
    assert [line.process(part).code for part in PARTS] == [-signal.SIGKILL] * 2
