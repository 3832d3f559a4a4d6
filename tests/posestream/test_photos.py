"""Photos, animations and videos in one ``estimate``: what is tracked, what results are called, what stays untouched."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import pytest

import posestream
from stream.__main__ import execute
from stream.capture.regular_file import PIPE_REMEDY
from stream.errors import SourceError
from stream.registry import make
from stream.testing.videos import numbered_picture

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def networks(model: Path, detector: Path) -> dict[str, Any]:
    return {"model": str(model), "detector": str(detector)}


@pytest.fixture
def options(networks: dict[str, Any]) -> list[str]:
    return ["--model", networks["model"], "--detector", networks["detector"], "--quiet"]


def write_animation(path: Path) -> Path:
    animation = cv2.Animation()
    animation.frames, animation.durations = [numbered_picture(number) for number in range(4)], [100, 40, 40, 40]
    assert cv2.imwriteanimation(str(path), animation)
    return path


def test_people_in_photos_have_no_ids_though_videos_are_tracked_beside_them(
    media: Path, networks: dict[str, Any]
) -> None:
    (media / "broken.png").unlink()
    write_animation(media / "x.webp")
    write_animation(media / "y.png").rename(media / "y.apng")
    ids: dict[str, list[list[int]]] = {}
    for result in posestream.estimate(media, **networks):
        ids.setdefault(Path(result.source).name, []).append([person.id for person in result.people])
    assert ids.pop("2.png") == ids.pop("10.jpg") == [[-1, -1]]
    assert list(ids) == ["clip.mp4", "x.webp", "y.apng"]
    for frames in ids.values():
        assert len(frames) == 4
        assert all(len(set(people)) == 2 and -1 not in people for people in frames)


def test_an_animation_gets_a_video_and_its_times(media: Path, options: list[str], tmp_path: Path) -> None:
    path, out = write_animation(tmp_path / "x.webp"), tmp_path / "out"
    assert (
        execute(["estimate", str(path), str(media / "2.png"), "-o", str(out), "--video", "--pictures", *options]) == 0
    )
    assert sorted(file.name for file in out.iterdir()) == ["2.json", "2_poses.jpg", "x.json", "x_poses.mp4"]
    frames = json.loads((out / "x.json").read_text())["frames"]
    assert [(frame["index"], frame["time_s"]) for frame in frames] == [(0, 0), (1, 0.1), (2, 0.14), (3, 0.18)]


def test_results_of_a_folder_name_their_files_and_keep_its_gaps(tmp_path: Path, networks: dict[str, Any]) -> None:
    for number in (1, 2, 4):
        cv2.imwrite(str(tmp_path / f"{number:06d}.png"), numbered_picture(number))
    source = make("filesrc", location=str(tmp_path), camera="walk")
    results = list(posestream.estimate(source, **networks))
    assert [(result.index, Path(result.file).name) for result in results] == [
        *((0, "000001.png"), (1, "000002.png"), (3, "000004.png"))
    ]
    assert results[2].to_dict()["file"] == str(tmp_path / "000004.png")


def test_the_name_of_a_file_is_not_repeated_where_the_source_is_it(media: Path, networks: dict[str, Any]) -> None:
    (result,) = posestream.estimate(media / "2.png", **networks)
    assert result.file == result.source == str(media / "2.png")
    assert "file" not in result.to_dict()


def test_names_that_are_not_utf_8_reach_the_results(media: Path, options: list[str], tmp_path: Path) -> None:
    (media / "2.png").rename(media / os.fsdecode(b"caf\xe9.png"))
    assert execute(["estimate", f"{media}/caf*", "--out", str(tmp_path / "out"), *options]) == 0
    (path,) = (tmp_path / "out").glob("*.json")
    assert json.loads(path.read_text())["source"] == f"{media}/caf\\xe9.png"


def test_an_input_is_not_overwritten_by_the_picture_of_another(
    media: Path, options: list[str], capsys: Capture
) -> None:
    victim = media / "2_poses.jpg"
    cv2.imwrite(str(victim), numbered_picture(9))
    before = victim.read_bytes()
    assert execute(["estimate", f"{media}/2*", "--out", str(media), "--pictures", *options]) == 1
    expected = f"posestream: {victim} is an input and would be overwritten; choose another folder with --out\n"
    assert capsys.readouterr().err == expected
    assert victim.read_bytes() == before


def test_inputs_of_one_name_have_files_of_their_own(media: Path, options: list[str], tmp_path: Path) -> None:
    (media / "a").mkdir()
    for name in ("a/2.png", "a_2.png", "2-2.png"):
        cv2.imwrite(str(media / name), numbered_picture(3))
    sources = [str(media / name) for name in ("2.png", "a/2.png", "a_2.png", "2-2.png")]
    assert execute(["estimate", *sources, "--out", str(tmp_path / "out"), *options]) == 0
    written = {json.loads(path.read_text())["source"] for path in (tmp_path / "out").glob("*.json")}
    assert written == set(sources)


@pytest.mark.parametrize(("place", "kind"), [("/dev/full", "a device"), ("pipe", "a pipe")])
def test_results_need_a_folder(
    media: Path, options: list[str], tmp_path: Path, capsys: Capture, place: str, kind: str
) -> None:
    path = tmp_path / place  # an absolute place stays what it is
    if place == "pipe":
        os.mkfifo(path)
    assert execute(["estimate", str(media / "2.png"), "--out", str(path), *options]) != 0
    assert capsys.readouterr().err == (
        f"posestream: --out {path} is {kind}, not a folder; give another, as in --out poses\n"
    )


@pytest.mark.parametrize("place", ["pipe.mp4", "/dev/stdin"])
def test_a_pipe_is_refused_in_one_line(media: Path, options: list[str], capsys: Capture, place: str) -> None:
    path = media / place
    if place == "pipe.mp4":
        os.mkfifo(path)
    assert execute(["estimate", str(path), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    kind = "a pipe" if place == "pipe.mp4" else "what one process has open"
    assert line == f"posestream: {str(path)!r} is {kind}, not a file; {PIPE_REMEDY}"


def test_an_address_in_capitals_is_one(capsys: Capture) -> None:
    with pytest.raises(SourceError, match=r"'FTP://h/x' is not a live address"):
        list(posestream.estimate("FTP://h/x", model="hrnet-small", detector="truth"))
    assert execute(["estimate", "RTSP://u:secret@h/x", "--quiet"]) == 1
    assert capsys.readouterr().err.startswith("posestream: 'RTSP://***@h/x' never ends")
