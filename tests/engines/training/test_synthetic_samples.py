"""Synthetic tracks: one crop for all frames, its ground truth, and independence of the number of workers."""

from __future__ import annotations

import numpy as np
import pytest

from engines.skeletons import SKELETONS
from engines.training.synthetic_samples import Tracks, TrackSettings, concatenate, render_scene, render_scenes

SMALL = TrackSettings(size=(48, 64), moments=2)


def test_a_scene_gives_tracks_with_joints() -> None:
    tracks = render_scene(7, SMALL)
    assert len(tracks) > 0
    assert tracks.pictures.shape[1:] == (5, 64, 48, 3)
    assert tracks.joints.shape[1:] == (5, 17, 3)
    middle = tracks.joints[:, 2]
    assert ((middle[..., 2] == 2).sum(1) >= 4).all()
    seen = middle[middle[..., 2] == 2]
    # Boxes are enlarged by a quarter and jittered by a twentieth or so: nearly everything visible lies in the crop.
    inside = (seen[:, 0] > -1) & (seen[:, 0] < 48) & (seen[:, 1] > -1) & (seen[:, 1] < 64)
    assert inside.mean() > 0.95


def test_crops_of_true_boxes_are_those_of_an_engine() -> None:
    tracks = render_scene(7, TrackSettings(size=(48, 64), moments=2, jitter=False))
    # The longer side of the box over 1.25: the crop's height where a person stands upright, 64 / 1.25 = 51 px.
    assert np.median(tracks.sizes) == pytest.approx(51.2, abs=1.0)


def test_tracks_do_not_depend_on_the_number_of_workers() -> None:
    alone = concatenate(list(render_scenes([3, 4], SMALL, workers=1)))
    together = concatenate(list(render_scenes([3, 4], SMALL, workers=2)))
    assert np.array_equal(alone.pictures, together.pictures)
    assert np.array_equal(alone.joints, together.joints)


def test_people_move_within_a_fixed_crop() -> None:
    tracks = render_scene(7, TrackSettings(size=(48, 64), moments=4, kind="crossing"))
    steps = np.abs(np.diff(tracks.joints[..., :2], axis=1))
    known = (tracks.joints[:, 1:, :, 2] > 0) & (tracks.joints[:, :-1, :, 2] > 0)
    assert steps[known].max() > 1  # px a frame


def test_a_scene_without_visible_people_gives_no_tracks() -> None:
    empty = TrackSettings(size=(48, 64), moments=0)
    assert len(render_scene(7, empty)) == 0
    assert isinstance(concatenate([render_scene(7, empty)]), Tracks)


def test_another_skeleton_keeps_shared_joints_only() -> None:
    tracks = render_scene(7, SMALL)
    other = tracks.as_skeleton("posetrack17")
    ours, theirs = SKELETONS["coco17"].joints, SKELETONS["posetrack17"].joints
    wrists = tracks.joints[:, :, ours.index("left_wrist")]
    assert np.array_equal(other.joints[:, :, theirs.index("left_wrist")], wrists)
    assert (other.joints[:, :, theirs.index("head_top"), 2] == 0).all()
