"""``posedetect``: keypoints directly from frames, and ids from a tracker after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engines.spec.manifest import read_picture_manifest, write_manifest
from engines.spec.training_data import NOTHING
from engines.vision.trial_picture import draw_person
from stream.caps import Caps
from stream.elements.posedetect import PoseDetect
from stream.errors import EngineError
from stream.messages import Frame, Poses
from stream.pipeline.launch import parse_launch
from stream.registry import make
from stream.testing import Harness, check_element
from stream.testing.items import make_frame
from tests.engines import exports
from tests.engines.detector_files import GREY_LEVELS, rtmo, save_detector
from tests.engines.detector_files import SIZE as FILE_SIZE
from tests.engines.pictures import SIZE, dark, write_export


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A network of whole pictures to which the brightest pixels are people."""
    return str(write_export(tmp_path / "brightest"))


def make_spots(seq: int, *spots: tuple[int, int, int], camera: str = "hall") -> Frame:
    return replace(make_frame(seq, camera), pixels=dark(SIZE, *spots))


def test_it_keeps_the_contract_of_an_element(model: str) -> None:
    check_element(f"posedetect model={model}")
    check_element(f"posedetect model={model} max_batch=4")


def test_people_of_a_frame_come_out_with_keypoints_and_without_ids(model: str) -> None:
    frame = make_spots(7, (20, 10, 255), (50, 25, 128))
    with Harness(f"posedetect model={model}") as harness:
        (poses,) = harness.push(frame)
        assert str(harness.caps[1]) == "people/poses, skeleton=coco17"
    assert isinstance(poses, Poses)
    assert poses.keypoints[:, 0].tolist() == [pytest.approx([20.5, 10.5, 1]), pytest.approx([50.5, 25.5, 128 / 255])]
    assert poses.scores.tolist() == pytest.approx([1, 128 / 255])
    assert (poses.ids.tolist(), poses.ids.dtype) == ([-1, -1], np.int64)
    assert (poses.model, poses.skeleton) == ("brightest", "coco17")
    assert poses.fingerprint == read_picture_manifest(Path(model)).fingerprint
    assert [(one.offset, one.seq, one.state) for one in poses.window] == [(0, 7, "real")]
    assert poses.frame.ledger["inferred"] == harness.clock()


def test_a_published_network_runs_from_its_file(tmp_path: Path) -> None:
    path = save_detector(tmp_path / "net.onnx", rtmo(), mean=GREY_LEVELS)
    frame = replace(make_frame(0, "hall"), pixels=draw_person(FILE_SIZE)[0])
    with Harness(f"posedetect model={path}") as harness:
        (poses,) = harness.push(frame)
        assert str(harness.caps[1]) == "people/poses, skeleton=coco17"
    assert isinstance(poses, Poses)
    assert (poses.keypoints.shape, poses.model, len(poses.fingerprint)) == ((1, 17, 3), "net", 16)


def test_without_a_model_it_names_what_to_type() -> None:
    with pytest.raises(EngineError) as caught:
        parse_launch("testsrc ! posedetect ! fakesink").check()
    message = str(caught.value)
    assert message.startswith("posedetect: model 'rtmo-s' is not on this machine (looked for ")
    assert "get it with 'posestream pull rtmo-s' (Apache-2.0" in message


def test_a_network_of_random_weights_warns_once(model: str, caplog: pytest.LogCaptureFixture) -> None:
    manifest = read_picture_manifest(Path(model))
    signature = msgspec.structs.replace(manifest.signature, trained_on=NOTHING)
    write_manifest(msgspec.structs.replace(manifest, signature=signature), Path(model))
    with Harness(f"posedetect model={model}") as harness:
        harness.push_all([make_spots(seq) for seq in range(3)])
    (message,) = caplog.messages
    assert message.startswith("model 'brightest' was exported with random weights, what it finds is meaningless; train")


def test_people_below_min_score_are_dropped(model: str) -> None:
    with Harness(f"posedetect model={model} min_score=0.6") as harness:
        (poses,) = harness.push(make_spots(0, (20, 10, 255), (50, 25, 128)))
    assert poses.scores.tolist() == [1]
    assert (len(poses.boxes), len(poses.ids), len(poses.keypoints)) == (1, 1, 1)


def test_a_frame_without_people_yields_poses_without_people(model: str) -> None:
    with Harness(f"posedetect model={model}") as harness:
        (poses,) = harness.push(make_spots(0))
    assert (poses.keypoints.shape, poses.boxes.shape) == ((0, 17, 3), (0, 4))


def test_waiting_frames_share_a_run(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [make_spots(seq, (20 + seq, 10, 255), camera=camera) for seq in range(3) for camera in ("hall", "yard")]
    runs: list[int] = []
    with PoseDetect(model=model, max_batch=4, threads=1) as element:
        engine: Any = element._engine
        backend = engine._backend
        run = backend.run

        def record(feeds: Any) -> Any:
            runs.append(len(feeds["pictures"]))
            return run(feeds)

        monkeypatch.setattr(backend, "run", record)
        poses = list(element.process_many(frames))
    assert runs == [3, 3]
    assert [one.key for one in poses] == [frame.key for frame in frames]
    assert [float(one.keypoints[0, 0, 0]) for one in poses] == [20.5, 20.5, 21.5, 21.5, 22.5, 22.5]


def test_a_tracker_after_it_assigns_ids_and_keeps_keypoints_with_their_boxes(model: str) -> None:
    with Harness(f"posedetect model={model} ! track") as harness:
        found = [harness.push(make_spots(seq, (10 + seq, 10, 255), (50 - seq, 25, 200)))[0] for seq in range(5)]
    assert [poses.ids.tolist() for poses in found] == [[1, 2]] * 5
    assert [float(poses.keypoints[0, 0, 0]) for poses in found] == [10.5, 11.5, 12.5, 13.5, 14.5]


def test_a_line_with_it_runs_to_its_end(model: str) -> None:
    line = parse_launch(f"testsrc num_frames=3 width=64 height=64 ! posedetect model={model} ! track")
    poses = list(line.run())
    assert [one.frame.seq for one in poses] == [0, 1, 2]
    assert all(isinstance(one, Poses) for one in poses)


def catch_error(element: str, model: str | Path) -> str:
    with pytest.raises(EngineError) as caught:
        Harness(f"{element} model={model}").open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_wrong_kind_of_network_raises_with_the_right_element(model: str, tmp_path: Path) -> None:
    crops = exports.write_export(tmp_path / "crops")
    assert catch_error("posedetect", crops) == (
        f"posedetect: export {crops}: network 'drawn' takes crops of people, not whole pictures; "
        f"use 'detect ! window ! pose model={crops}'"
    )
    assert catch_error("window ! pose", model) == (
        f"pose: export {model}: network 'brightest' takes whole pictures, not crops "
        f"of people; use 'posedetect model={model}' in place of 'detect', 'window' and 'pose'"
    )


def test_a_name_that_is_not_an_export_raises_with_the_command_to_make_one() -> None:
    message = catch_error("posedetect", "inspose-r50")
    assert message.startswith(
        "posedetect: model 'inspose-r50': this is neither an .onnx (YOLO-pose, RTMO) nor the folder"
    )
    assert "posestream export" in message


def test_the_signature_is_read_without_the_graph(model: str) -> None:
    (Path(model) / "fused.onnx").unlink()
    element = make("posedetect", model=model)
    assert element.src_caps(None) == Caps("people/poses", skeleton="coco17")
    with pytest.raises(EngineError) as caught:
        element.__enter__()
    assert "its file fused.onnx is missing" in str(caught.value)
