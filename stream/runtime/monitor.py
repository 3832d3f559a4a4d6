"""The loop of a supervisor's thread: hear the parts, say what is wanted of them, bury and start again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stream.errors import PosestreamError, StageError, StartError
from stream.pipeline.pipeline import Pipeline
from stream.runtime import bus
from stream.runtime.endpoints import socket_path
from stream.runtime.heartbeat import BUS, POSTS, TARGETS
from stream.runtime.process import Child, child_environment
from stream.runtime.restart_policy import Patience
from stream.runtime.run_dir import RunDirectory
from stream.transports.bus_sockets import BusPublisher, BusReceiver

_TURN_MS = 50
_SAY_S = 0.25
"""How often the target is said again, since who was not listening yet has not heard it."""

Phase = Literal["starting", "running", "ending", "quitting", "done"]


@dataclass
class Orders:
    """What the user wants; any thread may change it at any time."""

    wanted: bus.State = "PLAYING"
    asked: Literal["", "stop", "kill"] = ""


@dataclass(frozen=True)
class Plan:
    """What is to be run and how: the names of all parts, and which of them somebody else starts."""

    pipeline: Pipeline
    parts: tuple[str, ...]
    external: frozenset[str]
    options: tuple[str, ...]
    patience: Patience
    hear: Callable[[str, str], None] = field(repr=False)


class Watch:
    """The line while it runs; everything here happens in the supervisor's thread."""

    def __init__(self, plan: Plan, orders: Orders, run: RunDirectory, tell: Callable[[bus.AnyNotice], None]) -> None:
        self.run = run
        self.heard: dict[str, bus.Stats] = {}
        self.phase: Phase = "starting"
        self._plan, self._orders, self._tell = plan, orders, tell
        self._fault: PosestreamError | None = None
        self._turned_s = self._phase_since_s = time.monotonic()
        self._said_s = 0.0
        self._said: bus.Target | None = None
        with contextlib.ExitStack() as opened:
            opened.callback(run.close)
            _write_line(run.path / "line.yaml", plan.pipeline.to_yaml())
            self._posts = opened.enter_context(contextlib.closing(BusReceiver(self._address(POSTS))))
            self._targets = opened.enter_context(contextlib.closing(BusPublisher(self._address(TARGETS))))
            self._bus = opened.enter_context(contextlib.closing(BusPublisher(self._address(BUS))))
            self._lifeline, self._lifeline_end = os.pipe()
            self._janitor = _start_janitor(run.path)
            self._opened = opened.pop_all()
        started_here = [part for part in plan.parts if part not in plan.external]
        self.children = [Child(part, run, plan.patience, plan.hear) for part in started_here]

    def _address(self, name: str) -> str:
        return f"ipc://{socket_path(self.run.path, name)}"

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run_to_end(self) -> None:
        """Until all parts have finished and left, or the line has failed. Raises what made it fail."""
        while self.phase != "done":
            self._excuse_own_absence()
            self._listen()
            self._advance()
            self._say_target()
            self._watch_children()
        if self._fault is not None:
            raise self._fault

    def _excuse_own_absence(self) -> None:
        """Who was stopped itself, or starved, must not blame others for having heard nothing."""
        now_s = time.monotonic()
        absent_s, self._turned_s = now_s - self._turned_s, now_s
        if absent_s > 1:
            for child in self.children:
                child.excuse(absent_s)

    def _listen(self) -> None:
        now_s = time.monotonic()
        for data in self._posts.receive(timeout_ms=_TURN_MS):
            notice = bus.decode(data)
            if notice is not None and notice.part in self._plan.parts:
                self._hear(notice, now_s)

    def _hear(self, notice: bus.AnyNotice, now_s: float) -> None:
        child = next((child for child in self.children if child.part == notice.part), None)
        if child is not None:
            child.hear(notice, now_s)
        if isinstance(notice, bus.Stats) and (child is None or child.pid == notice.pid):  # not from a former life
            self.heard[notice.part] = notice
        if isinstance(notice, bus.Error) and notice.mendable and not notice.fatal and self._fault is None:
            self._fault = StageError(f"{notice.part}: {notice.text}")
        self._publish(notice)

    def _publish(self, notice: bus.AnyNotice) -> None:
        self._tell(notice)
        self._bus.publish(bus.encode(notice))

    # -- where the line is --------------------------------------------------------------------------------------------

    @property
    def state(self) -> bus.State:
        """The state of the part that is furthest from what is wanted."""
        wanted = bus.STATES.index(self._target().state)
        states = [self._state_of(part) for part in self._counted()]
        return max(states, key=lambda state: abs(bus.STATES.index(state) - wanted), default="NULL")

    def _state_of(self, part: str) -> bus.State:
        stats = self.heard.get(part)
        return stats.state if stats is not None else "NULL"

    def _counted(self) -> list[str]:
        """The parts that must be ready, or finished: those started here, and those heard from elsewhere."""
        return [part for part in self._plan.parts if part not in self._plan.external or part in self.heard]

    def _all_finished(self) -> bool:
        return all(part in self.heard and self.heard[part].finished for part in self._counted())

    def _go(self, phase: Phase) -> None:
        if self.phase != phase:
            self.phase, self._phase_since_s = phase, time.monotonic()

    def _advance(self) -> None:
        """From starting to done."""
        for_s = time.monotonic() - self._phase_since_s
        if self.phase == "quitting":
            self._leave(for_s)
        elif self._orders.asked == "kill" or self._all_finished() or (self.phase == "ending" and self._gave_up(for_s)):
            self._go("quitting")
        elif self._orders.asked == "stop":
            self._go("ending")
        elif self.phase == "starting" and bus.STATES.index(self.state) >= bus.STATES.index("PAUSED"):
            self._go("running")

    def _gave_up(self, for_s: float) -> bool:
        """A clean stop takes too long, or is asked of a line of which a part has not even started."""
        return for_s > self._plan.patience.stop_s

    def _leave(self, for_s: float) -> None:
        is_over = self._orders.asked == "kill" or for_s > self._plan.patience.quit_s
        for child in self.children:
            if child.is_alive and is_over:
                child.signal(signal.SIGKILL)
        if not any(child.is_alive for child in self.children):
            self._go("done")

    def _target(self) -> bus.Target:
        if self.phase in ("quitting", "done"):
            return bus.Target(state="NULL")
        if self.phase == "starting":
            return bus.Target(state=min(self._orders.wanted, "PAUSED", key=bus.STATES.index))
        return bus.Target(state=self._orders.wanted, ending=self.phase == "ending")

    def _say_target(self) -> None:
        target, now_s = self._target(), time.monotonic()
        if target != self._said or now_s - self._said_s > _SAY_S:
            self._said, self._said_s = target, now_s
            self._targets.publish(bus.encode(target))

    # -- children -----------------------------------------------------------------------------------------------------

    def _watch_children(self) -> None:
        for child in self.children:
            now_s = time.monotonic()
            code = child.buried()
            if code is not None:
                self._listen()  # its last words may still wait to be heard
                self._mourn(child, code, now_s)
            elif (why := child.complaint(now_s)) is not None:
                self._hear_out(child, why)
            if child.start_at_s is not None and now_s >= child.start_at_s and self.phase not in ("quitting", "done"):
                child.start(self._lifeline, list(self._plan.options), now_s)

    def _hear_out(self, child: Child, why: str) -> None:
        """Kill a part that is silent or hung; its burial is the next turn's."""
        self._publish(bus.Warning_(part=child.part, text=f"{child.part} is {why}; it is killed"))
        child.signal(signal.SIGKILL)

    def _mourn(self, child: Child, code: int, now_s: float) -> None:
        """A part's process has ended."""
        if self.phase in ("quitting", "done"):
            return
        self.heard.pop(child.part, None)
        words = child.last_words(code)
        delay_s = None if child.is_beyond_help(code) else child.restarts.delay_s(now_s)
        if delay_s is not None:
            child.start_at_s = now_s + delay_s
            count, delay_ms = child.restarts.count, int(delay_s * 1000)
            self._publish(bus.Restarted(part=child.part, why=words, count=count, delay_ms=delay_ms))
            return
        self._fault = self._given_up(child, code, words)
        self._go("quitting")

    def _given_up(self, child: Child, code: int, words: str) -> PosestreamError:
        if child.is_beyond_help(code):
            return StartError(f"{child.part}: {words}")
        often, within = self._plan.patience.restarts, self._plan.patience.within_s
        return StageError(
            f"{child.part} was started again {often} times within {within:.0f} s and is given up; "
            f"its last words: {words}"
        )

    def close(self) -> None:
        """End every process, remove the directory and what it held; idempotent."""
        for child in self.children:
            child.signal(signal.SIGKILL)
        for child in self.children:
            while child.is_alive:
                time.sleep(0.005)
            child.buried()
        os.close(self._lifeline)
        os.close(self._lifeline_end)
        self._opened.close()
        _end_janitor(self._janitor)


def _write_line(path: Path, text: str) -> None:
    """For this user's eyes only: an address may hold a password."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _start_janitor(run_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "stream.runtime.janitor", str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=child_environment(),
    )


def _end_janitor(janitor: subprocess.Popen[bytes]) -> None:
    """Its pipe closes, it finds nothing to do, it leaves."""
    if janitor.stdin is not None:
        janitor.stdin.close()
    janitor.wait()
