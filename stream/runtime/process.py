"""The process that runs one part: started, monitored, and found ended, silent or hung."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

import psutil

from stream.runtime import bus
from stream.runtime.import_path import child_environment
from stream.runtime.restart_policy import RestartPolicy, Restarts
from stream.runtime.worker import CANNOT_START

_TAIL_LINES = 30
_NO_REASONS = ("debug: ", "info: ", "warning: ")
"""Beginnings of lines of the log (:mod:`stream.logs`) that do not say why a process has ended."""

OnStderr = Callable[[str, str], None]
"""Called with a part's name and a line that it wrote to stderr."""


class Process(Protocol):
    """What :class:`PartProcess` needs of a ``subprocess.Popen``."""

    @property
    def pid(self) -> int: ...

    @property
    def stderr(self) -> IO[bytes] | None: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def send_signal(self, sig: int) -> None: ...


@runtime_checkable
class SharedProcess(Process, Protocol):
    """What :class:`PartProcess` needs of one that is a part of a process with others.

    ``heard_s`` is when any of its parts was last heard: while one is, the process lives, and a part that is silent has
    only not had its turn on a busy machine.
    """

    heard_s: float


class ProcessNotes(Protocol):
    """Where the ids of processes are written down; a run directory."""

    def note_process(self, part: str, pid: int) -> None: ...

    def forget_process(self, part: str) -> None: ...


class PartProcess:
    """The process of one part, over all its restarts.

    ``spawn`` starts it, given the part and whether it has worked before; ``get_status`` is the operating system's word
    for its state. Every ``now_s`` is ``time.monotonic()``.
    """

    def __init__(
        self,
        part: str,
        spawn: Callable[[str, bool], Process],
        notes: ProcessNotes,
        policy: RestartPolicy,
        on_stderr: OnStderr,
        get_status: Callable[[int], str] | None = None,
    ) -> None:
        self.part = part
        self.stats: bus.Stats | None = None
        self.restarts = Restarts(policy)
        self.start_at_s: float | None = 0.0
        self._has_reported = self._is_killed = False
        self._spawn, self._notes, self._policy, self._on_stderr = spawn, notes, policy, on_stderr
        self._get_status = get_status or process_status
        self._process: Process | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._reader: threading.Thread | None = None
        self._fatal: bus.Error | None = None
        self._started_s = self._heard_s = 0.0
        self._closed_s: float | None = None

    # -- start and end ----------------------------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id, 0 while there is none."""
        return self._process.pid if self._process is not None and self.is_alive else 0

    def start(self, now_s: float) -> None:
        """Start the process and read its stderr in a thread."""
        self._tail.clear()
        self._fatal = self.stats = None
        self.start_at_s = None
        self._started_s = self._heard_s = now_s
        self._closed_s, self._is_killed = None, False
        self._process = self._spawn(self.part, self._has_reported)
        self._notes.note_process(self.part, self._process.pid)
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, stderr: IO[bytes] | None) -> None:
        if stderr is None:
            return
        with stderr:
            for line in stderr:
                text = bus.sanitize(line.decode(errors="replace").rstrip())
                self._tail.append(text)
                self._on_stderr(self.part, text)

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if there is one."""
        if self._process is not None:
            self._is_killed = self._is_killed or number == signal.SIGKILL
            self._process.send_signal(number)

    def exited(self) -> int | None:
        """The exit code of a process that has ended (minus the signal that killed it), once; else None."""
        return self._exit(self._process.poll()) if self._process is not None else None

    def wait(self) -> None:
        """Wait until the process, if there is one, has ended."""
        if self._process is not None:
            self._exit(self._process.wait())

    def _exit(self, code: int | None) -> int | None:
        if code is None:
            return None
        if self._reader is not None:
            self._reader.join(timeout=1)  # its last lines may still be in the pipe
        self._process = None
        self._notes.forget_process(self.part)
        return code

    # -- health -------------------------------------------------------------------------------------------------------

    def on_notice(self, notice: bus.AnyNotice, now_s: float) -> None:
        """Take note of what the part sent on the bus."""
        match notice:
            case bus.Stats() if notice.pid == self.pid:
                self._heard_s = now_s
                if isinstance(self._process, SharedProcess):
                    self._process.heard_s = now_s
                if notice.state == "NULL" and not self._is_null:
                    self._closed_s = now_s
                self.stats = notice
                self._has_reported = True
            case bus.Error(fatal=True):
                self._fatal = notice

    def extend_deadline(self, seconds: float) -> None:
        """The supervisor did not listen for so long: do not count that as silence."""
        self._heard_s += seconds

    def error_line(self, now_s: float) -> str | None:
        """Why the process should be killed, or None while it is well, or has been killed."""
        if self._is_killed or not self.is_alive:
            return None
        status = self._get_status(self.pid)
        # A debugger has stopped it; or it loads or frees something large, and no signal has stopped it.
        if status == psutil.STATUS_TRACING_STOP or (self._is_null and status != psutil.STATUS_STOPPED):
            self._heard_s = now_s
        heard_s = max(self._heard_s, self._process.heard_s if isinstance(self._process, SharedProcess) else 0.0)
        if now_s - heard_s > self._policy.silence_s:
            return f"silent for {now_s - heard_s:.1f} s"
        return self._hang(now_s)

    @property
    def _is_null(self) -> bool:
        """It is not open yet, or closed again and about to end."""
        return self.stats is None or self.stats.state == "NULL"

    def _hang(self, now_s: float) -> str | None:
        if self.stats is None or self._is_null:
            so_far = "open" if self._closed_s is None else "ended"
            took_s = now_s - (self._started_s if self._closed_s is None else self._closed_s)
            return f"still not {so_far} after {took_s:.0f} s" if took_s > self._policy.opening_s else None
        idle_s = self.stats.idle_ms / 1000
        return f"hung in one step for {idle_s:.1f} s" if idle_s > self._policy.hang_s else None

    def last_error(self, code: int) -> str:
        """The fatal error of the part; else how its process ended, and the last line of its stderr that is no mere
        warning."""
        if self._fatal is not None:
            return self._fatal.text
        lines = [line for line in self._tail if line.strip() and not line.startswith(_NO_REASONS)]
        return _exit_text(code) + (f": {lines[-1]}" if lines else "")

    def gives_up(self, code: int) -> bool:
        """True when a restart cannot help, since the user must correct something first."""
        return code == CANNOT_START or (self._fatal is not None and self._fatal.needs_user)


def spawn_part(
    part: str, line: str, run_dir: Path, lifeline: int, options: Sequence[str], *, is_restart: bool
) -> subprocess.Popen[bytes]:
    """Start the process of a part; the other end of the pipe ``lifeline`` closes when this process ends.

    It reads ``line``, the YAML of the whole line, from its stdin: no file, argument or variable has its passwords.
    """
    where = ["--part", part, "--run-dir", str(run_dir)]
    again = ["--restart"] if is_restart else []
    process = spawn_worker("stream.runtime.worker", [*where, *options, *again], lifeline, stdin=subprocess.PIPE)
    # In a thread, since a process that is stopped at once does not read what the pipe cannot hold.
    threading.Thread(target=_give, args=(process.stdin, line.encode()), daemon=True).start()
    return process


def spawn_worker(
    module: str, options: Sequence[str], lifeline: int, *descriptors: int, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a process that runs ``module``, ends with this one, and inherits ``descriptors``."""
    worker = [sys.executable, "-P", "-X", "faulthandler", "-m", module]  # a crash leaves its stack
    # A worker ignores Ctrl-C; until it does, Python would print a traceback. It inherits the mask of this thread.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            [*worker, "--parent", str(os.getpid()), "--lifeline", str(lifeline), *options],
            stdin=stdin,
            stderr=subprocess.PIPE,
            pass_fds=(lifeline, *descriptors),
            process_group=0,  # Ctrl-C on the terminal is for the supervisor alone
            env=child_environment(),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _give(stdin: IO[bytes] | None, text: bytes) -> None:
    with contextlib.suppress(OSError):  # the process has ended
        if stdin is not None:
            with stdin:
                stdin.write(text)


def process_status(pid: int) -> str:
    """As psutil names it: "stopped", "tracing-stop" under a debugger, and others; empty when it has ended."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return ""


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it was killed by signal {-code}"
