"""The lines that run on this host, followed while they come and go."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from stream.errors import PosestreamError
from stream.metrics.line_watch import LineWatch
from stream.runtime.run_dir import Run, list_runs

_RESCAN_S = 1.0

_log = logging.getLogger(__name__)


class RunningLines:
    """Follows the lines in ``run_dirs``, or every line of this user where there are none; :meth:`follow` it often.

    One thread follows and closes it; others may read what it has found.
    """

    def __init__(self, run_dirs: Sequence[Path] = ()) -> None:
        self._run_dirs: Sequence[Path] | None = None
        self.watch_only(run_dirs or None)
        self._lines: dict[Run, LineWatch] = {}
        self._lock = threading.Lock()
        self._scanned_s = -_RESCAN_S

    def watch_only(self, run_dirs: Sequence[Path] | None) -> None:
        """Follow the lines in these directories from now on; every line of this user where it is None."""
        self._run_dirs = None if run_dirs is None else tuple(path.absolute() for path in run_dirs)

    @property
    def lines(self) -> tuple[LineWatch, ...]:
        """The lines that it follows."""
        with self._lock:
            return tuple(self._lines.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the run directories that it was given and in which no line runs."""
        present = {line.run_dir for line in self.lines}
        return tuple(path.name for path in self._run_dirs or () if path not in present)

    def follow(self) -> None:
        """Take in the notices that have arrived and, once a second, the lines that have started or ended."""
        if time.monotonic() - self._scanned_s > _RESCAN_S:
            self.scan()
            self._scanned_s = time.monotonic()
        for line in self.lines:
            line.listen(0)

    def scan(self) -> None:
        """Find the lines that have started or ended."""
        running = set(list_runs(self._run_dirs))
        with self._lock:
            for run in self._lines.keys() - running:
                self._lines.pop(run).close()
                _log.info("the line in %s has ended", run.directory)
            for run in running - self._lines.keys():
                try:
                    self._lines[run] = LineWatch(run.directory)
                except PosestreamError:  # it is starting, or has just ended; the next scan tells
                    continue
                _log.info("the line in %s is followed", run.directory)

    def close(self) -> None:
        """Close the sockets. Idempotent."""
        for line in self.lines:
            line.close()
