"""An element turns one item into any number of items; this is all an author of a stage needs to know.

Write a dataclass in ``stream/elements/<name>.py`` (or in your own package, used as ``mypackage.blur``) that derives
from :class:`Source`, :class:`Transform` or :class:`Sink`. Its fields are at once its properties, the keys of a launch
string and of YAML, its ``posestream inspect`` page and its JSON schema; constraints are written once, as
``Annotated[float, Meta(ge=0, le=1, description="…")]``.

An element never sees a socket, a process, or a clock it was not given: those are in ``self.context``. It logs as any
Python module does, to ``logging.getLogger(__name__)``; whoever runs it forwards warnings to the bus.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
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
    """What the one who runs an element lends it.

    ``now_ns`` is the wall clock. ``allocate(shape)`` returns a writable (H, W, 3) uint8 array for the next frame: a
    slot of the shared-memory ring when the line spans processes, plain memory otherwise; a source that decodes straight
    into it spares a copy. ``memory`` is a small map of integers that outlives a restart of the stage (ids given so far,
    last number published). ``incarnation`` counts the restarts of this stage.
    """

    example: ClassVar[str] = ""
    """A launch string for its ``posestream inspect`` page; empty for the shortest line around it."""

    name: str = ""
    now_ns: Callable[[], int] = time.time_ns
    allocate: Callable[[tuple[int, int, int]], NDArray[np.uint8]] = _heap
    memory: MutableMapping[str, int] = field(default_factory=dict)
    incarnation: int = 0


class Element:
    """The common ground of sources, transforms and sinks.

    ``sink`` and ``src`` are the pad templates: what the element may take and give; None where there is no pad.
    The scheduler calls, in this order: ``set_caps`` (once), ``__enter__`` (opens what the element holds; may raise),
    ``process`` for every item, ``flush`` at the end of the stream, ``__exit__`` always.
    """

    sink: ClassVar[Caps | None] = None
    src: ClassVar[Caps | None] = None

    example: ClassVar[str] = ""
    """A launch string for its ``posestream inspect`` page; empty for the shortest line around it."""

    name: str = ""
    """What this element is called in its line (``detect name=hall``); the part it begins is called the same."""

    _context: Context | None = None

    def rename(self, name: str) -> Self:
        """The same element, called ``name`` in its line."""
        self.name = name
        return self

    @property
    def context(self) -> Context:
        """The lent context; a fresh in-process one when nobody lent any."""
        if self._context is None:
            self._context = Context(name=type(self).__name__.lower())
        return self._context

    @context.setter
    def context(self, value: Context) -> None:
        self._context = value

    # -- negotiation ----------------------------------------------------------------------------------------------

    def sink_caps(self) -> Caps | None:
        """The caps this element takes, given its properties; the ``sink`` template unless it knows better."""
        return type(self).sink

    def src_caps(self, sink: Caps | None) -> Caps | None:
        """The caps it gives when it is fed ``sink``; an element whose template is ``any`` passes on what it gets."""
        template = type(self).src
        return sink if template is not None and template.media == ANY and sink is not None else template

    def fixate_caps(self, src: Caps) -> Caps:
        """Fill in what neither neighbour fixed of what it gives (``window`` without a model: no past, no future); of
        several media types, the first."""
        template = type(self).src
        is_open = src.media == ANY and template is not None and len(template.choices) > 1
        return Caps(template.choices[0], src.fields) if is_open and template else src

    def set_caps(self, sink: Caps | None, src: Caps | None) -> None:
        """Told once, before ``__enter__``, what its two links carry."""

    # -- what may not be forgotten when a process dies --------------------------------------------------------------

    @property
    def reach(self) -> int:
        """How many earlier items of a camera an output may depend on; those are sent again after a restart."""
        return 0

    def pending(self) -> Iterable[Key]:
        """Keys of the items taken in whose output is still to come (a window waiting for its future)."""
        return ()

    # -- what whoever watches the line is told ------------------------------------------------------------------------

    def status(self) -> str:
        """A few words of how it is doing, or none; shown by ``posestream top``. Another thread may ask for them."""
        return ""

    # -- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Source(Element):
    """Where items come from: one method, :meth:`frames`."""

    @property
    def is_live(self) -> bool:
        """True when frames come whether or not anybody is ready: new ones are then dropped, and counted, while the
        line is full. False when the source can wait, as a file can: nothing is then ever dropped."""
        return False

    @property
    def nominal_fps(self) -> float | None:
        """Frames a second, where known before opening; used to print look-ahead in milliseconds."""
        return None

    @property
    def length(self) -> int | None:
        """How many frames it will give, for a progress bar; None when that is not known before opening, or endless.

        The number may be an estimate, as the header of a video is.
        """
        return None

    def frames(self) -> Iterator[Frame | None]:
        """Frames until the stream ends; ``None``, at least twice a second, while there is nothing to give, so that
        whoever runs the source stays able to pause and stop it. Raises :class:`SourceError`."""
        raise NotImplementedError


class Transform(Element):
    """One item in, any number out: one method, :meth:`process`."""

    def process(self, item: Any) -> Iterator[Any]:
        """Yield what ``item`` leads to; nothing at all drops it. An exception costs this item only."""
        raise NotImplementedError

    def process_many(self, items: Sequence[Any]) -> Iterator[Any]:
        """The same for several items that are waiting at once, in order; override it to batch over them."""
        for item in items:
            yield from self.process(item)

    @property
    def max_batch(self) -> int:
        """The most items worth handing to :meth:`process_many` at once."""
        return 1

    def flush(self, camera: str | None = None) -> Iterator[Any]:  # noqa: ARG002 - for those who hold something
        """Yield what is still held of ``camera``, whose stream has ended; of all of them when None."""
        yield from ()


class Sink(Element):
    """Where items leave the line: one method, :meth:`consume`."""

    def consume(self, item: Any) -> None:
        """Take one item to the world outside. When it returns, the item is delivered."""
        raise NotImplementedError

    def end(self, camera: str) -> None:
        """The stream of ``camera`` has ended; those of others may go on."""

    def flush(self) -> None:
        """All streams have ended."""
