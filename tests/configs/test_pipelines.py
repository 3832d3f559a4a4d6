"""Every line that ships is a line: linked, negotiated, and written again as the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import configs
from stream.elements.pose import Pose
from stream.pipeline.launch import load_yaml, parse_launch, parse_yaml
from stream.registry import element_name

SHIPPED = sorted((configs.folder() / "pipelines").glob("*.yaml"))
NAMES = {"branch", "demo", "file", "rtsp", "two_cameras", "webcam"}


def test_the_lines_that_are_promised_ship() -> None:
    assert {path.stem for path in SHIPPED} >= NAMES


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_line_that_ships_links_and_ends_in_a_sink(path: Path) -> None:
    line = load_yaml(path)
    assert line.negotiate()
    assert line.open_ends == ()
    assert len(line.parts) > 1


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_pose_network_fixes_the_window_of_every_line_that_ships(path: Path) -> None:
    line = load_yaml(path)
    (pose,) = [element for part in line.parts for element in part.elements if isinstance(element, Pose)]
    sink, _ = line.get_caps(pose)
    assert sink is not None
    assert sink.fields == {"past": pose.signature.past, "future": pose.signature.future}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_line_that_ships_can_be_written_in_both_ways(path: Path) -> None:
    line = load_yaml(path)
    assert parse_yaml(line.to_yaml()) == line
    assert parse_launch(str(line)) == line


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_part_holds_only_what_takes_no_time(path: Path) -> None:
    quick = {"window", "track", "predict", "smooth", "keypointsink"}
    for part in load_yaml(path).parts:
        if part.inbox is not None and part.name != "keypointsink":
            assert {element_name(element) for element in part.elements} - quick, f"{path.stem}: {part.name}"


def test_live_lines_leak_and_files_do_not() -> None:
    leaky = {
        path.stem: {queue.leaky for queue in load_yaml(path).queues.values()}
        for path in SHIPPED
        if path.stem in ("webcam", "rtsp", "two_cameras", "file")
    }
    assert leaky == {"webcam": {"downstream"}, "rtsp": {"downstream"}, "two_cameras": {"downstream"}, "file": {"no"}}


def test_two_cameras_share_one_detector_and_one_pose_network() -> None:
    line = load_yaml(configs.folder() / "pipelines" / "two_cameras.yaml")
    assert line.cameras == ("desk", "hall")
    assert line.part("window").cameras == ("desk", "hall")
    assert [part.name for part in line.parts if part.source] == ["camerasrc", "rtspsrc"]
