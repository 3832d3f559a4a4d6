"""Pipelines of posestream: live video in, people's keypoints out.

The public names are imported when they are first used, so that ``import stream`` is quick and loads no sockets and no
codecs.

>>> import stream
>>> stream.Caps("people/window", past=2, future=2)
Caps('people/window, past=2, future=2')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.caps import Caps as Caps
    from stream.element import Context as Context
    from stream.element import Element as Element
    from stream.element import Sink as Sink
    from stream.element import Source as Source
    from stream.element import Transform as Transform
    from stream.errors import EngineError as EngineError
    from stream.errors import FullDiskError as FullDiskError
    from stream.errors import LaunchError as LaunchError
    from stream.errors import LinkError as LinkError
    from stream.errors import PartError as PartError
    from stream.errors import PosestreamError as PosestreamError
    from stream.errors import PropertyError as PropertyError
    from stream.errors import ShortageError as ShortageError
    from stream.errors import SilenceError as SilenceError
    from stream.errors import SourceError as SourceError
    from stream.errors import StaleFrame as StaleFrame
    from stream.errors import StartError as StartError
    from stream.errors import TransportError as TransportError
    from stream.errors import WireError as WireError
    from stream.messages import Frame as Frame
    from stream.messages import People as People
    from stream.messages import Poses as Poses
    from stream.messages import Truth as Truth
    from stream.messages import Window as Window
    from stream.pipeline.executor import Executor as Executor
    from stream.pipeline.executor import through as through
    from stream.pipeline.launch import load_yaml as load_yaml
    from stream.pipeline.launch import parse_launch as parse_launch
    from stream.pipeline.launch import parse_yaml as parse_yaml
    from stream.pipeline.pipeline import Pipeline as Pipeline
    from stream.pipeline.wiring import Line as Line
    from stream.protocol.pose_message import Person as Person
    from stream.protocol.pose_message import PoseMessage as PoseMessage
    from stream.protocol.subscriber import Subscriber as Subscriber
    from stream.protocol.subscriber import generate_keys as generate_keys
    from stream.registry import element_names as element_names
    from stream.registry import make as make
    from stream.runtime.supervisor import Supervisor as Supervisor

_NAMES = {
    "caps": ("Caps",),
    "element": ("Context", "Element", "Sink", "Source", "Transform"),
    "pipeline.executor": ("Executor", "through"),
    "errors": (
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
        "WireError",
    ),
    "pipeline.launch": ("load_yaml", "parse_launch", "parse_yaml"),
    "messages": ("Frame", "People", "Poses", "Truth", "Window"),
    "pipeline.pipeline": ("Pipeline",),
    "protocol.pose_message": ("Person", "PoseMessage"),
    "registry": ("element_names", "make"),
    "runtime.supervisor": ("Supervisor",),
    "protocol.subscriber": ("Subscriber", "generate_keys"),
    "pipeline.wiring": ("Line",),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}

__all__ = tuple(sorted(_MODULES))  # made from the table above, which type checkers need not read


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
