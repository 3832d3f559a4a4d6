"""A network judged on data sets: the numbers of others, of the official tools, and of validation during training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

pytest.importorskip("pycocotools")

from engines.datasets.sources import Coco, Folder, HiEve, Jhmdb, Labelled, PoseTrack, named
from engines.errors import EngineError
from engines.evaluation import coco
from engines.evaluation.dataset import Judged, Shown, judge, notes_on, shown
from engines.evaluation.posetrack import score as poseval
from engines.evaluation.posetrack import table
from engines.evaluation.posetrack_files import paired_frames
from engines.evaluation.prediction import TOGETHER, frames_of, keypoints_of
from engines.evaluation.results import write
from engines.hub.catalogue import DEFAULT_MODEL, SHIPPED_FOLDER
from engines.inference.engine import load
from engines.spec.manifest import read_manifest
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Signature, read_signature, write_signature
from tests.engines.datasets import drawn
from tests.engines.networks import save, shipped_heatmaps

POSE = "data/models/ultralight_nano_simplepose.onnx"


def ask(model: str | Path, data: Labelled, **told: Any) -> tuple[Shown, Judged]:
    """What a network is worth on a data set."""
    with load(str(model)) as engine:
        people = shown(data, engine.signature.skeleton, **told)
        found = keypoints_of(engine, people.rows, data.border)
        return people, judge(data, people, found, engine.signature)


@pytest.fixture
def pose(shared: Path, tmp_path: Path) -> Path:
    """A small public network of COCO's joints, with a Signature."""
    path = tmp_path / "pose.onnx"
    path.symlink_to(shared / POSE)
    write_signature(Signature(name="pose", input_size=(192, 256)), path.with_suffix(".json"))
    return path


def lay(shared: Path, root: Path, file: str, annotations: str, pictures: str) -> Path:
    """MMPose's sample of a data set, laid out as the data set itself is."""
    sample = shared / "data/annot/mmpose" / file
    for link, target in ((annotations, sample), (pictures, sample.parent)):
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(target)
    return root


# -- against figures that somebody else measured ----------------------------------------------------------------------

# The same network was measured on these people by other code, which took the highest cells as they are, on PoseTrack
# a pixel and a half further. Ours moves by a quarter of a cell, a pixel of a crop of 192: that moves the mean OKS of a
# dozen people by a hundredth, and an AP at ten limits by one person in twelve at two or three of them.


def test_coco_gets_the_oks_and_the_ap_that_others_measured(shared: Path, pose: Path, tmp_path: Path) -> None:
    root = lay(shared, tmp_path, "coco/test_coco.json", "annotations/person_keypoints_val2017.json", "val2017")
    people, judged = ask(pose, Coco(root=str(root)))
    assert len(people.rows) == 12
    assert judged.verdict.lines["mean OKS"]["Mean"] == pytest.approx(79.0, abs=1.5)
    assert judged.verdict.lines["COCO"]["AP"] == pytest.approx(62.5, abs=2.5)
    assert judged.verdict.mean == pytest.approx(judged.verdict.lines["COCO"]["AP"] / 100)


def test_ochuman_gets_the_oks_that_others_measured(shared: Path, pose: Path, tmp_path: Path) -> None:
    root = lay(shared, tmp_path, "ochuman/test_ochuman.json", "ochuman_coco_format_test_range_0.00_1.00.json", "images")
    people, judged = ask(pose, named("ochuman", root))
    assert len(people.rows) == 5
    assert judged.verdict.lines["mean OKS"]["Mean"] == pytest.approx(62.3, abs=1.5)


def test_posetrack18_gets_the_pckh_that_others_measured(shared: Path, pose: Path) -> None:
    data = PoseTrack(root=str(shared / "data/annot/mmpose/posetrack18"), year=2018)
    people, judged = ask(pose, data)
    assert sum(int((row.joints[:, 2] > 0).sum()) for row in people.rows) == 154
    # Theirs is over all joints, ours the mean over kinds of joints, which are annotated 8 to 14 times each.
    assert judged.verdict.lines["PCKh@0.5"]["Mean"] == pytest.approx(72.7, abs=2)


def test_sub_jhmdb_is_judged_by_the_person_and_by_the_torso(shared: Path, pose: Path, tmp_path: Path) -> None:
    root = lay(shared, tmp_path, "jhmdb/test_jhmdb_sub1.json", "annotations/Sub1_test.json", "Rename_Images")
    _, judged = ask(pose, Jhmdb(root=str(root)))
    person, torso = (judged.verdict.lines[name] for name in ("PCK@0.2", "torso PCK@0.2"))
    assert judged.verdict.measure == "PCK@0.2"
    # Three people wholly in view: everything is right by a box of 159 px, less by a torso of about 50.
    assert judged.verdict.mean == 1
    assert 0.7 < torso["Mean"] / person["Mean"] < 1
    assert np.isnan(person["Head"])  # COCO's joints have a nose, not JHMDB's head


# -- against the same people scored from files ------------------------------------------------------------------------


def test_posetracks_result_files_lead_to_the_same_numbers(shared: Path, pose: Path, tmp_path: Path) -> None:
    data = PoseTrack(root=str(shared / "data/annot/mmpose/posetrack18"), year=2018)
    _, judged = ask(pose, data)
    for name, told in judged.files.items():
        write(tmp_path, name, told)
    scores = poseval(paired_frames(data.folder / "annotations/val", tmp_path))
    assert table(scores) == pytest.approx(judged.verdict.lines["AP"])


@pytest.mark.parametrize("name", ["coco", "crowdpose"])
def test_cocos_results_lead_to_the_same_numbers(tmp_path: Path, name: Any) -> None:
    _WRITERS[name](tmp_path)
    data: Any = named(name, tmp_path)
    _, judged = ask(DEFAULT_MODEL, data)
    path = write(tmp_path, "found", judged.files["results"])
    again = coco.coco(data.truth_file, path) if name == "coco" else coco.crowdpose(data.truth_file, path)
    (line,) = (line for title, line in judged.verdict.lines.items() if title in ("COCO", "CrowdPose"))
    assert line == pytest.approx({key: 100 * value for key, value in again.items()}, nan_ok=True)


def test_a_folder_of_ones_own_needs_no_more_than_joints_and_boxes(tmp_path: Path) -> None:
    drawn.folder(tmp_path)
    told = json.loads((tmp_path / "test.json").read_text())
    order = np.random.default_rng(0).permutation(17)
    names = told["categories"][0]["keypoints"]
    told["categories"][0] |= {"keypoints": [names[place] for place in order], "id": 7}
    for person in told["annotations"]:
        joints = np.array(person["keypoints"]).reshape(17, 3)[order]
        kept = {"image_id": person["image_id"], "category_id": 7, "bbox": person["bbox"]}
        person.clear()
        person |= {**kept, "keypoints": joints.ravel().tolist()}
    drawn.write_json(tmp_path / "other.json", told)
    usual, other = (
        ask(DEFAULT_MODEL, named("folder", tmp_path, file))[1].verdict for file in ("test.json", "other.json")
    )
    # Seventeen terms in single precision, added up in another order.
    assert other.lines["mean OKS"] == pytest.approx(usual.lines["mean OKS"], rel=1e-5)
    assert other.lines["COCO"] == pytest.approx(usual.lines["COCO"], nan_ok=True)
    assert usual.mean > 0.5  # what ships knows drawn people


# -- against the exam of a training -----------------------------------------------------------------------------------

_WRITERS: dict[str, Callable[[Path], None]] = {
    "posetrack17": drawn.posetrack17,
    "posetrack18": drawn.posetrack18,
    "coco": drawn.coco,
    "crowdpose": drawn.crowdpose,
    "jhmdb": drawn.jhmdb,
    "hieve": drawn.hieve,
    "folder": drawn.folder,
}


def embedded(folder: Path) -> Path:
    """The single frame that ships, decoded as trainings decode."""
    path = folder / "small.onnx"
    onnx.save(shipped_heatmaps(), str(path))
    told = read_manifest(SHIPPED_FOLDER / "hrnet-small").signature
    write_signature(
        msgspec.structs.replace(told, decode="heatmap", outputs=("heatmaps",), notes={}), path.with_suffix(".json")
    )
    return path


def of_three_frames(folder: Path) -> Path:
    """A network of random filters over three frames: its answer is another one for every other frame or crop."""
    path = folder / "three.onnx"
    filters = np.random.default_rng(3).normal(size=(17, 9, 4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["frames", "stacked"], ["channels"]),
        helper.make_node("Conv", ["channels", "filters"], ["heatmaps"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    save(
        path,
        nodes,
        {"frames": ["batch", 3, 3, 64, 48]},
        {"heatmaps": ["batch", 17, 16, 12]},
        {"filters": filters, "stacked": np.array([0, 9, 64, 48])},
    )
    told = Signature(name="three", input_size=(48, 64), skeleton="posetrack17", past=1, future=1, layout="ntchw")
    write_signature(told, path.with_suffix(".json"))
    return path


@pytest.mark.parametrize("name", _WRITERS)
def test_validation_during_training_gives_the_same_score(tmp_path: Path, name: Any) -> None:
    validator, objective = _validator(tmp_path, name, embedded(tmp_path))
    split = {"folder": "test.json", "hieve": "yard"}.get(name, "")
    _, judged = ask(tmp_path / "small.onnx", named(name, tmp_path, split))
    line = judged.verdict.lines["AP" if "posetrack" in name else validator.metric]
    metrics = validator(objective)
    assert metrics.mean > 0.2  # the network was trained on synthetic people
    # No joint is so near to a threshold that rounding matters.
    assert line["Mean"] / 100 == pytest.approx(metrics.mean, rel=1e-9)


@pytest.mark.parametrize("border", ["key-frame", "fami-released"])
def test_validation_during_training_uses_the_same_windows(tmp_path: Path, border: Any) -> None:
    from engines.training.validation import predict_in_frames

    model = of_three_frames(tmp_path)
    validator, objective = _validator(tmp_path, "posetrack18", model, border)
    rows = validator.samples.rows
    # Every frame is made a key frame, so that windows reach over both ends of the clip.
    clip = rows[0].clip
    validator.samples.rows = rows = [
        replace(row, frame=replace(row.frame, number=number)) for row in rows[:2] for number in sorted(clip.pictures)
    ]
    theirs = list(predict_in_frames(objective, validator.samples))
    with load(str(model)) as engine:
        ours = keypoints_of(engine, rows, border)
    # Boxes pass through single precision in a line: a thousandth of a pixel of frames of 320.
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert len({one.tobytes() for one in ours}) == len(rows)


def _validator(root: Path, name: Any, model: Path, border: Any = "key-frame") -> tuple[Any, Any]:
    torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install 'posestream[torch]')")
    from rich.console import Console

    from engines.spec.network import NetworkSpec
    from engines.training.session import load_data

    _WRITERS[name](root)
    told = read_signature(model.with_suffix(".json"))
    split = {"folder": "test.json", "hieve": "yard"}.get(name, "")
    data = msgspec.structs.replace(named(name, root, split), border=border)
    spec = NetworkSpec(model="a.B", input_size=told.input_size, window=told.offsets, skeleton=told.skeleton)
    _, validator = load_data(data, spec, 1, Console(quiet=True))
    return validator, _objective(torch, model, told)


def _objective(torch: Any, model: Path, told: Signature) -> Any:
    """An objective whose heatmaps an ``.onnx`` computes."""
    from engines.backends.onnxrt import OnnxRuntime

    network = OnnxRuntime(model)
    network.open()
    (source,) = network.describe().inputs

    class Answers(torch.nn.Module):  # type: ignore[misc, name-defined]
        loss = "heatmap"

        def __init__(self) -> None:
            super().__init__()
            self.device = torch.nn.Parameter(torch.zeros(1))

        def heatmaps(self, crops: Any) -> Any:
            fed = crops if told.frames > 1 or told.pixel == "uint8" else crops[:, 0]
            (maps,) = network.run({source.name: _pixels(fed) if told.pixel == "uint8" else fed.numpy()}).values()
            return torch.from_numpy(maps)

    return Answers()


def _pixels(planes: Any) -> Any:
    """(N, T, H, W, 3) uint8, blue first, of planes (N, T, 3, H, W) that were normalised."""
    mean, std = (np.array(three, np.float32)[:, None, None] for three in (IMAGENET_MEAN, IMAGENET_STD))
    return np.rint(planes.numpy() * std + mean).astype(np.uint8)[:, :, ::-1].transpose(0, 1, 3, 4, 2)


# -- who is shown -----------------------------------------------------------------------------------------------------


def test_detected_boxes_bring_their_scores_and_what_scores_too_little_is_left_out(tmp_path: Path) -> None:
    drawn.posetrack18(tmp_path)
    name = "images/val/000001_test/000002.jpg"
    boxes = [{"image_name": name, "bbox": [40, 60, 80, 150], "score": score} for score in (0.7, 0.3, 0.1)]
    path = drawn.write_json(tmp_path / "boxes.json", boxes)
    data = PoseTrack(root=str(tmp_path), year=2018)
    assert [row.person.score for row in shown(data, "coco17", path).rows] == [0.7, 0.3]
    assert [row.person.score for row in shown(data, "coco17", path, 0.5).rows] == [0.7]
    of_recipe = msgspec.structs.replace(data, detections="boxes.json", least_score=0.0)
    assert len(shown(of_recipe, "coco17").rows) == 3


def test_a_picture_without_people_counts_where_a_detector_saw_some(tmp_path: Path) -> None:
    drawn.coco(tmp_path)
    path = tmp_path / "annotations/person_keypoints_val2017.json"
    told = json.loads(path.read_text())
    told["annotations"] = [person for person in told["annotations"] if person["image_id"] != 3]
    path.write_text(json.dumps(told))
    true = [{**person, "score": 0.5} for person in told["annotations"]]
    ghost = {"image_id": 3, "bbox": [40, 60, 80, 150], "score": 1.0}
    boxes = [drawn.write_json(tmp_path / f"{n}.json", list_) for n, list_ in enumerate((true, [*true, ghost]))]
    without, with_ghost = (ask(DEFAULT_MODEL, Coco(root=str(tmp_path)), detections=file)[1] for file in boxes)
    assert with_ghost.verdict.mean < without.verdict.mean
    assert "PCK@0.1" not in with_ghost.verdict.lines


def test_a_limit_leaves_the_first_clips_and_scores_only_these(tmp_path: Path) -> None:
    drawn.coco(tmp_path)
    data = Coco(root=str(tmp_path))
    people, judged = ask(DEFAULT_MODEL, data, limit=1)
    assert {row.frame.id for row in people.rows} == {0}
    told = json.loads(data.truth_file.read_text())
    told |= {
        part: [one for one in told[part] if one.get("image_id", one["id"]) == 0] for part in ("images", "annotations")
    }
    data.truth_file.write_text(json.dumps(told))
    _, alone = ask(DEFAULT_MODEL, data)
    assert judged.verdict.lines["COCO"] == pytest.approx(alone.verdict.lines["COCO"], nan_ok=True)
    assert "only the first of the clips or pictures: 1" in notes_on(Coco(root="."), people, "coco17")


def test_frames_go_to_the_network_in_order_of_time(tmp_path: Path) -> None:
    drawn.posetrack18(tmp_path)
    rows = shown(PoseTrack(root=str(tmp_path), year=2018), "coco17").rows
    assert [row.frame.number for row in rows] == [1, 1, 2, 2]
    assert frames_of(rows[::-1]) == [(2, 3), (0, 1)]


def test_more_frames_than_are_read_together_all_get_their_own(tmp_path: Path) -> None:
    drawn.coco(tmp_path)
    rows = shown(Coco(root=str(tmp_path)), "coco17").rows * 3
    rows = [replace(row, clip=replace(row.clip)) for row in rows]  # each a clip of its own
    assert len(frames_of(rows)) > TOGETHER
    done: list[None] = []
    with load() as engine:
        found = keypoints_of(engine, rows, "key-frame", lambda: done.append(None))
    assert len(done) == len(frames_of(rows))
    for place, one in enumerate(found):
        np.testing.assert_array_equal(one, found[place % 8])


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "told", "words"),
    [
        (
            HiEve(root="there", judged=()),
            {"detections": Path("boxes.json")},
            "data set hieve (there): it is judged by PCK, which needs to know whose joint is whose; leave the det",
        ),
        (
            Folder(root="there", train="", judged="a.json", skeleton="mpii16"),
            {"detections": Path("boxes.json")},
            "data set folder (there): it is judged by PCK",
        ),
        (
            PoseTrack(root="there", year=2018),
            {"least": 0.5},
            "a least score of 0.5 is for a detector's boxes, but the true ones are shown; leave it out",
        ),
        (Jhmdb(root="there"), {}, "docs/how-to/datasets.md says how it must lie on disk"),
    ],
)
def test_what_cannot_be_judged_is_told_in_a_line(data: Labelled, told: Any, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        shown(data, "coco17", **told)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [
        ("jhmdb", "4", "data set jhmdb: split '4' is none of its three; give 1, 2 or 3"),
        ("folder", "", "data set folder: which JSON file under there has the truth? name it (--split FILE)"),
    ],
)
def test_a_split_that_cannot_be_is_told(name: Any, split: str, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        named(name, Path("there"), split)
    assert str(caught.value) == words


def test_an_annotation_file_that_is_not_there_is_named_with_the_page(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"person_keypoints_val2017\.json: there is no such file; docs/how-to/datasets\.md"
    ):
        shown(Coco(root=str(tmp_path)), "coco17")


def test_joints_that_the_network_lacks_are_noted(tmp_path: Path) -> None:
    drawn.posetrack18(tmp_path)
    data = PoseTrack(root=str(tmp_path), year=2018)
    people = shown(data, "coco17")
    assert (
        "its skeleton coco17 has no head_bottom, head_top: AP counts them as missed"
        in notes_on(data, people, "coco17")[1]
    )
    assert len(notes_on(data, people, "posetrack17")) == 1
