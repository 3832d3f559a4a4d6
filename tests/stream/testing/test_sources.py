"""``check_element`` passes a good source, and every clause catches a source made to break it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream.element import Source
from stream.messages import Frame, People
from stream.testing import check_element, make_people, sources
from tests.toys.src import Src


def first_line(caught: pytest.ExceptionInfo[AssertionError]) -> str:
    """The verdict, without what pytest adds to assertions of modules it was given by name."""
    return str(caught.value).splitlines()[0]


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
    """Gives frames without the time of capture."""

    def changed(self, frame: Frame) -> Frame:
        return replace(frame, wall_ns=0)


class GivesPeople(Broken):
    """Gives something else than frames."""

    def changed(self, frame: Frame) -> People:
        return make_people(frame.seq)


class GivesOnce(Src):
    """Gives its frames once only."""

    is_spent = False

    def frames(self) -> Iterator[Frame | None]:
        if not self.is_spent:
            self.is_spent = True
            yield from super().frames()


class Silent(Src):
    """Yields nothing until the test is over."""

    is_over = threading.Event()

    def frames(self) -> Iterator[Frame | None]:
        self.is_over.wait()
        yield None


class Quiet(Src):
    """Has no frames, and yields None."""

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
        (GivesPeople, "givespeople: gave a People; a source gives Frame or None"),
        (GivesOnce, "givesonce: gave frames when first entered, but none the second time"),
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
            check_element(Silent, quiet=True)
    finally:
        Silent.is_over.set()
    assert first_line(caught) == "silent: yielded nothing for 0.1 s; yield None twice a second"


def test_a_quiet_source_has_to_say_that_it_has_nothing() -> None:
    check_element(Quiet, quiet=True)
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
