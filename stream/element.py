"""Elements: sources, transforms and sinks, which are all that you implement to extend posestream.

Write a dataclass in ``stream/elements/<name>.py`` (or in your own package, used as ``mypackage.blur``) that derives
from :class:`Source`, :class:`Transform` or :class:`Sink`. Its fields are its properties: the keys of a launch string
and of YAML, its ``posestream inspect`` page and its JSON schema. A constraint is part of the type:
``Annotated[float, Meta(ge=0, le=1, description="…")]``.

An element uses no sockets, processes or clocks of its own; ``self.context`` has what it needs of them. It logs to
``logging.getLogger(__name__)``; warnings are forwarded to the bus.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from stream.caps import ANY, Caps
from stream.messages import Frame, Key


def _heap(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.empty(shape, np.uint8)


@dataclass
class Context:
    """The environment of an element.

    ``now_ns`` is the wall clock. ``allocate(shape)`` returns a writable (H, W, 3) uint8 array for the next frame: a
    slot of the shared-memory ring where the pipeline spans processes, plain memory otherwise. A source that decodes
    into it saves a copy. ``memory`` is a small map of integers that outlives a restart of the process (the last id
    assigned, the last number published). ``incarnation`` counts the restarts. Call ``progress()`` again and again in a
    step that takes long, as writing a large file at the end: a part is killed that does nothing else for ten seconds.
    Once ``is_ending()``, the line is to end soon: wait for nothing outside it any longer.
    ``threads`` is how many threads a decoder may have; 0 for as many as it likes.
    """

    example: ClassVar[str] = ""
    """A launch string for its ``posestream inspect`` page; empty for the shortest line around it."""

    name: str = ""
    now_ns: Callable[[], int] = time.time_ns
    allocate: Callable[[tuple[int, int, int]], NDArray[np.uint8]] = _heap
    memory: MutableMapping[str, int] = field(default_factory=dict)
    incarnation: int = 0
    progress: Callable[[], object] = lambda: None
    is_ending: Callable[[], bool] = lambda: False
    threads: int = 0


class Element:
    """The base of sources, transforms and sinks.

    ``sink`` and ``src`` are the pad templates: the caps of its input and of its output; None where there is no pad.
    The executor calls, in this order: ``set_caps`` (once), ``__enter__`` (opens resources; may raise), ``process`` for
    every item, ``flush`` at the end of the stream, and always ``__exit__``.
    """

    sink: ClassVar[Caps | None] = None
    src: ClassVar[Caps | None] = None

    example: ClassVar[str] = ""
    """A launch string for its ``posestream inspect`` page; empty for the shortest line around it."""

    name: str = ""
    """The name of this element in its pipeline (``detect name=hall``), and of the part that begins with it."""

    _context: Context | None = None

    def rename(self, name: str) -> Self:
        """Set the name in the pipeline and return the element itself."""
        self.name = name
        return self

    @property
    def context(self) -> Context:
        """The context that was set; by default, one without shared memory."""
        if self._context is None:
            self._context = Context(name=type(self).__name__.lower())
        return self._context

    @context.setter
    def context(self, value: Context) -> None:
        self._context = value

    # -- negotiation ----------------------------------------------------------------------------------------------

    def set_sources(self, sources: Sequence[Source]) -> None:
        """Receive the sources whose frames reach it, once, before caps are negotiated."""

    def sink_caps(self) -> Caps | None:
        """The caps of the input, given the properties; by default the ``sink`` template."""
        return type(self).sink

    def src_caps(self, sink: Caps | None) -> Caps | None:
        """The caps of the output for the input caps ``sink``; where the template is ``any``, those of the input."""
        template = type(self).src
        return sink if template is not None and template.media == ANY and sink is not None else template

    def fixate_caps(self, src: Caps) -> Caps:
        """Fix what no neighbour has fixed of the output caps (``window`` without a model: no past and no future); by
        default, the first of several media types."""
        template = type(self).src
        is_open = src.media == ANY and template is not None and len(template.choices) > 1
        return Caps(template.choices[0], src.fields) if is_open and template else src

    def set_caps(self, sink: Caps | None, src: Caps | None) -> None:
        """Receive the negotiated caps of the input and of the output, once, before ``__enter__``."""

    def check_camera(self, camera: str) -> None:
        """Raise :class:`stream.errors.PropertyError` for the name of a camera upstream that it cannot take, before the
        line runs."""

    def check(self, sources: Sequence[Source]) -> None:
        """Raise :class:`PosestreamError` for what keeps it from running on this machine behind ``sources``, such as a
        network that is missing; before the line runs, so it opens nothing."""

    def networks(self) -> Iterable[str]:
        """The names and paths of the networks that it runs; before the line starts, those that are missing are fetched
        if :mod:`engines.hub.fetching` can."""
        return ()

    # -- restarts ---------------------------------------------------------------------------------------------------

    @property
    def reach(self) -> int:
        """The number of earlier items of a camera that an output depends on; a restart sends them again."""
        return 0

    def pending(self) -> Iterable[Key]:
        """Keys of the items whose output is still to come (a window that waits for its future)."""
        return ()

    # -- monitoring -------------------------------------------------------------------------------------------------

    def status(self) -> str:
        """A few words for ``posestream top``, or an empty string. May be called from another thread."""
        return ""

    # -- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Source(Element):
    """The origin of items; implement :meth:`frames`."""

    has_truth: bool | None = None
    """Whether its frames carry the ground truth of who is in them, as drawn ones do; None where that is not known."""

    @property
    def is_live(self) -> bool:
        """True where frames arrive at their own pace, as a camera's do: while the pipeline is full, new ones are
        dropped and counted. False where the source can wait, as a file can: no frame is dropped."""
        return False

    @property
    def reads_ahead(self) -> bool:
        """True where frames may be read before anyone has seen the results of those before, as of a file: a line in one
        process then takes several at once, which share its cores."""
        return False

    @property
    def nominal_fps(self) -> float | None:
        """Frames per second, where known before opening; used to print the look-ahead in milliseconds."""
        return None

    @property
    def length(self) -> int | None:
        """How many frames it will give, for a progress bar; None when that is not known before opening, or endless.

        The number may be an estimate, as the header of a video is.
        """
        return None

    def inputs(self) -> Iterable[Path]:
        """The files that it reads, as far as they are known before opening; no sink of the line may write to them."""
        return ()

    def describe_silence(self) -> str:
        """Why a live source gives no frame now, in a few words; empty where that is not known. Any thread may ask."""
        return ""

    def frames(self) -> Iterator[Frame | None]:
        """Yield frames until the stream ends; while there is none, yield ``None`` at least twice a second, so that the
        pipeline can be paused and stopped. Raises :class:`SourceError`."""
        raise NotImplementedError


def drawn_by_all(sources: Sequence[Source]) -> bool:
    """True if each of ``sources`` draws its people, so that networks trained on drawn people suit them."""
    return bool(sources) and all(source.has_truth is True for source in sources)


class Transform(Element):
    """One item in, any number of items out; implement :meth:`process`."""

    def process(self, item: Any) -> Iterator[Any]:
        """Yield the outputs for ``item``; to drop it, yield none. An exception costs this item only."""
        raise NotImplementedError

    def process_many(self, items: Sequence[Any]) -> Iterator[Any]:
        """Yield the outputs for several waiting items, in order; override it to process them as a batch."""
        for item in items:
            yield from self.process(item)

    @property
    def max_batch(self) -> int:
        """The most items that :meth:`process_many` receives at once."""
        return 1

    def flush(self, camera: str | None = None) -> Iterator[Any]:  # noqa: ARG002 - for elements that hold items
        """Yield what is still held of ``camera``, whose stream has ended; of all cameras where it is None."""
        yield from ()


class Sink(Element):
    """The destination of items; implement :meth:`consume`."""

    def outputs(self, cameras: Sequence[str]) -> Iterable[str]:  # noqa: ARG002 - for sinks that write
        """The files, folders and addresses that it needs for itself, for frames of ``cameras``; no other sink of the
        line may have one of them."""
        return ()

    def series(self, cameras: Sequence[str]) -> Iterable[str]:  # noqa: ARG002 - for sinks that number files
        """Those of :meth:`outputs` that later files are numbered after: ``x.2.mp4`` is one of ``x.mp4``."""
        return ()

    def consume(self, item: Any) -> None:
        """Deliver one item; it counts as delivered when this returns."""
        raise NotImplementedError

    def end(self, camera: str) -> None:
        """Handle the end of the stream of ``camera``; those of other cameras may continue."""

    def flush(self) -> None:
        """Handle the end of all streams."""
