"""What is no line is refused, in one sentence each."""

from __future__ import annotations

import pytest

from stream.elements.fakesink import Fakesink
from stream.errors import LinkError, PropertyError
from stream.pipeline.launch import parse_launch
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.wiring import Line
from tests.toys.find import Find
from tests.toys.src import Src

SRC = "tests.toys.src"
FIND = "tests.toys.find"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FIND, "a line begins with a source or with 'from NAME', not with find"),
        ("queue name=people ! fakesink", "a line begins with a source or with 'from NAME', not with people"),
        (f"{SRC} ! {SRC}", "src is a source: it can only begin a line"),
        (f"{SRC} ! queue name=q ; from q ! {SRC}", "src is a source: it can only begin a line"),
        (f"{SRC} ! fakesink ! {FIND}", "fakesink is a sink: find cannot follow it; branch before it with 'tee'"),
        (
            f"{SRC} ! queue ! queue ! fakesink",
            "two queues follow each other; remove one, or put an element between them",
        ),
        (
            f"{SRC} ! queue name=q ; from q ! queue ! fakesink",
            "two queues follow each other: 'from q' is one already; remove the second",
        ),
        (
            f"{SRC} ! queue",
            "nothing reads queue 'queue0'; put an element after it, or set name=NAME and write 'from NAME ! …'",
        ),
        (f"{SRC} ! queue name=q", "nothing reads queue 'q'; begin a line with 'from q ! …'"),
        (
            f"{SRC} ; from people ! fakesink",
            "'from people': no queue or tee is called 'people'; give one a name with 'queue name=…'",
        ),
        (
            f"{SRC} ! queue name=people ; from poeple ! fakesink ; from people ! fakesink",
            "'from poeple': no queue or tee is called 'poeple'; did you mean 'people'? There are 'people'",
        ),
        (f"{SRC} ! tee name=t", "nothing follows tee 't'; begin a line with 'from t ! queue ! …'"),
        (
            f"{SRC} ! tee ! {FIND}",
            "what follows a tee must begin with a queue, not with find; write 'tee ! queue ! find'",
        ),
        (
            f"{SRC} ! tee name=t ; from t ! {FIND}",
            "a branch of tee 't' must begin with a queue, not with find; write 'from t ! queue ! find'",
        ),
        (
            f"{SRC} ! tee name=t ; {SRC} camera=b ! tee name=t ; from t ! queue ! fakesink",
            "two tees are called 't'; give one of them another name",
        ),
        (
            f"{SRC} ! tee name=t ! queue name=t ! fakesink",
            "a queue and a tee are both called 't'; give one of them another name",
        ),
        (
            f"{SRC} ! queue name=q leaky=no ; {SRC} camera=b ! queue name=q leaky=upstream ; from q ! fakesink",
            "queue 'q' has different properties in two lines; set them in one of the two",
        ),
        (
            f"{SRC} ! queue name=q address=tcp://*:5000 ; from q ! fakesink ; from q ! {FIND}",
            "queue 'q' has an address, which one part can bind, but 2 read it; branch with a tee, a queue for each",
        ),
        *(
            (f"{SRC} ! queue name=q address={address} ! fakesink", message)
            for address, message in {
                "tcp://127.0.0.1:0": "queue 'q': 'tcp://127.0.0.1:0' has no port from 1 to 65535; write tcp://HOST:PORT",
                "tcp://*:99999": "queue 'q': 'tcp://*:99999' has no port from 1 to 65535; write tcp://HOST:PORT",
                "127.0.0.1:5000": "queue 'q': '127.0.0.1:5000' is not an address; write ipc://PATH or tcp://HOST:PORT",
                "tcp://127.0.0.1:*": "queue 'q': the other process cannot find tcp://127.0.0.1:*; "
                "write ipc://PATH or tcp://HOST:PORT",
                "inproc://q": "queue 'q': the other process cannot find inproc://q; "
                "write ipc://PATH or tcp://HOST:PORT",
            }.items()
        ),
        (
            f"{SRC} ! queue name=a address=ipc:///run/q ! {FIND} ! queue name=b address=ipc:///run/q ! fakesink",
            "queues 'a' and 'b' have the same address ipc:///run/q; change one",
        ),
        (
            f"{SRC} ! queue address=tcp://127.0.0.1:5600 ! {FIND} ! queue address=tcp://localhost:05600 ! fakesink",
            "queues 'queue0' and 'queue1' have the same address tcp://localhost:05600; change one",
        ),
        (
            f"from a ! {FIND} ! queue name=b ; from b ! {FIND} ! queue name=a",
            "the lines form a cycle (find ! find); a line must lead away from its source",
        ),
        (
            f"{SRC} ! queue name=q ; {SRC} ! queue name=q ; from q ! fakesink",
            "two cameras are called 'cam' (src and src); give each its own, as in camera=hall",
        ),
    ],
)
def test_what_is_no_line_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(LinkError) as refused:
        parse_launch(text).negotiate()
    assert str(refused.value) == message


def test_one_object_cannot_stand_in_two_places() -> None:
    find = Find()
    with pytest.raises(LinkError) as refused:
        Pipeline(Src(), find, find).negotiate()
    assert str(refused.value) == "the same find object occurs twice in the pipeline; make two"


@pytest.mark.parametrize(
    ("line", "message"), [(Line(), "a line is empty"), (Line(from_queue="q"), "the line 'from q' is empty")]
)
def test_an_empty_line_is_refused(line: Line, message: str) -> None:
    with pytest.raises(LinkError) as refused:
        Pipeline(Line(Src(), Fakesink()), line).negotiate()
    assert str(refused.value) == message


def test_a_shared_queue_takes_its_properties_from_the_line_that_gives_them() -> None:
    for first, second in [(" leaky=upstream", ""), ("", " leaky=upstream")]:
        line = parse_launch(f"{SRC} ! queue name=q{first} ; {SRC} camera=b ! queue name=q{second} ; from q ! fakesink")
        assert line.queues["q"].leaky == "upstream"


def test_a_line_says_what_it_is() -> None:
    assert repr(Line(Find(), Fakesink(), from_queue="people")) == "Line(from people ! find ! fakesink)"


def test_a_camera_name_that_a_sink_downstream_cannot_take_is_refused_before_the_line_runs() -> None:
    line = "testsrc camera={} ! queue ! detect model=truth ! track ! window ! pose ! queue ! {}"
    assert parse_launch(line.format("ü" * 40, "keypointsink")).parts
    assert parse_launch(line.format("ü" * 41, "fakesink")).parts
    with pytest.raises(
        PropertyError, match=r"^keypointsink: the camera name 'ü{20}'… has 82 bytes; set camera= to a name"
    ):
        _ = parse_launch(line.format("ü" * 41, "keypointsink")).parts


_UNREADABLE = "is blank or has characters that cannot be printed"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("testsrc camera=' ' ! fakesink", f"testsrc: the camera name ' ' {_UNREADABLE}; set camera= to another one"),
        (
            "filesrc location=x.mp4 camera=' ' ! fakesink",
            f"filesrc: the camera name ' ' {_UNREADABLE}; set camera= to ",
        ),
        (
            "rtspsrc url=rtsp://h camera=' ' ! fakesink",
            f"rtspsrc: the camera name ' ' {_UNREADABLE}; set camera= to an",
        ),
        ("testsrc camera='a\tb' ! fakesink", f"testsrc: the camera name 'a\\tb' {_UNREADABLE}; set camera= to another"),
        ("testsrc name=' ' ! fakesink", f"testsrc: name=' ' {_UNREADABLE}; choose another"),
        ("testsrc ! fakesink name='\033[1m'", f"fakesink: name='\\x1b[1m' {_UNREADABLE}; choose another"),
        (
            "testsrc name=../x ! fakesink",
            "testsrc: name='../x' has a slash, and files are called after it; choose anot",
        ),
        (
            f"testsrc ! fakesink name={'ü' * 51}",
            "fakesink: name='üüüüüüüüüüüüüüüüüüüü'… has 102 bytes; choose one of at",
        ),
    ],
)
def test_a_name_that_cannot_be_read_or_be_that_of_a_file_is_refused(line: str, message: str) -> None:
    with pytest.raises(PropertyError) as refused:
        _ = parse_launch(line).parts
    assert str(refused.value).startswith(message)
