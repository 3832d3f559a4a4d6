"""The two lines of an evaluation: *live*, in real time with a subscriber, and *offline*, where nothing is dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stream.element import Element, Sink, Source
from stream.errors import LaunchError, LinkError, SourceError
from stream.pipeline.launch import parse_yaml
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.wiring import camera_name
from stream.registry import change, element_name, label, make

DRAWN, FILE, STREAM = "testsrc", "filesrc", "rtspsrc"

_LOOK_AHEAD = 8
"""Additional frames of the offline run after the last requested one: more than a window looks ahead, so that the end of
the run affects none of them."""


@dataclass(frozen=True)
class Request:
    """What to evaluate: the line, the ``truth`` (an annotation file) and the ``clip`` that a stream loops."""

    pipeline: Pipeline
    truth: Path | None = None
    clip: Path | None = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def source(self) -> Source:
        """The source of the line."""
        return self.pipeline.sources[0]

    @property
    def kind(self) -> str:
        """``testsrc``, ``filesrc`` or ``rtspsrc``."""
        return element_name(self.source)


def check(request: Request) -> None:
    """Raise :class:`PosestreamError` for a line that cannot be evaluated, or a ground truth that does not fit it."""
    sources = request.pipeline.sources
    if len(sources) != 1:
        names = ", ".join(map(label, sources))
        raise LinkError(f"eval live takes a line with one source, and this one has {len(sources)} ({names}); keep one")
    _check_truth(request)
    publishers = [label(element) for element in elements(request.pipeline) if _is_publisher(element)]
    if len(publishers) != 1:
        has = f"has {len(publishers)} of them; keep one" if publishers else "has none; end it with '! keypointsink'"
        raise LinkError(f"eval live subscribes to a line's keypointsink, and this line {has}")


def _check_truth(request: Request) -> None:
    kind, source = request.kind, label(request.source)
    if kind not in (DRAWN, FILE, STREAM):
        raise LaunchError(
            f"eval live cannot repeat the frames of {source}; record them to a file, annotate it and use filesrc, or "
            "use testsrc"
        )
    if kind == DRAWN and request.truth:
        raise LaunchError(f"{source} has its own ground truth; remove --truth {request.truth}")
    if kind != DRAWN and not request.truth:
        raise LaunchError(
            f"the frames of {source} have no ground truth; give --truth, a COCO or PoseTrack18 file for them"
        )
    if kind == STREAM and not request.clip:
        raise LaunchError(f"the offline run has to read the clip that {source} loops; give its file as --clip")
    if kind != STREAM and request.clip:
        raise LaunchError(f"--clip {request.clip} is for a stream that loops it, and {source} is not one; remove it")
    for path in (request.truth, request.clip):
        if path and not path.is_file():
            raise SourceError(f"there is no file {str(path)!r}; check the path")


def elements(pipeline: Pipeline) -> Iterator[Element]:
    """All elements, in the order of the lines."""
    return (element for line in pipeline.lines for element in line.elements)


def live_line(request: Request, address: str) -> Pipeline:
    """The user's line, with its source in real time and published at ``address`` on this host."""

    def rewrite(element: Element) -> Element:
        if _is_publisher(element):
            return change(element, bind=address, prefix="", keys="", clients="")
        return change(element, realtime=True) if element_name(element) in (DRAWN, FILE) else element

    return _copy(request.pipeline).with_elements(rewrite)


def offline_line(request: Request, results: Path, last: int) -> Pipeline:
    """The same line, with a source that waits and queues that drop nothing, up to frame ``last``.

    Its poses are written to ``results``; its other sinks discard their items, which the live run has written.
    """

    def rewrite(element: Element) -> Element:
        if isinstance(element, Source):
            return _make_offline_source(request, last)
        if _is_publisher(element):
            return make("jsonsink", location=str(results))
        if isinstance(element, Sink):
            return make("fakesink")
        return change(element, leaky="no") if element_name(element) == "queue" else element

    return _copy(request.pipeline).with_elements(rewrite)


def _make_offline_source(request: Request, last: int) -> Source:
    """A source of the same frames that waits for the line; a looped clip is read once."""
    source, camera = request.source, camera_name(request.source)
    if request.kind == STREAM:
        made = make(FILE, location=str(request.clip), camera=camera)
    elif getattr(source, "loop", False):
        made = change(source, realtime=False, loop=False, num_frames=0)
    else:
        wanted = last + 1 + _LOOK_AHEAD
        asked_for = int(getattr(source, "num_frames", 0))
        made = change(source, realtime=False, num_frames=min(asked_for, wanted) if asked_for else wanted)
    assert isinstance(made, Source)
    return made


def _is_publisher(element: Element) -> bool:
    return element_name(element) == "keypointsink"


def _copy(pipeline: Pipeline) -> Pipeline:
    return parse_yaml(pipeline.to_yaml(reveal=True))
