"""Runs a line, a process a part: starts them, hears them, starts them again when they fall, and ends them all.

    with Supervisor(pipeline) as supervisor:
        supervisor.play()
        supervisor.wait()

Whatever happens to this process, none of the others outlives it, and no shared memory is left
(:mod:`stream.runtime.parent_death`,
:mod:`stream.runtime.janitor`).
"""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.errors import PosestreamError, StageError
from stream.pipeline.pipeline import Pipeline
from stream.runtime import bus
from stream.runtime.monitor import Orders, Plan, Watch
from stream.runtime.restart_policy import Patience
from stream.runtime.run_dir import RunDirectory, sweep_stale

_MOST_UNREAD = 1000


def _to_stderr(part: str, line: str) -> None:
    sys.stderr.write(f"{part}: {line}\n")


class Supervisor:
    """Runs ``pipeline`` in processes of its own, in ``run_dir`` or a new directory.

    Parts named in ``external`` are started by somebody else, by hand in a debugger or on another host; what the
    supervisor hears of them counts, but it neither starts nor ends them. ``lateness_ms``: items older than this are
    dropped before elements see them; None: none. ``hear`` is told the part and the text of every line that a part
    writes to stderr. Raises :class:`stream.errors.LinkError` when the line cannot be linked.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        run_dir: Path | None = None,
        *,
        external: Collection[str] = (),
        lateness_ms: float | None = None,
        patience: Patience | None = None,
        hear: Callable[[str, str], None] = _to_stderr,
    ) -> None:
        self.parts = tuple(part.name for part in pipeline.parts)
        _check_external(external, self.parts)
        options = () if lateness_ms is None else ("--lateness-ms", str(lateness_ms))
        self._plan = Plan(pipeline, self.parts, frozenset(external), options, patience or Patience(), hear)
        self._orders = Orders()
        self._directory = run_dir
        self._unread: queue.Queue[bus.AnyNotice | None] = queue.Queue(_MOST_UNREAD)
        self._failure: PosestreamError | None = None
        self._done = threading.Event()
        self._line: Watch | None = None

    # -- what the user says -------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Start the line, or let it go on; returns at once. Raises when there is no room to start it."""
        self.set_state("PLAYING")

    def pause(self) -> None:
        """Start the line, or let it rest: everything is opened and linked, and sources hold."""
        self.set_state("PAUSED")

    def set_state(self, state: bus.State) -> None:
        """Start the line if need be, and bring every part to a state; NULL is :meth:`stop`. Returns at once.

        READY is as PAUSED, but what waits between the parts is left to wait, too.
        """
        if state == "NULL":
            return self.stop()
        self._orders.wanted = state
        return self._begin()

    def stop(self) -> None:
        """End the streams at their sources; what is in flight is delivered, sinks finish. Returns at once."""
        self._orders.asked = self._orders.asked or "stop"

    def kill(self) -> None:
        """End everything at once; what is in flight is lost. Returns at once."""
        self._orders.asked = "kill"

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the line has ended; False when it has not within ``timeout_s``.

        Raises :class:`StageError` when a part was given up, :class:`StartError` when one could not begin, or whatever
        else made the line fail.
        """
        if self._line is None:
            raise StageError("the line was not started; call play() or pause() first, or run() for both")
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        # In short waits, so that signals are handled meanwhile on every system.
        while not self._done.wait(0.2 if deadline_s is None else max(0.0, min(0.2, deadline_s - time.monotonic()))):
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return False
        if self._failure is not None:
            raise self._failure
        return True

    def run(self) -> int:
        """Play until the end. The first SIGINT, SIGTERM or SIGHUP stops the line, a second one kills it.

        Returns the signal that stopped it, or 0. For the main thread. Raises as :meth:`wait` does.
        """
        with _signals(self._interrupt) as came:
            self.play()
            self.wait()
        return came[0] if came else 0

    def _interrupt(self, times: int) -> None:
        self.stop() if times == 1 else self.kill()

    def messages(self) -> Iterator[bus.AnyNotice]:
        """What the parts say, until the line has ended; for one listener, who loses the oldest if he reads too late."""
        while (notice := self._unread.get()) is not None:
            yield notice
        self._unread.put(None)

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def run_dir(self) -> Path:
        """Where the line meets. Raises :class:`PosestreamError` before it was started."""
        if self._line is None:
            raise PosestreamError("the line has no run directory before it is started; call play() or pause() first")
        return self._line.run.path

    @property
    def state(self) -> bus.State:
        """The state that all parts have reached."""
        return self._line.state if self._line is not None and not self._done.is_set() else "NULL"

    @property
    def statistics(self) -> dict[str, bus.Stats]:
        """The last heartbeat of every part that was heard."""
        return dict(self._line.heard) if self._line is not None else {}

    @property
    def pids(self) -> dict[str, int]:
        """The process of every part that has one now."""
        return {child.part: child.pid for child in self._line.children if child.pid} if self._line is not None else {}

    # -- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Whatever still runs is ended at once."""
        if self._line is not None:
            self.kill()
            self._done.wait()

    def _begin(self) -> None:
        if self._line is None:
            sweep_stale()
            run = RunDirectory(self._directory, title=str(self._plan.pipeline))
            self._line = Watch(self._plan, self._orders, run, self._tell)
            threading.Thread(target=self._supervise, args=(self._line,), name="supervisor", daemon=True).start()

    def _supervise(self, line: Watch) -> None:
        """The supervisor's thread. It starts the processes too: on Linux they die with the thread that started them."""
        try:
            line.run_to_end()
        except Exception as error:  # noqa: BLE001 - told to whoever waits, in their thread
            self._failure = (
                error if isinstance(error, PosestreamError) else StageError(f"{type(error).__name__}: {error}")
            )
        finally:
            line.close()
            self._tell(None)
            self._done.set()

    def _tell(self, notice: bus.AnyNotice | None) -> None:
        while True:
            try:
                return self._unread.put_nowait(notice)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._unread.get_nowait()


def _check_external(external: Collection[str], parts: tuple[str, ...]) -> None:
    for name in external:
        if name not in parts:
            raise StageError(f"external part {name!r} is none of this line's; it has {', '.join(parts)}")


@contextlib.contextmanager
def _signals(handle: Callable[[int], None]) -> Iterator[list[int]]:
    """Call ``handle`` with how many of the ending signals have come, at each of them; gives the list of them."""
    came: list[int] = []

    def handler(number: int, _frame: object) -> None:
        came.append(number)
        handle(len(came))

    former = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield came
    finally:
        for number, was in former.items():
            signal.signal(number, was)
