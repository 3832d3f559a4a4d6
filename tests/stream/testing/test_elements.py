"""``check_element`` passes a good transform or sink, and every clause catches an element made to break it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream.element import Element
from stream.testing import check_element, make_frame, make_window, people_items
from tests.stream.testing import elements


@pytest.mark.parametrize("good", [elements.Same, elements.Later, elements.WithReach])
def test_good_elements_pass(good: Callable[[], Element]) -> None:
    check_element(good)


def test_an_element_may_be_given_as_object_factory_or_launch_string() -> None:
    check_element(elements.Same())
    check_element(lambda: elements.Same().rename("same"))
    check_element("tests.toys.find count=1")
    check_element("tests.toys.estimate past=1 future=2", sink="people/window")
    check_element(elements.Same, people_items(3))


def test_a_good_sink_and_a_good_source_pass() -> None:
    check_element("fakesink", [make_frame(0), make_window(3, past=1)])
    check_element("tests.toys.src num_frames=70 missing=1,2")


@pytest.mark.parametrize(
    ("bad", "verdict"),
    [
        (elements.NoDoc, "nodoc: the class has no docstring"),
        (elements.MadeUpDoc, "madeupdoc: the class has no docstring"),
        (elements.NoDescription, "nodescription: property speed has no Meta(description=…)"),
        (elements.WrongDefault, "wrongdefault: a property does not satisfy its own declaration"),
        (elements.NoSrc, "nosrc: a transform must declare src caps"),
        (elements.SinkThatGives, "sinkthatgives: a sink must not declare src caps"),
        (elements.SourceThatTakes, "sourcethattakes: a source must not declare sink caps"),
        (elements.GivesFrames, "givesframes: gave a Frame, but its src caps are 'people/boxes'"),
        (elements.OtherKeys, "otherkeys: gave ('hall', 100), a key that was never pushed in"),
        (elements.Twice, "twice: gave hall 0 after hall 0"),
        (elements.WritesPixels, "writespixels: writes to an array it was given"),
        (elements.WritesReadOnly, "writesreadonly: "),
        (elements.WritesLedger, "writesledger: changed ('hall', 0) that was pushed in"),
        (elements.NeedsPeople, "needspeople: fails for a picture without people: ValueError"),
        (elements.NeverDone, "neverdone: flush() gives something a second time"),
        (elements.KeepsAtEnd, "keepsatend: pending() is not empty after flush()"),
        (elements.FlushesAll, "flushesall: flush('hall') gave ('yard', 5), of another camera"),
        (elements.LosesOthers, "losesothers: pending() after flush('hall') is set(), not {('yard', 5)}"),
        (
            elements.PendingAfterOutput,
            "pendingafteroutput: pending() names {('hall', 0)}, whose output has come already",
        ),
        (elements.PendingUnknown, "pendingunknown: pending() names {('nowhere', 3)}, never pushed in"),
        (elements.OnceOnly, "onceonly: entered a second time it gave []"),
        (elements.LosesBatches, "losesbatches: process_many gave "),
        (elements.NotPending, "notpending: killed after 1 items and restarted, it never gave ('hall', 0)"),
        (elements.WithoutReach, "withoutreach: killed after 1 items and restarted, ('hall', 1) holds other frames"),
        (
            elements.LongWindows,
            "longwindows: a window of (2, 2) frames and states, but 'people/window, past=0, future=0' was agreed",
        ),
        (elements.OffCentre, "offcentre: the key frame stands at 1, but past=0 was agreed"),
        (elements.SinkThatWrites, "sinkthatwrites: changed ('hall', 0) that was pushed in"),
    ],
)
def test_every_clause_catches_the_element_that_breaks_it(bad: type[Element], verdict: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_element(bad)
    assert str(caught.value).startswith(verdict)


def test_a_sink_that_fails_is_found_by_its_own_error() -> None:
    with pytest.raises(RuntimeError, match="flushed twice"):
        check_element(elements.SinkFlushedOnce)
