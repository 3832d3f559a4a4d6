"""``pose``: keypoints from windows of the model's length, also on real clips."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.spec import cache
from engines.spec.fingerprint import fingerprint_file
from engines.spec.signature import Signature, write_signature
from engines.spec.training_data import DRAWN, NOTHING, REAL
from stream.caps import Caps
from stream.elements.pose import Pose
from stream.elements.testsrc import Testsrc
from stream.errors import EngineError, LinkError, PropertyError
from stream.messages import Poses
from stream.pipeline.launch import parse_launch
from stream.registry import make
from stream.testing import Harness, check_element
from stream.testing.items import make_people, make_window
from tests.engines import networks

SIZE = (48, 64)


@pytest.fixture
def single(tmp_path: Path) -> str:
    """A network of one frame."""
    path = networks.brightness(tmp_path / "single.onnx")
    write_signature(Signature(name="single", input_size=SIZE), path.with_suffix(".json"))
    return str(path)


@pytest.fixture
def temporal(tmp_path: Path) -> str:
    """A network of two frames before, and one after."""
    path = networks.stack_of_frames(tmp_path / "temporal.onnx", frames=4)
    signature = Signature(name="temporal", input_size=SIZE, past=2, future=1, layout="ntchw")
    write_signature(signature, path.with_suffix(".json"))
    return str(path)


def test_it_keeps_the_contract_of_an_element(single: str, temporal: str) -> None:
    check_element(f"pose model={single}")
    check_element(f"pose model={temporal}")


def test_the_model_fixes_the_window(temporal: str) -> None:
    assert make("pose", model=temporal).sink_caps() == Caps("people/window", past=2, future=1)
    with Harness(f"window ! pose model={temporal}") as harness:
        assert str(harness.caps[1]) == "people/window, past=2, future=1"
    with pytest.raises(LinkError) as caught:
        Harness(f"window past=1 ! pose model={temporal}").open()
    assert "past=1 is not past=2" in str(caught.value)


@pytest.mark.parametrize(
    ("trained_on", "is_drawn", "words"),
    [
        (DRAWN, False, "model 'single' was trained on drawn people only, what it finds of real people is wrong; name"),
        (DRAWN, True, ""),
        (NOTHING, False, "model 'single' was exported with random weights, what it finds is meaningless; train it"),
        (NOTHING, True, "model 'single' was exported with random weights"),
        (REAL, False, ""),
        (REAL, True, ""),
        ("", False, ""),
    ],
)
def test_a_network_warns_once_of_pictures_it_has_not_learned_from(
    single: str, caplog: pytest.LogCaptureFixture, trained_on: str, is_drawn: bool, words: str
) -> None:
    signature = Signature(name="single", input_size=SIZE, trained_on=trained_on)
    write_signature(signature, Path(single).with_suffix(".json"))
    frame = next(Testsrc(people=1).frames())
    truth = frame.truth if frame and is_drawn else None
    windows = [
        replace(window, frames=tuple(replace(frame, truth=truth) for frame in window.frames))
        for window in map(make_window, range(3))
    ]
    with Harness(f"pose model={single}") as harness:
        harness.push_all(windows)
    assert len(caplog.messages) == bool(words)
    assert "".join(caplog.messages).startswith(words)


def test_a_line_waits_for_no_more_future_frames_than_lookahead(temporal: str) -> None:
    with Harness(f"window ! pose model={temporal} lookahead=0") as harness:
        assert str(harness.caps[1]) == "people/window, past=2, future=0"
        assert [poses.key for poses in harness.push(make_people(0))] == [("cam", 0)]
        (poses,) = harness.push(make_people(1))
    assert [(frame.offset, frame.seq, frame.state) for frame in poses.window] == [
        (-2, 0, "padded"),
        (-1, 0, "real"),
        (0, 1, "real"),
        (1, 1, "padded"),
    ]


@pytest.mark.parametrize("crop", ["exact", "lock"])
def test_without_lookahead_every_frame_is_estimated_as_the_last_of_a_clip(crop: str) -> None:
    line = "testsrc width=160 height=120 people=2 num_frames={} ! detect ! track ! window "
    line += "! pose model=fami-small crop={} lookahead={}"
    live = list(parse_launch(line.format(3, crop, 0)).run())
    for count in (1, 2, 3):
        last = list(parse_launch(line.format(count, crop, 1)).run())[-1]
        np.testing.assert_array_equal(live[count - 1].keypoints, last.keypoints)
        assert len(last.keypoints) > 0
        assert live[count - 1].window == last.window


def test_a_lookahead_that_the_model_does_not_read_raises_in_one_line(temporal: str, single: str) -> None:
    for model, most in ((temporal, "1 frame"), (single, "0 frames")):
        with pytest.raises(PropertyError) as caught:
            Harness(f"window ! pose model={model} lookahead=2").open()
        assert str(caught.value) == (
            f"pose: lookahead=2, but model {Path(model).stem} reads {most} after the key frame; leave lookahead out, "
            f"or set it to at most {most[0]}"
        )


def test_the_window_is_known_before_the_network_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    element = make("pose", model="rtmpose-s")
    assert element.sink_caps() == Caps("people/window", past=0, future=0)
    with pytest.raises(EngineError) as caught:
        Harness(element).open()
    assert str(caught.value).startswith("pose: model 'rtmpose-s' is not on this machine")


def test_poses_have_the_people_the_model_and_the_frames_of_the_window(temporal: str) -> None:
    window = make_window(5, "hall", past=2, future=1)
    with Harness(f"pose model={temporal}") as harness:
        (poses,) = harness.push(window)
    assert poses.key == ("hall", 5)
    assert poses.keypoints.shape == (2, 17, 3)
    assert poses.keypoints.dtype == np.float32
    assert (poses.boxes is window.people.boxes, poses.ids.tolist()) == (True, [1, 2])
    assert (poses.model, poses.skeleton) == ("temporal", "coco17")
    assert poses.fingerprint == fingerprint_file(Path(temporal))
    assert [(frame.offset, frame.seq, frame.state) for frame in poses.window] == [
        (-2, 3, "real"),
        (-1, 4, "real"),
        (0, 5, "real"),
        (1, 6, "real"),
    ]
    assert poses.frame.ledger["inferred"] == harness.clock()


def test_a_frame_without_people_yields_poses_without_people(single: str) -> None:
    with Harness(f"window ! pose model={single}") as harness:
        (poses,) = harness.push_all([make_people(0, count=0)])
    assert poses.keypoints.shape == (0, 17, 3)
    assert len(poses.ids) == 0


def test_waiting_windows_share_a_run_without_changing_the_results(single: str, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = [make_window(seq, camera, count=seq % 2) for seq in range(4) for camera in ("hall", "yard")]
    batches: list[int] = []
    with Pose(model=single, threads=1) as element:
        alone = [poses for window in windows for poses in element.process(window)]
        engine: Any = element._engine
        backend = engine._runner._backend
        run = backend.run

        def record(feeds: Any) -> Any:
            batches.append(len(feeds["image"]))
            return run(feeds)

        monkeypatch.setattr(backend, "run", record)
        together = list(element.process_many(windows))
    assert batches == [4]  # 0, 1, 0, 1 people in each of two cameras, as many as a run takes on a CPU
    assert [poses.key for poses in together] == [window.key for window in windows]
    for one, other in zip(alone, together, strict=True):
        # Single precision, in another batch.
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-4)


def test_an_unknown_model_raises_when_the_line_is_linked() -> None:
    with pytest.raises(EngineError) as caught:
        Harness("window ! pose model=rtmpose-z").open()
    assert "did you mean 'rtmpose-" in str(caught.value)


# -- real clips -------------------------------------------------------------------------------------------------------

BLAZEPOSE_OF_COCO = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
"""Where COCO's 17 joints stand among BlazePose's 33 landmarks."""


def squats(annotations: Path) -> NDArray[np.float64]:
    """(65, 17, 2) px: 33 landmarks a frame, made by BlazePose."""
    return np.array(json.loads((annotations / "pose_squats.full.json").read_text()))[:, BLAZEPOSE_OF_COCO, :2]


def yoga(annotations: Path) -> NDArray[np.float64]:
    """(120, 17, 2) px: COCO's joints by name."""
    from engines.skeletons import SKELETONS

    frames = json.loads((annotations / "pose_1.json").read_text())
    return np.array([[[frame[j]["x"], frame[j]["y"]] for j in SKELETONS["coco17"].joints] for frame in frames])


@pytest.fixture
def simplepose(shared: Path, tmp_path: Path) -> str:
    """A real top-down heatmap network, with the Signature that its author's code implies."""
    path = tmp_path / "simplepose.onnx"
    shutil.copy(shared / "data/models/ultralight_nano_simplepose.onnx", path)
    write_signature(Signature(name="simplepose", input_size=(192, 256)), path.with_suffix(".json"))
    return str(path)


# The references are another network's output, which was looked at and sits on the joints; these bounds are what the
# same network reached with the same boxes in an independent measurement (11.6 and 5.1 px), rounded up.
@pytest.mark.parametrize(
    ("clip", "reference", "bound_px"), [("tfjs_pose_squats.mp4", squats, 12.5), ("tfjs_pose_1.mp4", yoga, 5.5)]
)
def test_keypoints_reach_the_reference_on_real_clips(
    shared: Path, simplepose: str, clip: str, reference: object, bound_px: float
) -> None:
    assert callable(reference)
    wanted = reference(shared / "data/annot/tfjs")
    line = parse_launch(
        f"filesrc location={shared / 'data/clips' / clip} ! detect model={shared / 'data/models/yolox_nano.onnx'} "
        f"! track ! window ! pose model={simplepose}"
    )
    poses: list[Poses] = list(line.run())
    assert len(poses) == len(wanted)
    found = np.array([frame.keypoints[0, :, :2] for frame in poses])
    errors = np.linalg.norm(found - wanted, axis=2)
    assert np.median(errors) <= bound_px
    assert {int(identity) for frame in poses for identity in frame.ids} == {1}
