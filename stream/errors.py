"""What can go wrong, drawn as a tree, so that a caller chooses what to catch.

PosestreamError                 one line for people: both parties, the value, the remedy
 ├─ LaunchError                 a launch string or YAML file that does not say a line
 ├─ PropertyError               an element was given a property it lacks, or a value it cannot take
 ├─ LinkError                   two neighbours whose caps clash
 ├─ SourceError                 a camera, stream or file that cannot be opened or ends badly
 ├─ EngineError                 a network, its Signature, a data set or a backend that cannot be used
 ├─ ModelError                  a network or its Signature that cannot run
 ├─ TransportError              a socket, port, key or shared-memory segment that cannot be had
 │   ├─ StaleFrame              pixels that were overwritten before their reader had finished
 │   └─ SilenceError            a publisher was silent for longer than its subscriber would wait
 ├─ WireError                   bytes that are not a message of this version
 └─ StageError                  an element that fails on everything, or a part that ends again and again
     └─ StartError              a part that failed before its first item: starting it again would not help
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engines.errors import EngineError, PosestreamError

__all__ = (
    "EngineError",
    "LaunchError",
    "LinkError",
    "ModelError",
    "PosestreamError",
    "PropertyError",
    "SilenceError",
    "SourceError",
    "StageError",
    "StaleFrame",
    "StartError",
    "TransportError",
    "WireError",
)


class LaunchError(PosestreamError):
    """A launch string or YAML file that does not describe a line; says where."""


class PropertyError(PosestreamError):
    """An element has no such property, or the value does not fit it."""


class LinkError(PosestreamError):
    """Two neighbours cannot be linked; names both and the caps that clash."""


class SourceError(PosestreamError):
    """A camera, stream or file cannot be opened, or ended before it should."""


class ModelError(PosestreamError):
    """A model file or its Signature cannot be used."""


@contextmanager
def model_errors(element: str) -> Iterator[None]:
    """Raise an :class:`EngineError` of the block as a :class:`ModelError` that names the element."""
    try:
        yield
    except EngineError as error:
        raise ModelError(f"{element}: {error}") from error


class TransportError(PosestreamError):
    """A socket, port, key or shared-memory segment cannot be had."""


class StaleFrame(TransportError):  # noqa: N818  # the state of a frame, as the transports speak of it
    """The slot that held these pixels was written again before the reader finished."""


class SilenceError(TransportError, TimeoutError):
    """Nothing came from a publisher within the time its subscriber was ready to wait."""


class WireError(PosestreamError):
    """Bytes that are not a message this version understands."""


class StageError(PosestreamError):
    """An element failed on several items in a row, or a part of the line ended again and again; has its last words."""


class StartError(StageError):
    """A part failed before its first item; what the message names must be mended before another start."""
