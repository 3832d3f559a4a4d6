"""Two lines of one: *live*, in time and published where we listen, and *offline*, where nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.element import Element, Sink, Source
from stream.errors import LaunchError, LinkError, SourceError
from stream.pipeline.launch import parse_yaml
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.wiring import Line, camera_name
from stream.registry import element_name, label, make, properties_of

DRAWN, FILE, STREAM = "testsrc", "filesrc", "rtspsrc"

_AHEAD = 8
"""Frames that the offline run goes on for beyond the last that is asked for: more than a window looks ahead, so that
the end of the run shows in none of them."""


@dataclass(frozen=True)
class Asked:
    """What the user gave: the line, the ``truth`` (a file of annotations) and the ``clip`` that a stream loops."""

    pipeline: Pipeline
    truth: Path | None = None
    clip: Path | None = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def source(self) -> Source:
        """Where its frames come from."""
        return self.pipeline.sources[0]

    @property
    def kind(self) -> str:
        """``testsrc``, ``filesrc`` or ``rtspsrc``."""
        return element_name(self.source)


def check(asked: Asked) -> None:
    """Raises :class:`PosestreamError` for a line that cannot be evaluated, or a truth that does not go with it."""
    sources = asked.pipeline.sources
    if len(sources) != 1:
        names = ", ".join(map(label, sources))
        raise LinkError(f"eval live takes a line of one source, and this one has {len(sources)} ({names}); take one")
    _check_truth(asked)
    publishers = [label(element) for element in elements(asked.pipeline) if _is_publisher(element)]
    if len(publishers) != 1:
        has = f"has {len(publishers)} of them; leave one" if publishers else "has none; end it in '! keypointsink'"
        raise LinkError(f"eval live subscribes to a line's keypointsink, and this line {has}")


def _check_truth(asked: Asked) -> None:
    kind, source = asked.kind, label(asked.source)
    if kind not in (DRAWN, FILE, STREAM):
        raise LaunchError(
            f"eval live does not know which frames {source} gives; record them to a file, annotate it, and write "
            "filesrc, or try with testsrc"
        )
    if kind == DRAWN and asked.truth:
        raise LaunchError(f"{source} knows its own truth: leave --truth {asked.truth} away")
    if kind != DRAWN and not asked.truth:
        raise LaunchError(
            f"no truth is known of {source}'s frames; give --truth, a COCO or PoseTrack18 file about them"
        )
    if kind == STREAM and not asked.clip:
        raise LaunchError(f"{source} shows a clip, which the offline run has to read; give --clip, the file it loops")
    if kind != STREAM and asked.clip:
        raise LaunchError(f"--clip {asked.clip} is for a stream that loops it; {source} is none")
    for path in (asked.truth, asked.clip):
        if path and not path.is_file():
            raise SourceError(f"there is no file {str(path)!r}; check the path")


def elements(pipeline: Pipeline) -> Iterator[Element]:
    """All of them, in order of writing."""
    return (element for line in pipeline.lines for element in line.elements)


def live_line(asked: Asked, address: str) -> Pipeline:
    """The user's own line, its source in time, published at ``address`` on this host."""

    def changed(element: Element) -> Element:
        if _is_publisher(element):
            return _with(element, bind=address, prefix="", keys="", clients="")
        return _with(element, realtime=True) if element_name(element) in (DRAWN, FILE) else element

    return _rewritten(asked.pipeline, changed)


def offline_line(asked: Asked, results: Path, last: int) -> Pipeline:
    """The same line with a source that waits and queues that keep, whose poses are written to ``results``; it goes on
    to frame ``last``. What else it wrote is thrown away, for the live run wrote it."""

    def changed(element: Element) -> Element:
        if isinstance(element, Source):
            return _waiting(asked, last)
        if _is_publisher(element):
            return make("jsonsink", location=str(results))
        if isinstance(element, Sink):
            return make("fakesink")
        return _with(element, leaky="no") if element_name(element) == "queue" else element

    return _rewritten(asked.pipeline, changed)


def _waiting(asked: Asked, last: int) -> Source:
    """A source of the same frames, which waits for the line; a clip that is looped is gone through once."""
    source, camera = asked.source, camera_name(asked.source)
    if asked.kind == STREAM:
        made = make(FILE, location=str(asked.clip), camera=camera)
    elif getattr(source, "loop", False):
        made = _with(source, realtime=False, loop=False, num_frames=0)
    else:
        wanted = last + 1 + _AHEAD
        asked_for = int(getattr(source, "num_frames", 0))
        made = _with(source, realtime=False, num_frames=min(asked_for, wanted) if asked_for else wanted)
    assert isinstance(made, Source)
    return made


def _is_publisher(element: Element) -> bool:
    return element_name(element) == "keypointsink"


def _with(element: Element, **changes: Any) -> Element:
    return make(element_name(element), **{**properties_of(element), **changes})


def _rewritten(pipeline: Pipeline, changed: Callable[[Element], Element]) -> Pipeline:
    """A pipeline of elements of its own, each as ``changed`` gives it."""
    copy = parse_yaml(pipeline.to_yaml())
    lines = (Line(*map(changed, line.elements), from_queue=line.from_queue) for line in copy.lines)
    return copy.with_lines(*lines)
