"""The supervisor's side of processes that run several parts each (:mod:`stream.runtime.shared_worker`).

A part in a shared process is started, ends and is restarted alone, as one with a process of its own. If the process
dies, all of its parts end: they are restarted in smaller groups, so that the one that killed it is soon alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from stream.runtime import bus
from stream.runtime.process import spawn_worker
from stream.runtime.shared_worker import Request
from stream.runtime.worker import FAILED

_SPLIT = 4
"""A group whose process has died is restarted in so many: 64 parts are single ones after three deaths, sooner than a
supervisor gives up."""

_SPLIT_S = 60.0
"""How long after such a death a part stays in a smaller group, if it is started again."""

_CANCEL_S = 15.0
"""How long a cancelled part may take to end before its process is killed, and the others with it: on a busy machine it
may only not have had its turn."""

_CLOSE_S = 1.0
_DEATH_S = 2.0
"""How long a process may take to end once its sockets are closed."""

_POLL_S = 0.01


@dataclass(frozen=True)
class SharedRun:
    """A part to run: in which line (its YAML) and run directory, and with which options of a worker. Its process is
    shared by up to ``most`` parts."""

    part: str
    line: str
    run_dir: Path
    options: Sequence[str]
    most: int

    @property
    def key(self) -> tuple[str, str]:
        return str(self.run_dir), self.part

    def encode(self, *, is_restart: bool) -> bytes:
        """The request to a shared worker."""
        again = ["--restart"] if is_restart else []
        arguments = "--part", self.part, "--run-dir", str(self.run_dir), *self.options, *again
        return msgspec.json.encode(Request(arguments, self.line)) + b"\n"


class SharedProcesses:
    """Processes, each of which runs several parts: of one line, or of the lines of a site. Any thread may use it.

    ``on_stderr`` is called with the name of a process and each line that it writes for none of its parts.
    """

    def __init__(self, on_stderr: Callable[[str, str], None]) -> None:
        self._on_stderr = on_stderr
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._started = 0
        self._groups: dict[tuple[str, str], tuple[float, int]] = {}
        """Of each part whose process has died: when, and how many parts a process may have with it."""
        # On Linux a process dies with the thread that started it, and the line that needs one first may end first.
        self._starter = ThreadPoolExecutor(1, "shared-processes")

    def start(self, run: SharedRun, *, is_restart: bool) -> SharedPart:
        """Start a part, in a process that has room for it or in a new one."""
        with self._lock:
            most = self._count_most(run)
            self._workers = [worker for worker in self._workers if not worker.has_ended()]
            free = (worker for worker in self._workers if worker.most == most and worker.reserve())
            worker = next(free, None) or self._open(most)
            return worker.start(run, is_restart=is_restart)

    def close(self) -> None:
        """End all processes; idempotent."""
        with self._lock:
            for worker in self._workers:
                worker.close()
            self._workers = []
        self._starter.shutdown()

    def _open(self, most: int) -> _Worker:
        self._started += 1
        worker = self._starter.submit(_Worker, f"sources-{self._started}", most, self._on_stderr, self._on_death)
        self._workers.append(worker.result())
        return self._workers[-1]

    def _count_most(self, run: SharedRun) -> int:
        died_s, most = self._groups.get(run.key, (0.0, run.most))
        return min(run.most, most) if time.monotonic() - died_s < _SPLIT_S else run.most

    def _on_death(self, run: SharedRun, most: int) -> None:
        now_s = time.monotonic()
        with self._lock:
            recent = {key: group for key, group in self._groups.items() if now_s - group[0] < _SPLIT_S}
            self._groups = {**recent, run.key: (now_s, most)}


class _Worker:
    """One process and its parts; a place for the first one is reserved."""

    def __init__(
        self,
        name: str,
        most: int,
        on_stderr: Callable[[str, str], None],
        on_death: Callable[[SharedRun, int], None],
    ) -> None:
        self.name, self.most = name, most
        self._on_stderr, self._on_death = on_stderr, on_death
        self._lock = threading.Lock()
        self.heard_s = 0.0
        self._places = 1
        self._parts: list[SharedPart] = []
        self._culprits: list[SharedPart] = []
        """Those for whose sake the process was killed, while others ran in it."""
        self._control, control = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        try:
            options = ["--control", str(control.fileno())]
            self._process = spawn_worker("stream.runtime.shared_worker", options, lifeline, control.fileno())
        except BaseException:
            self._close_descriptors()
            raise
        finally:
            control.close()
            os.close(lifeline)
        self._control.setblocking(False)
        threading.Thread(target=self._read, args=(self._process.stderr,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def reserve(self) -> bool:
        """Reserve a place for one more part; False where there is none, or the process ends."""
        with self._lock:
            has_room = 0 < self._places < self.most and self._process.poll() is None
            self._places += has_room
            return has_room

    def has_ended(self) -> bool:
        """True once the process has ended."""
        return self._process.poll() is not None

    def start(self, run: SharedRun, *, is_restart: bool) -> SharedPart:
        """Start a part at the reserved place; where the process has just died, the part ends at once."""
        with contextlib.ExitStack() as opened:
            opened.callback(self._release)
            ours, theirs = socket.socketpair()
            with theirs:
                opened.enter_context(ours)
                reading, writing = os.pipe()
                with os.fdopen(writing, "wb"), contextlib.suppress(OSError):
                    socket.send_fds(self._control, [b"p"], [theirs.fileno(), writing])
            part = SharedPart(run, self, ours, os.fdopen(reading, "rb"))
            opened.pop_all()
        with self._lock:
            self._parts.append(part)
        # In a thread, since a process that is stopped does not read what the socket cannot hold.
        threading.Thread(target=_give, args=(ours, run.encode(is_restart=is_restart)), daemon=True).start()
        return part

    def kill_cancelled(self, overdue: SharedPart | None = None) -> None:
        """Kill the process if a cancelled part is ``overdue``, or if nothing else runs in it."""
        with self._lock:
            cancelled = [part for part in self._parts if part.is_cancelled]
            is_over = len(cancelled) == len(self._parts)
            if overdue is not None and not is_over:
                self._culprits = self._culprits or cancelled
            if overdue is not None or is_over:
                self._process.kill()

    def get_exit_code(self, part: SharedPart) -> int:
        """The exit code of the process, which has ended while ``part`` ran, or could not take it."""
        code = FAILED
        with contextlib.suppress(subprocess.TimeoutExpired):  # without descriptors it cannot take a part, and lives
            code = self._process.wait(_DEATH_S)
        if not self._culprits:
            self._on_death(part.run, max(1, self.most // _SPLIT))
        elif part in self._culprits:
            self._on_death(part.run, 1)
        return code or FAILED

    def forget(self, part: SharedPart) -> None:
        """A part has ended; the process ends with its last one."""
        with self._lock:
            self._parts.remove(part)
        self._release()

    def _release(self) -> None:
        with self._lock:
            self._places -= 1
            is_last = not self._places
        if is_last:
            self._close_descriptors()

    def close(self) -> None:
        """End the process, and wait for its end."""
        self._close_descriptors()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _close_descriptors(self) -> None:
        with contextlib.suppress(OSError):
            self._control.close()
        with self._lock:
            lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    def _read(self, stderr: IO[bytes] | None) -> None:
        if stderr is not None:
            with stderr:
                for line in stderr:
                    self._on_stderr(self.name, bus.sanitize(line.decode(errors="replace").rstrip()))
        self._process.wait()  # or it would stay a zombie until the next one is started


class SharedPart:
    """A part in a shared process, to be used like a ``subprocess.Popen`` of its own (:class:`Process`)."""

    def __init__(self, run: SharedRun, worker: _Worker, conversation: socket.socket, stderr: IO[bytes]) -> None:
        self.run, self.stderr, self.pid = run, stderr, worker.pid
        self._worker, self._conversation = worker, conversation
        self._lock = threading.Lock()
        self._code: int | None = None
        self._cancelled_s: float | None = None

    @property
    def heard_s(self) -> float:
        """When any part of its process was last heard (:class:`stream.runtime.process.SharedProcess`)."""
        return self._worker.heard_s

    @heard_s.setter
    def heard_s(self, now_s: float) -> None:
        self._worker.heard_s = now_s

    @property
    def is_cancelled(self) -> bool:
        """True once it was to end at once."""
        return self._cancelled_s is not None

    def poll(self) -> int | None:
        """Its exit code; that of the process where that has died; None while it runs."""
        with self._lock:
            if self._code is None:
                self._code = self._receive_code()
                if self._code is not None:
                    self._conversation.close()
                    self._worker.forget(self)
            return self._code

    def wait(self) -> int:
        """Wait for its end, and return the exit code."""
        while (code := self.poll()) is None:
            time.sleep(_POLL_S)
        return code

    def send_signal(self, sig: int) -> None:
        """Cancel the part on SIGKILL; the process is killed if it does not end then, or has no other part. Any other
        signal is sent to the process."""
        if sig != signal.SIGKILL:
            return os.kill(self.pid, sig)
        with self._lock:
            if self._code is not None or self.is_cancelled:
                return None
            self._cancelled_s = time.monotonic()
            with contextlib.suppress(OSError):  # the process has died
                self._conversation.shutdown(socket.SHUT_WR)
        self._worker.kill_cancelled()
        return None

    def _receive_code(self) -> int | None:
        try:
            answer = self._conversation.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if self._cancelled_s is not None and time.monotonic() - self._cancelled_s > _CANCEL_S:
                self._worker.kill_cancelled(overdue=self)
            return None
        except OSError:
            answer = b""
        if answer == b"\0" and self.is_cancelled:
            return -signal.SIGKILL  # as for a process of its own
        return answer[0] if answer else self._worker.get_exit_code(self)


def _give(conversation: socket.socket, request: bytes) -> None:
    with contextlib.suppress(OSError):  # the process has died
        conversation.sendall(request)
