"""What TensorRT says and how far it is: its log kept for answers, its progress on a bar, builds that can be stopped."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import tensorrt as trt
from rich.progress import Progress, TaskID

from engines.errors import EngineError

T = TypeVar("T")

_KEPT_LINES = 200
_POLL_S = 0.2


class Log(trt.ILogger):
    """TensorRT's messages: the last warnings and errors are kept, nothing is printed."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: deque[str] = deque(maxlen=_KEPT_LINES)
        self.warnings: deque[str] = deque(maxlen=_KEPT_LINES)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self.errors.append(msg.strip())
        elif severity == trt.ILogger.Severity.WARNING:
            self.warnings.append(msg.strip())


class Watch(trt.IProgressMonitor):
    """The phases of a build on ``bar``, where there is one; :meth:`stop` makes TensorRT end the build.

    TensorRT calls it from several threads, and phases lie within phases.
    """

    def __init__(self, bar: Progress | None = None) -> None:
        trt.IProgressMonitor.__init__(self)
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def stopped(self) -> bool:
        """True once the build was told to end."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End the build at the next step of any of its phases."""
        self._stopped.set()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by TensorRT."""
        if self._bar is None:
            return
        with self._lock:
            indent = "  " if parent_phase else ""
            self._tasks[phase_name] = self._bar.add_task(f"{indent}{phase_name}", total=num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Called by TensorRT; False ends the build."""
        with self._lock:
            if self._bar is not None and phase_name in self._tasks:
                self._bar.update(self._tasks[phase_name], completed=step + 1)
        return not self.stopped

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT."""
        with self._lock:
            task = self._tasks.pop(phase_name, None)
            if self._bar is not None and task is not None:
                self._bar.remove_task(task)


def interruptible(work: Callable[[], T], stop: Callable[[], None]) -> T:
    """``work()`` in a thread of its own; Ctrl-C calls ``stop``, waits for the end of ``work`` and is raised then.

    A build runs for minutes inside one call. In the main thread no signal handler would run until it returns, and a
    KeyboardInterrupt raised in one of TensorRT's callbacks would have to pass through C++.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tensorrt-build") as thread:
        future = thread.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            stop()
            future.exception()
            raise


def why_no_parse(graph: str, parser: trt.OnnxParser) -> EngineError:
    """What the parser did not like about ``graph``, in one line."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if not errors:
        return EngineError(f"TensorRT {trt.__version__} cannot read {graph}, and does not say why; export it again")
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return EngineError(
        f"TensorRT {trt.__version__} cannot import node {first.node_name()!r} ({first.node_operator()}) of {graph}: "
        f"{' '.join(first.desc().split())}{more}; export again with --plugin nvidia, or use backend=onnxrt:cuda"
    )
