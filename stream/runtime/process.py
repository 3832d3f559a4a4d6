"""The process that runs one part: started, listened to, found dead, silent or hung."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

import psutil

from stream.runtime import bus
from stream.runtime.restart_policy import Patience, Restarts
from stream.runtime.run_dir import RunDirectory
from stream.runtime.worker import MUST_BE_MENDED

_LAST_LINES = 30

_Hear = Callable[[str, str], None]
"""Told a part's name and a line it wrote to stderr."""


class Child:
    """One part's process, over all its restarts; the times it is told are ``time.monotonic()``."""

    def __init__(self, part: str, run: RunDirectory, patience: Patience, hear: _Hear) -> None:
        self.part = part
        self.stats: bus.Stats | None = None
        self.restarts = Restarts(patience)
        self.start_at_s: float | None = 0.0
        self._run, self._patience, self._hear = run, patience, hear
        self._process: subprocess.Popen[bytes] | None = None
        self._tail: deque[str] = deque(maxlen=_LAST_LINES)
        self._reader: threading.Thread | None = None
        self._fatal: bus.Error | None = None
        self._began_s = self._heard_s = 0.0

    # -- life -------------------------------------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """True while its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id, 0 while there is none."""
        return self._process.pid if self._process is not None and self.is_alive else 0

    def start(self, lifeline: int, options: list[str], now_s: float) -> None:
        """Start the process; ``lifeline`` is the end of a pipe that tells it when this process has ended."""
        self._tail.clear()
        self._fatal = self.stats = None
        self.start_at_s = None
        self._began_s = self._heard_s = now_s
        self._process = subprocess.Popen(
            self._command(lifeline, options),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(lifeline,),
            process_group=0,  # Ctrl-C on the terminal is for the supervisor alone
            env=child_environment(),
        )
        self._run.note_process(self.part, self._process.pid)
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,), daemon=True)
        self._reader.start()

    def _command(self, lifeline: int, options: list[str]) -> list[str]:
        line = str(self._run.path / "line.yaml")
        # faulthandler: a crash in a library leaves its stack as last words.
        command = [sys.executable, "-X", "faulthandler", "-m", "stream.runtime.worker", line, "--part", self.part]
        run_dir = ["--run-dir", str(self._run.path)]
        return [*command, *run_dir, "--parent", str(os.getpid()), "--lifeline", str(lifeline), *options]

    def _read(self, stderr: IO[bytes]) -> None:
        with stderr:
            for line in stderr:
                text = bus.printable(line.decode(errors="replace").rstrip())
                self._tail.append(text)
                self._hear(self.part, text)

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal, if there is one."""
        if self._process is not None:
            self._process.send_signal(number)

    def buried(self) -> int | None:
        """The exit code of a process that has ended (minus the signal that killed it), once; else None."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        if self._reader is not None:
            self._reader.join(timeout=1)  # its last words may still be on their way
        self._process = None
        self._run.forget_process(self.part)
        return code

    # -- signs of life ------------------------------------------------------------------------------------------------

    def hear(self, notice: bus.AnyNotice, now_s: float) -> None:
        """The part said something on the bus."""
        match notice:
            case bus.Stats() if notice.pid == self.pid:
                self._heard_s = now_s
                self.stats = notice
            case bus.Error(fatal=True):
                self._fatal = notice

    def excuse(self, paused_s: float) -> None:
        """Nobody listened for so long: that is not the part's fault."""
        self._heard_s += paused_s

    def complaint(self, now_s: float) -> str | None:
        """Why the process should be killed, or None while it is well."""
        if not self.is_alive:
            return None
        status = _process_status(self.pid)
        if status == psutil.STATUS_TRACING_STOP or (self._is_opening and status != psutil.STATUS_STOPPED):
            self._heard_s = now_s  # a debugger has stopped it; or it loads something large, and is not stopped
        if now_s - self._heard_s > self._patience.silence_s:
            return f"silent for {now_s - self._heard_s:.1f} s"
        return self._stuck(now_s)

    @property
    def _is_opening(self) -> bool:
        return self.stats is None or self.stats.state == "NULL"

    def _stuck(self, now_s: float) -> str | None:
        if self.stats is None or self._is_opening:
            opening_s = now_s - self._began_s
            return f"still not open after {opening_s:.0f} s" if opening_s > self._patience.opening_s else None
        idle_s = self.stats.idle_ms / 1000
        return f"hung in one step for {idle_s:.1f} s" if idle_s > self._patience.hang_s else None

    def last_words(self, code: int) -> str:
        """What the part said last, and how it ended."""
        if self._fatal is not None:
            return self._fatal.text
        lines = [line for line in self._tail if line.strip()]
        return f"{_how(code)}" + (f": {lines[-1]}" if lines else "")

    def is_beyond_help(self, code: int) -> bool:
        """True when starting it again cannot help: the user must mend something."""
        return code == MUST_BE_MENDED or (self._fatal is not None and self._fatal.mendable)


def child_environment() -> dict[str, str]:
    """The environment of this process, with which a child imports what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _how(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it was killed by signal {-code}"


def _process_status(pid: int) -> str:
    """As psutil names it: "stopped", "tracing-stop" under a debugger, and others; empty when it has ended."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return ""
