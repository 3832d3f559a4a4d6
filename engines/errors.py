"""The base class of all errors of posestream, and the error that ``engines`` and ``export`` raise."""

from __future__ import annotations

from engines.redaction import redact


class PosestreamError(Exception):
    """Base class of every error that you can fix yourself; ``str()`` is the whole message, in one line.

    Line breaks and control characters in quoted values are escaped, so that a message stays one line and cannot
    control a terminal. Credentials are redacted on construction, so ``repr()``, ``args`` and copies have none either.

    >>> print(PosestreamError("no element 'a\\nb'"))
    no element 'a\\nb'
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(redact(arg) if isinstance(arg, str) else arg for arg in args))

    def __str__(self) -> str:
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in redact(super().__str__()))


class EngineError(PosestreamError):
    """A network, its Signature, a data set or a backend cannot be used."""


def install_hint(extra: str, *options: str) -> str:
    """How to install what one extra of posestream brings; no package index has posestream, so a clone is needed.

    >>> install_hint("torch")
    "in a clone of posestream: pip install '.[torch]'"
    """
    return f"in a clone of posestream: {' '.join(('pip install', *options))} '.[{extra}]'"


def first_line(error: BaseException, limit: int = 240) -> str:
    """The first non-empty line of a library's error message, at most ``limit`` characters; without one, its class name.

    >>> first_line(ValueError("\\n  bad magic\\n  at byte 0"))
    'bad magic'
    >>> first_line(EOFError())
    'EOFError'
    """
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:limit]
