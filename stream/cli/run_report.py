"""What a run says on a terminal at its start (what goes where, how to watch it) and at its end (what it did)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stream import wording
from stream.elements.fakesink import Fakesink
from stream.elements.jsonsink import JsonSink
from stream.elements.keypointsink import KeypointSink
from stream.elements.overlaysink import OverlaySink
from stream.registry import label

if TYPE_CHECKING:
    from stream.element import Element
    from stream.pipeline.pipeline import Pipeline

_DEFAULT_ADDRESS = KeypointSink().bind


def introduce(pipeline: Pipeline, *, has_processes: bool) -> Iterator[str]:
    """Lines of text: what the line publishes and writes, and the commands that watch it."""
    for sink in _sinks(pipeline):
        match sink:
            case KeypointSink(relay=relay) if relay:
                yield f"{label(sink)}: publishing keypoints at the relay {relay}; subscribe to its other address"
            case KeypointSink():
                yield f"{label(sink)}: publishing keypoints on {sink.bind}; watch with '{_subscribe(sink)}'"
            case JsonSink(location=location) | OverlaySink(location=location) if location not in ("", "-"):
                yield f"{label(sink)}: writing {location}"
    if has_processes:
        yield f"{wording.count(len(pipeline.parts), 'process', 'processes')}; 'posestream top' shows how each is doing"
    yield "Ctrl-C ends it."


def summarise(frames: int, seconds: float, dropped: Mapping[str, int], files: list[Path]) -> Iterator[str]:
    """Lines of text: how many frames, how fast, what was dropped and why, and the files written.

    >>> print(*summarise(60, 2.0, {"leaky": 3, "late": 1}, [Path("poses.jsonl")]), sep=chr(10))
    60 frames in 2.0 s, 30.0 fps; 4 dropped (3 leaky, 1 late)
    wrote poses.jsonl
    """
    rate = f", {frames / seconds:.1f} fps" if seconds > 0 else ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
    drops = f"{sum(dropped.values())} dropped ({reasons})" if dropped else "none dropped"
    yield f"{wording.count(frames, 'frame')} in {seconds:.1f} s{rate}; {drops}"
    for path in files:
        yield f"wrote {path}" + (f" ({sum(1 for _ in path.iterdir())} files)" if path.is_dir() else "")


def written_files(pipeline: Pipeline, since_s: float) -> list[Path]:
    """The files and folders that the sinks have written since ``since_s``, in seconds of ``time.time()``."""
    patterns = [
        Path(location.replace("{camera}", "*").replace("{id}", "*"))
        for sink in _sinks(pipeline)
        if (location := str(getattr(sink, "location", ""))) not in ("", "-")
    ]
    files = [path for pattern in patterns for path in _matching(pattern)]
    return [path for path in dict.fromkeys(files) if path.stat().st_mtime >= since_s - 1]  # file times may be coarse


def prints_to_terminal(pipeline: Pipeline) -> bool:
    """True where a sink prints to a terminal, which a progress bar would disturb."""
    return sys.stdout.isatty() and any(
        getattr(sink, "dump", False) if isinstance(sink, Fakesink) else getattr(sink, "location", "") == "-"
        for sink in _sinks(pipeline)
    )


def _sinks(pipeline: Pipeline) -> list[Element]:
    from stream.element import Sink

    return [line.elements[-1] for line in pipeline.lines if isinstance(line.elements[-1], Sink)]


def _subscribe(sink: KeypointSink) -> str:
    if sink.bind == _DEFAULT_ADDRESS:
        return "posestream subscribe"
    address = sink.bind.replace("*", "HOST", 1) if sink.bind.startswith("tcp://*") else sink.bind
    keys = f" --server-key {Path(sink.keys).with_suffix('.key')}" if sink.keys else ""
    return f"posestream subscribe {address}{keys}"


def _matching(pattern: Path) -> list[Path]:
    """The file at a location, those for each camera, and those beside it that a restarted sink went on in."""
    names = (pattern.name, f"{pattern.stem}.[0-9]*{pattern.suffix}")
    return [path for name in names for path in sorted(pattern.parent.glob(name))]
