"""The judge of elements judged: a good one passes, and every clause catches an element made to break it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import pytest
from msgspec import Meta

from stream.caps import ANY, Caps
from stream.element import Element, Sink, Source, Transform
from stream.messages import Frame, Key, People, Window
from stream.testing import check_element, make_frame, make_people, make_window, people_items, sources
from tests.toys.src import Src


def first_line(caught: pytest.ExceptionInfo[AssertionError]) -> str:
    """The verdict, without what pytest adds to assertions of modules it was given by name."""
    return str(caught.value).splitlines()[0]


class Same(Transform):
    """Passes people on: a good element, and the base of all bad ones here."""

    sink = src = Caps("people/boxes")

    def process(self, item: People) -> Iterator[Any]:
        yield item


class Later(Same):
    """Holds each item until the next of its camera has come: a good element."""

    def __enter__(self) -> Later:
        self.held: dict[str, People] = {}
        return self

    def pending(self) -> list[Key]:
        return [item.key for item in self.held.values()]

    def process(self, item: People) -> Iterator[People]:
        if held := self.held.get(item.frame.camera):
            yield held
        self.held[item.frame.camera] = item

    def flush(self, camera: str | None = None) -> Iterator[People]:
        for name in list(self.held) if camera is None else [camera]:
            if name in self.held:
                yield self.held.pop(name)


class NoDoc(Same):
    __doc__ = None


@dataclass
class MadeUpDoc(Same):  # the dataclass decorator gives it a docstring that is no docstring
    speed: Annotated[int, Meta(description="how fast")] = 1


@dataclass
class NoDescription(Same):
    """Has a property without a description."""

    speed: int = 1


@dataclass
class WrongDefault(Same):
    """Has a default that it would refuse."""

    speed: Annotated[int, Meta(ge=1, description="how fast")] = 0


class NoSrc(Same):
    """A transform that gives nothing, by its pads."""

    src = None  # type: ignore[assignment]


class SinkThatGives(Sink):
    """A sink with a src pad."""

    sink = src = Caps(ANY)


class SourceThatTakes(Src):
    """A source with a sink pad."""

    sink = Caps(ANY)


class GivesFrames(Same):
    """Promises people, gives frames."""

    def process(self, item: People) -> Iterator[Frame]:
        yield item.frame


class Inventor(Same):
    """Yields keys that are not of its inputs."""

    def process(self, item: People) -> Iterator[People]:
        yield replace(item, frame=replace(item.frame, seq=item.frame.seq + 100))


class Twice(Same):
    """Gives everything twice."""

    def process(self, item: People) -> Iterator[People]:
        yield item
        yield item


class Painter(Same):
    """Paints on the picture it was lent."""

    def process(self, item: People) -> Iterator[People]:
        item.frame.pixels[0, 0] = 255
        yield item


class Sneak(Same):
    """Paints on it even though it may not."""

    def process(self, item: People) -> Iterator[People]:
        item.boxes.setflags(write=True)
        item.boxes[0] += 1
        yield item


class Scribbler(Same):
    """Writes into the ledger of its input."""

    def process(self, item: People) -> Iterator[People]:
        item.frame.ledger["detected"] = 1  # type: ignore[index]
        yield item


class NeedsPeople(Same):
    """Cannot do with an empty picture."""

    def process(self, item: People) -> Iterator[People]:
        item.scores.max()
        yield item


class NeverDone(Later):
    """Flushes what it holds again and again."""

    def flush(self, camera: str | None = None) -> Iterator[People]:
        yield from [item for item in self.held.values() if camera in (None, item.frame.camera)]

    def pending(self) -> list[Key]:
        return []


class Hoarder(Later):
    """Keeps what it holds at the end of the stream."""

    def flush(self, camera: str | None = None) -> Iterator[People]:
        yield from ()


class Overeager(Later):
    """Flushes all cameras when one ends."""

    def flush(self, camera: str | None = None) -> Iterator[People]:
        yield from super().flush()


class Forgetful(Later):
    """Loses the other cameras' items when one ends."""

    def flush(self, camera: str | None = None) -> Iterator[People]:
        yield from super().flush(camera)
        self.held.clear()


class Boaster(Same):
    """Says that an item is pending whose output has come."""

    def __enter__(self) -> Boaster:
        self.last: list[Key] = []
        return self

    def pending(self) -> list[Key]:
        return self.last

    def process(self, item: People) -> Iterator[People]:
        self.last = [item.key]
        yield item

    def flush(self, camera: str | None = None) -> Iterator[People]:
        self.last = [key for key in self.last if camera not in (None, key[0])]
        yield from ()


class Dreamer(Same):
    """Says that an item is pending that never was."""

    def pending(self) -> list[Key]:
        return [] if self.is_flushed else [("nowhere", 3)]

    is_flushed = False

    def flush(self, camera: str | None = None) -> Iterator[People]:
        self.is_flushed = camera is None
        yield from ()


class OnceOnly(Same):
    """Does nothing the second time."""

    times = 0

    def __enter__(self) -> OnceOnly:
        self.times += 1
        return self

    def process(self, item: People) -> Iterator[People]:
        if self.times < 2:
            yield item


class Batcher(Same):
    """Loses items when it gets many."""

    max_batch = 4

    def process_many(self, items: Any) -> Iterator[People]:
        yield from items[:1]


class NotPending(Later):
    """Does not say that it still holds an item, and so loses it when it is killed."""

    def pending(self) -> list[Key]:
        return []


class Shortsighted(Transform):
    """Makes windows of two frames, but says that it needs no earlier item."""

    sink = Caps("people/boxes")
    src = Caps("people/window", past=1, future=0)

    def __enter__(self) -> Shortsighted:
        self.last: dict[str, Frame] = {}
        return self

    def process(self, item: People) -> Iterator[Window]:
        before = self.last.get(item.frame.camera, item.frame)
        self.last[item.frame.camera] = item.frame
        yield Window((before, item.frame), ("real", "real"), 1, item)

    def flush(self, camera: str | None = None) -> Iterator[Window]:
        self.last.clear()
        yield from ()


class Farsighted(Shortsighted):
    """The same, and says so: a good element."""

    reach = 1


class LongWindows(Farsighted):
    """Makes windows longer than agreed."""

    src = Caps("people/window", past=0, future=0)


class OffCentre(Farsighted):
    """Puts the key frame elsewhere than agreed."""

    src = Caps("people/window", past=0, future=1)


class SulkySink(Sink):
    """A sink that bears one flush only."""

    sink = Caps(ANY)
    is_over = False

    def __enter__(self) -> SulkySink:
        self.is_over = False
        return self

    def consume(self, item: Any) -> None:
        """Take it."""

    def flush(self) -> None:
        if self.is_over:
            raise RuntimeError("flushed twice")
        self.is_over = True


class PaintingSink(Sink):
    """A sink that writes to what it takes."""

    sink = Caps(ANY)

    def consume(self, item: Frame) -> None:
        item.ledger["published"] = 1  # type: ignore[index]


@pytest.mark.parametrize("good", [Same, Later, Farsighted])
def test_good_elements_pass(good: Callable[[], Element]) -> None:
    check_element(good)


def test_an_element_may_be_given_as_object_factory_or_launch_string() -> None:
    check_element(Same())
    check_element(lambda: Same().rename("same"))
    check_element("tests.toys.find count=1")
    check_element("tests.toys.estimate past=1 future=2", sink="people/window")
    check_element(Same, people_items(3))


def test_a_good_sink_and_a_good_source_pass() -> None:
    check_element("fakesink", [make_frame(0), make_window(3, past=1)])
    check_element("tests.toys.src num_frames=70 missing=1,2")


@pytest.mark.parametrize(
    ("bad", "verdict"),
    [
        (NoDoc, "nodoc: the class has no docstring"),
        (MadeUpDoc, "madeupdoc: the class has no docstring"),
        (NoDescription, "nodescription: property speed has no Meta(description=…)"),
        (WrongDefault, "wrongdefault: a property does not satisfy its own declaration"),
        (NoSrc, "nosrc: a transform must declare src caps"),
        (SinkThatGives, "sinkthatgives: a sink must not declare src caps"),
        (SourceThatTakes, "sourcethattakes: a source must not declare sink caps"),
        (GivesFrames, "givesframes: gave a Frame, but its src caps are 'people/boxes'"),
        (Inventor, "inventor: gave ('hall', 100), a key that was never pushed in"),
        (Twice, "twice: gave hall 0 after hall 0"),
        (Painter, "painter: writes to an array it was given"),
        (Sneak, "sneak: "),
        (Scribbler, "scribbler: changed ('hall', 0) that was pushed in"),
        (NeedsPeople, "needspeople: fails for a picture without people: ValueError"),
        (NeverDone, "neverdone: flush() gives something a second time"),
        (Hoarder, "hoarder: pending() is not empty after flush()"),
        (Overeager, "overeager: flush('hall') gave ('yard', 5), of another camera"),
        (Forgetful, "forgetful: pending() after flush('hall') is set(), not {('yard', 5)}"),
        (Boaster, "boaster: pending() names {('hall', 0)}, whose output has come already"),
        (Dreamer, "dreamer: pending() names {('nowhere', 3)}, never pushed in"),
        (OnceOnly, "onceonly: entered a second time it gave []"),
        (Batcher, "batcher: process_many gave "),
        (NotPending, "notpending: killed after 1 items and restarted, it never gave ('hall', 0)"),
        (Shortsighted, "shortsighted: killed after 1 items and restarted, ('hall', 1) holds other frames"),
        (
            LongWindows,
            "longwindows: a window of (2, 2) frames and states, but 'people/window, past=0, future=0' was agreed",
        ),
        (OffCentre, "offcentre: the key frame stands at 1, but past=0 was agreed"),
        (PaintingSink, "paintingsink: changed ('hall', 0) that was pushed in"),
    ],
)
def test_every_clause_catches_the_element_that_breaks_it(bad: type[Element], verdict: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_element(bad)
    assert str(caught.value).startswith(verdict)


def test_a_sink_that_fails_is_found_by_its_own_error() -> None:
    with pytest.raises(RuntimeError, match="flushed twice"):
        check_element(SulkySink)


# -- sources ----------------------------------------------------------------------------------------------------------


class Broken(Src):
    """A source whose frames are changed on their way."""

    def changed(self, frame: Frame) -> Any:
        return frame

    def frames(self) -> Iterator[Frame | None]:
        for frame in super().frames():
            yield self.changed(frame) if frame else None


class OtherCamera(Broken):
    """Gives frames of a camera it does not name."""

    def changed(self, frame: Frame) -> Frame:
        return replace(frame, camera="other")


class Grey(Broken):
    """Gives pictures without colours."""

    def changed(self, frame: Frame) -> Frame:
        return replace(frame, pixels=np.ascontiguousarray(frame.pixels[..., 0]))


class Backwards(Broken):
    """Counts down."""

    def changed(self, frame: Frame) -> Frame:
        return replace(frame, seq=10 - frame.seq)


class NoLedger(Broken):
    """Does not say when a frame was captured."""

    def changed(self, frame: Frame) -> Frame:
        return replace(frame, ledger={})


class NoTime(Broken):
    """Does not know what time it is."""

    def changed(self, frame: Frame) -> Frame:
        return replace(frame, wall_ns=0)


class Wild(Broken):
    """Gives something else than frames."""

    def changed(self, frame: Frame) -> People:
        return make_people(frame.seq)


class Exhausted(Src):
    """Gives its frames once only."""

    is_spent = False

    def frames(self) -> Iterator[Frame | None]:
        if not self.is_spent:
            self.is_spent = True
            yield from super().frames()


class Mute(Src):
    """Says nothing until the test is over."""

    is_over = threading.Event()

    def frames(self) -> Iterator[Frame | None]:
        self.is_over.wait()
        yield None


class Patient(Src):
    """Has nothing, and says so."""

    def frames(self) -> Iterator[Frame | None]:
        while True:
            time.sleep(0.01)
            yield None


@pytest.mark.parametrize(
    ("bad", "verdict"),
    [
        (OtherCamera, "othercamera: a frame of camera 'other', but its camera is 'cam'"),
        (Grey, "grey: pixels are uint8 (48, 64), not uint8 (height, width, 3)"),
        (Backwards, "backwards: frame 9 came after frame 10; seq counts upwards"),
        (NoLedger, "noledger: the ledger does not say when the frame was 'captured'"),
        (NoTime, "notime: wall_ns is 0, not the time of capture"),
        (Wild, "wild: gave a People; a source gives Frame or None"),
        (Exhausted, "exhausted: gave frames when first entered, but none the second time"),
        (lambda: Src(num_frames=0), "src: gave no frame; pass quiet=True if it has none"),
    ],
)
def test_a_source_that_breaks_its_contract_is_caught(bad: Callable[[], Source], verdict: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_element(bad)
    assert first_line(caught) == verdict


def test_a_source_that_hangs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    # The real patience spares busy machines; this source outlasts any.
    monkeypatch.setattr(sources, "PATIENCE_S", 0.1)
    try:
        with pytest.raises(AssertionError) as caught:
            check_element(Mute, quiet=True)
    finally:
        Mute.is_over.set()
    assert first_line(caught) == "mute: yielded nothing for 0.1 s; yield None twice a second"


def test_a_quiet_source_has_to_say_that_it_has_nothing() -> None:
    check_element(Patient, quiet=True)
    with pytest.raises(AssertionError) as caught:
        check_element(Src, quiet=True)
    assert "has nothing to give but gave" in str(caught.value)


def test_an_error_of_the_source_is_not_swallowed() -> None:
    class Failing(Src):
        """Cannot be opened."""

        def __enter__(self) -> Failing:
            raise OSError("no such camera")

    with pytest.raises(OSError, match="no such camera"):
        check_element(Failing)
