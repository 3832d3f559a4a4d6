"""Samples of whole pictures: sizes, flips, and the same content for the same step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.datasets.config import Coco  # noqa: E402
from engines.datasets.stills import COCO  # noqa: E402
from engines.skeletons import SKELETONS  # noqa: E402
from engines.training.picture_samples import (  # noqa: E402
    LabelledPictures,
    WholePicture,
    collate,
    fitted_size,
    flip,
    resize,
    to_sample,
)
from engines.training.recipe import Augmentation  # noqa: E402
from tests.engines.datasets import sample_datasets  # noqa: E402
from tests.engines.training.whole_pictures import SIZE, draw_pictures, make_samples  # noqa: E402

ORDER = list(SKELETONS["coco17"].flip_order)


def spot(x: int, y: int, size: tuple[int, int] = (40, 30)) -> WholePicture:
    """A black picture with one bright pixel, where all joints of its one person are."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[y, x] = 255
    joints = np.tile(np.array([x, y, 2], np.float32), (1, 17, 1))
    box = np.array([[x - 2, y - 3, x + 2, y + 3]], np.float32)
    return WholePicture(pixels, joints, box, np.array([12], np.float32))


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (1067, 800)), ((480, 640), (800, 1067)), ((1280, 480), (1333, 500))]
)
def test_sizes_are_the_papers(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_size(size, 800, 1333) == expected


def test_a_flip_moves_joints_with_their_pixel_and_exchanges_sides() -> None:
    turned = flip(spot(7, 11), ORDER)
    x, y = turned.joints[0, 0, :2].astype(int)
    assert turned.pixels[y, x, 0] == 255
    np.testing.assert_array_equal(turned.boxes, [[30, 8, 34, 14]])
    drawn = draw_pictures().read(0)
    np.testing.assert_array_equal(flip(drawn, ORDER).joints[:, 5, 1], drawn.joints[:, 6, 1])
    twice = flip(flip(drawn, ORDER), ORDER)
    for one, other in zip(twice, drawn, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-4)


def test_resizing_moves_joints_with_their_pixel() -> None:
    resized = resize(spot(7, 11), 90, 200)
    assert resized.pixels.shape == (90, 120, 3)
    x, y = resized.joints[0, 0, :2]
    bright = np.argwhere(resized.pixels[..., 0] == resized.pixels.max()).mean(0)
    # As published, coordinates of the first pixel's centre stay 0: a third of the new pixels lie before it.
    np.testing.assert_allclose([y, x], bright, atol=1.01)
    assert resized.areas == pytest.approx([12 * 9])


def test_a_batch_pads_to_the_stride_and_keeps_each_pictures_people() -> None:
    batch = collate([to_sample(resize(spot(7, 11), short, 200)) for short in (48, 70)])
    assert batch.pictures.shape == (2, 3, 96, 96)
    assert (batch.pictures[0, :, 48:] == 0).all()
    assert (batch.pictures[0, :, :, 64:] == 0).all()
    assert [people.keypoints.shape for people in batch.people] == [(1, 17, 3)] * 2


def test_the_same_step_gives_the_same_batch_in_other_sizes_than_the_next() -> None:
    samples, indices = make_samples(draw_pictures(2), (48, 96)), np.arange(1)

    def batch(step: int) -> Any:
        return samples.batch(indices, Augmentation(), np.random.default_rng([0, step])).pictures

    assert torch.equal(batch(1), batch(1))
    shapes = {tuple(batch(step).shape[2:]) for step in range(8)}
    assert len(shapes) > 1
    assert max(shape[1] for shape in shapes) <= SIZE[0]


def test_labelled_pictures_have_all_their_people(tmp_path: Path) -> None:
    sample_datasets.coco(tmp_path)
    pictures = LabelledPictures(COCO.read(tmp_path, "val2017"), "coco17")
    first = pictures.read(0)
    assert len(pictures) == sample_datasets.FRAMES
    assert first.joints.shape == (2, 17, 3)
    np.testing.assert_allclose(first.boxes, sample_datasets.render_frames()[0].boxes, atol=1e-4)
    np.testing.assert_allclose(first.areas, 0.53 * (first.boxes[:, 2:] - first.boxes[:, :2]).prod(1), rtol=1e-5)


def test_people_without_labels_are_read_if_the_data_set_says_so(tmp_path: Path) -> None:
    sample_datasets.coco(tmp_path)
    file = tmp_path / "annotations/person_keypoints_train2017.json"
    document = json.loads(file.read_text())
    document["annotations"][0] |= {"keypoints": [0] * 51, "num_keypoints": 0}
    document["annotations"][1] |= {"iscrowd": 1}
    sample_datasets.write_json(file, document)
    counts = {}
    for unlabelled in (False, True):
        pictures = LabelledPictures(Coco(root=str(tmp_path), unlabelled=unlabelled).training_clips(), "coco17")
        counts[unlabelled] = [len(pictures.read(index).joints) for index in range(len(pictures))]
    assert counts == {False: [2, 2, 2], True: [1, 2, 2, 2]}
