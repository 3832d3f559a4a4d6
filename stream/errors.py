"""The errors of posestream, as a tree, so that you can choose what to catch.

PosestreamError                 the root: one line with both parties, the value and the remedy
 ├─ LaunchError                 a launch string or YAML file that does not describe a pipeline
 ├─ PropertyError               a property that an element does not have, or a value that it cannot take
 ├─ LinkError                   two neighbours whose caps differ
 ├─ SourceError                 a camera, stream or file that cannot be opened or ends badly
 ├─ EngineError                 a network, its Signature, a data set or a backend that cannot be used
 ├─ TransportError              a socket, port, key or shared-memory segment that is not available
 │   ├─ StaleFrame              pixels that were overwritten before they were read
 │   ├─ FullDiskError           a disk or quota without room for what a sink writes
 │   ├─ ShortageError           a process without descriptors or memory left, which may pass
 │   └─ SilenceError            a publisher that sent nothing within its subscriber's timeout
 ├─ WireError                   bytes that are not a message of this version
 │   └─ VersionError            a publisher of another major version of the protocol
 └─ PartError                   an element that fails on every item, or a part that ends again and again
     └─ StartError              a part that failed before its first item, or for which no restart helps
"""

from __future__ import annotations

import traceback

from engines.errors import EngineError, PosestreamError
from engines.redaction import redact

__all__ = (
    "EngineError",
    "FullDiskError",
    "LaunchError",
    "LinkError",
    "PartError",
    "PosestreamError",
    "PropertyError",
    "ShortageError",
    "SilenceError",
    "SourceError",
    "StaleFrame",
    "StartError",
    "TransportError",
    "VersionError",
    "WireError",
)


class LaunchError(PosestreamError):
    """A launch string or YAML file does not describe a pipeline; the message begins with the place."""


class PropertyError(PosestreamError):
    """An element has no such property, or the value does not fit it."""


class LinkError(PosestreamError):
    """Two neighbours cannot be linked; the message names both, and the caps that differ."""


class SourceError(PosestreamError):
    """A camera, stream or file cannot be opened, or ended before it should."""


class TransportError(PosestreamError):
    """A socket, port, key or shared-memory segment is not available."""


class StaleFrame(TransportError):  # noqa: N818  # the state of a frame, as the transports speak of it
    """The slot that held these pixels was overwritten before they were read."""


class FullDiskError(TransportError):
    """There is no room for what a sink writes: its disk or quota is full, or may not be written to."""


class ShortageError(TransportError):
    """This process, or the system, has no descriptors or no memory left. That may pass, unlike other reasons."""


class SilenceError(TransportError, TimeoutError):
    """A publisher sent nothing within its subscriber's timeout."""


class WireError(PosestreamError):
    """Bytes are not a message of this version of the protocol."""


class VersionError(WireError):
    """A publisher uses another major version of the protocol than this subscriber."""


class PartError(PosestreamError):
    """An element failed on several items in a row, or a part ended again and again."""


class StartError(PartError):
    """A part failed before its first item, its disk is full, or its relay is away or has another in its place; a
    restart does not help until the cause is removed."""


_NOTE = "in element "


def add_element_note(error: BaseException, name: str, kind: str) -> None:
    """Add a note to the exception of a user's element: what the element is called, and what names it in a launch
    string."""
    if not find_element_note(error):
        error.add_note(f"{_NOTE}{name!r}" if name == kind else f"{_NOTE}{name!r} ({kind})")


def find_element_note(error: BaseException) -> str:
    """What :func:`add_element_note` added; empty where the exception is not that of a user's element."""
    return next((note for note in getattr(error, "__notes__", ()) if note.startswith(_NOTE)), "")


def describe_error(error: BaseException) -> str:
    """One line without credentials: the message of an error of posestream; of any other exception also its type, and a
    user's element."""
    if isinstance(error, PosestreamError):
        return str(error)
    text = " ".join(str(error).split())
    shown = [f"{type(error).__name__}: {text}".removesuffix(": "), find_element_note(error)]
    return redact(", ".join(filter(None, shown)))


_OWN_MODULES = {"stream", "posestream", "engines", "export", "typer", "click", "contextlib", "importlib", "__main__"}


def format_traceback(error: BaseException) -> str:
    """The traceback of ``error``, without credentials; it begins in the user's code where that raised it."""
    own = error.__traceback__
    trace = own
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _OWN_MODULES:
        trace = trace.tb_next
    return redact("".join(traceback.format_exception(type(error), error, trace or own)))
