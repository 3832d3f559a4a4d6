"""``fakesink``: counting, and one line of text per item with ``dump``."""

from __future__ import annotations

import pytest

from stream.elements.fakesink import Fakesink, summarise
from stream.messages import Message
from stream.testing import Harness, check_element, make_frame, make_people, make_poses, make_window


def test_the_fakesink_keeps_the_contract_of_an_element() -> None:
    check_element("fakesink")


def test_items_are_counted_from_the_opening() -> None:
    sink = Fakesink()
    for _ in range(2):
        Harness(sink).push_all(make_frame(seq) for seq in range(3))
        assert sink.count == 3


def test_dump_prints_one_line_for_every_item(capsys: pytest.CaptureFixture[str]) -> None:
    Harness("fakesink dump=true").push_all([make_frame(0), make_frame(1)])
    assert capsys.readouterr().out == "cam 0 frame 64x48\ncam 1 frame 64x48\n"


def test_without_dump_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Harness("fakesink").push_all([make_frame(0)])
    assert capsys.readouterr().out == ""


def test_an_item_is_summarised_in_one_line() -> None:
    items: list[Message] = [make_people(4, count=1), make_window(5, past=1, count=2), make_poses(6, count=0)]
    assert [summarise(item) for item in items] == [
        "cam 4 people 1 person",
        "cam 5 window 2 people real real",
        "cam 6 poses 0 people coco17",
    ]
