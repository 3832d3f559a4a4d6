"""A detector and a pose network, rewritten into the formats of other exporters, find what the originals find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.inference.detector import load_detector
from engines.inference.engine import PersonWindows, load
from engines.vision.boxes import compute_iou

DETECTORS = [
    *("det_bsl", "det_e2e", "det_e2e_dyn", "det_fp16in", "det_fp16out", "det_hf_detr", "det_intbox", "det_mmdeploy"),
    *("det_yolov5_dyn2", "det_yolov8"),
]
POSES = ["pose_dyn", "pose_fp16in", "pose_fp16out", "pose_nhwc", "pose_outnhwc"]


@pytest.fixture(scope="module")
def made(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the rewritten files."""
    folder = tmp_path_factory.mktemp("made")
    script = [sys.executable, str(shared / "cases/detectors/make.py"), str(shared / "data/models")]
    subprocess.run(script, cwd=folder, check=True, capture_output=True, timeout=100)
    return folder


@pytest.fixture(scope="module")
def picture(shared: Path) -> NDArray[np.uint8]:
    found = cv2.imread(str(shared / "data/annot/tfjs/three_people.jpg"))
    assert found is not None
    return found.astype(np.uint8)


def detect(path: Path, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    with load_detector(str(path)) as detector:
        return detector.detect(picture, 0.4)[0]


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_find_the_same_people(made: Path, shared: Path, picture: NDArray[np.uint8], name: str) -> None:
    original = detect(shared / "data/models/kazu_person_rpi.onnx", picture)
    found = detect(made / f"{name}.onnx", picture)
    assert len(found) == len(original) == 3
    # Centred rather than at the top left, a picture is resampled in other places.
    assert compute_iou(original, found).max(axis=1).min() > 0.9


def test_a_detector_of_grey_levels_and_channels_last_runs(made: Path, picture: NDArray[np.uint8]) -> None:
    assert len(detect(made / "det_u8nhwc.onnx", picture)) >= 2  # red and blue are exchanged in this file


def test_a_detector_of_any_size_finds_the_smaller_person_at_the_usual_one(
    made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with load_detector(str(made / "det_dyn.onnx")) as detector:  # of 192x192, and tried at 640x640
        assert (detector.resolved.family, detector.input_size) == ("yolox", (640, 640))
    assert not caplog.records


def test_the_size_in_the_refusal_is_the_one_to_write(made: Path, picture: NDArray[np.uint8]) -> None:
    path = made / "det_yolov5_dyn.onnx"
    with pytest.raises(EngineError, match=r'write into det_yolov5_dyn.json beside it \{"input_size":\[192,192\]\}'):
        load_detector(str(path)).open()
    path.with_suffix(".json").write_text('{"input_size":[192,192]}')
    assert len(detect(path, picture)) == 3


@pytest.mark.parametrize("name", POSES)
def test_pose_networks_find_the_same_joints(made: Path, shared: Path, picture: NDArray[np.uint8], name: str) -> None:
    box = np.array([[698, 20, 1049, 858]], np.float32)
    window = PersonWindows((picture,), (("camera", 0),), box, np.array([1]))
    found = []
    for path in (shared / "data/models/ultralight_nano_simplepose.onnx", made / f"{name}.onnx"):
        with load(str(path)) as engine:
            found += engine.estimate([window])
    np.testing.assert_allclose(found[1][..., 2], found[0][..., 2], atol=2e-3)  # half precision
    # Two cells of almost equal height may change places in half precision.
    assert np.median(np.abs(found[1] - found[0])) < 1e-3
