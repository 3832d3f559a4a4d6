"""``posestream estimate`` as a user meets it: the files, the summary, what is wrong in one line each, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from posestream.result import Result
from stream.__main__ import execute

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def networks(model: Path, detector: Path) -> list[str]:
    return ["--model", str(model), "--detector", str(detector)]


def test_each_input_gets_a_json_and_what_was_asked_for(
    media: Path, networks: list[str], tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    (media / "broken.png").unlink()
    assert execute(["estimate", str(media), "--out", str(out), "--pictures", "--video", *networks]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "10.json", "10_poses.jpg", "2.json", "2_poses.jpg", "clip.json", "clip_poses.mp4",
    ]  # fmt: skip
    document = json.loads((out / "clip.json").read_text())
    assert list(document) == ["source", "skeleton", "joints", "model", "frames"]
    assert [frame["index"] for frame in document["frames"]] == [0, 1, 2, 3]
    assert [person["id"] for person in document["frames"][3]["people"]] == [1, 2]
    assert len(document["frames"][0]["people"][0]["keypoints"]) == len(document["joints"]) == 17
    assert cv2.VideoCapture(str(out / "clip_poses.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 4
    skipped, done, wrote = capsys.readouterr().err.splitlines()
    assert skipped.endswith(f"folder {str(media)!r}: 3 files are read; 1 .txt, 1 hidden left out")
    assert done.startswith("3 inputs, 6 frames, 6 people in ")
    assert wrote == f"wrote 3 .json, 2 .jpg, 1 .mp4 to {out}"


def test_what_cannot_be_read_is_said_and_stops_nothing(
    media: Path, networks: list[str], tmp_path: Path, capsys: Capture
) -> None:
    out, broken = tmp_path / "out", str(media / "broken.png")
    sources = [broken, "nowhere.png", "rtsp://me:secret@10.0.0.7/ch1", str(media / "2.png")]
    assert execute(["estimate", *sources, "--out", str(out), *networks]) == 1
    assert sorted(path.name for path in out.iterdir()) == ["2.json", "2_poses.jpg"]
    missing, address, undecodable, done, _, failed = capsys.readouterr().err.splitlines()
    assert missing.startswith("posestream: there is no 'nowhere.png'")
    assert address == (
        "posestream: 'rtsp://***@10.0.0.7/ch1' never ends, and this command writes at the end; run a line: see "
        "'posestream launch --help'"
    )
    assert undecodable.startswith(f"posestream: {broken!r} is not a picture")
    assert done.startswith("1 input, 1 frame, 2 people in ")
    assert failed == f"failed, for the reasons above: nowhere.png, rtsp://***@10.0.0.7/ch1, {broken}"


def test_nothing_to_do_is_an_error(capsys: Capture, tmp_path: Path) -> None:
    assert execute(["estimate", str(tmp_path), "--quiet"]) == 1
    assert capsys.readouterr().err == (
        f"posestream: folder {str(tmp_path)!r} holds no photos and no videos; give another, or a pattern\n"
    )


def test_json_lines_are_printed_where_asked_for(media: Path, networks: list[str], capsys: Capture) -> None:
    assert execute(["estimate", str(media / "clip.mp4"), "--out", "-", "--quiet", *networks]) == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["index"] for line in printed.out.splitlines()] == [0, 1, 2, 3]
    assert printed.err == ""


@pytest.mark.parametrize(
    ("kind", "name", "begin"),
    [
        ("lines", "clip.jsonl", '{"source":'),
        ("coco", "clip.json", '[\n{"image_id":0,'),
        ("posetrack", "clip.json", '{"images":'),
        ("csv", "clip.csv", "camera,file,seq,time_s,id,joint,x,y,score\nclip,"),
        ("trc", "clip_1.trc clip_2.trc", "PathFileType\t4\t(X/Y/Z)\tclip_1.trc\n"),
    ],
)
def test_each_format_is_written(
    kind: str, name: str, begin: str, media: Path, networks: list[str], tmp_path: Path
) -> None:
    assert execute(["estimate", str(media / "clip.mp4"), "-f", kind, "--out", str(tmp_path / "o"), *networks]) == 0
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == name.split()
    assert (tmp_path / "o" / name.partition(" ")[0]).read_text().startswith(begin)


def test_photos_in_openposes_format_lie_side_by_side(
    media: Path, networks: list[str], tmp_path: Path, capsys: Capture
) -> None:
    (media / "more").mkdir()
    (media / "more" / "2.png").write_bytes((media / "2.png").read_bytes())
    sources = [str(media / "2.png"), str(media / "more/2.png"), str(media / "clip.mp4")]
    options = ["-f", "openpose", "--no-pictures", "--out", str(tmp_path / "o")]
    assert execute(["estimate", *sources, *options, *networks]) == 0
    names = [path.name for path in sorted((tmp_path / "o").iterdir())]
    assert names == ["2-2_keypoints.json", "2_keypoints.json", "clip"]
    assert f"wrote 2 .json, 1 folder to {tmp_path}/o" in capsys.readouterr().err
    assert len(list((tmp_path / "o/clip").iterdir())) == 4


@pytest.mark.parametrize("options", [["--pictures"], ["--video"], ["--format", "coco"]])
def test_what_cannot_be_printed_needs_a_folder(options: list[str], media: Path, capsys: Capture) -> None:
    assert execute(["estimate", str(media / "2.png"), "--out", "-", *options]) == 1
    assert capsys.readouterr().err == (
        "posestream: --out - prints JSON lines and nothing else; give a folder, as in --out poses\n"
    )


def test_inputs_of_one_name_do_not_overwrite_each_other(media: Path, networks: list[str], tmp_path: Path) -> None:
    (media / "more").mkdir()
    for name in ("2.png", "2-2.png"):
        (media / "more" / name).write_bytes((media / "2.png").read_bytes())
    sources = [str(media / "2.png"), str(media / "2.png"), f"{media}/more/*"]
    assert execute(["estimate", *sources, "--out", str(tmp_path / "o"), *networks]) == 0
    written = {path.name: json.loads(path.read_text())["source"] for path in (tmp_path / "o").glob("*.json")}
    assert len(written) == 3
    assert written["2.json"] == str(media / "2.png")
    assert set(written.values()) == {str(media / name) for name in ("2.png", "more/2.png", "more/2-2.png")}


def test_a_folder_that_cannot_be_written_is_one_line(
    media: Path, networks: list[str], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("")
    assert execute(["estimate", str(media / "2.png"), "--out", str(tmp_path / "file"), *networks]) == 1
    assert capsys.readouterr().err == (
        f"posestream: --out {tmp_path / 'file'} is a file, not a folder; give another, as in --out poses\n"
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *[("json", "clip.json"), ("lines", "clip.jsonl"), ("coco", "clip.json"), ("posetrack", "clip.json")],
        *[("csv", "clip.csv"), ("trc", "clip_1.trc")],
    ],
)
def test_an_interrupted_run_leaves_what_an_earlier_one_wrote(
    kind: str,
    name: str,
    media: Path,
    networks: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    draw = Result.draw

    def interrupt(result: Result) -> Any:
        if result.index == 2:
            raise KeyboardInterrupt
        return draw(result)

    monkeypatch.setattr("posestream.result.Result.draw", interrupt)
    out = tmp_path / "o"
    out.mkdir()
    for earlier in (name, "clip_poses.mp4"):
        (out / earlier).write_text("of yesterday")
    command = ["estimate", str(media / "clip.mp4"), "--video", "-f", kind, "--out", str(out), *networks]
    assert execute(command) == 130
    assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys(
        (name, "clip_poses.mp4"), "of yesterday"
    )
    assert capsys.readouterr().err.splitlines()[-1] == (
        "posestream: interrupted: 0 of 1 input is complete; nothing is written of the next one, and files that it has "
        "of an earlier run stay"
    )


def test_photos_have_no_trc(media: Path, networks: list[str], tmp_path: Path, capsys: Capture) -> None:
    out, photo = tmp_path / "o", str(media / "2.png")
    assert execute(["estimate", photo, str(media / "clip.mp4"), "-f", "trc", "--out", str(out), *networks]) == 1
    assert sorted(path.name for path in out.iterdir()) == ["clip_1.trc", "clip_2.trc"]
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == (
        f"posestream: {photo} is a photo, and --format trc has a file for each person of a video; choose another, "
        "as in --format csv"
    )
    assert last == f"failed, for the reasons above: {photo}"


def test_trc_needs_ids(media: Path, capsys: Capture) -> None:
    assert execute(["estimate", str(media / "clip.mp4"), "-f", "trc", "--no-track"]) == 1
    assert capsys.readouterr().err == "posestream: --format trc follows people by their ids; leave --no-track away\n"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("coco", ["a{camera}.json", "b{id}.json", "~root.json"]),
        ("trc", [f"{stem}_{person}.trc" for stem in ("a{camera}", "b{id}", "~root") for person in (1, 2)]),
    ],
)
def test_names_of_inputs_are_taken_as_they_are(
    kind: str, names: list[str], media: Path, networks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = ["a{camera}.mp4", "b{id}.mp4", "~root.mp4"]
    for name in sources:
        (tmp_path / name).write_bytes((media / "clip.mp4").read_bytes())
    (tmp_path / "o").mkdir()
    monkeypatch.chdir(tmp_path / "o")
    assert execute(["estimate", *[str(tmp_path / name) for name in sources], "-f", kind, "--out", ".", *networks]) == 0
    assert sorted(path.name for path in Path().iterdir()) == names


def test_files_whose_names_look_alike_are_two_inputs(
    media: Path, networks: list[str], tmp_path: Path, capsys: Capture
) -> None:
    folder, out = tmp_path / "alike", tmp_path / "o"
    folder.mkdir()
    for name in (b"d\xe9.png", rb"d\xe9.png"):
        (folder / os.fsdecode(name)).write_bytes((media / "2.png").read_bytes())
    assert execute(["estimate", str(folder), "--out", str(out), *networks]) == 0
    written = {path.name: json.loads(path.read_text())["source"] for path in out.glob("*.json")}
    assert written == {rf"d\xe9{suffix}.json": rf"{folder}/d\xe9{suffix}.png" for suffix in ("", "-2")}
    assert capsys.readouterr().err.startswith("2 inputs, 2 frames, 4 people in ")


def test_one_photo_by_several_paths_is_one_input(
    media: Path, networks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(media)
    sources = ["2.png", "./2.png", "../media/2.png", str(media / "2.png")]
    assert execute(["estimate", *sources, "--out", str(tmp_path / "o"), *networks]) == 0
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["2.json", "2_poses.jpg"]


def test_an_empty_name_is_no_folder(tmp_path: Path, capsys: Capture) -> None:
    assert execute(["estimate", "", "--quiet", "--out", str(tmp_path / "o")]) == 1
    assert capsys.readouterr().err == "posestream: '' is not the name of a file; give a path, or . for this folder\n"


def test_a_picture_that_is_too_large_for_its_copy_fails_alone(
    media: Path, networks: list[str], tmp_path: Path, capsys: Capture
) -> None:
    wide, out = tmp_path / "wide.png", tmp_path / "o"
    cv2.imwrite(str(wide), np.full((4, 65_501, 3), 90, np.uint8))
    assert execute(["estimate", str(wide), str(media / "2.png"), "--out", str(out), *networks]) == 1
    assert sorted(path.name for path in out.iterdir()) == ["2.json", "2_poses.jpg"]
    error, done, wrote, failed = capsys.readouterr().err.splitlines()
    assert error == (
        f"posestream: {out / 'wide_poses.jpg'} is 65,501 x 4 px, and a side of a .jpg has at most 65,500 px; "
        "leave pictures out with --no-pictures"
    )
    assert done.startswith("1 input, 1 frame, 2 people in ")
    assert wrote == f"wrote 1 .json, 1 .jpg to {out}"
    assert failed == f"failed, for the reasons above: {wide}"


def test_links_in_the_folder_are_replaced_and_never_followed(media: Path, networks: list[str], tmp_path: Path) -> None:
    out, precious = tmp_path / "o", tmp_path / "precious.txt"
    out.mkdir()
    precious.write_text("mine")
    names = ["2.json", "2_poses.jpg", "clip.json", "clip_poses.mp4"]
    for name in names:
        (out / name).symlink_to(precious)
    sources = [str(media / "2.png"), str(media / "clip.mp4")]
    assert execute(["estimate", *sources, "--video", "--out", str(out), *networks]) == 0
    assert precious.read_text() == "mine"
    assert sorted(path.name for path in out.iterdir() if not path.is_symlink()) == names


def test_help_has_examples(capsys: Capture) -> None:
    assert execute(["estimate", "--help"]) == 0
    assert "posestream estimate photo.jpg posestream estimate" in " ".join(capsys.readouterr().out.split())


def test_the_command_runs_as_a_module_too() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "posestream", "--version"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("posestream ")
