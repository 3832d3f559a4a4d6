"""The loop of the supervisor's thread: read the bus, publish the target state, restart parts that have ended."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stream.errors import PartError, PosestreamError, StartError
from stream.pipeline.pipeline import Pipeline
from stream.runtime import bus
from stream.runtime.hub import Hub, SocketHub
from stream.runtime.import_path import child_environment
from stream.runtime.janitor import ENDED
from stream.runtime.losses import Losses
from stream.runtime.process import OnStderr, PartProcess, Process, spawn_part
from stream.runtime.restart_policy import RestartPolicy
from stream.runtime.run_dir import RunDirectory
from stream.runtime.shared_process import SharedProcesses, SharedRun

_logger = logging.getLogger(__name__)

_TURN_MS = 50
_PUBLISH_S = 0.25
"""How often the target is published again: a part that has just connected has missed the last one."""

Phase = Literal["starting", "running", "ending", "quitting", "done"]


@dataclass
class Orders:
    """What the user wants; any thread may change it at any time."""

    target: bus.State = "PLAYING"
    ending: Literal["", "stop", "kill"] = ""


@dataclass(frozen=True)
class Plan:
    """What to run and how: the names of all parts, and which of them are started elsewhere."""

    pipeline: Pipeline
    parts: tuple[str, ...]
    external: frozenset[str]
    options: tuple[str, ...]
    policy: RestartPolicy
    on_stderr: OnStderr = field(repr=False)
    shared: SharedProcesses | None = None
    """The processes that run several parts each; None for those of this line alone."""


class Monitor:
    """A line while it runs; all but :attr:`state` is used in the supervisor's thread alone.

    ``on_notice`` receives what the bus carries; ``now_s`` is the clock, in seconds.
    """

    def __init__(
        self,
        plan: Plan,
        orders: Orders,
        run_dir: Path,
        processes: Sequence[PartProcess],
        hub: Hub,
        on_notice: Callable[[bus.AnyNotice], None],
        *,
        resources: contextlib.ExitStack | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_dir, self.processes = run_dir, processes
        self.statistics: dict[str, bus.Stats] = {}
        self.phase: Phase = "starting"
        self._plan, self._orders, self._hub, self._on_notice = plan, orders, hub, on_notice
        self._resources = resources or contextlib.ExitStack()
        self._now_s = now_s
        self._error: PosestreamError | None = None
        self._failures: list[str] = []
        self._losses = Losses(plan.pipeline)
        self._turned_s = self._phase_since_s = now_s()
        self._published: tuple[bus.Target, float] | None = None

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run_to_end(self) -> None:
        """Until all parts have finished and their processes ended, or the line has failed. Raises what made it fail."""
        try:
            while self.phase != "done":
                self.turn()
        except PosestreamError as error:  # a part could not be started again
            self._error = self._error or error
        lost = self._losses.describe() if self._orders.ending != "kill" else ""
        if self._error is not None:
            raise type(self._error)(f"{self._error}; frames lost before that: {lost}") if lost else self._error
        without = f"the line ran to its end without all of its frames: {lost}" if lost else ""
        if reasons := list(filter(None, [*self._failures, without])):
            raise PartError("; ".join(reasons))

    def turn(self) -> None:
        """One turn of the loop; it takes as long as the hub waits for notices."""
        self._reset_heartbeat_deadline()
        self._receive()
        self._advance()
        self._publish_target()
        self._check_processes()

    def _reset_heartbeat_deadline(self) -> None:
        """If this process was stopped or starved, the parts are not to be blamed for silence meanwhile."""
        now_s = self._now_s()
        absent_s, self._turned_s = now_s - self._turned_s, now_s
        if absent_s > 1:
            for process in self.processes:
                process.extend_deadline(absent_s)

    def _receive(self) -> None:
        now_s = self._now_s()
        for data in self._hub.receive(_TURN_MS):
            notice = bus.decode(data)
            if notice is not None and notice.part in self._plan.parts:
                self._take(notice, now_s)

    def _take(self, notice: bus.AnyNotice, now_s: float) -> None:
        process = next((process for process in self.processes if process.part == notice.part), None)
        if process is not None:
            process.on_notice(notice, now_s)
        # A heartbeat of a process that has ended since does not count.
        if isinstance(notice, bus.Stats) and (process is None or process.pid == notice.pid):
            self.statistics[notice.part] = notice
        if isinstance(notice, bus.Error) and notice.needs_user and not notice.fatal:
            camera = f"camera {notice.camera!r}: " if notice.camera not in ("", notice.part) else ""
            failure = f"{notice.part}: {camera}{notice.text}"
            if failure not in self._failures:  # a restarted source finds the same damage again
                self._failures.append(failure)
        self._losses.take(notice)
        self._publish(notice)

    def _publish(self, notice: bus.AnyNotice) -> None:
        self._on_notice(notice)
        self._hub.publish(bus.encode(notice))

    # -- phases -------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> bus.State:
        """The state of the part that is furthest from the target."""
        target = bus.STATES.index(self._target().state)
        states = [self._part_state(part) for part in self._counted_parts()]
        return max(states, key=lambda state: abs(bus.STATES.index(state) - target), default="NULL")

    def _part_state(self, part: str) -> bus.State:
        stats = self.statistics.get(part)
        return stats.state if stats is not None else "NULL"

    def _counted_parts(self) -> list[str]:
        """The parts that must be ready, or finished: those started here, and external ones once they have reported."""
        return [part for part in self._plan.parts if part not in self._plan.external or part in self.statistics]

    def _is_finished(self) -> bool:
        return all(part in self.statistics and self.statistics[part].finished for part in self._counted_parts())

    def _enter(self, phase: Phase) -> None:
        if self.phase != phase:
            self.phase, self._phase_since_s = phase, self._now_s()

    def _advance(self) -> None:
        """Go to the next phase if it is time."""
        for_s = self._now_s() - self._phase_since_s
        is_late = self.phase == "ending" and for_s > self._plan.policy.stop_s
        is_too_slow = is_late and not any(stats.in_long_step for stats in self.statistics.values())
        if self.phase == "quitting":
            self._quit(for_s)
        elif self._orders.ending == "kill" or self._is_finished() or is_too_slow:
            self._enter("quitting")
        elif self._orders.ending == "stop":  # before all parts are open, nothing is in flight
            self._enter("quitting" if self.phase == "starting" else "ending")
        elif self.phase == "starting" and bus.STATES.index(self.state) >= bus.STATES.index("PAUSED"):
            self._enter("running")

    def _quit(self, for_s: float) -> None:
        is_late = self._orders.ending == "kill" or for_s > self._plan.policy.quit_s
        for process in self.processes:
            if is_late or not self._has_reported(process):
                process.signal(signal.SIGKILL)
        if not any(process.is_alive for process in self.processes):
            self._enter("done")

    def _has_reported(self, process: PartProcess) -> bool:
        """False for one that still imports what it needs: it has opened nothing, and hears of no target."""
        return process.part in self.statistics

    def _target(self) -> bus.Target:
        if self.phase in ("quitting", "done"):
            return bus.Target(state="NULL")
        if self.phase == "starting":
            return bus.Target(state=min(self._orders.target, "PAUSED", key=bus.STATES.index))
        return bus.Target(state=self._orders.target, ending=self.phase == "ending")

    def _publish_target(self) -> None:
        target, now_s = self._target(), self._now_s()
        if self._published is None or target != self._published[0] or now_s - self._published[1] > _PUBLISH_S:
            self._published = target, now_s
            self._hub.publish_target(bus.encode(target))

    # -- processes ----------------------------------------------------------------------------------------------------

    def _check_processes(self) -> None:
        for process in self.processes:
            now_s = self._now_s()
            code = process.exited()
            if code is not None:
                self._receive()  # its last notices may still be in the socket
                self._on_exit(process, code, now_s)
            elif (why := process.error_line(now_s)) is not None:
                self._kill(process, why)
            is_due = process.start_at_s is not None and now_s >= process.start_at_s
            if is_due and self.phase not in ("quitting", "done"):
                process.start(now_s)

    def _kill(self, process: PartProcess, why: str) -> None:
        """Kill a part that is silent or hung; the next turn finds that it has ended."""
        text = f"{process.part} is {why}; it is killed"
        _logger.warning("%s", text)
        self._publish(bus.Warning_(part=process.part, text=text))
        process.signal(signal.SIGKILL)

    def _on_exit(self, process: PartProcess, code: int, now_s: float) -> None:
        """The process of a part has ended: schedule its restart, or end the line."""
        if self.phase in ("quitting", "done") or self._orders.ending == "kill":
            return
        self.statistics.pop(process.part, None)
        why = process.last_error(code)
        delay_s = None if process.gives_up(code) else process.restarts.delay_s(now_s)
        if delay_s is None:
            self._error = self._final_error(process, code, why)
            self._enter("quitting")
            return
        process.start_at_s = now_s + delay_s
        count, delay_ms = process.restarts.count, int(delay_s * 1000)
        _logger.warning("%s is restarted in %d ms: %s", process.part, delay_ms, why)
        self._publish(bus.Restarted(part=process.part, why=why, count=count, delay_ms=delay_ms))

    def _final_error(self, process: PartProcess, code: int, why: str) -> PosestreamError:
        if process.gives_up(code):
            return StartError(
                why if why.startswith((f"{process.part}: ", f"{process.part} ")) else f"{process.part}: {why}"
            )
        restarts, within_s = self._plan.policy.restarts, self._plan.policy.within_s
        return PartError(
            f"{process.part} was restarted {restarts} times within {within_s:.0f} s and failed again; last error: {why}"
        )

    def close(self) -> None:
        """End every process, remove the run directory and what it held; idempotent."""
        for process in self.processes:
            process.signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()
        self._resources.close()


def open_monitor(
    plan: Plan, orders: Orders, directory: Path | None, on_notice: Callable[[bus.AnyNotice], None]
) -> Monitor:
    """A monitor in ``directory``, or in a new run directory; :meth:`Monitor.close` removes it.

    Raises :class:`stream.errors.TransportError`.
    """
    with contextlib.ExitStack() as opened:
        run = opened.enter_context(_run_directory(directory, str(plan.pipeline)))
        hub = opened.enter_context(contextlib.closing(SocketHub(run.path, run.token)))
        lifeline = opened.enter_context(_lifeline())
        run.write("line.yaml", plan.pipeline.to_yaml())  # without passwords; for parts that are started elsewhere
        line = plan.pipeline.to_yaml(reveal=True)

        shared = plan.shared or opened.enter_context(contextlib.closing(SharedProcesses(plan.on_stderr)))
        most = plan.pipeline.sources_per_process

        def spawn(part: str, is_restart: bool) -> Process:
            run.restore()
            if part in plan.pipeline.shared_parts:
                return shared.start(SharedRun(part, line, run.path, plan.options, most), is_restart=is_restart)
            return spawn_part(part, line, run.path, lifeline, plan.options, is_restart=is_restart)

        processes = [
            PartProcess(part, spawn, run, plan.policy, plan.on_stderr)
            for part in plan.parts
            if part not in plan.external
        ]
        return Monitor(plan, orders, run.path, processes, hub, on_notice, resources=opened.pop_all())


@contextlib.contextmanager
def _run_directory(directory: Path | None, title: str) -> Iterator[RunDirectory]:
    """A run directory, and a janitor that removes it if this process is killed (:mod:`stream.runtime.janitor`)."""
    with contextlib.closing(RunDirectory(directory, title=title)) as run:
        janitor = subprocess.Popen(
            [sys.executable, "-P", "-m", "stream.runtime.janitor", str(run.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=child_environment(),
        )
        try:
            _give_identity(janitor, run)
            yield run
        finally:
            run.close()  # first, so that the janitor finds nothing to do
            janitor.communicate(ENDED)  # closes its pipe, and waits for it


def _give_identity(janitor: subprocess.Popen[bytes], run: RunDirectory) -> None:
    with contextlib.suppress(BrokenPipeError):
        if janitor.stdin is not None:
            janitor.stdin.write(run.identity)
            janitor.stdin.flush()


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The reading end of a pipe whose other end is closed when this process ends, however it ends."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)
