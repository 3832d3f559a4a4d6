"""``posestream eval``, as it is typed."""

from __future__ import annotations

import json
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
    told = json.loads(capsys.readouterr().out)
    assert told["mean"]["ap"] == pytest.approx(18.306319070355034)
    assert len(told["joints"]) == 15


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


def test_results_of_another_sequence_are_told_apart(shared: Path, capsys: Capture) -> None:
    truth = shared / "data/annot/mmpose/posetrack18/annotations/val/003418_mpii_test.json"
    other = shared / "data/annot/posetrack18_poseval/A_identity/009473_mpii_test.json"
    assert execute(["eval", "posetrack", str(truth), str(other)]) == 1
    assert "they are not of one sequence" in capsys.readouterr().err
