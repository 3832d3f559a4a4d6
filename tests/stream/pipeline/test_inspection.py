"""What an element says of itself, from the one dataclass that is also its properties."""

from __future__ import annotations

import pytest

from stream.errors import LaunchError
from stream.pipeline.inspection import inspect_element, json_schema
from stream.pipeline.launch import parse_launch
from stream.registry import element_class, element_names, property_names

SHIPPED = element_names()


def test_the_page_of_an_element_is_its_dataclass() -> None:
    page = inspect_element("queue")
    assert (page.name, page.kind, page.sink, page.src) == ("queue", "transform", "any", "any")
    assert page.summary == "Ends one part of the line and begins the next, which runs in its own process."
    by_name = {item.name: item for item in page.properties}
    assert list(by_name) == ["name", "leaky", "max_items", "address"]
    assert (by_name["max_items"].type, by_name["max_items"].default, by_name["max_items"].range) == (
        "int",
        "1",
        "at least 1",
    )
    assert by_name["leaky"].type == "auto|downstream|no|upstream"


def test_an_optional_property_says_so_with_its_range() -> None:
    past = inspect_element("window").properties[0]
    assert (past.type, past.default, past.range) == ("int or null", "null", "at least 0, at most 256")
    assert past.description == "frames before the key frame; fixed by the model when left out"


def test_a_required_property_has_no_default_and_stands_in_the_example() -> None:
    page = inspect_element("filesrc")
    assert page.properties[0].default is None
    assert page.example == "filesrc location=video.mp4 ! fakesink"


def test_a_list_is_shown_as_a_list() -> None:
    missing = {item.name: item for item in inspect_element("tests.toys.src").properties}["missing"]
    assert (missing.type, missing.default) == ("list of int", "")


def test_the_page_reads_as_text() -> None:
    assert inspect_element("fakesink").text() == (
        "fakesink (sink): Discards its items and counts them in count; for testing and timing the rest of a line.\n"
        "\n"
        "sink: anything\n"
        "\n"
        "  dump: true|false, default false\n"
        "      print one line of text per item\n"
        "\n"
        "example: posestream launch 'testsrc ! fakesink'"
    )


def test_the_page_of_tee_shows_branches_that_a_pipeline_is_made_of() -> None:
    lines = [line.strip() for line in inspect_element("tee").details.splitlines() if line.startswith("    ")]
    assert [part.name for part in parse_launch("\n".join(lines)).parts] == ["testsrc", "window", "fakesink"]


def test_outsiders_elements_have_pages_too() -> None:
    page = inspect_element("tests.toys.estimate")
    assert page.example == "testsrc ! detect ! track ! window ! tests.toys.estimate ! fakesink"
    assert page.text().startswith("tests.toys.estimate (transform): Wants windows of a certain length")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_element_that_ships_says_all_that_a_user_needs(name: str) -> None:
    page = inspect_element(name)
    assert page.summary.endswith(".")
    assert all(item.description for item in page.properties)
    assert [item.name for item in page.properties] == list(property_names(element_class(name)))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_example_of_every_element_is_a_launch_string_around_it(name: str) -> None:
    line = parse_launch(inspect_element(name).example)
    assert element_class(name) in {type(element) for element in line.lines[0].elements}


def test_the_schema_is_that_of_the_properties() -> None:
    schema = json_schema("window")
    assert (schema["title"], schema["type"], schema["additionalProperties"]) == ("window", "object", False)
    assert schema["properties"]["max_gap"] == {
        "description": "missing frames in a row that are filled; after more, a new ring starts",
        "type": "integer",
        "minimum": 0,
        "default": 15,
    }
    assert json_schema("filesrc")["required"] == ["location"]


def test_there_is_no_page_of_what_is_not_there() -> None:
    with pytest.raises(LaunchError) as refused:
        inspect_element("windw")
    assert str(refused.value) == "no element 'windw'; did you mean 'window'? 'posestream inspect' lists all"
