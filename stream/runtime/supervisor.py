"""Runs a line with a process for each part: starts them, restarts those that fail, and ends them all.

    with Supervisor(pipeline) as supervisor:
        supervisor.play()
        supervisor.wait()

If this process is killed, no part outlives it and no shared memory is left (:mod:`stream.runtime.parent_death`,
:mod:`stream.runtime.janitor`).
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from engines.hub.fetching import fetch_missing
from stream.errors import PartError, PosestreamError, describe_error
from stream.logs import is_quiet
from stream.pipeline.pipeline import Pipeline
from stream.runtime import bus
from stream.runtime.limits import raise_file_limit
from stream.runtime.monitor import Monitor, Orders, Plan, open_monitor
from stream.runtime.process import OnStderr
from stream.runtime.restart_policy import RestartPolicy
from stream.runtime.run_dir import sweep_stale
from stream.runtime.shared_process import SharedProcesses
from stream.runtime.signals import handle_signals

_MAX_UNREAD = 1000

OpenMonitor = Callable[[Plan, Orders, Path | None, Callable[[bus.AnyNotice], None]], Monitor]


def _to_stderr(part: str, line: str) -> None:
    sys.stderr.write(f"{part}: {line}\n")


class Supervisor:
    """Runs ``pipeline`` in processes of its own, in ``run_dir`` or a new directory; a context manager.

    Parts named in ``external`` are started elsewhere, in a debugger or on another host; the supervisor counts what they
    report, but neither starts nor ends them. Items older than ``lateness_ms`` are dropped before elements see them;
    None keeps all. ``on_stderr`` is called with the part and the text of every line that a part writes to stderr.
    Parts that share processes share them with those of other lines where ``shared`` has these processes.
    Raises :class:`stream.errors.LinkError` when the line cannot be linked.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        run_dir: Path | None = None,
        *,
        external: Collection[str] = (),
        lateness_ms: float | None = None,
        policy: RestartPolicy | None = None,
        on_stderr: OnStderr = _to_stderr,
        shared: SharedProcesses | None = None,
        open_monitor: OpenMonitor = open_monitor,
    ) -> None:
        self.parts = tuple(part.name for part in pipeline.parts)
        _ = pipeline.shared_parts  # raises where there are none
        _check_external(external, self.parts)
        options = () if lateness_ms is None else ("--lateness-ms", str(lateness_ms))
        self._networks = [name for part in pipeline.parts if part.name not in external for name in part.networks]
        self._plan = Plan(
            pipeline, self.parts, frozenset(external), options, policy or RestartPolicy(), on_stderr, shared
        )
        self._orders = Orders()
        self._directory, self._open_monitor = run_dir, open_monitor
        self._unread: queue.Queue[bus.AnyNotice | None] = queue.Queue(_MAX_UNREAD)
        self._error: PosestreamError | None = None
        self._ended = threading.Event()
        self._monitor: Monitor | None = None

    # -- control ------------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Start the line, or resume it; returns at once. Raises when the run directory cannot be used."""
        self.set_state("PLAYING")

    def pause(self) -> None:
        """Start the line, or pause it: everything is opened and linked, and sources hold. Returns at once."""
        self.set_state("PAUSED")

    def set_state(self, state: bus.State) -> None:
        """Start the line if need be, and bring every part to a state; NULL is :meth:`stop`. Returns at once.

        READY is PAUSED, except that parts also leave alone what waits between them.
        """
        if state == "NULL":
            return self.stop()
        self._orders.target = state
        return self._start()

    def stop(self) -> None:
        """End the streams at their sources; what is in flight is delivered, and sinks finish. Returns at once."""
        self._orders.ending = self._orders.ending or "stop"

    def kill(self) -> None:
        """End everything at once; what is in flight is lost. Returns at once."""
        self._orders.ending = "kill"

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the line has ended; False when it has not within ``timeout_s``.

        Raises :class:`PartError` when a part failed again after its last restart, :class:`StartError` when one could
        not start, or whatever else made the line fail.
        """
        if self._monitor is None:
            raise PartError("the line was not started; call play() or pause() first, or run() for both")
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        # In short waits, so that signals are handled meanwhile on every system.
        while not self._ended.wait(0.2 if deadline_s is None else max(0.0, min(0.2, deadline_s - time.monotonic()))):
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return False
        if self._error is not None:
            raise self._error
        return True

    def run(self) -> int:
        """Play until the end. The first SIGINT, SIGTERM or SIGHUP stops the line, a second one kills it.

        Returns the signal that stopped it, or 0. For the main thread. Raises as :meth:`wait` does.
        """
        with handle_signals(self._on_signal) as received:
            self.play()
            self.wait()
        return received[0] if received else 0

    def _on_signal(self, count: int) -> None:
        self.stop() if count == 1 else self.kill()

    def messages(self) -> Iterator[bus.AnyNotice]:
        """The notices of all parts, until the line has ended; for one reader, who loses the oldest if he is slow."""
        while (notice := self._unread.get()) is not None:
            yield notice
        self._unread.put(None)

    # -- status -------------------------------------------------------------------------------------------------------

    @property
    def run_dir(self) -> Path:
        """The directory that holds the sockets of the line. Raises :class:`PosestreamError` before it is started."""
        if self._monitor is None:
            raise PosestreamError("the line has no run directory before it is started; call play() or pause() first")
        return self._monitor.run_dir

    @property
    def state(self) -> bus.State:
        """The state that all parts have reached."""
        return self._monitor.state if self._monitor is not None and not self._ended.is_set() else "NULL"

    @property
    def statistics(self) -> dict[str, bus.Stats]:
        """The last heartbeat of every part that has sent one."""
        return dict(self._monitor.statistics) if self._monitor is not None else {}

    @property
    def pids(self) -> dict[str, int]:
        """The process id of every part whose process runs."""
        if self._monitor is None:
            return {}
        return {process.part: pid for process in self._monitor.processes if (pid := process.pid)}

    # -- the thread ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End at once whatever still runs."""
        if self._monitor is not None:
            self.kill()
            self._ended.wait()

    def _start(self) -> None:
        if self._monitor is None:
            fetch_missing(self._networks, quiet=is_quiet())
            raise_file_limit(len(self.parts), self._count_shared())
            sweep_stale()
            self._monitor = self._open_monitor(self._plan, self._orders, self._directory, self._keep)
            threading.Thread(target=self._supervise, args=(self._monitor,), name="supervisor", daemon=True).start()

    def _count_shared(self) -> int:
        """How many parts may be in one process; 0 where none shares its process."""
        pipeline = self._plan.pipeline
        own = len(pipeline.shared_parts)
        if own and self._plan.shared is not None:  # others may be those of other lines
            return pipeline.sources_per_process
        return min(pipeline.sources_per_process, own)

    def _supervise(self, monitor: Monitor) -> None:
        """The supervisor's thread. It starts the processes too: on Linux they die with the thread that started them."""
        try:
            monitor.run_to_end()
        except Exception as error:  # noqa: BLE001 - raised by wait(), in the caller's thread
            self._error = error if isinstance(error, PosestreamError) else _as_part_error(error)
        try:
            monitor.close()
        except OSError as error:
            self._error = self._error or PartError(f"the run directory cannot be removed: {describe_error(error)}")
        finally:
            self._keep(None)
            self._ended.set()

    def _keep(self, notice: bus.AnyNotice | None) -> None:
        while True:
            try:
                return self._unread.put_nowait(notice)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._unread.get_nowait()


def _as_part_error(error: Exception) -> PartError:
    """With its cause, from which the command finds the limit of the machine that was reached."""
    failed = PartError(describe_error(error))
    failed.__cause__ = error
    return failed


def _check_external(external: Collection[str], parts: tuple[str, ...]) -> None:
    for name in external:
        if name not in parts:
            raise PartError(f"external: this line has no part {name!r}; it has {', '.join(parts)}")
