"""Keypoints of people in photos, videos, cameras and streams.

Estimate them in a for-loop, in this process:

    import posestream

    for result in posestream.estimate("clip.mp4"):
        for person in result.people:
            print(result.time_s, person.id, person["left_wrist"])

``Pipeline`` and ``parse_launch`` build lines of elements of your own, ``Subscriber`` receives what a running line
publishes, ``load`` opens a pose network, and ``export`` turns a checkpoint into one.

Each name is imported when it is first used, so ``import posestream`` is quick.
"""

from __future__ import annotations

# Not imported: the command posestream passes here before it can set how Ctrl-C ends it (posestream.__main__).
TYPE_CHECKING = False

if TYPE_CHECKING:
    from engines.inference.engine import load as load
    from posestream.estimation import estimate as estimate
    from posestream.exporting import export as export
    from posestream.result import Result as Result
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
    from stream.errors import VersionError as VersionError
    from stream.errors import WireError as WireError
    from stream.pipeline.launch import parse_launch as parse_launch
    from stream.pipeline.pipeline import Pipeline as Pipeline
    from stream.protocol.pose_message import Person as Person
    from stream.protocol.pose_message import PoseMessage as PoseMessage
    from stream.protocol.subscriber import Subscriber as Subscriber

    __version__: str

_NAMES = {
    "engines.inference.engine": ("load",),
    "posestream.estimation": ("estimate",),
    "posestream.exporting": ("export",),
    "posestream.result": ("Result",),
    "stream.errors": (
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
    ),
    "stream.pipeline.launch": ("parse_launch",),
    "stream.pipeline.pipeline": ("Pipeline",),
    "stream.protocol.pose_message": ("Person", "PoseMessage"),
    "stream.protocol.subscriber": ("Subscriber",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = tuple(sorted(["__version__", *_MODULES]))


def __getattr__(name: str) -> object:
    """Import a public name from the module that defines it."""
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from posestream.shadowing import import_ours

    value: object = getattr(import_ours(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
