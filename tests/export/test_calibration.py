"""Crops to measure on are cut as an engine cuts them."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from engines.datasets.synthetic.scene import Scene
from engines.errors import EngineError
from engines.inference.regions import box_to_region, crop_regions
from engines.spec.signature import Signature
from export import calibration

SIGNATURE = Signature(name="toy", input_size=(48, 64), past=1, future=1, layout="nthwc", pixel="uint8")


def pictures(folder: Path, count: int, size: tuple[int, int] = (120, 90)) -> Path:
    """Frames of rising brightness."""
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), np.full((size[1], size[0], 3), 10 * number, np.uint8))
    return folder


@pytest.mark.parametrize("pixel", ["uint8", "float32"])
def test_drawn_people_are_cut_by_the_true_box_of_the_key_frame(pixel: str) -> None:
    signature = msgspec.structs.replace(SIGNATURE, pixel=pixel, layout="nthwc" if pixel == "uint8" else "ntchw")
    scene = Scene(11, 3, 640, 480)
    seen = [scene.at(offset / 25, offset) for offset in (-1, 0, 1)]
    region = box_to_region(signature, seen[1].boxes[0])
    wanted = crop_regions(signature, [picture.pixels for picture in seen], [region] * len(seen))
    shown = calibration.Samples(calibration.draw_windows(signature, count=1), "")
    np.testing.assert_array_equal(shown.inputs(signature)[0], wanted)


def test_windows_of_a_folder_hold_consecutive_frames_in_order(tmp_path: Path) -> None:
    crops = calibration.cut_windows(pictures(tmp_path, 9), SIGNATURE, count=6)
    assert crops.shape == (6, 3, 64, 48, 3)
    middle = crops[:, :, 32, 24, 0].astype(int)
    assert np.diff(middle, axis=1).tolist() == [[10, 10]] * 6
    assert {int(value) for value in middle[:, 1]} == {10, 70}


def test_too_few_pictures_are_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        calibration.cut_windows(pictures(tmp_path, 2), SIGNATURE)
    assert str(caught.value) == (
        f"--frames {tmp_path}: it has 2 pictures of one size, a window of toy needs 3; "
        "give a longer video or a folder of more pictures"
    )


def test_a_video_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        calibration.cut_windows(tmp_path / "gone.mp4", SIGNATURE)
    assert str(caught.value) == f"--frames {tmp_path / 'gone.mp4'}: there is no such video or folder"


def test_samples_are_people_and_noise_and_say_so() -> None:
    shown = calibration.make_samples(SIGNATURE, count=2)
    assert shown.crops.shape == (4, 3, 64, 48, 3)
    assert shown.description == "2 windows of drawn people, 2 of noise"
    assert calibration.normalise(shown.crops, SIGNATURE).shape == (4, 3, 3, 64, 48)
