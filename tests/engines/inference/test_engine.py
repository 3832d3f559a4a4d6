"""Engines: from boxes and frames to keypoints, for any batch, decoding and window."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backends.onnxrt import OnnxRuntime
from engines.errors import EngineError
from engines.inference.engine import Engine, PersonWindows, load
from engines.spec.fingerprint import fingerprint_file
from engines.spec.signature import Decode, Signature, write_signature
from tests.engines import detector_files, networks, pose_files

SIZE = (48, 64)
# One cell of the drawn networks is 4 crop pixels; the crops below are 60 px for 48: a cell is 5 px of the frame, and
# decoding to a quarter of a cell leaves at most 5/4 px on each axis plus half of the quarter's own step.
ATOL_PX = 2.0


def make_frame(x: float, y: float) -> NDArray[np.uint8]:
    """A dark frame with a soft bright spot whose middle is at (x, y) in continuous pixels."""
    rows, columns = np.mgrid[:200, :300].astype(np.float64) + 0.5
    bright = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2))
    return np.repeat(bright.astype(np.uint8)[..., None], 3, axis=2)


def signature(**changes: Any) -> Signature:
    plain = {"name": "spot", "input_size": SIZE, "mean": (0, 0, 0), "std": (255, 255, 255)}
    return Signature(**{**plain, "cell": "centre", **changes})


def make_window(*spots: tuple[float, float], boxes: Any = ((100, 50, 148, 114),)) -> PersonWindows:
    frames = tuple(make_frame(*spot) for spot in spots)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    keys = tuple(("hall", seq) for seq in range(len(frames)))
    return PersonWindows(frames, keys, corners, np.arange(len(corners)))


def make_engine(path: Path, spec: Signature, **more: Any) -> Engine:
    return Engine(spec, OnnxRuntime(path), **more)


@pytest.mark.parametrize("decode", ["heatmap", "heatmap-dark"])
def test_a_spot_in_the_frame_is_found(tmp_path: Path, decode: str) -> None:
    path = networks.brightness(tmp_path / "spot.onnx")
    with make_engine(path, signature(decode=decode, blur_px=3)) as engine:
        (keypoints,) = engine.estimate([make_window((121.0, 80.0))])
    assert keypoints.shape == (1, 17, 3)
    assert keypoints.dtype == np.float32
    np.testing.assert_allclose(keypoints[0, :, :2], np.tile([121.0, 80.0], (17, 1)), atol=ATOL_PX)
    assert 0.5 < keypoints[0, 0, 2] <= 1


def test_simcc_finds_the_spot(tmp_path: Path) -> None:
    path = networks.brightness_simcc(tmp_path / "spot.onnx")
    with make_engine(path, signature(decode="simcc")) as engine:
        (keypoints,) = engine.estimate([make_window((121.0, 80.0))])
    # A bin is half a crop pixel, 0.6 px of the frame; the spot's own maximum is within a pixel of its middle.
    np.testing.assert_allclose(keypoints[0, :, :2], np.tile([121.0, 80.0], (17, 1)), atol=1.3)


def test_each_person_of_each_window_gets_a_row(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "spot.onnx")
    two = make_window((121.0, 80.0), boxes=[(100, 50, 148, 114), (200, 80, 248, 144)])
    empty = make_window((50.0, 50.0), boxes=[])
    other = make_window((222.0, 100.0), boxes=[(200, 80, 248, 144)])
    with make_engine(path, signature(), max_batch=2) as engine:
        found = engine.estimate([two, empty, other])
        alone = engine.estimate([other])
    assert [len(keypoints) for keypoints in found] == [2, 0, 1]
    assert found[1].shape == (0, 17, 3)
    np.testing.assert_allclose(found[2][0, 0, :2], [222.0, 100.0], atol=ATOL_PX)
    # The second person of the first frame stands where nothing shines.
    assert found[0][0, 0, 2] > 0.5
    assert found[0][1, 0, 2] < 0.05
    np.testing.assert_allclose(found[2], alone[0], atol=1e-4)  # single precision, in another batch


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_gives_the_same(tmp_path: Path, batch: int) -> None:
    boxes = [(100 + 10 * shift, 50, 148 + 10 * shift, 114) for shift in range(5)]
    window = make_window((121.0, 80.0), boxes=boxes)
    free = make_engine(networks.brightness(tmp_path / "free.onnx"), signature()).estimate([window])[0]
    fixed = make_engine(networks.brightness(tmp_path / "fixed.onnx", batch), signature()).estimate([window])[0]
    np.testing.assert_allclose(fixed, free, atol=1e-4)  # single precision, in another batch


@pytest.mark.parametrize("order", [(), (0, -1, 1)])
def test_frames_share_a_region_and_follow_the_order_of_the_signature(tmp_path: Path, order: tuple[int, ...]) -> None:
    path = networks.stack_of_frames(tmp_path / "three.onnx", frames=3)
    spec = signature(past=1, future=1, layout="ntchw", order=order)
    spots = ((110.0, 70.0), (121.0, 80.0), (135.0, 95.0))
    with make_engine(path, spec) as engine:
        (keypoints,) = engine.estimate([make_window(*spots)])
    fed = [spots[place] for place in ((1, 0, 2) if order else (0, 1, 2))]
    np.testing.assert_allclose(keypoints[0, :3, :2], fed, atol=ATOL_PX)


def test_a_window_of_the_wrong_length_raises_naming_both(tmp_path: Path) -> None:
    engine = make_engine(
        networks.stack_of_frames(tmp_path / "three.onnx", 3), signature(past=1, future=1, layout="ntchw")
    )
    with pytest.raises(EngineError) as caught:
        engine.estimate([make_window((1.0, 1.0))])
    assert str(caught.value) == (
        "model spot: its window is 3 frames (past 1, future 1), but it was given 1 frames and 1 keys"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"input_size": (192, 256)},
            (
                "its input 'image' is (any, 3, 64, 48) float32, but its Signature says (N, 3, 256, 192); "
                "correct input_size, past, future or layout"
            ),
        ),
        ({"past": 1, "layout": "ntchw"}, "but its Signature says (N, 2, 3, 64, 48)"),
        (
            {"skeleton": "posetrack15"},
            (
                "its output 'heatmaps' is (any, 17, 16, 12) float32, but its Signature says (N, 15, any, any) "
                "(skeleton=posetrack15, decode=heatmap); correct the Signature"
            ),
        ),
        ({"decode": "simcc"}, "decode=simcc needs 2 outputs, but it has 'heatmaps' (any, 17, 16, 12) float32"),
        ({"inputs": ("frames",)}, "its Signature names the input 'frames', but the file has image"),
        ({"outputs": ("poses",)}, "its Signature names the output 'poses', but the file has heatmaps"),
    ],
)
def test_a_network_that_does_not_fit_its_signature_raises_naming_both(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    engine = make_engine(networks.brightness(tmp_path / "spot.onnx"), signature(**changes))
    with pytest.raises(EngineError) as caught:
        engine.open()
    assert str(caught.value).startswith("model spot: ")
    assert words in str(caught.value)


def test_a_model_is_loaded_from_a_path_with_its_signature_and_fingerprint(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "spot.onnx")
    write_signature(signature(), path.with_suffix(".json"))
    with load(str(path)) as engine:
        assert engine.signature == signature()
        assert engine.fingerprint == fingerprint_file(path)
        assert len(engine.fingerprint) == 16


def test_a_signature_made_for_another_file_raises(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "spot.onnx")
    write_signature(msgspec.structs.replace(signature(), fingerprint="0123456789abcdef"), path.with_suffix(".json"))
    with pytest.raises(EngineError) as caught:
        load(str(path))
    assert "was made for the file 0123456789abcdef, but this one is" in str(caught.value)


@pytest.mark.parametrize("kind", ["heatmap", "simcc"])
def test_a_signature_is_inferred_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Decode) -> None:
    outputs = pose_files.heatmaps() if kind == "heatmap" else pose_files.simcc("coco17")
    size = pose_files.SIZE
    path = detector_files.save_detector(tmp_path / "bare.onnx", outputs, shape=(1, 3, size[1], size[0]))
    with caplog.at_level(logging.WARNING):
        inferred = load(str(path)).signature
    assert inferred == Signature(name="bare", input_size=size, decode=kind)
    assert "has no Signature; assuming" in caplog.text
    assert "Write bare.json to be sure" in caplog.text


def test_ambiguous_shapes_raise(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "odd.onnx", joints=15)
    with pytest.raises(EngineError) as caught:
        load(str(path))
    assert str(caught.value).startswith(
        f"model {path}: it has no Signature, and its outputs 'heatmaps' (any, 15, 16, 12) float32 for an input of "
        "48x64 have 15 joints, of no usual skeleton; write "
    )


def test_windows_share_frames_without_copying_them(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "spot.onnx")
    window = make_window((121.0, 80.0))
    window.frames[0].setflags(write=False)  # as a view on shared memory is
    again = replace(window, ids=np.array([7]))
    first, second = make_engine(path, signature()).estimate([window, again])
    assert np.array_equal(first, second)
