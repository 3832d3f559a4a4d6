"""Parts, queues, cameras and credits; and several lines in one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stream.caps import Caps
from stream.element import Sink, Source
from stream.elements.fakesink import Fakesink
from stream.elements.queue import Queue
from stream.elements.window import Windower
from stream.errors import LinkError, PropertyError
from stream.messages import Frame
from stream.pipeline.describe import describe
from stream.pipeline.launch import parse_launch
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.wiring import Line, camera_name
from stream.testing import make_frame
from tests.toys.estimate import Estimate
from tests.toys.find import Find
from tests.toys.src import Src

WHOLE = (
    "tests.toys.src num_frames=9 ! queue ! tests.toys.find ! queue ! window ! queue"
    " ! tests.toys.estimate past=2 future=2"
)
FAN_IN = """
tests.toys.src camera=hall num_frames=4 ! queue name=frames
tests.toys.src camera=yard num_frames=2 ! queue name=frames
from frames ! tests.toys.find ! queue name=people
from people ! window ! tests.toys.estimate
from people ! fakesink name=counter
"""


# -- parts ------------------------------------------------------------------------------------------------------------


def test_a_line_is_split_at_its_queues() -> None:
    parts = parse_launch(WHOLE).parts
    assert [part.name for part in parts] == ["src", "find", "window", "estimate"]
    assert [part.inbox for part in parts] == [None, "queue0", "queue1", "queue2"]
    assert [part.outboxes for part in parts] == [("queue0",), ("queue1",), ("queue2",), ()]
    assert not any(isinstance(element, Queue) for part in parts for element in part.elements)


def test_a_line_without_a_queue_is_one_part() -> None:
    (part,) = parse_launch("tests.toys.src ! tests.toys.find ! fakesink").parts
    assert [type(element) for element in part.elements] == [Src, Find, Fakesink]
    assert part.source is part.elements[0]


def test_parts_are_called_as_their_first_element_is_and_never_alike() -> None:
    line = parse_launch("tests.toys.src ! queue ! tests.toys.find name=hall ! window")
    assert [part.name for part in line.parts] == ["src", "hall"]
    twice = parse_launch("tests.toys.src ! tee name=t ; from t ! queue ! fakesink ; from t ! queue ! fakesink")
    assert [part.name for part in twice.parts] == ["src", "fakesink", "fakesink2"]


def test_a_part_made_up_of_a_name_that_is_taken_gets_another_number() -> None:
    line = parse_launch(
        "tests.toys.src ! tee name=t ; from t ! queue ! fakesink ; from t ! queue ! fakesink ; "
        "from t ! queue ! fakesink name=fakesink2"
    )
    assert [part.name for part in line.parts] == ["src", "fakesink", "fakesink3", "fakesink2"]


def test_many_cameras_share_one_detector_and_one_pose_network() -> None:
    line = parse_launch(FAN_IN)
    assert {part.name: part.cameras for part in line.parts} == {
        "src": ("hall",),
        "src2": ("yard",),
        "find": ("hall", "yard"),
        "window": ("hall", "yard"),
        "counter": ("hall", "yard"),
    }
    assert line.cameras == ("hall", "yard")
    assert line.queues["frames"].producers == ("src", "src2")
    assert line.queues["people"].consumers == ("window", "counter")


def test_parts_come_upstream_first_in_whatever_order_the_lines_are_written() -> None:
    line = parse_launch("from q ! fakesink ; tests.toys.src ! queue name=q")
    assert [part.name for part in line.parts] == ["src", "fakesink"]


def test_links_come_upstream_first() -> None:
    links = parse_launch(FAN_IN).links
    assert [(link.upstream, link.downstream, link.queue) for link in links] == [
        ("src", "find", "frames"),
        ("src", "find", "frames"),
        ("find", "window", "people"),
        ("find", "counter", "people"),
        ("window", "estimate", ""),
    ]


def test_a_part_is_found_by_its_name() -> None:
    line = parse_launch(WHOLE)
    assert line.part("find") is line.parts[1]
    with pytest.raises(LinkError) as refused:
        line.part("detect")
    assert str(refused.value) == "no part 'detect'; this line has src, find, window, estimate"


@pytest.mark.parametrize(("is_live", "leaky"), [("true", "downstream"), ("false", "no")])
def test_a_queue_leaks_by_itself_only_where_a_live_source_feeds_it(is_live: str, leaky: str) -> None:
    line = parse_launch(f"tests.toys.src is_live={is_live} ! queue ! tests.toys.find ! queue ! fakesink")
    assert [queue.leaky for queue in line.queues.values()] == [leaky, leaky]


def test_one_live_camera_is_enough_for_the_queue_it_shares() -> None:
    line = parse_launch(
        "tests.toys.src is_live=true camera=a ! queue name=q ; from q ! fakesink ; "
        "tests.toys.src camera=b ! queue name=own ! tests.toys.find ! fakesink"
    )
    assert {name: queue.leaky for name, queue in line.queues.items()} == {"q": "downstream", "own": "no"}


def test_a_queue_does_what_its_properties_say() -> None:
    line = parse_launch(
        "tests.toys.src is_live=true ! queue name=q leaky=no max_items=7 address=tcp://*:5555 ! fakesink"
    )
    queue = line.queues["q"]
    assert (queue.leaky, queue.max_items, queue.address) == ("no", 7, "tcp://*:5555")


def test_nameless_queues_are_numbered_around_the_names_that_are_taken() -> None:
    line = parse_launch("tests.toys.src ! queue ! tests.toys.find ! queue name=queue0 ! fakesink")
    assert list(line.queues) == ["queue1", "queue0"]


# -- credits ----------------------------------------------------------------------------------------------------------


def test_what_may_be_in_flight_is_every_window_two_a_part_and_two_more() -> None:
    assert parse_launch(WHOLE).in_flight == (2 + 1 + 2) + 2 * 4 + 2


def test_without_a_window_only_the_parts_count() -> None:
    assert parse_launch("tests.toys.src ! queue ! fakesink").in_flight == 2 * 2 + 2


def test_parts_of_other_cameras_do_not_count() -> None:
    one = "tests.toys.src camera={} ! queue name=q"
    lines = "; ".join([*map(one.format, "abcdefgh"), "from q ! fakesink"])
    assert parse_launch(lines).in_flight == 2 * 2 + 2


def test_what_is_given_as_in_flight_holds() -> None:
    line = parse_launch(WHOLE, in_flight=3)
    assert (line.in_flight, line.requested_in_flight) == (3, 3)
    assert parse_launch(WHOLE).requested_in_flight is None


def test_no_frame_in_flight_is_no_line() -> None:
    with pytest.raises(LinkError) as refused:
        Pipeline(Src(), in_flight=0)
    assert str(refused.value) == "in_flight=0 lets no frame through; give at least 1, or omit it"


# -- shared processes -------------------------------------------------------------------------------------------------


def test_live_sources_before_a_queue_may_share_processes_and_nothing_else() -> None:
    source = "tests.toys.src name={0} camera={0} is_live={1} ! queue name=q"
    lines = [source.format("hall", "true"), source.format("yard", "true"), source.format("file", "false")]
    pipeline = parse_launch("; ".join([*lines, "from q ! tests.toys.find ! fakesink"]))
    assert pipeline.shared_parts == frozenset()
    assert Pipeline(*pipeline.lines, sources_per_process=2).shared_parts == {"hall", "yard"}


def test_sources_that_cannot_share_a_process_are_an_error() -> None:
    line = Pipeline(Src(is_live=True), Fakesink(), sources_per_process=4)
    with pytest.raises(LinkError) as refused:
        line.check()
    assert str(refused.value) == (
        "sources_per_process=4 concerns no part of this line; put a queue after each live source, before any network"
    )
    with pytest.raises(LinkError, match=r"^sources_per_process=0 lets no process read a camera; give at least 1$"):
        Pipeline(Src(), sources_per_process=0)


# -- in one process ---------------------------------------------------------------------------------------------------


def test_every_frame_gets_a_pose_and_none_gets_two() -> None:
    line = parse_launch("tests.toys.src num_frames=9 ! tests.toys.find ! window ! tests.toys.estimate past=2 future=2")
    assert str(line.links[2]) == "people/window, past=2, future=2"
    assert [pose.key[1] for pose in line.run()] == list(range(9))


def test_queues_change_nothing_in_one_process() -> None:
    with_queues = [(pose.key, pose.window) for pose in parse_launch(WHOLE).run()]
    without = [(pose.key, pose.window) for pose in parse_launch(WHOLE.replace(" queue !", "")).run()]
    assert with_queues == without


def test_fan_in_and_branches_run_in_one_process() -> None:
    line = parse_launch(FAN_IN)
    poses = list(line.run())
    assert sorted(pose.key for pose in poses) == [("hall", seq) for seq in range(4)] + [
        ("yard", seq) for seq in range(2)
    ]
    (counter,) = line.part("counter").elements
    assert isinstance(counter, Fakesink)
    assert counter.count == 6


def test_a_pipeline_can_be_run_again() -> None:
    line = parse_launch(WHOLE)
    assert [pose.key for pose in line.run()] == [pose.key for pose in line.run()]


def test_sources_take_turns() -> None:
    line = Pipeline(Line(Src(camera="a")), Line(Src(camera="b", num_frames=2)))
    assert [frame.key for frame in line.run()] == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2)]


def test_the_end_of_one_camera_flushes_only_that_camera() -> None:
    line = parse_launch(FAN_IN.replace("! tests.toys.estimate", "past=0 future=3"))
    keys = [window.key for window in line.run()]
    assert keys.index(("yard", 1)) < keys.index(("hall", 1))


class Flushes(Sink):
    """Counts how often its stream ended."""

    sink = Caps("video/raw")

    def __init__(self) -> None:
        self.times = 0

    def consume(self, item: Any) -> None:
        assert self.times == 0, "an item came after the end"

    def flush(self) -> None:
        self.times += 1


def test_a_sink_is_flushed_once_when_all_its_cameras_have_ended() -> None:
    sink = Flushes()
    lines = [Line(Src(camera=name, num_frames=count), Queue(name="q")) for name, count in [("a", 1), ("b", 4)]]
    assert list(Pipeline(*lines, Line(sink, from_queue="q")).run()) == []
    assert sink.times == 1


class Door(Source):
    """Says whether it is open."""

    src = Caps("video/raw")

    def __enter__(self) -> Door:
        self.is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False

    def frames(self) -> Iterator[Frame | None]:
        yield from (make_frame(seq, "door") for seq in range(100))


def test_leaving_a_run_early_closes_everything() -> None:
    door = Door()
    run = Pipeline(door).run()
    next(run)
    assert door.is_open
    run.close()  # type: ignore[attr-defined]
    assert not door.is_open


def test_a_source_without_a_camera_of_its_own_is_called_as_it_is() -> None:
    assert camera_name(Door()) == "door"
    assert camera_name(Door().rename("gate")) == "gate"
    assert camera_name(Src(camera="hall")) == "hall"


# -- what is refused, and what is said --------------------------------------------------------------------------------


def test_a_pipeline_of_nothing_or_of_both_kinds_is_refused() -> None:
    for given in ([], [Src(), Line(Src())]):
        with pytest.raises(LinkError) as refused:
            Pipeline(*given)  # type: ignore[arg-type]
        said = "a Pipeline takes elements or Line objects: at least one, and not both kinds"
        assert str(refused.value) == said


def test_a_value_that_an_element_cannot_take_is_refused_in_python_too() -> None:
    with pytest.raises(PropertyError) as refused:
        Pipeline(Src(), Find(), Windower(past=999))
    said = "window: past=999 is not valid: it must be an integer of at most 256; see 'posestream inspect window'"
    assert str(refused.value) == said


def test_open_ends_are_known() -> None:
    assert parse_launch(WHOLE).open_ends == ("estimate",)
    assert parse_launch("tests.toys.src ! fakesink").open_ends == ()


def test_a_pipeline_shows_itself_as_a_launch_string() -> None:
    line = Pipeline(Src(camera="the hall"), Queue(), Estimate())
    assert str(line) == 'tests.toys.src camera="the hall" ! queue ! tests.toys.estimate'
    assert repr(line) == f"<Pipeline {str(line)!r}>"


def test_the_description_says_parts_links_look_ahead_and_what_is_in_flight() -> None:
    text = "tests.toys.src fps=30 is_live=true ! queue ! tests.toys.find ! window ! tests.toys.estimate past=2 future=2"
    assert describe(parse_launch(text)).splitlines() == [
        "parts, each a process:",
        "  src   src ! queue queue0",
        "  find  queue queue0 (leaky=downstream max_items=1) ! find ! window ! estimate",
        "links and their caps:",
        "  src -> find: video/raw",
        "  find -> window: people/boxes",
        "  window -> estimate: people/window, past=2, future=2",
        "  estimate -> nothing: its output is discarded; end the line with a sink",
        "look-ahead:",
        "  window: future=2: 67 ms at 30 fps",
        "in flight:",
        "  at most 11 frames of each camera",
    ] or describe(parse_launch(text))


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ("tests.toys.src", "window: future=1: 33 ms at 30 fps, if that is the camera's rate"),
        ("tests.toys.src fps=25", "window: future=1: 40 ms at 25 fps"),
        (
            "tests.toys.src fps=25 camera=b ! queue name=q ; tests.toys.src fps=29.97",
            "window: future=1: 40 ms at 25 fps, 33 ms at 29.97 fps",
        ),
    ],
)
def test_look_ahead_is_reported_in_milliseconds_for_every_rate(sources: str, said: str) -> None:
    line = parse_launch(
        f"{sources} ! queue name=q ; from q ! tests.toys.find ! window ! tests.toys.estimate ! fakesink"
    )
    assert f"  {said}" in describe(line).splitlines()


def test_a_window_without_future_adds_no_delay() -> None:
    line = parse_launch("tests.toys.src ! tests.toys.find ! window past=2 ! fakesink")
    assert "  window: future=0: no delay" in describe(line).splitlines()
