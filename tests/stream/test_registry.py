"""Elements by name: what ``make`` makes, and the words of every refusal."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stream import registry
from stream.element import Transform
from stream.elements.queue import Queue
from stream.elements.window import Windower
from stream.errors import LaunchError, PropertyError
from stream.registry import element_class, element_name, element_names, get_properties, label, make, validate
from stream.testing import Harness
from tests.toys.find import Find


@dataclass
class Lists(Transform):
    """An element with lists for properties."""

    classes: tuple[int, ...] = ()
    labels: list[str] = field(default_factory=list)


def test_the_file_name_is_the_registry() -> None:
    assert element_class("queue") is Queue
    assert element_name(Queue()) == "queue"
    assert {"queue", "tee", "window", "fakesink"} <= set(element_names())


def test_an_element_is_imported_only_when_it_is_named() -> None:
    code = (
        "import sys; from stream.registry import element_names, make; element_names(); make('queue');"
        "assert not {'cv2', 'av', 'zmq', 'onnxruntime', 'stream.elements.window'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_outsiders_name_their_own_module() -> None:
    found = make("tests.toys.find", count="3")
    assert found == Find(count=3)
    assert element_name(found) == "tests.toys.find"
    assert label(found) == "find"


def test_text_becomes_what_the_property_is() -> None:
    window = make("window", past="2", future="null", max_gap="3")
    assert window == Windower(past=2, future=None, max_gap=3)


def test_a_list_is_written_with_commas() -> None:
    given = {"classes": "0, 2", "labels": "a,b"}
    converted = registry._convert("lists", Lists, given, strict=False)
    assert converted == {"classes": (0, 2), "labels": ["a", "b"]}


def test_any_element_can_be_called_by_a_name() -> None:
    window = make("window", name="hall_windows")
    assert window.name == label(window) == "hall_windows"
    assert get_properties(window) == {"name": "hall_windows"}


def test_only_what_is_not_at_its_default_is_a_given_property() -> None:
    assert get_properties(make("queue", leaky="no")) == {"leaky": "no"}
    assert get_properties(Lists()) == {}
    assert get_properties(Lists(), defaults=True) == {"classes": (), "labels": []}


def test_an_element_made_in_python_is_checked_too() -> None:
    with pytest.raises(PropertyError) as refused:
        validate(Queue(max_items=0))
    assert (
        str(refused.value)
        == "queue: max_items=0 is not valid: it must be an integer of at least 1; see 'posestream inspect queue'"
    )


@pytest.mark.parametrize(
    ("name", "properties", "message"),
    [
        ("qeue", {}, "no element 'qeue'; did you mean 'queue'? 'posestream inspect' lists all"),
        ("zzz", {}, "no element 'zzz'; 'posestream inspect' lists all"),
        ("nowhere.blur", {}, "no element 'nowhere.blur'; 'posestream inspect' lists all"),
        ("video/raw", {}, "'video/raw' is not the name of an element; 'posestream inspect' lists all"),
        ("_private", {}, "'_private' is not the name of an element; 'posestream inspect' lists all"),
        ("", {}, "'' is not the name of an element; 'posestream inspect' lists all"),
        (
            "tests.toys.two",
            {},
            "element 'tests.toys.two': tests.toys.two must define one public element, but defines 2 (One, Other)",
        ),
    ],
)
def test_an_unknown_element_is_refused_in_one_line(name: str, properties: dict[str, str], message: str) -> None:
    with pytest.raises(LaunchError) as refused:
        make(name, **properties)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("name", "properties", "message"),
    [
        (
            "queue",
            {"max_itmes": "2"},
            "queue has no property 'max_itmes'; did you mean 'max_items'? It has: name, leaky, max_items, address",
        ),
        ("tests.toys.thin", {"x": "1"}, "tests.toys.thin has no property 'x'; it has none"),
        (
            "queue",
            {"max_items": "many"},
            "queue: max_items=many is not valid: it must be an integer, not text; see 'posestream inspect queue'",
        ),
        (
            "queue",
            {"leaky": "maybe"},
            (
                "queue: leaky=maybe is not valid: it must be one of auto, no, upstream, downstream; "
                "see 'posestream inspect queue'"
            ),
        ),
        (
            "filesrc",
            {},
            "filesrc: location= is missing and has no default; see 'posestream inspect filesrc'",
        ),
    ],
)
def test_a_wrong_property_is_refused_in_one_line(name: str, properties: dict[str, str], message: str) -> None:
    with pytest.raises(PropertyError) as refused:
        make(name, **properties)
    assert str(refused.value) == message


def test_a_library_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "needy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "element.py").write_text("import a_library_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LaunchError) as refused:
        make("needy.element")
    assert str(refused.value) == (
        "element 'needy.element' cannot be loaded: "
        "it needs the module 'a_library_that_is_missing', which is not installed"
    )


def test_every_element_that_ships_can_be_loaded_and_is_called_as_its_file() -> None:
    for name in element_names():
        assert element_name(element_class(name)) == name


def test_a_named_element_works_as_before() -> None:
    assert len(Harness(make("tests.toys.find", name="finder"), sink="video/raw").push_all([])) == 0


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_a_number_of_a_property_is_finite(value: str) -> None:
    with pytest.raises(PropertyError) as caught:
        make("camerasrc", open_timeout_s=value)
    assert "open_timeout_s=" + value in str(caught.value)
