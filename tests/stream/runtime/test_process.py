"""The process of a part: when it counts as silent or hung, how it ends, and whether a restart can help."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from stream.runtime import bus
from stream.runtime.process import PartProcess, spawn_part
from stream.runtime.restart_policy import RestartPolicy
from stream.runtime.worker import CANNOT_START
from tests.stream.runtime.bench import FakeProcess, Notes, Spawner


class Bench:
    """A process whose operating-system status is ``status``."""

    def __init__(self, stderr: bytes = b"") -> None:
        self.status = psutil.STATUS_RUNNING
        self.lines: list[tuple[str, str]] = []
        self.notes, self.spawner = Notes(), Spawner(stderr)
        self.part = PartProcess(
            "detect",
            self.spawner,
            self.notes,
            RestartPolicy(),
            lambda part, line: self.lines.append((part, line)),
            lambda _pid: self.status,
        )

    @property
    def process(self) -> FakeProcess:
        return self.spawner.last("detect")

    def beat(self, now_s: float, state: bus.State = "PLAYING", idle_ms: float = 0.0, pid: int = 0) -> None:
        stats = bus.Stats(part="detect", state=state, pid=pid or self.process.pid, idle_ms=idle_ms)
        self.part.on_notice(stats, now_s)

    def exit(self, code: int) -> int:
        self.process.code = code
        ended = self.part.exited()
        assert ended is not None
        return ended


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.part.start(now_s=0.0)
    return bench


def test_a_part_without_a_heartbeat_for_more_than_four_seconds_is_silent(bench: Bench) -> None:
    bench.beat(1.0)
    assert [bench.part.error_line(now_s) for now_s in (4.9, 5.0, 5.2)] == [None, None, "silent for 4.2 s"]


def test_every_heartbeat_extends_the_deadline(bench: Bench) -> None:
    for now_s in range(60):
        bench.beat(float(now_s))
        assert bench.part.error_line(now_s + 0.5) is None


def test_a_late_heartbeat_of_the_process_before_does_not_count(bench: Bench) -> None:
    bench.beat(1.0)
    bench.beat(4.0, pid=bench.process.pid - 1)
    assert bench.part.error_line(5.2) == "silent for 4.2 s"


def test_a_part_is_not_silent_while_another_of_its_process_is_heard(bench: Bench) -> None:
    bench.process.heard_s = 0.0  # type: ignore[attr-defined]
    bench.beat(1.0)
    assert bench.process.heard_s == 1.0  # type: ignore[attr-defined]
    bench.process.heard_s = 6.0  # type: ignore[attr-defined]
    assert [bench.part.error_line(now_s) for now_s in (9.9, 10.2)] == [None, "silent for 4.2 s"]


def test_time_in_which_the_supervisor_did_not_listen_is_no_silence(bench: Bench) -> None:
    bench.beat(1.0)
    bench.part.extend_deadline(10.0)
    assert [bench.part.error_line(now_s) for now_s in (14.9, 15.2)] == [None, "silent for 4.2 s"]


def test_a_part_whose_loop_has_not_turned_for_more_than_ten_seconds_hangs(bench: Bench) -> None:
    for idle_ms, line in ((9_900.0, None), (10_300.0, "hung in one step for 10.3 s")):
        bench.beat(20.0, idle_ms=idle_ms)
        assert bench.part.error_line(20.1) == line


def test_a_part_may_open_its_elements_for_two_minutes_without_a_heartbeat(bench: Bench) -> None:
    assert [bench.part.error_line(now_s) for now_s in (5.0, 119.0, 121.0)] == [
        None,
        None,
        "still not open after 121 s",
    ]


def test_a_part_that_closes_after_hours_has_two_minutes_to_end(bench: Bench) -> None:
    bench.beat(7200.0)
    bench.beat(7200.1, state="NULL")
    bench.beat(7260.0, state="NULL")
    assert [bench.part.error_line(now_s) for now_s in (7200.2, 7320.0, 7320.2)] == [
        None,
        None,
        "still not ended after 120 s",
    ]


def test_a_part_is_killed_once_however_long_it_takes_to_end(bench: Bench) -> None:
    assert bench.part.error_line(121.0)
    bench.part.signal(signal.SIGKILL)
    assert bench.part.error_line(121.1) is None
    bench.exit(-signal.SIGKILL)
    bench.part.start(now_s=200.0)
    assert [bench.part.error_line(now_s) for now_s in (319.0, 321.0)] == [None, "still not open after 121 s"]


def test_a_part_that_a_signal_has_stopped_is_silent_while_it_opens_too(bench: Bench) -> None:
    bench.status = psutil.STATUS_STOPPED
    assert bench.part.error_line(5.0) == "silent for 5.0 s"


def test_a_part_that_a_debugger_has_stopped_is_left_alone(bench: Bench) -> None:
    bench.beat(1.0)
    bench.status = psutil.STATUS_TRACING_STOP
    assert bench.part.error_line(100.0) is None


def test_its_end_is_returned_once_and_its_id_is_noted_while_it_runs(bench: Bench) -> None:
    assert (bench.notes.pids, bench.part.pid, bench.part.exited()) == ({"detect": 1001}, 1001, None)
    assert bench.exit(-11) == -11
    assert (bench.notes.pids, bench.part.pid, bench.part.exited()) == ({}, 0, None)
    assert bench.part.error_line(1000.0) is None


def test_what_it_writes_to_stderr_is_passed_on_without_passwords() -> None:
    bench = Bench(stderr=b"cannot open rtsp://me:secret@door/1\n\x1b[2J\n")
    bench.part.start(now_s=0.0)
    bench.exit(1)  # waits for the thread that reads
    assert bench.lines == [("detect", "cannot open rtsp://***@door/1"), ("detect", "\N{REPLACEMENT CHARACTER}[2J")]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "it ended with exit code 1: the last line"),
        (-signal.SIGSEGV, "it was killed by SIGSEGV: the last line"),
        (-99, "it was killed by signal 99: the last line"),
    ],
)
def test_its_last_error_is_how_it_ended_and_the_last_line_that_it_wrote(code: int, text: str) -> None:
    bench = Bench(stderr=b"first line\nthe last line\n\nwarning: jsonsink: a.png has another name\n")
    bench.part.start(now_s=0.0)
    assert bench.part.last_error(bench.exit(code)) == text


def test_its_last_error_is_the_fatal_one_if_it_posted_that(bench: Bench) -> None:
    bench.part.on_notice(bus.Error(part="detect", text="not fatal"), 1.0)
    bench.part.on_notice(bus.Error(part="detect", text="no such camera; plug it in", fatal=True), 1.0)
    assert bench.part.last_error(bench.exit(1)) == "no such camera; plug it in"


@pytest.mark.parametrize(
    ("code", "needs_user", "gives_up"),
    [(1, False, False), (-9, False, False), (CANNOT_START, False, True), (1, True, True)],
)
def test_a_restart_cannot_help_where_the_user_must_correct_something(
    code: int, needs_user: bool, gives_up: bool, bench: Bench
) -> None:
    bench.part.on_notice(bus.Error(part="detect", text="…", fatal=True, needs_user=needs_user), 1.0)
    assert bench.part.gives_up(bench.exit(code)) is gives_up


def test_a_restarted_process_starts_from_nothing(bench: Bench) -> None:
    bench.beat(1.0)
    bench.part.on_notice(bus.Error(part="detect", text="boom", fatal=True), 1.0)
    bench.exit(1)
    bench.part.start(now_s=10.0)
    assert bench.part.stats is None
    assert bench.part.error_line(100.0) is None  # it opens its elements
    assert bench.part.last_error(bench.exit(1)) == "it ended with exit code 1"


def test_a_part_that_has_reported_is_started_as_one_that_has_a_memory(bench: Bench) -> None:
    bench.exit(-9)
    bench.part.start(1.0)
    assert bench.spawner.is_restart == {"detect": False}, "it may have ended before it had a memory"
    bench.beat(2.0)
    bench.exit(-9)
    bench.part.start(3.0)
    assert bench.spawner.is_restart == {"detect": True}


def test_a_process_is_started_with_ctrl_c_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[set[int]] = []

    def popen(*_: object, **__: object) -> SimpleNamespace:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return SimpleNamespace(stdin=None)

    monkeypatch.setattr(subprocess, "Popen", popen)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    spawn_part("detect", "line: []", tmp_path, 0, (), is_restart=False)
    assert masks == [before | {signal.SIGINT}]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
