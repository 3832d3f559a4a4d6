"""The files of one recording: ``x.mcap``, then ``x.2.mcap`` and so on, after a restart and at a limit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stream.output.locations import find_numbered, number_file, warn_of_later_files
from stream.recording.reader import read_session
from stream.recording.writer import OWNER, Entry, RecordingFile

_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a file holds, ``minutes`` and ``mb`` (10^6 bytes), and the most that all files of a run take
    together, ``keep_mb``; 0 for no limit."""

    minutes: float = 0.0
    mb: float = 0.0
    keep_mb: float = 0.0


class Series:
    """Writes to the newest file and begins the next one at a limit.

    With ``resume``, it continues after the files of this ``session``; else it begins anew, and writes over what is
    there. Raises :class:`TransportError`.
    """

    def __init__(self, path: Path, session: str, limits: Limits, now_ns: Callable[[], int], *, resume: bool) -> None:
        self._path, self._session, self._limits, self._now_ns = path, session, limits, now_ns
        self._sizes = self._find_own() if resume else {}
        if not resume:
            warn_of_later_files(path, OWNER, "this one has so many files")
        self._number = max(self._sizes, default=0)
        self._file = self._open_next()

    @property
    def file(self) -> RecordingFile:
        """The file that is written now."""
        return self._file

    def begin_next_if_due(self) -> None:
        """Begin the next file if the one that is open has reached a limit, or was closed."""
        limits = self._limits
        if self._file.is_empty:
            self._begun_ns = self._now_ns()
        is_old = limits.minutes and self._now_ns() - self._begun_ns >= limits.minutes * 60e9
        is_large = limits.mb and self._file.size >= limits.mb * _MB
        if self._file.is_closed or (not self._file.is_empty and (is_old or is_large)):
            self._file.close()
            self._sizes[self._number] = self._file.size
            self._file = self._open_next()

    def write(self, entries: list[Entry]) -> None:
        """Write messages to the open file, all or none, and remove the oldest files where there are too many."""
        self._file.write(entries)
        self._remove_oldest()

    def close(self) -> None:
        """Complete the file; idempotent."""
        self._file.close()

    def _open_next(self) -> RecordingFile:
        self._number += 1
        self._begun_ns = self._now_ns()
        return RecordingFile(number_file(self._path, self._number), self._session, self._number)

    def _remove_oldest(self) -> None:
        while self._limits.keep_mb and self._sizes:
            if sum(self._sizes.values()) + self._file.size <= self._limits.keep_mb * _MB:
                return
            oldest = min(self._sizes)
            del self._sizes[oldest]
            with suppress(FileNotFoundError):
                number_file(self._path, oldest).unlink()

    def _find_own(self) -> dict[int, int]:
        """The sizes of the files of this session, by number."""
        found = find_numbered(self._path).items()
        return {number: path.stat().st_size for number, path in found if read_session(path) == self._session}
