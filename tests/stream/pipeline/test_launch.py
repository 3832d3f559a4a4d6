"""The three spellings of a pipeline, and what is said about strings that spell none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.element import Element
from stream.elements.fakesink import Fakesink
from stream.elements.queue import Queue
from stream.elements.tee import Tee
from stream.elements.window import Windower
from stream.errors import LaunchError, PosestreamError, PropertyError
from stream.pipeline.launch import load_yaml, parse_launch, parse_lines, parse_yaml
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.wiring import Line
from tests.toys.estimate import Estimate
from tests.toys.find import Find
from tests.toys.src import Src

YAML = """
in_flight: 9
line:
  - tests.toys.src: {camera: hall, num_frames: 5}
  - queue: {leaky: downstream, max_items: 2}
  - tests.toys.find: {name: finder}
  - window
  - tests.toys.estimate:
      past: 2
  - fakesink
"""
LAUNCH = (
    "tests.toys.src camera=hall num_frames=5 ! queue leaky=downstream max_items=2 ! tests.toys.find name=finder"
    " ! window ! tests.toys.estimate past=2 ! fakesink"
)
PYTHON = Pipeline(
    Src(camera="hall", num_frames=5),
    Queue(leaky="downstream", max_items=2),
    Find().rename("finder"),
    Windower(),
    Estimate(past=2),
    Fakesink(),
    in_flight=9,
)
FAN_IN_YAML = """
lines:
  - - tests.toys.src: {camera: hall}
    - queue: {name: frames}
  - - tests.toys.src: {camera: yard}
    - queue: {name: frames}
  - - from: frames
    - tests.toys.find
"""
FAN_IN_LAUNCH = """
tests.toys.src camera=hall ! queue name=frames
tests.toys.src camera=yard ! queue name=frames
from frames ! tests.toys.find
"""
FAN_IN_PYTHON = Pipeline(
    Line(Src(camera="hall"), Queue(name="frames")),
    Line(Src(camera="yard"), Queue(name="frames")),
    Line(Find(), from_queue="frames"),
)


# -- what is understood -----------------------------------------------------------------------------------------------


def test_the_three_spellings_make_equal_pipelines() -> None:
    assert parse_yaml(YAML) == parse_launch(LAUNCH, in_flight=9) == PYTHON
    assert parse_yaml(FAN_IN_YAML) == parse_launch(FAN_IN_LAUNCH) == FAN_IN_PYTHON


@pytest.mark.parametrize("changed", ["camera=yard", "num_frames=6", "name=other", "! tee", "; fakesink"])
def test_pipelines_that_say_different_things_are_not_equal(changed: str) -> None:
    assert parse_launch("tests.toys.src") == parse_launch("tests.toys.src")
    assert parse_launch(f"tests.toys.src {changed}") != parse_launch("tests.toys.src")
    assert parse_launch("tests.toys.src", in_flight=3) != parse_launch("tests.toys.src")


def test_both_writings_of_a_pipeline_are_read_as_the_same() -> None:
    for pipeline in (PYTHON, FAN_IN_PYTHON):
        assert parse_yaml(pipeline.to_yaml()) == pipeline
        assert parse_launch(str(pipeline), in_flight=pipeline.requested_in_flight) == pipeline


def test_how_many_sources_share_a_process_is_written_and_read() -> None:
    pipeline = parse_yaml("sources_per_process: 16\nline: [tests.toys.src: {is_live: true}, queue, fakesink]")
    assert pipeline.sources_per_process == 16
    assert parse_yaml(pipeline.to_yaml()) == pipeline.with_elements(lambda element: element) == pipeline
    assert parse_launch(str(pipeline)) != pipeline


def test_yaml_is_written_as_people_write_it() -> None:
    assert PYTHON.to_yaml() == (
        "in_flight: 9\n"
        "line:\n"
        "  - tests.toys.src: {camera: hall, num_frames: 5}\n"
        "  - queue: {leaky: downstream, max_items: 2}\n"
        "  - tests.toys.find: {name: finder}\n"
        "  - window\n"
        "  - tests.toys.estimate: {past: 2}\n"
        "  - fakesink\n"
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("queue name=people", "people"),
        ("queue 'name=people'", "people"),
        ('queue name="people"', "people"),
        ("queue name='peo'ple", "people"),
        (r"queue name=peo\ple", "people"),
        ('queue name=""', ""),
    ],
)
def test_quotes_are_those_of_a_shell(text: str, name: str) -> None:
    assert parse_lines(text)[0].elements[0].name == name


def test_quotes_keep_blanks_and_signs() -> None:
    for text in (r'tests.toys.src camera="a b ! c ; \" \\ d"', r"""tests.toys.src 'camera=a b ! c ; " \ d'"""):
        (source,) = parse_lines(text)[0].elements
        assert isinstance(source, Src)
        assert source.camera == 'a b ! c ; " \\ d'


@pytest.mark.parametrize(
    "text",
    [
        "queue ! fakesink",
        "queue!fakesink",
        "queue !\n fakesink",
        "queue\n   ! fakesink",
        "queue \\\n ! fakesink",
        ";queue ! fakesink;;\n",
    ],
)
def test_a_line_goes_on_beside_a_link(text: str) -> None:
    assert [type(element) for line in parse_lines(text) for element in line.elements] == [Queue, Fakesink]


@pytest.mark.parametrize(
    "text", ["queue ; fakesink", "queue\nfakesink", "\n\nqueue\n\n\nfakesink\n", "queue;\nfakesink"]
)
def test_lines_end_at_line_breaks_and_semicolons(text: str) -> None:
    assert [[type(element) for element in line.elements] for line in parse_lines(text)] == [[Queue], [Fakesink]]


def test_plain_yaml_means_what_it_means_in_a_launch_string() -> None:
    text = "line:\n  - tests.toys.src: {camera: 0017, fps: null, is_live: true, missing: [1, 2]}"
    (source,) = parse_yaml(text).lines[0].elements
    assert source == Src(camera="0017", fps=None, is_live=True, missing=(1, 2))


def test_a_file_is_read_and_named_in_errors(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(YAML)
    bad.write_text("line:\n  - queu\n")
    assert load_yaml(good) == PYTHON
    with pytest.raises(LaunchError) as refused:
        load_yaml(str(bad))
    said = f"{bad} line 2: no element 'queu'; did you mean 'queue'? 'posestream inspect' lists all"
    assert str(refused.value) == said


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
names = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
sources = st.builds(
    Src,
    camera=texts,
    num_frames=st.integers(0, 10**6),
    missing=st.lists(st.integers(-5, 99), max_size=3).map(tuple),
    fps=st.none() | st.floats(1e-6, 1e6),
    is_live=st.booleans(),
)
transforms = st.one_of(
    st.builds(Queue, name=names, leaky=st.sampled_from(["auto", "no", "upstream", "downstream"]), address=texts),
    st.builds(Windower, past=st.none() | st.integers(0, 256), max_gap=st.integers(0, 10**9)),
    st.builds(Tee, name=names),
    st.builds(lambda element, name: element.rename(name), st.builds(Find), texts.filter(bool)),
)
chains = st.lists(transforms, max_size=5)
lines = st.one_of(
    st.builds(lambda source, rest: Line(source, *rest), sources, chains),
    st.builds(lambda rest, name: Line(Fakesink(), *rest, from_queue=name), chains, names),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(lines, min_size=1, max_size=3), st.none() | st.integers(1, 99))
def test_whatever_is_written_is_read_as_the_same(chains: list[Line], in_flight: int | None) -> None:
    pipeline = Pipeline(*chains, in_flight=in_flight)
    assert parse_launch(str(pipeline), in_flight=in_flight) == pipeline
    assert parse_yaml(pipeline.to_yaml()) == pipeline


@settings(max_examples=200, deadline=None)
@given(st.text("!;'\"\\= \nqueue from", max_size=30))
def test_any_text_is_a_pipeline_or_refused_in_one_line(text: str) -> None:
    for parse in (parse_launch, parse_yaml):
        said = ""
        try:
            parse(text)
        except PosestreamError as error:
            said = str(error)
        assert "\n" not in said


# -- what is refused --------------------------------------------------------------------------------------------------

LISTS = "'posestream inspect' lists all"
QUEUE_HAS = "it has: name, leaky, max_items, address"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the launch string is empty; write something like 'testsrc ! detect ! fakesink'"),
        (" \n ; ", "the launch string is empty; write something like 'testsrc ! detect ! fakesink'"),
        ("queeu ! fakesink", f"column 1: no element 'queeu'; did you mean 'queue'? {LISTS}"),
        ("queue ! ! fakesink", "column 9: no element before this '!'"),
        ("! fakesink", "column 1: no element before this '!'"),
        ("queue !", "column 7: no element after this '!'"),
        ("queue ! ; fakesink", "column 7: no element after this '!'"),
        (
            "queue leaky ! fakesink",
            "column 7: 'leaky' is not a property of queue; write name=value, or '!' before an element",
        ),
        (
            "queue fakesink",
            "column 7: 'fakesink' is not a property of queue; write name=value, or '!' before an element",
        ),
        (
            "queue leaky = no",
            "column 7: 'leaky' is not a property of queue; write name=value, or '!' before an element",
        ),
        ("queue =no", "column 7: '=no' is incomplete; write name=value without spaces around '='"),
        ("queue leaky= no", "column 7: 'leaky=' is incomplete; write name=value without spaces around '='"),
        ("name=x queue", "column 1: 'name=x' is a property, but there is no element before it"),
        ("queue max_items=1 max_items=2", "column 19: queue has max_items= twice"),
        ("queue name='a", "column 12: a quote ' is opened here and not closed"),
        ('queue name="a', 'column 12: a quote " is opened here and not closed'),
        ("queue \\", "column 7: a backslash at the end escapes nothing"),
        ("from", "column 1: write 'from NAME !', with the name of one queue"),
        ("from a b ! fakesink", "column 1: write 'from NAME !', with the name of one queue"),
        ("from name=a ! fakesink", "column 1: write 'from NAME !', with the name of one queue"),
        ("queue ! from a", "column 9: 'from' can only begin a line; separate lines with ';'"),
        ("fakesink\nqueue ! qeue", f"line 2, column 9: no element 'qeue'; did you mean 'queue'? {LISTS}"),
        ("video/raw ! fakesink", f"column 1: 'video/raw' is not the name of an element; {LISTS}"),
    ],
)
def test_a_wrong_launch_string_names_its_place(text: str, message: str) -> None:
    with pytest.raises(LaunchError) as refused:
        parse_launch(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fakesink ! queue max_itms=2",
            f"column 12: queue has no property 'max_itms'; did you mean 'max_items'? {QUEUE_HAS.capitalize()}",
        ),
        ("queue size=2", f"column 1: queue has no property 'size'; {QUEUE_HAS}"),
        (
            "queue max_items=0",
            (
                "column 1: queue: max_items=0 is not valid: it must be an integer of at least 1; "
                "see 'posestream inspect queue'"
            ),
        ),
        (
            "fakesink dump=perhaps",
            (
                "column 1: fakesink: dump=perhaps is not valid: it must be true or false, not text; "
                "see 'posestream inspect fakesink'"
            ),
        ),
        (
            "queue name=''\n! window max_gap=x",
            (
                "line 2, column 3: window: max_gap=x is not valid: it must be an integer, not text; "
                "see 'posestream inspect window'"
            ),
        ),
    ],
)
def test_a_wrong_property_names_its_place(text: str, message: str) -> None:
    with pytest.raises(PropertyError) as refused:
        parse_launch(text)
    assert str(refused.value) == message


TAB = "while scanning for the next token found character '\\t' that cannot start any token"
NEEDS_NAME = "'from:' needs the name of one queue, as in 'from: people'"
ENTRY = "an entry is a name, or a name and its properties: 'detect: {min_score: 0.4}'"
ONE_OF = (
    "give one of 'line:' (a list of elements) and 'lines:' (a list of such lists), and optionally 'in_flight:' and "
    "'sources_per_process:'"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "YAML: a pipeline is a mapping with 'line:' or 'lines:'"),
        ("- queue", "YAML line 1: a pipeline is a mapping with 'line:' or 'lines:'"),
        ("in_flight: 3", f"YAML: {ONE_OF}"),
        ("line: [queue]\nlines: [[queue]]", f"YAML: {ONE_OF}"),
        ("lnie: [queue]", f"YAML line 1: no key 'lnie' here; did you mean 'line'? G{ONE_OF[1:]}"),
        ("\nline:", "YAML line 2: a line is a list with at least one entry, each after a '-'"),
        ("line: queue", "YAML line 1: a line is a list with at least one entry, each after a '-'"),
        ("lines: []", "YAML line 1: 'lines:' is a list with at least one entry, each after a '-'"),
        ("lines: [queue]", "YAML line 1: a line is a list with at least one entry, each after a '-'"),
        ("line:\n  - queue\n  - queeu", f"YAML line 3: no element 'queeu'; did you mean 'queue'? {LISTS}"),
        (
            "line:\n  - queue:\n    name: a",
            "YAML line 2: one element for each '-', not 2 (queue, name); indent properties",
        ),
        ("line:\n  - queue: 3", "YAML line 2: the properties of queue are a mapping: 'queue: {name: …}'"),
        ("line:\n  - filesrc: x.mp4", "YAML line 2: the properties of filesrc are a mapping: 'filesrc: {location: …}'"),
        ("line:\n  - queue: [a]", "YAML line 2: the properties of queue are a mapping: 'queue: {name: …}'"),
        ("line:\n  - testsrc\n  - to: frames", f"YAML line 3: no element 'to'; {LISTS[:1].lower()}{LISTS[1:]}"),
        ("line:\n  - queeu: frames", f"YAML line 2: no element 'queeu'; did you mean 'queue'? {LISTS}"),
        ("line:\n  - 1: x", f"YAML line 2: '1' is not the name of an element; {LISTS[:1].lower()}{LISTS[1:]}"),
        ("line:\n  - [queue]", f"YAML line 2: {ENTRY}"),
        ("line:\n  - {}", f"YAML line 2: {ENTRY}"),
        ("line:\n  - queue name=a", f"YAML line 2: 'queue name=a' is not the name of an element; {ENTRY}"),
        ("line:\n  - testsrc ! fakesink", f"YAML line 2: 'testsrc ! fakesink' is not the name of an element; {ENTRY}"),
        ("line:\n  - [queue]: 3", "YAML line 2: a key is a word, not a list or a mapping"),
        ("line:\n  - queue: {name: a, name: b}", "YAML line 2, column 22: 'name' is given twice, first in line 2"),
        ("line: [queue]\nline: [tee]", "YAML line 2, column 1: 'line' is given twice, first in line 1"),
        (
            "line:\n  - fakesink\n  - from: a",
            "YAML line 3: 'from' can only begin a line; give it a list of its own under 'lines:'",
        ),
        ("line:\n  - from:\n  - fakesink", f"YAML line 2: {NEEDS_NAME}"),
        ("line:\n  - from\n  - fakesink", f"YAML line 2: {NEEDS_NAME}"),
        ("line:\n  - from: [a, b]\n  - fakesink", f"YAML line 2: {NEEDS_NAME}"),
        ("line: [queue]\nin_flight: many", "YAML line 2: in_flight=many is not a number of frames; give at least 1"),
        ("line: [queue]\nin_flight: 0", "YAML line 2: in_flight=0 is not a number of frames; give at least 1"),
        (
            "line: [queue]\nsources_per_process: 0",
            "YAML line 2: sources_per_process=0 is not a number of sources; give at least 1",
        ),
        ("line: [queue]\nin_flight: [1]", "YAML line 2: in_flight=… is not a number of frames; give at least 1"),
        (
            "line: [queue",
            "YAML line 1, column 13: while parsing a flow sequence expected ',' or ']', but got '<stream end>'",
        ),
        (
            "line:\n\t- queue",
            f"YAML line 2, column 1: {TAB}",
        ),
        (
            "line: [queue]\n---\nline: [tee]",
            "YAML line 2, column 1: expected a single document in the stream but found another document",
        ),
    ],
)
def test_wrong_yaml_names_its_line(text: str, message: str) -> None:
    with pytest.raises(LaunchError) as refused:
        parse_yaml(text)
    assert str(refused.value) == message


def test_a_wrong_property_in_yaml_names_its_line() -> None:
    with pytest.raises(PropertyError) as refused:
        parse_yaml("line:\n  - queue: {max_items: 0}", place="hall.yaml")
    said = (
        "hall.yaml line 2: queue: max_items=0 is not valid: it must be an integer of at least 1; "
        "see 'posestream inspect queue'"
    )
    assert str(refused.value) == said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    for name, why in [
        ("none.yaml", ": No such file or directory"),
        (".", ": it is a folder, not a file"),
        ("bytes.yaml", " line 1, column 1: it is not UTF-8 text"),
    ]:
        with pytest.raises(LaunchError) as refused:
            load_yaml(tmp_path / name)
        assert str(refused.value) == f"{tmp_path / name}{why}"


def test_an_element_without_a_name_of_its_own_cannot_be_written() -> None:
    class Anonymous(Find):
        """Defined inside a function."""

    element: Element = Anonymous()
    with pytest.raises(LaunchError) as refused:
        str(Pipeline(element))
    assert "must define one public element" in str(refused.value)
