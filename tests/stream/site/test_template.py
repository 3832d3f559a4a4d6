"""The line of a camera, made from that of a site."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.elements.keypointsink import KeypointSink
from stream.errors import LaunchError, PosestreamError
from tests.stream.site.bench import make_template


def test_a_camera_gets_a_copy_of_the_line_with_its_name_properties_and_address() -> None:
    template = make_template()
    built = template.build("hall", {"seed": "7", "fps": "5"}, "ipc:///run/hall.sock")
    source, _, sink = built.lines[0].elements
    assert (source.camera, source.seed, source.fps, source.width) == ("hall", 7, 5.0, 64)  # type: ignore[attr-defined]
    assert (sink.bind, sink.pictures, sink.prefix) == ("ipc:///run/hall.sock", True, "")  # type: ignore[attr-defined]
    other = template.build("yard", {}, "ipc:///run/yard.sock")
    assert other.cameras == ("yard",)
    assert not {id(e) for e in built.lines[0].elements} & {id(e) for e in other.lines[0].elements}


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"sed": "1"}, "testsrc of site.yaml has no property 'sed'; did you mean 'seed'?"),
        ({"camera": "x"}, "camera= is the name that the camera is added under; leave it out"),
        ({"seed": "x"}, "testsrc: seed=x is not valid: it must be an integer"),
    ],
)
def test_properties_that_the_source_does_not_take_are_refused(properties: dict[str, str], why: str) -> None:
    with pytest.raises(PosestreamError) as caught:
        make_template().build("hall", properties, "ipc:///run/hall.sock")
    assert str(caught.value).startswith(why)


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("testsrc ! tests.toys.oracle ! fakesink", "1 sources and 0 keypointsinks"),
        ("testsrc ! tests.toys.oracle ! keypointsink relay=tcp://127.0.0.1:1", "1 sources and 0 keypointsinks without"),
        ("testsrc ! queue name=q; testsrc camera=b ! queue name=q; from q ! fakesink", "2 sources and 0"),
    ],
)
def test_a_line_without_one_source_and_one_keypointsink_is_no_template(line: str, counts: str) -> None:
    with pytest.raises(
        LaunchError, match=rf"^site\.yaml has {counts}.*; a site needs one of each, of which every camera"
    ):
        make_template(line)


def test_a_keypointsink_with_a_relay_beside_the_one_of_the_site_is_left_as_it_is() -> None:
    relayed = "from t ! queue ! keypointsink relay=tcp://127.0.0.1:5571"
    line = f"testsrc ! tests.toys.oracle ! tee name=t; from t ! queue ! keypointsink; {relayed}"
    built = make_template(line).build("hall", {}, "ipc:///run/hall.sock")
    sinks = [element for one in built.lines for element in one.elements if isinstance(element, KeypointSink)]
    assert [(sink.bind, sink.relay) for sink in sinks] == [
        ("ipc:///run/hall.sock", ""),
        (KeypointSink().bind, "tcp://127.0.0.1:5571"),
    ]


def test_copies_that_would_write_to_one_file_are_refused(tmp_path: Path) -> None:
    tee = "testsrc ! tests.toys.oracle ! tee name=t; from t ! queue ! keypointsink; from t ! queue ! jsonsink location="
    with pytest.raises(LaunchError) as caught:
        make_template(f"{tee}{tmp_path}/poses.jsonl")
    assert str(caught.value) == (
        f"site.yaml: every camera's jsonsink would write to {tmp_path}/poses.jsonl; put {{camera}} into its location="
    )
    make_template(f"{tee}{tmp_path}/{{camera}}.jsonl")
