"""Logging to stderr: one handler for this process, and one level for it and for the parts that it starts."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast

from engines.redaction import mask_credentials, redact

LEVEL_VARIABLE = "POSESTREAM_LOG_LEVEL"
"""Environment variable with the name of a level (``debug``, ``info``, ``warning``, ``error``); parts inherit it."""

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class RedactingFormatter(logging.Formatter):
    """A log formatter that hides credentials, in tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class StderrHandler(logging.Handler):
    """Writes each record on a line of its own to whatever ``sys.stderr`` is at that moment, free of credentials."""

    def __init__(self, prefix: str = "") -> None:
        super().__init__()
        self.setFormatter(_Formatter(prefix))

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # stderr is closed, or its reader has gone
            print(self.format(record), file=sys.stderr, flush=True)


class _Formatter(RedactingFormatter):
    """``posestream: warning: 'clip.mp4' is damaged …``; below INFO, the logger's name as well."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        logger = f"{record.name}: " if record.levelno < logging.INFO else ""
        return f"{self._prefix}{record.levelname.lower()}: {logger}{record.message}"


class _RedactingStream:
    """A text stream that hides credentials in what is written to it; all else is as that of ``stream``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def redacting_stderr(typed: str = "") -> Iterator[None]:
    """Hide credentials in everything that Python writes to stderr, tracebacks and warnings of libraries included;
    those in what the user has ``typed`` too, however it is cut."""
    mask_credentials(typed)
    former = sys.stderr
    sys.stderr = cast("TextIO", _RedactingStream(former))
    try:
        yield
    finally:
        sys.stderr = former


def level_from_environment() -> int:
    """The level that :data:`LEVEL_VARIABLE` names; WARNING where it names none."""
    return _LEVELS.get(os.environ.get(LEVEL_VARIABLE, "").lower(), logging.WARNING)


def is_quiet() -> bool:
    """True where only errors are logged, as after ``-q``: then there is no progress and no summary either."""
    return not logging.getLogger().isEnabledFor(logging.WARNING)


def print_notice(text: str) -> None:
    """Print a line that is neither a warning nor an error, to stderr; nothing after ``-q``."""
    if not is_quiet():
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def logging_to_stderr(level: int, prefix: str = "") -> Iterator[None]:
    """Log from ``level`` on to stderr, here and in the parts started meanwhile; afterwards all is as it was before."""
    root, handler = logging.getLogger(), StderrHandler(prefix)
    former_level, former_variable = root.level, os.environ.get(LEVEL_VARIABLE)
    root.addHandler(handler)
    root.setLevel(level)
    os.environ[LEVEL_VARIABLE] = logging.getLevelName(level).lower()
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(former_level)
        if former_variable is None:
            os.environ.pop(LEVEL_VARIABLE, None)
        else:
            os.environ[LEVEL_VARIABLE] = former_variable
