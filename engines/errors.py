"""The root of all errors of posestream, and the error that ``engines`` and ``export`` raise."""

from __future__ import annotations


class PosestreamError(Exception):
    """Any error that a user can correct; ``str()`` is the whole message, in one line.

    Line breaks and control characters, as in a value that the message quotes, are escaped: the message stays one line
    and cannot control a terminal.

    >>> print(PosestreamError("no element 'a\\nb'"))
    no element 'a\\nb'
    """

    def __str__(self) -> str:
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in super().__str__())


class EngineError(PosestreamError):
    """A model file, its Signature, a data set or a backend cannot be used."""
