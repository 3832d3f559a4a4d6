"""The conformance test of elements; call it from the test of your element, in one line.

>>> from stream.testing import check_element
>>> check_element("window past=1 future=1")
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from stream.caps import ANY, Caps
from stream.element import Element, Sink, Source, Transform
from stream.errors import PropertyError
from stream.messages import Key, Message, Window
from stream.pipeline.inspection import inspect_class
from stream.registry import label, validate
from stream.testing.harness import Harness
from stream.testing.items import MESSAGE_OF, items_for, without_people
from stream.testing.sources import check_source

Given = str | Element | Callable[[], Element]


def check_element(
    given: Given,
    items: Sequence[Message] | None = None,
    *,
    sink: str | Caps | None = None,
    src: str | Caps | None = None,
    quiet: bool = False,
) -> None:
    """Check an element against its contract. Raises ``AssertionError`` with what it breaks, in one sentence.

    ``given`` is a launch string of one element, an element, or a function that makes a new one (where one object must
    not be used twice). ``items`` are the inputs; by default :func:`items_for` its media type. ``sink`` and ``src`` are
    the caps of its neighbours. A source is read for at most fifty frames; with ``quiet`` it must have no frame, and
    yield ``None`` twice a second.
    """
    make = _factory(given)
    check_declarations(make())
    if isinstance(make(), Source):
        check_source(lambda: _harness(make, sink, src), quiet=quiet)
        return
    fed = list(items) if items is not None else _default_items(_harness(make, sink, src))
    for check in (check_sink,) if isinstance(make(), Sink) else TRANSFORM_CHECKS:
        check(lambda: _harness(make, sink, src), [copy.deepcopy(item) for item in fed])


# -- declarations ----------------------------------------------------------------------------------------------------


def check_declarations(element: Element) -> None:
    """Pads that match its kind, a docstring, and valid properties with descriptions."""
    who, cls = label(element), type(element)
    wants_sink, wants_src = not isinstance(element, Source), not isinstance(element, Sink)
    assert (cls.sink is not None) == wants_sink, f"{who}: a {_kind(element)} {_must(wants_sink)} declare sink caps"
    assert (cls.src is not None) == wants_src, f"{who}: a {_kind(element)} {_must(wants_src)} declare src caps"
    page = inspect_class(cls)
    assert page.summary, f"{who}: the class has no docstring, which is the text of its inspect page"
    for item in page.properties:
        assert item.description, f"{who}: property {item.name} has no Meta(description=…)"
    try:
        validate(element)
    except PropertyError as error:
        raise AssertionError(f"{who}: a property does not satisfy its own declaration: {error}") from error


# -- transforms -------------------------------------------------------------------------------------------------------

Build = Callable[[], Harness]


def check_outputs_are_what_caps_say(build: Build, items: list[Message]) -> None:
    """Outputs are messages of the src caps; windows have the negotiated length; keys are those of inputs."""
    with build() as harness:
        caps, who = harness.caps[-1], label(harness.element)
        pushed = {item.key for item in items}
        for out in _results(harness, items):
            fits = isinstance(out, MESSAGE_OF.get(caps.media, object))
            assert fits, f"{who}: gave a {type(out).__name__}, but its src caps are {str(caps)!r}"
            assert out.key in pushed, f"{who}: gave {out.key}, a key that was never pushed in"
            if isinstance(out, Window):
                _check_window(who, out, caps)


def check_order(build: Build, items: list[Message]) -> None:
    """For each camera, ``seq`` rises from output to output: links drop those for which it does not."""
    with build() as harness:
        last: dict[str, int] = {}
        for camera, seq in (out.key for out in _results(harness, items)):
            who = label(harness.element)
            assert seq > last.get(camera, -1), f"{who}: gave {camera} {seq} after {camera} {last.get(camera)}"
            last[camera] = seq


def check_does_not_change_inputs(build: Build, items: list[Message]) -> None:
    """Inputs are not changed, neither pixels nor boxes nor ledgers: other elements may share the memory."""
    before = [copy.deepcopy(item) for item in items]
    for item in items:
        _set_read_only(item)
    with build() as harness:
        who = label(harness.element)
        try:
            list(_results(harness, items))
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise AssertionError(f"{who}: writes to an array it was given ({error})") from error
        for item, old in zip(items, before, strict=True):
            assert _same(item, old), f"{who}: changed {item.key} that was pushed in; make a new message with replace()"


def check_accepts_an_empty_picture(build: Build, items: list[Message]) -> None:
    """A black picture without people is a valid item."""
    with build() as harness:
        who = label(harness.element)
        try:
            list(_results(harness, [without_people(item) for item in items]))
        except Exception as error:
            raise AssertionError(f"{who}: fails for a picture without people: {error!r}") from error


def check_flush(build: Build, items: list[Message]) -> None:
    """After ``flush`` nothing is held; a second one, or one before any item, yields nothing."""
    with build() as harness:
        who = label(harness.element)
        assert harness.flush() == [], f"{who}: flush() gives something before anything was pushed in"
        list(_results(harness, items))
        assert list(harness.element.pending()) == [], f"{who}: pending() is not empty after flush()"
        assert harness.flush() == [], f"{who}: flush() gives something a second time"


def check_flush_of_one_camera(build: Build, items: list[Message]) -> None:
    """``flush(camera)`` yields what is held of that camera and keeps what is held of the others."""
    with build() as harness:
        who, (camera, _) = label(harness.element), items[0].key
        for item in items:
            harness.push(item)
        others = {key for key in harness.element.pending() if key[0] != camera}
        for out in harness.flush(camera):
            assert out.key[0] == camera, f"{who}: flush({camera!r}) gave {out.key}, of another camera"
        left = set(harness.element.pending())
        assert left == others, f"{who}: pending() after flush({camera!r}) is {left}, not {others}"


def check_pending(build: Build, items: list[Message]) -> None:
    """``pending()`` lists inputs only, and none whose output has come."""
    with build() as harness:
        who, pushed, given = label(harness.element), set[Key](), set[Key]()
        for item in items:
            pushed.add(item.key)
            given |= {out.key for out in harness.push(item)}
            pending = set(harness.element.pending())
            assert pending <= pushed, f"{who}: pending() names {pending - pushed}, never pushed in"
            assert not pending & given, f"{who}: pending() names {pending & given}, whose output has come already"


def check_opens_again(build: Build, items: list[Message]) -> None:
    """After ``__exit__`` it can be entered again, without state of the first time."""
    harness = build()
    runs = [[out.key for out in harness.push_all(items)] for _ in range(2)]
    assert runs[0] == runs[1], f"{label(harness.element)}: entered a second time it gave {runs[1]}, not {runs[0]}"


def check_batches_equal_single_items(build: Build, items: list[Message]) -> None:
    """``process_many`` yields what ``process`` yields for each item, in order."""
    with build() as harness:
        one_by_one = [out.key for item in items for out in harness.element.process(item)]
    with build() as harness:
        element: Transform = harness.element
        size = max(1, element.max_batch)
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        together = [out.key for batch in batches for out in element.process_many(batch)]
        assert together == one_by_one, f"{label(element)}: process_many gave {together}, process {one_by_one}"


def check_restart(build: Build, items: list[Message]) -> None:
    """Killed after any item, and sent again what is unfinished and ``reach`` items before it, it loses nothing."""
    with build() as harness:
        who, complete = label(harness.element), _by_key(harness.push_all(items))
    for crash in range(1, len(items)):
        before, again = _crashed(build, items, crash)
        for key, out in complete.items():
            found = before.get(key) or again.get(key)
            assert found is not None, f"{who}: killed after {crash} items and restarted, it never gave {key}"
            assert _alike(found, out), f"{who}: killed after {crash} items and restarted, {key} holds other frames"


TRANSFORM_CHECKS = (
    check_outputs_are_what_caps_say,
    check_order,
    check_does_not_change_inputs,
    check_accepts_an_empty_picture,
    check_flush,
    check_flush_of_one_camera,
    check_pending,
    check_opens_again,
    check_batches_equal_single_items,
    check_restart,
)


# -- sinks ------------------------------------------------------------------------------------------------------------


def check_sink(build: Build, items: list[Message]) -> None:
    """A sink takes every item, also an empty picture, changes none, accepts a second flush and can be opened again."""
    before = [copy.deepcopy(item) for item in items]
    for item in items:
        _set_read_only(item)
    harness = build()
    who = label(harness.element)
    for _ in range(2):
        with harness:
            given = [out for item in [*items, *map(without_people, items)] for out in harness.push(item)]
            assert given == [], f"{who}: a sink gives nothing, but gave {given}"
            harness.flush()
            harness.flush()
    for item, old in zip(items, before, strict=True):
        assert _same(item, old), f"{who}: changed {item.key} that was pushed in"


# -- helpers ----------------------------------------------------------------------------------------------------------


def _factory(given: Given) -> Callable[[], Element]:
    if isinstance(given, str):
        return lambda: Harness(given).element
    return (lambda: given) if isinstance(given, Element) else given


def _harness(make: Callable[[], Element], sink: str | Caps | None, src: str | Caps | None) -> Harness:
    return Harness(make(), sink=sink, src=src)


def _default_items(harness: Harness) -> list[Message]:
    caps = harness.caps[0]
    return items_for(caps.media if caps.media != ANY else "video/raw", past=caps.get("past"), future=caps.get("future"))


def _results(harness: Harness, items: Sequence[Message]) -> Iterator[Any]:
    for item in items:
        yield from harness.push(item)
    yield from harness.flush()


def _check_window(who: str, window: Window, caps: Caps) -> None:
    past, future = caps.get("past"), caps.get("future")
    length = len(window.frames), len(window.states)
    whole = past + 1 + future
    assert length == (whole, whole), f"{who}: a window of {length} frames and states, but {str(caps)!r} was agreed"
    assert window.index == past, f"{who}: the key frame stands at {window.index}, but past={past} was agreed"
    assert window.people.key == window.key, (
        f"{who}: the people are of {window.people.key}, the key frame is {window.key}"
    )


def _crashed(build: Build, items: list[Message], crash: int) -> tuple[dict[Key, Any], dict[Key, Any]]:
    """The outputs before the crash, and those for the items that are then delivered again."""
    with build() as harness:
        before = _by_key([out for item in items[:crash] for out in harness.push(item)])
        unfinished, reach = set(harness.element.pending()), harness.element.reach
    again = [item for index, item in enumerate(items) if index >= _first_again(items, index, crash, unfinished, reach)]
    return before, _by_key(build().push_all(again))


def _first_again(items: list[Message], index: int, crash: int, unfinished: set[Key], reach: int) -> int:
    """The index of the first item of this camera that is delivered again."""
    camera = items[index].key[0]
    own = [at for at, item in enumerate(items) if item.key[0] == camera]
    oldest = next((place for place, at in enumerate(own) if at >= crash or items[at].key in unfinished), len(own))
    return own[max(0, oldest - reach)] if oldest - reach < len(own) else len(items)


def _by_key(results: Sequence[Any]) -> dict[Key, Any]:
    """The first output of each key: a link delivers no more."""
    found: dict[Key, Any] = {}
    for out in results:
        found.setdefault(out.key, out)
    return found


def _alike(one: Any, other: Any) -> bool:
    """Whether windows hold the same frames in the same states; other messages may differ (filters have memory)."""
    if not isinstance(one, Window):
        return True
    frames = [[frame.key for frame in window.frames] for window in (one, other)]
    return frames[0] == frames[1] and one.states == other.states


def _set_read_only(item: Message) -> None:
    for array in _arrays(item):
        array.setflags(write=False)


def _arrays(value: object) -> Iterator[np.ndarray[Any, Any]]:
    """Every array inside a message, frames of windows included."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _arrays(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _arrays(getattr(value, field.name))


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)  # type: ignore[arg-type]
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if dataclasses.is_dataclass(one):
        return all(_same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one))
    return one == other


def _kind(element: Element) -> str:
    return next(kind.__name__.lower() for kind in (Source, Transform, Sink) if isinstance(element, kind))


def _must(does: bool) -> str:
    return "must" if does else "must not"
