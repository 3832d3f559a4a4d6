"""The root of every error of posestream, and the one that ``engines`` and ``export`` raise."""

from __future__ import annotations


class PosestreamError(Exception):
    """Any fault that a user can mend; ``str()`` is the whole message, in one line.

    Line breaks and control characters, which a value that is quoted in it may hold, are shown escaped: what is printed
    stays one line and cannot steer a terminal.

    >>> print(PosestreamError("no element 'a\\nb'"))
    no element 'a\\nb'
    """

    def __str__(self) -> str:
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in super().__str__())


class EngineError(PosestreamError):
    """A model file, its Signature, a data set or a backend cannot be used."""
