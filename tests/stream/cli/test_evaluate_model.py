"""``posestream eval model``, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import yaml

pytest.importorskip("pycocotools")

from engines.datasets.config import DatasetName
from stream.__main__ import execute
from stream.cli.evaluate_model import DataSet
from tests.engines.datasets import sample_datasets
from tests.engines.pictures import write_export

Capture = pytest.CaptureFixture[str]


def test_it_knows_every_data_set_that_there_is() -> None:
    assert get_args(DataSet) == get_args(DatasetName)


def test_posetrack_is_reported_as_in_the_papers_tables(tmp_path: Path, capsys: Capture) -> None:
    sample_datasets.posetrack18(tmp_path)
    assert execute(["eval", "model", "hrnet-small", "--data", "posetrack18", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    result = "4 people in true boxes, 2 frames of 1 clip; percent"
    assert lines[0] == f"hrnet-small-128x96 by onnxrt:cpu on posetrack18 ({tmp_path}): {result}"
    assert lines[2].split() == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean"]
    assert [line.split()[0] for line in lines[3:5]] == ["AP", "PCKh@0.5"]
    assert lines[6].startswith("note: true boxes: most papers use a detector's boxes, which give lower numbers")
    assert lines[7].startswith("note: its skeleton coco17 has no head_bottom, head_top")


def test_single_pictures_are_counted_as_such_and_unknown_sizes_are_left_open(tmp_path: Path, capsys: Capture) -> None:
    sample_datasets.coco(tmp_path)
    assert execute(["eval", "model", "hrnet-small", "--data", "coco", "--root", str(tmp_path), "--limit", "2"]) == 0
    out = capsys.readouterr().out
    assert "4 people in true boxes, 2 frames; percent" in out
    (line,) = (line for line in out.splitlines() if line.startswith("COCO "))
    assert "–" in line.split()
    assert "\nmean OKS: " in out
    assert "note: only the first clips or pictures are evaluated: 2" in out


def test_results_are_written_and_score_the_same(tmp_path: Path, capsys: Capture) -> None:
    sample_datasets.posetrack17(tmp_path)
    result = ["--data", "posetrack17", "--root", str(tmp_path), "--results", str(tmp_path / "found"), "--json"]
    assert execute(["eval", "model", "hrnet-small", *result]) == 0
    account = json.loads(capsys.readouterr().out)
    assert account["files"] == [str(tmp_path / "found/00001_test.json")]
    assert execute(["eval", "posetrack", str(tmp_path / "annotations/val"), str(tmp_path / "found"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["table"] == pytest.approx(account["scores"]["AP"])


def test_programs_get_what_json_can_say(tmp_path: Path, capsys: Capture) -> None:
    sample_datasets.jhmdb(tmp_path)
    assert execute(["eval", "model", "hrnet-small", "--data", "jhmdb", "--root", str(tmp_path), "--json"]) == 0
    account = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert account["scores"]["PCK@0.2"]["Head"] is None  # the network has no joint of that name
    assert account["measure"] == "PCK@0.2"
    assert account["mean"] == pytest.approx(account["scores"]["PCK@0.2"]["Mean"] / 100)
    assert set(account["scores"]) == {"PCK@0.05", "PCK@0.1", "PCK@0.2", "torso PCK@0.2"}


def test_a_recipe_says_which_data_set_and_how(tmp_path: Path, capsys: Capture) -> None:
    sample_datasets.posetrack18(tmp_path)
    box = {"image_name": "images/val/000001_test/000002.jpg", "bbox": [40, 60, 80, 150], "score": 0.7}
    sample_datasets.write_json(tmp_path / "boxes.json", [box])
    recipe = tmp_path / "recipe.yaml"
    data = {"type": "posetrack", "year": 2018, "root": "nowhere", "border": "fami-released", "detections": "boxes.json"}
    recipe.write_text(yaml.safe_dump({"network": "hrnet-w48-384x288", "data": data}))
    assert execute(["eval", "model", "hrnet-small", "--recipe", str(recipe), "--root", str(tmp_path)]) == 0
    assert "1 person in detected boxes, 2 frames of 1 clip" in capsys.readouterr().out


def test_hieve_says_that_its_own_measure_is_not_to_be_had(tmp_path: Path, capsys: Capture) -> None:
    sample_datasets.hieve(tmp_path)
    assert execute(["eval", "model", "hrnet-small", "--data", "hieve", "--root", str(tmp_path), "--split", "yard"]) == 0
    out = capsys.readouterr().out
    assert "4 frames of 1 clip" in out
    assert "note: HiEve's own w_AP is not fully published" in out


WRONG: dict[str, tuple[list[str], str, int]] = {
    "no data set": (["hrnet-small"], "no data set; give either --data NAME --root FOLDER, or --recipe FILE", 1),
    "two data sets": (["hrnet-small", "--data", "coco", "--recipe", "r.yaml"], "give either --data NAME", 1),
    "no place": (
        ["hrnet-small", "--data", "coco"],
        "no folder for coco; give --root FOLDER; docs/how-to/datasets.md",
        1,
    ),
    "no such data set": (["hrnet-small", "--data", "mpii", "--root", "x"], "'mpii' is not one of 'posetrack17'", 2),
    "no such network": (["nets", "--data", "coco", "--root", "x"], "model 'nets' is not a path to an .onnx", 1),
    "a network to train": (
        ["fami-w48-384x288", "--data", "coco", "--root", "x"],
        "is a network to train and to export, not weights that run; give the folder that 'posestream export' makes",
        1,
    ),
    "a detector": (["yolox-nano", "--data", "coco", "--root", "x"], "is a detector network, but a pose network is", 1),
    "not there": (
        ["hrnet-small", "--data", "posetrack17", "--root", "nowhere"],
        "nowhere/annotations/val: there is no such folder; docs/how-to/datasets.md describes the layout on disk",
        1,
    ),
    "another skeleton": (
        ["hrnet-small", "--data", "folder", "--root", "{folder}", "--split", "test.json", "--skeleton", "mpii16"],
        "test.json: its joints are not those of skeleton 'mpii16'",
        1,
    ),
    "a skeleton of its own": (
        ["hrnet-small", "--data", "coco", "--root", "x", "--skeleton", "mpii16"],
        "--skeleton mpii16 is for --data folder; coco has one of its own",
        1,
    ),
    "no such recipe": (
        ["hrnet-small", "--recipe", "no.yaml"],
        "recipe no.yaml: No such file or directory; see configs",
        1,
    ),
    "drawn people": (
        ["hrnet-small", "--recipe", "{root}/configs/training/hrnet-small-synthetic.yaml"],
        "trains on synthetic people, which are not a data set; give --data and --root",
        1,
    ),
    "a recipe and a split": (
        ["hrnet-small", "--recipe", "{root}/configs/training/fami-posetrack17.yaml", "--split", "val"],
        "--split val goes with --data; recipe",
        1,
    ),
    "nowhere to write": (
        [
            "hrnet-small",
            "--data",
            "folder",
            "--root",
            "{folder}",
            "--split",
            "test.json",
            "--results",
            "{folder}/test.json",
        ],
        "test.json: File exists; choose another folder",
        1,
    ),
    "scales of crops": (
        ["hrnet-small", "--data", "folder", "--root", "{folder}", "--split", "test.json", "--scales", "1,0.5"],
        "--scales 1,0.5 is for networks of whole pictures; leave it out",
        1,
    ),
    "crop=lock": (
        ["hrnet-small", "--data", "folder", "--root", "{folder}", "--split", "test.json", "--crop", "lock"],
        "crop=lock reuses features between frames, but the network reads single frames",
        1,
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_typed_wrongly_gets_a_line(case: str, tmp_path: Path, root: Path, capsys: Capture) -> None:
    typed, words, code = WRONG[case]
    sample_datasets.folder(tmp_path)
    arguments = [word.format(folder=tmp_path, root=root) for word in typed]
    assert execute(["eval", "model", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_network_of_whole_pictures_is_given_no_boxes(tmp_path: Path, capsys: Capture) -> None:
    sample_datasets.coco(tmp_path)
    model = str(write_export(tmp_path / "brightest"))
    typed = ["eval", "model", model, "--data", "coco", "--root", str(tmp_path), "--limit", "2", "--scales", "1,0.5"]
    assert execute([*typed, "--results", str(tmp_path / "found")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("brightest by CPUExecutionProvider on coco") or "brightest by " in out
    assert "people found, 2 frames; percent" in out
    assert "note: no boxes are given; pictures are fitted into 64x32 px at scales 1, 0.5" in out
    assert "note: only the first clips or pictures are evaluated: 2" in out
    (line,) = (line for line in out.splitlines() if line.startswith("COCO "))
    assert float(line.split()[1]) == 0  # one point is no person
    assert json.loads((tmp_path / "found/results.json").read_text())[0]["category_id"] == 1


WRONG_FOR_PICTURES: dict[str, tuple[list[str], str]] = {
    "boxes": (["--detections", "boxes.json"], "--detections is for networks of crops, but"),
    "crops": (["--crop", "exact"], "--crop is for networks of crops, but"),
    "scales": (["--scales", "large"], "--scales large is not a list of numbers; give shares of the network's input"),
    "larger scales": (["--scales", "1,2"], "scales are shares of its input's 64x32 px, above 0 and up to 1, not 2.0"),
}


@pytest.mark.parametrize("case", WRONG_FOR_PICTURES)
def test_what_is_typed_wrongly_for_whole_pictures_gets_a_line(case: str, tmp_path: Path, capsys: Capture) -> None:
    typed, words = WRONG_FOR_PICTURES[case]
    sample_datasets.coco(tmp_path)
    model = str(write_export(tmp_path / "brightest"))
    assert execute(["eval", "model", model, "--data", "coco", "--root", str(tmp_path), *typed]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
