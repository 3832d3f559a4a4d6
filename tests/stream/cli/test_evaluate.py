"""``posestream eval``, as it is typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream.__main__ import execute

Capture = pytest.CaptureFixture[str]


def test_a_folder_of_results_is_scored_as_in_the_papers_tables(shared: Path, capsys: Capture) -> None:
    annotations = shared / "data/annot/mmpose/posetrack18/annotations/val"
    results = shared / "data/annot/posetrack18_poseval/B_x0.98_y1.02"
    assert execute(["eval", "posetrack", str(annotations), str(results)]) == 0
    names, values = capsys.readouterr().out.splitlines()
    assert names.split() == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean"]
    assert values.split()[-1] == "67.57"  # the official tool's total


def test_programs_get_every_number(shared: Path, capsys: Capture) -> None:
    annotations = shared / "data/annot/mmpose/posetrack18/annotations/val"
    results = shared / "data/annot/posetrack18_poseval/C_shift20px"
    assert execute(["eval", "posetrack", str(annotations), str(results), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["mean"]["ap"] == pytest.approx(18.306319070355034)
    assert len(report["joints"]) == 15


def test_cocos_ten_numbers_are_in_percent(shared: Path, capsys: Capture) -> None:
    pytest.importorskip("pycocotools")
    folder = shared / "data/annot/xtcocoapi"
    arguments = [str(folder / f"example_coco_{part}.json") for part in ("val", "preds")]
    assert execute(["eval", "coco", *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["86.09", "99.31", "91.09"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", '{"images": [], "annotations": [], "categories": []}', "results: b.json is missing (1 of 2"),
        ("c.json", "{}", "results: a.json is missing (2 of 2"),
    ],
)
def test_a_sequence_without_results_is_named(
    tmp_path: Path, capsys: Capture, name: str, content: str, words: str
) -> None:
    for folder, files in (("truth", ("a.json", "b.json")), ("results", (name,))):
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).write_text(content)
    assert execute(["eval", "posetrack", str(tmp_path / "truth"), str(tmp_path / "results")]) == 1
    assert words in capsys.readouterr().err


def test_results_of_another_sequence_are_refused(shared: Path, capsys: Capture) -> None:
    truth = shared / "data/annot/mmpose/posetrack18/annotations/val/003418_mpii_test.json"
    other = shared / "data/annot/posetrack18_poseval/A_identity/009473_mpii_test.json"
    assert execute(["eval", "posetrack", str(truth), str(other)]) == 1
    assert "give the results of this sequence" in capsys.readouterr().err


# -- live -------------------------------------------------------------------------------------------------------------

PEOPLE = "testsrc width=320 height=240 fps=10 seed=39 people=2"
TAIL = "! tests.toys.oracle ! keypointsink"


@pytest.mark.slow
def test_a_line_is_scored_while_it_runs(capsys: Capture, no_leaks: None) -> None:
    pytest.importorskip("pycocotools")
    assert execute(["eval", "live", "--json", "--seconds", "1", "--warmup-s", "0", f"{PEOPLE} ! queue {TAIL}"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["frames"], report["model"]) == (10, "oracle")
    assert [*report["readings"]] == ["offline", "answered", "held", "streaming"]
    assert report["readings"]["offline"]["AP"] == pytest.approx(100.0)
    assert "live run, 1 s from its first answer" in printed.err


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        ([PEOPLE], "this line has none; end it with '! keypointsink'", 1),
        (["testscr ! keypointsink"], "did you mean 'testsrc'", 1),
        ([f"filesrc location=a.mp4 {TAIL}"], "give --truth, a COCO or PoseTrack18 file for them", 1),
        (["--truth", "gone.json", f"filesrc location=a.mp4 {TAIL}"], "there is no file 'gone.json'", 1),
        (["--seconds", "0", f"{PEOPLE} {TAIL}"], "--seconds", 2),
        ([], "Missing argument 'line'", 2),
    ],
)
def test_what_cannot_be_scored_live_is_one_error(capsys: Capture, arguments: list[str], words: str, code: int) -> None:
    assert execute(["eval", "live", *arguments]) == code
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_missing_tool_is_reported_before_anything_runs(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.evaluation.coco.find_spec", lambda _: None)
    assert execute(["eval", "live", f"{PEOPLE} {TAIL}"]) == 1
    assert (
        capsys.readouterr().err
        == "posestream: COCO's metric needs pycocotools; in a clone of posestream: pip install '.[eval]'\n"
    )


@pytest.mark.slow
def test_ctrl_c_ends_it_and_leaves_nothing_behind(root: Path, no_leaks: None) -> None:
    pytest.importorskip("pycocotools")
    command = [sys.executable, "-m", "stream", "eval", "live", "--seconds", "60", f"{PEOPLE} ! queue {TAIL}"]
    with subprocess.Popen(command, cwd=root, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "live run" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert "Traceback" not in process.stderr.read()
