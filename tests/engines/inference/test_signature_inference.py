"""Pose networks without a Signature, format by format, and of every type of input and output."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto

from engines import skeletons
from engines.backends.base import Backend
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.inference.engine import Engine, PersonWindows, load, load_signature
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Signature, write_signature
from engines.vision.crop import HALF_PIXEL
from engines.vision.trial_picture import UNITS, draw_person
from tests.engines import networks
from tests.engines import pose_files as files
from tests.engines.detector_files import Output, save_detector
from tests.engines.pose_files import SIZE

NCHW: tuple[int | str, ...] = (1, 3, SIZE[1], SIZE[0])
NHWC: tuple[int | str, ...] = (1, SIZE[1], SIZE[0], 3)


def save(path: Path, outputs: dict[str, Output], shape: tuple[int | str, ...] = NCHW, dtype: int = 1) -> Path:
    """A network that returns the same for any picture."""
    return save_detector(path, outputs, shape=shape, dtype=dtype)


def estimate(engine: Engine) -> np.ndarray[Any, Any]:
    """Keypoints of a person whose crop is the whole frame, of the input's size, in the crop's index coordinates."""
    frame = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    margin = np.array(SIZE) * (1 - 1 / engine.signature.enlarge) / 2
    box = np.array([*margin, *(np.array(SIZE) - margin)], np.float32)
    (found,) = engine.estimate([PersonWindows((frame,), (("camera", 0),), box[None], np.array([1]))])
    assert found[0, :, 2] == pytest.approx(0.9, abs=1e-3)  # half precision
    return found[0, :, :2] - HALF_PIXEL


FORMATS: dict[str, tuple[str, dict[str, Output], dict[str, Any]]] = {
    "ViTPose": ("coco17", files.heatmaps(), {"decode": "heatmap"}),
    "heatmaps, channels last": ("coco17", files.heatmaps(is_last=True), {"decode": "heatmap"}),
    "heatmaps of the whole body": ("coco-wholebody133", files.heatmaps("coco-wholebody133"), {"decode": "heatmap"}),
    "heatmaps, half precision": ("coco17", files.heatmaps(dtype=np.float16), {"decode": "heatmap"}),
    "heatmaps after their maxima": (
        "coco17",
        {"at": Output(np.zeros((1, 17), np.int64)), **files.heatmaps()},
        {"decode": "heatmap", "outputs": ("heatmaps",)},
    ),
    "SimCC, y first": (
        "coco17",
        dict(reversed(files.simcc("coco17").items())),
        {"decode": "simcc", "outputs": ("simcc_x", "simcc_y")},
    ),
    "RTMPose 17": ("coco17", files.simcc("coco17"), {"decode": "simcc"}),
    "RTMPose 26": ("halpe26", files.simcc("halpe26"), {"decode": "simcc"}),
    "RTMPose 133": ("coco-wholebody133", files.simcc("coco-wholebody133"), {"decode": "simcc"}),
    "RTMPose, half precision": ("coco17", files.simcc("coco17", np.float16), {"decode": "simcc"}),
    "MoveNet": (
        "coco17",
        files.points(axes="yx", units="fractions", shape=(1, 1, 17, 3)),
        {"decode": "points", "axes": "yx", "units": "fractions", "std": (1, 1, 1)},
    ),
    "points": ("coco17", files.points(), {"decode": "points", "axes": "xy", "units": "pixels"}),
    "points, y first": ("coco17", files.points(axes="yx"), {"decode": "points", "axes": "yx", "units": "pixels"}),
    "points in fractions": ("coco17", files.points(units="fractions"), {"axes": "xy", "units": "fractions"}),
    "points in int64": ("coco17", files.whole_numbers(), {"decode": "points"}),
    "BlazePose": ("blazepose33", files.blazepose(), {"decode": "blazepose", "std": (255, 255, 255)}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised_and_gives_the_joints_in_pixels(tmp_path: Path, name: str) -> None:
    skeleton, outputs, fields = FORMATS[name]
    layout, dtype = (NHWC, TensorProto.INT32) if name == "MoveNet" else (NCHW, TensorProto.FLOAT)
    with load(str(save(tmp_path / "net.onnx", outputs, layout, dtype))) as engine:
        assert engine.signature.skeleton == skeleton
        assert {key: getattr(engine.signature, key) for key in fields} == fields
        # A heatmap's peak without higher neighbours is not moved; single precision.
        np.testing.assert_allclose(estimate(engine), files.place_joints(skeleton), atol=1e-3)


def test_a_network_is_tried_once_and_warned_of_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[Path] = []

    def make_and_count(path: Path) -> Backend:
        tried.append(path)
        return make_backend(path)

    monkeypatch.setattr("engines.inference.signature_inference.make_backend", make_and_count)
    path = save(tmp_path / "net.onnx", files.simcc("coco17"))
    with caplog.at_level(logging.WARNING):
        load_signature(str(path))  # as every part of a line does that is linked to the network's
        assert not caplog.records
        load(str(path))
    assert tried == [path]
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [f"model {path} has no Signature"]
    save(path, files.simcc("halpe26"))
    assert load_signature(str(path)).skeleton == "halpe26"


INPUTS: dict[str, tuple[tuple[int | str, ...], int]] = {
    "half precision": (NCHW, TensorProto.FLOAT16),
    "channels last": (NHWC, TensorProto.FLOAT),
    "uint8, channels last": (NHWC, TensorProto.UINT8),
    "batch of four": ((4, *NCHW[1:]), TensorProto.FLOAT),
    "any batch": (("batch", *NCHW[1:]), TensorProto.FLOAT),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("has_signature", [False, True])
def test_inputs_of_every_kind_are_fed(tmp_path: Path, name: str, has_signature: bool) -> None:
    shape, dtype = INPUTS[name]
    path = save(tmp_path / "net.onnx", files.simcc("coco17"), shape, dtype)
    if has_signature:
        scaling: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1)} if dtype == TensorProto.UINT8 else {}
        write_signature(Signature(name="net", input_size=SIZE, decode="simcc", **scaling), path.with_suffix(".json"))
    with load(str(path)) as engine:
        np.testing.assert_allclose(estimate(engine), files.place_joints("coco17"), atol=1e-3)


def get_refusal(path: Path) -> str:
    with pytest.raises(EngineError) as caught:
        load(str(path)).open()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"model {path}: ")
    return message


def check_refusal_works(path: Path) -> list[dict[str, Any]]:
    """The refusal has file, shapes and keys; each of the keys, written beside the file, opens it."""
    message = get_refusal(path)
    assert "its outputs '" in message
    assert f"write {path.with_suffix('.json')}: " in message
    found = [msgspec.json.decode(text) for text in re.findall(r"\{.*?\}(?= or |$)", message)]
    for choice in found:
        path.with_suffix(".json").write_bytes(msgspec.json.encode(choice))
        with load(str(path)) as engine:
            assert engine.signature.skeleton == choice["skeleton"]
    return found


def test_an_unusual_number_of_joints_is_refused_with_the_skeletons_of_that_number(tmp_path: Path) -> None:
    choices = check_refusal_works(save(tmp_path / "net.onnx", files.simcc("jhmdb15")))
    assert [choice["skeleton"] for choice in choices] == ["posetrack15", "jhmdb15"]


def test_a_skeleton_that_does_not_ship_is_asked_for_by_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(skeletons._KNOWN, "net5", None)  # forgotten afterwards
    del skeletons._KNOWN["net5"]
    tables = {name: Output(output.table[:, :5]) for name, output in files.simcc("coco17").items()}
    (choice,) = check_refusal_works(save(tmp_path / "net.onnx", tables))
    assert choice["joint_names"] == ["joint_0", "joint_1", "joint_2", "joint_3", "joint_4"]


def test_points_whose_axes_stay_open_are_refused_with_both(tmp_path: Path) -> None:
    flat = np.full((1, 17, 3), 0.5, np.float32)
    choices = check_refusal_works(save(tmp_path / "net.onnx", {"points": Output(flat)}))
    assert [choice.get("axes", "xy") for choice in choices] == ["xy", "yx"]


def test_a_network_to_which_the_drawn_person_is_none_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):  # it has all joints where it is brightest
        assert load(str(networks.brightness(tmp_path / "net.onnx"))).signature.std == IMAGENET_STD
    assert "(its keypoints of a drawn person are not in order). Write net.json to be sure" in caplog.text


def test_a_network_of_integers_is_refused_with_grey_levels(tmp_path: Path) -> None:
    flat = {"points": Output(np.full((1, 17, 3), 0.5, np.float32))}
    choices = check_refusal_works(save(tmp_path / "net.onnx", flat, NHWC, TensorProto.UINT8))
    assert [(choice["mean"], choice["std"]) for choice in choices] == [([0, 0, 0], [1, 1, 1])] * 2


def test_other_outputs_are_refused_with_what_runs(tmp_path: Path) -> None:
    message = get_refusal(save(tmp_path / "net.onnx", {"output0": Output(np.zeros((1, 56, 84), np.float32))}))
    assert "its outputs 'output0' (1, 56, 84) float32 for an input of 96x128 are no heatmaps" in message
    assert "use posedetect if it takes whole pictures" in message


def test_numbers_that_are_not_finite_are_refused_or_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outputs = {"points": Output(np.full((1, 17, 3), np.nan, np.float32))}
    path = save(tmp_path / "net.onnx", outputs)
    assert "are not finite; export it again" in get_refusal(path)
    write_signature(Signature(name="net", input_size=SIZE, decode="points"), path.with_suffix(".json"))
    frame = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    window = PersonWindows((frame,), (("camera", 0),), np.array([[0, 0, 90, 120]], np.float32), np.array([1]))
    with load(str(path)) as engine, caplog.at_level(logging.WARNING):
        (found,) = engine.estimate([window])
        engine.estimate([window])
    assert found.tolist() == [[[0, 0, 0]] * 17]
    assert [record.getMessage() for record in caplog.records] == [
        "model net: it returns keypoints that are not finite; export it again"
    ]


def test_integers_and_a_normalising_signature_contradict(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", files.points(), NHWC, TensorProto.INT32)
    write_signature(Signature(name="net", input_size=SIZE, decode="points"), path.with_suffix(".json"))
    with pytest.raises(EngineError, match=r'write "mean": \[0, 0, 0\], "std": \[1, 1, 1\] into it'):
        load(str(path)).open()


def test_an_input_of_any_size_is_refused_with_the_key(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", files.simcc("coco17"), (1, 3, "height", "width"))
    assert f'takes any size; write {path.with_suffix(".json")}: {{"name":"net","input_size":[192,256]}}' in get_refusal(
        path
    )


@pytest.mark.parametrize(("name", "skeleton"), [("halpe26", "halpe26"), ("movenet", "coco17")])
def test_files_that_were_refused_run(shared: Path, caplog: pytest.LogCaptureFixture, name: str, skeleton: str) -> None:
    with caplog.at_level(logging.WARNING), load(str(shared / f"cases/detectors/{name}.onnx")) as engine:
        assert engine.signature.skeleton == skeleton
    assert "(its keypoints of a drawn person are not in order)" in caplog.text


@pytest.mark.parametrize("units", [80, UNITS, 200])
@pytest.mark.parametrize("name", ["real/tinypose_256_192", "models/ultralight_nano_simplepose"])
def test_published_networks_find_the_drawn_person(
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    units: int,
) -> None:
    monkeypatch.setattr("engines.inference.signature_inference.draw_person", lambda size: draw_person(size, units))
    path = tmp_path / "net.onnx"  # without the Signature beside it
    path.symlink_to(shared / f"data/{name}.onnx")
    with caplog.at_level(logging.WARNING), load(str(path)) as engine:
        assert (engine.signature.skeleton, engine.signature.mean) == ("coco17", IMAGENET_MEAN)
    assert "has no Signature" in caplog.text
