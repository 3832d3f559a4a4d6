"""What a user asks of a supervisor reaches its monitor, and what ends the line reaches the user."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from stream.errors import PartError, PosestreamError
from stream.pipeline.launch import parse_launch
from stream.runtime import bus
from stream.runtime.monitor import Monitor, Orders, Plan
from stream.runtime.supervisor import Supervisor

# Far longer than any of these waits takes; they end by events.
_LONG_S = 30.0


class FakeMonitor:
    """A line that does as ``script`` does, in the supervisor's thread."""

    def __init__(self, script: Callable[[FakeMonitor], None]) -> None:
        self.script = script
        self.state: bus.State = "PLAYING"
        self.run_dir, self.statistics, self.processes = Path("/run/line"), {"testsrc": bus.Stats()}, ()
        self.is_closed = False

    def open(
        self, plan: Plan, orders: Orders, directory: Path | None, on_notice: Callable[[bus.AnyNotice], None]
    ) -> Monitor:
        self.plan, self.orders, self.on_notice = plan, orders, on_notice
        return cast(Monitor, self)

    def run_to_end(self) -> None:
        self.script(self)

    def close(self) -> None:
        self.is_closed = True

    def wait_for(self, ending: str) -> None:
        deadline_s = time.monotonic() + _LONG_S
        while self.orders.ending != ending:
            assert time.monotonic() < deadline_s, f"no {ending}"
            time.sleep(0.001)


def supervise(monitor: FakeMonitor, **options: Any) -> Supervisor:
    pipeline = parse_launch("testsrc num_frames=1 ! queue ! detect model=truth ! fakesink")
    return Supervisor(pipeline, open_monitor=monitor.open, **options)


def until_killed(monitor: FakeMonitor) -> None:
    monitor.wait_for("kill")


def test_the_first_ctrl_c_stops_the_line_and_the_second_one_kills_it() -> None:
    seen: list[str] = []

    def interrupt_twice(monitor: FakeMonitor) -> None:
        for ending in ("stop", "kill"):
            handler = signal.getsignal(signal.SIGINT)
            assert callable(handler)
            handler(signal.SIGINT, None)
            monitor.wait_for(ending)
            seen.append(ending)

    before = signal.getsignal(signal.SIGINT)
    assert supervise(FakeMonitor(interrupt_twice)).run() == signal.SIGINT
    assert seen == ["stop", "kill"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_line_that_ends_by_itself_returns_zero() -> None:
    assert supervise(FakeMonitor(lambda monitor: None)).run() == 0


def test_the_state_that_is_wanted_is_passed_on_and_null_is_a_stop() -> None:
    monitor = FakeMonitor(until_killed)
    with supervise(monitor) as supervisor:
        for state in ("READY", "PAUSED", "PLAYING"):
            supervisor.set_state(state)
            assert monitor.orders.target == state
        assert (supervisor.state, supervisor.run_dir) == ("PLAYING", Path("/run/line"))
        supervisor.set_state("NULL")
        assert monitor.orders.ending == "stop"
    assert monitor.orders.ending == "kill"  # on leaving the context
    assert monitor.is_closed
    assert supervisor.state == "NULL"


def test_a_stop_after_a_kill_changes_nothing() -> None:
    monitor = FakeMonitor(until_killed)
    supervisor = supervise(monitor)
    supervisor.play()
    supervisor.kill()
    supervisor.stop()
    assert supervisor.wait(_LONG_S)
    assert monitor.orders.ending == "kill"


def test_a_wait_may_end_before_the_line_does() -> None:
    with supervise(FakeMonitor(until_killed)) as supervisor:
        supervisor.play()
        assert not supervisor.wait(0.01)


@pytest.mark.parametrize(
    ("error", "text"),
    [(PartError("detect failed again"), "detect failed again"), (ZeroDivisionError("odd"), "ZeroDivisionError: odd")],
    ids=["ours", "any other"],
)
def test_what_made_the_line_fail_is_raised_by_wait(error: Exception, text: str) -> None:
    def fail(monitor: FakeMonitor) -> None:
        raise error

    monitor = FakeMonitor(fail)
    supervisor = supervise(monitor)
    supervisor.play()
    with pytest.raises(PartError, match=f"^{text}$") as raised:
        supervisor.wait(_LONG_S)
    assert error in (raised.value, raised.value.__cause__)
    assert monitor.is_closed


def test_a_line_whose_run_directory_cannot_be_removed_ends_nonetheless(monkeypatch: pytest.MonkeyPatch) -> None:
    def close() -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monitor = FakeMonitor(lambda _: None)
    monkeypatch.setattr(monitor, "close", close)
    supervisor = supervise(monitor)
    supervisor.play()
    with pytest.raises(PartError, match=r"^the run directory cannot be removed: PermissionError: .*Permission denied$"):
        supervisor.wait(_LONG_S)


def test_a_slow_reader_of_messages_loses_the_oldest() -> None:
    def post(monitor: FakeMonitor) -> None:
        for number in range(1500):
            monitor.on_notice(bus.Stats(items=number))

    supervisor = supervise(FakeMonitor(post))
    supervisor.play()
    supervisor.wait(_LONG_S)
    items = [notice.items for notice in supervisor.messages() if isinstance(notice, bus.Stats)]
    assert (len(items), items[-1]) == (999, 1499)  # 1000 in all, and the end is one of them
    assert list(supervisor.messages()) == []


def test_the_line_is_opened_once() -> None:
    started = threading.Semaphore(0)

    def count(monitor: FakeMonitor) -> None:
        started.release()
        monitor.wait_for("kill")

    with supervise(FakeMonitor(count)) as supervisor:
        supervisor.pause()
        supervisor.play()
        assert started.acquire(timeout=_LONG_S)
        assert not started.acquire(timeout=0.05)


def test_its_options_reach_the_parts() -> None:
    monitor = FakeMonitor(until_killed)
    with supervise(monitor, lateness_ms=250.0, external={"detect"}) as supervisor:
        supervisor.play()
        assert (monitor.plan.options, monitor.plan.external) == (("--lateness-ms", "250.0"), {"detect"})


def test_an_external_part_that_the_line_does_not_have_is_refused() -> None:
    with pytest.raises(PartError, match=r"^external: this line has no part 'pose'; it has testsrc, detect$"):
        supervise(FakeMonitor(until_killed), external={"pose"})


def test_before_it_is_started_a_line_has_nothing() -> None:
    supervisor = supervise(FakeMonitor(until_killed))
    assert (supervisor.state, supervisor.statistics, supervisor.pids) == ("NULL", {}, {})
    with pytest.raises(PartError, match="the line was not started; call play"):
        supervisor.wait()
    with pytest.raises(PosestreamError, match="no run directory before it is started; call play"):
        _ = supervisor.run_dir
