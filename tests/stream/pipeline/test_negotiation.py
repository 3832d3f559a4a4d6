"""Caps travel both ways, and a clash names the two who disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stream.caps import ANY, Caps
from stream.element import Element, Transform
from stream.elements.queue import Queue
from stream.elements.window import Windower
from stream.errors import LinkError
from stream.messages import Frame
from stream.pipeline.launch import parse_launch
from stream.pipeline.pipeline import Pipeline
from stream.testing import Harness
from tests.toys.estimate import Estimate
from tests.toys.find import Find
from tests.toys.src import Src
from tests.toys.thin import Thin

SRC, BLUR, POSE = "tests.toys.src", "tests.toys.find name=b", "tests.toys.estimate"
WINDOWS = "tests.toys.src ! tests.toys.find ! window"


class Recorder(Transform):
    """Passes anything on and stores the caps that it receives."""

    sink = src = Caps(ANY)

    def set_caps(self, sink: Caps | None, src: Caps | None) -> None:
        self.caps = sink, src

    def process(self, item: Any) -> Iterator[Any]:
        yield item


@dataclass
class Scale(Transform):
    """Takes pictures of any size and gives them 64 pixels wide."""

    sink = Caps("video/raw")
    src = Caps("video/raw", width=64)

    def process(self, item: Frame) -> Iterator[Frame]:
        yield item


class Wide(Transform):
    """Gives pictures 1920 pixels wide, 30 a second."""

    sink = Caps("video/raw")
    src = Caps("video/raw", width=1920, fps=30)


def get_caps(*elements: Element) -> list[str]:
    return [str(link) for link in Pipeline(*elements).links]


def test_what_a_model_needs_fixes_the_window_before_it() -> None:
    line = parse_launch(f"{WINDOWS} ! tests.toys.estimate past=2 future=2")
    assert str(line.links[2]) == "people/window, past=2, future=2"
    assert [str(link) for link in line.links[:2]] == ["video/raw", "people/boxes"]


@pytest.mark.parametrize(
    "between", ["queue", "queue ! tee name=t ! queue", "tests.toys.thin", "tests.toys.thin ! queue ! tests.toys.thin"]
)
def test_it_does_so_across_whatever_stands_between(between: str) -> None:
    line = parse_launch(f"{WINDOWS} ! {between} ! tests.toys.estimate past=3 future=1")
    assert {str(link) for link in line.links[2:]} == {"people/window, past=3, future=1"}


def test_what_no_neighbour_fixes_is_fixed_by_the_producer() -> None:
    assert get_caps(Src(), Find(), Windower(), Thin())[-1] == "people/window, past=0, future=0"


def test_a_property_fixes_one_side_and_the_model_the_other() -> None:
    assert (
        get_caps(Src(), Find(), Windower(future=1), Estimate(past=2, future=1))[-1] == "people/window, future=1, past=2"
    )


def test_an_element_that_changes_a_field_lets_only_the_others_through() -> None:
    assert get_caps(Src(), Wide(), Scale(), Find()) == [
        "video/raw",
        "video/raw, width=1920, fps=30",
        "video/raw, fps=30, width=64",
    ]


def test_every_element_receives_the_caps_of_its_links() -> None:
    first, second = Recorder(), Recorder()
    Pipeline(Src(), first, Find(), Queue(), second).negotiate()
    assert first.caps == (Caps("video/raw"), Caps("video/raw"))
    assert second.caps == (Caps("people/boxes"), Caps("people/boxes"))


def test_an_element_receives_its_caps_once() -> None:
    class Counting(Recorder):
        """Counts the calls of set_caps."""

        times = 0

        def set_caps(self, sink: Caps | None, src: Caps | None) -> None:
            self.times += 1

    element = Counting()
    line = Pipeline(Src(), element)
    for _ in range(2):
        line.negotiate()
        assert line.parts
        list(line.run())
    assert element.times == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tests.toys.src ! window",
            "could not link src to window: media type 'video/raw' is not 'people/boxes'; put 'detect' between them",
        ),
        (
            f"{SRC} name=a ! {POSE} name=p",
            "could not link a to p: media type 'video/raw' is not 'people/window'; put 'detect ! window' between them",
        ),
        (
            "tests.toys.src ! queue ! tee name=t ! queue ! window",
            "could not link src to window: media type 'video/raw' is not 'people/boxes'; put 'detect' between them",
        ),
        (
            f"{SRC} ! tests.toys.find name=a ! {BLUR}",
            "could not link a to b: media type 'people/boxes' is not 'video/raw'; b belongs before a, or is not needed",
        ),
        (
            f"{WINDOWS} past=1 ! queue ! tests.toys.thin ! tests.toys.estimate name=pose past=2",
            "could not link window to pose: past=1 is not past=2; remove past= from window, and pose fixes it",
        ),
        (
            f"{WINDOWS} ! queue name=q ; from q ! {POSE} name=a past=2 ; from q ! {POSE} name=b past=1",
            "a and b cannot both read queue 'q': a past=2, b past=1; give each its own 'window'",
        ),
        (
            f"{SRC} name=a ! queue name=q ; {SRC} camera=b ! {BLUR} ! queue name=q ; from q ! fakesink",
            "a and b cannot both feed queue 'q': a gives 'video/raw', b gives 'people/boxes'; give each its own",
        ),
    ],
)
def test_a_clash_names_both_and_the_remedy(text: str, message: str) -> None:
    with pytest.raises(LinkError) as refused:
        parse_launch(text).negotiate()
    assert str(refused.value) == message


def test_a_media_type_of_ones_own_is_nothing_the_remedy_knows() -> None:
    class Listen(Transform):
        """Takes sound."""

        sink = src = Caps("audio/raw")

    with pytest.raises(LinkError) as refused:
        Pipeline(Src(), Listen()).negotiate()
    assert str(refused.value) == (
        "could not link src to listen: media type 'video/raw' is not 'audio/raw'; "
        "put an element between them that converts 'video/raw' to 'audio/raw'"
    )


# -- one of several media types ---------------------------------------------------------------------------------------


class Either(Transform):
    """Passes boxes and poses on."""

    sink = src = Caps("people/boxes|people/poses")

    def process(self, item: Any) -> Iterator[Any]:
        yield item


class Skeletons(Transform):
    """Gives poses of a frame."""

    sink, src = Caps("video/raw"), Caps("people/poses", skeleton="coco17")


class Keeper(Transform):
    """Takes poses, and no boxes."""

    sink = src = Caps("people/poses")


def test_which_of_several_media_types_it_is_the_neighbours_say() -> None:
    assert get_caps(Src(), Find(), Either(), Windower())[1:3] == ["people/boxes"] * 2
    assert get_caps(Src(), Skeletons(), Either(), Keeper())[1:3] == ["people/poses, skeleton=coco17"] * 2


def test_the_first_media_type_is_the_default() -> None:
    assert [str(caps) for caps in Harness(Either()).caps] == ["people/boxes"] * 2
    assert [str(caps) for caps in Harness(Either(), src="people/poses").caps] == ["people/poses"] * 2


def disagreement(*elements: Element) -> str:
    with pytest.raises(LinkError) as caught:
        Pipeline(*elements).negotiate()
    return str(caught.value).replace("tests.stream.pipeline.test_negotiation.", "").replace("tests.toys.", "")


def test_what_is_none_of_them_names_who_gives_it_and_the_way_out() -> None:
    assert disagreement(Src(), Either()) == (
        "could not link src to either: media type 'video/raw' is not 'people/boxes' or 'people/poses'; "
        "put 'detect' between them"
    )
    assert disagreement(Src(), Find(), Either(), Keeper()) == (
        "could not link find to keeper: media type 'people/boxes' is not 'people/poses'; "
        "put 'window ! pose' between them"
    )
    assert disagreement(Src(), Skeletons(), Either(), Windower()) == (
        "could not link skeletons to window: media type 'people/poses' is not 'people/boxes'; "
        "window belongs before skeletons, or is not needed"
    )
