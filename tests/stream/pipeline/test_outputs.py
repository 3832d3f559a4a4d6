"""A sink overwrites neither what the line reads nor what another sink of the line writes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.errors import LinkError
from stream.pipeline.launch import parse_launch
from stream.pipeline.outputs import check_outputs
from stream.pipeline.pipeline import Pipeline

_POSES = "detect model=truth ! window ! pose model=hrnet-small"
_TWO_BRANCHES = f"testsrc num_frames=1 ! {_POSES} ! tee name=t; from t ! queue ! %s; from t ! queue ! %s"


def check(line: str) -> None:
    check_outputs(parse_launch(line).parts)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with one video, one name more of it, a link to it, and a folder of two pictures."""
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(b"a video")
    os.link("clip.mp4", "same.mp4")
    Path("link.mp4").symlink_to("clip.mp4")
    Path("pictures").mkdir()
    for number in (0, 1):
        cv2.imwrite(f"pictures/{number:06d}.png", np.zeros((64, 64, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jsonsink location=a.jsonl", "jsonsink location=a.jsonl"),
        ("jsonsink location=a.jsonl", "jsonsink location=./a.jsonl"),
        ("jsonsink location=a.jsonl", "jsonsink location=pictures/../a.jsonl format=coco"),
        ("jsonsink location=clip.mp4", "overlaysink location=same.mp4"),
        ("overlaysink location=clip.mp4", "overlaysink location=link.mp4"),
        ("overlaysink location=new/", "overlaysink location=new"),
        ("jsonsink location={camera}.jsonl", "jsonsink location=testsrc.jsonl"),
        ("keypointsink", "keypointsink bind=tcp://127.0.0.1:5570"),
        ("keypointsink", "keypointsink bind=tcp://localhost:5570"),
        ("keypointsink bind=ipc:///run/x/../poses", "keypointsink bind=ipc:///run/poses"),
    ],
)
def test_two_sinks_do_not_share_an_output(folder: Path, one: str, other: str) -> None:
    output = re.escape(other.partition("location=")[2].split(" ", 1)[0] or other.partition("bind=")[2])
    first, second = one.split(maxsplit=1)[0], other.split(maxsplit=1)[0]
    with pytest.raises(
        LinkError, match=rf"two sinks write to '{output}' \({first} and {second}\); give each an output"
    ):
        check(_TWO_BRANCHES % (one, other))


@pytest.mark.parametrize("start", [Pipeline.check, Pipeline.run])
def test_lines_are_refused_before_they_run(start: Callable[[Pipeline], object]) -> None:
    lines = (f"testsrc camera={camera} ! {_POSES} ! jsonsink location=a.jsonl" for camera in ("a", "b"))
    with pytest.raises(LinkError, match=r"two sinks write to 'a\.jsonl'"):
        start(parse_launch(";".join(lines)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jsonsink", "jsonsink"),
        ("jsonsink location=/dev/null", "jsonsink location=/dev/null"),
        ("jsonsink location=a.jsonl", "jsonsink location=pictures/a.jsonl"),
        ("keypointsink bind=tcp://127.0.0.1:*", "keypointsink bind=tcp://127.0.0.1:*"),
        ("overlaysink location=pictures", "jsonsink location=pictures/a.jsonl"),
    ],
)
def test_outputs_of_their_own_are_let_pass(folder: Path, one: str, other: str) -> None:
    check(_TWO_BRANCHES % (one, other))


@pytest.mark.parametrize(
    ("location", "sink", "file"),
    [
        ("clip.mp4", "overlaysink location=clip.mp4", "clip.mp4"),
        ("clip.mp4", "jsonsink location=link.mp4", "clip.mp4"),
        ("link.mp4", "overlaysink location=same.mp4", "link.mp4"),
        ("*.mp4", "overlaysink location={camera}.mp4", "clip.mp4"),
        ("pictures", "overlaysink location=pictures", "pictures/000000.png"),
        ("pictures/*", "jsonsink location=pictures/000001.png", "pictures/000001.png"),
    ],
)
def test_a_sink_does_not_overwrite_what_is_read(folder: Path, location: str, sink: str, file: str) -> None:
    line = f"filesrc location={location} camera=clip ! detect model=any.onnx ! window ! pose model=hrnet-small ! {sink}"
    name = sink.split(maxsplit=1)[0]
    with pytest.raises(LinkError, match=rf"{name} would overwrite '{file}', which filesrc reads; choose another loc"):
        check(line)
    assert Path("clip.mp4").read_bytes() == b"a video"


@pytest.mark.parametrize(
    "sink", ["overlaysink location=w%s", "recordsink location=w%s", "overlaysink location={camera}%s"]
)
@pytest.mark.parametrize("name", ["w.2", "w.17", "link"])
def test_a_sink_does_not_overwrite_with_a_later_file_what_is_read(folder: Path, sink: str, name: str) -> None:
    suffix = ".mcap" if "record" in sink else ".mp4"
    (folder / f"w.2{suffix}").write_bytes(b"a video")
    (folder / f"link{suffix}").unlink(missing_ok=True)
    (folder / f"link{suffix}").symlink_to(f"w.2{suffix}")
    (folder / f"w.17{suffix}").write_bytes(b"a video")
    line = f"filesrc location={name}{suffix} camera=w ! detect model=any.onnx ! window ! pose model=hrnet-small ! "
    with pytest.raises(
        LinkError,
        match=rf"{sink.split(maxsplit=1)[0]} numbers its later files, and one would overwrite '{name}{suffix}', which",
    ):
        check(line + sink % suffix)


def test_two_sinks_do_not_share_a_later_file(folder: Path) -> None:
    line = f"testsrc ! {_POSES} ! tee name=t; from t ! queue ! %s; from t ! queue ! %s"
    for pair in (("a.mp4", "a.2.mp4"), ("a.2.mp4", "a.mp4")):
        with pytest.raises(
            LinkError, match=r"two sinks write to 'a\.2\.mp4' \(overlaysink.*later file of its own\); give"
        ):
            check(line % tuple(f"overlaysink location={name}" for name in pair))
    for pair in (("a.mp4", "a.1.mp4"), ("a.mp4", "b.2.mp4"), ("a.mp4", "a.2.avi")):
        check(line % tuple(f"overlaysink location={name}" for name in pair))


def test_pictures_may_be_written_beside_a_video(folder: Path) -> None:
    line = "filesrc location=clip.mp4 ! detect ! window ! pose model=hrnet-small ! %s"
    for sink in ("overlaysink location=.", "jsonsink location=clip.json", "overlaysink location=new.mp4"):
        check(line % sink)


def test_a_missing_file_is_left_to_its_source(folder: Path) -> None:
    check("filesrc location=missing.mp4 ! detect ! window ! pose model=hrnet-small ! jsonsink location=a.jsonl")


def test_a_sink_does_not_listen_at_the_address_of_a_queue() -> None:
    line = parse_launch(f"testsrc ! queue name=q address=tcp://localhost:5570 ! {_POSES} ! queue ! keypointsink")
    with pytest.raises(LinkError) as refused:
        line.check()
    assert str(refused.value) == ("queue 'q' and keypointsink have the same address tcp://localhost:5570; change one")
