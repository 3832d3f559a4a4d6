"""Poses as OpenPose writes them with ``--write_json``: a folder with one JSON file per frame, body joints as BODY_25.

The layout is that of OpenPose's page "Output", its names of files those of its releases since 1.5. Coordinates are
pixel indices, as OpenPose's, which it divides by ``size - 1`` for the range 0..1. A joint that the network lacks is
0, 0, 0. OpenPose's ``Neck`` and ``MidHip`` are the middle between the shoulders and between the hips; they are computed
where the network has no joint of that name. The whole-body skeleton fills the arrays of face and hands.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.capture.picture_suffixes import is_picture
from stream.output.json_lines import OWNER, make_error, refuse_camera
from stream.output.locations import make_folder, replace_file
from stream.output.results import Record, select_joints
from stream.protocol.json import json_line

_log = logging.getLogger(__name__)

VERSION = 1.3

BODY_25 = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye"),
    *("left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel"),
    *("right_big_toe", "right_small_toe", "right_heel"),
)
"""Our names of OpenPose's joints: its ``MidHip`` is ``pelvis``."""

_MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "pelvis": ("left_hip", "right_hip")}
"""Joints that are computed from two others, where the network lacks them."""

_PUPILS = ("right_pupil", "left_pupil")
_FACE = (*(f"face_{number}" for number in range(68)), *_PUPILS)
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")


class OpenPoseFolder:
    """Writes one file for each frame of one camera, in one step, so that a frame written twice exists once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._camera: str | None = None
        self._pictures: dict[str, str] = {}
        make_folder(path, OWNER)

    def warn_of_old_files(self) -> None:
        """Log that the folder has files of another run, which cannot be distinguished from those of this one."""
        count = sum(1 for _ in self.path.glob("*_keypoints.json"))
        if count:
            _log.warning("%s: folder %s holds keypoints already (files: %d), which stay", OWNER, self.path, count)

    def add(self, record: Record) -> None:
        """Write the file of a frame. Raises :class:`TransportError` where it cannot be written."""
        if self._camera not in (None, record.camera):
            refuse_camera(self.path, str(self._camera), record.camera)
        self._camera = record.camera
        content = json_line(openpose_document(record))
        target = self.path / f"{self._name(record)}_keypoints.json"
        try:
            replace_file(target, lambda file: file.write(content))
        except OSError as error:
            raise make_error(target, error) from None

    def _name(self, record: Record) -> str:
        """The name of the frame: a picture's own, unless another picture of this run has it (``a.jpg``, ``a.png``)."""
        name = frame_name(record)
        if name != Path(record.file).stem or self._pictures.setdefault(name, record.file) == record.file:
            return name
        numbered = _number(name, record)
        _log.warning("%s: %s has the name of another picture and becomes %s", OWNER, record.file, numbered)
        return numbered


def frame_name(record: Record) -> str:
    """OpenPose's name of a frame: that of a picture; else that of the video or camera and the frame's number.

    >>> frame_name(Record("hall", 7, (640, 480), "coco17", []))
    'hall_000000000007'
    >>> frame_name(Record("hall", 7, (640, 480), "coco17", [], file="clips/walk.mp4"))
    'walk_000000000007'
    """
    file = Path(record.file)
    if not record.file:
        return _number(record.camera.replace("/", "%2F"), record)
    return file.stem if is_picture(file) and _is_still(file) else _number(file.stem, record)


def _is_still(file: Path) -> bool:
    from stream.capture.stills import is_still  # imports OpenCV, which no other sink of keypoints needs

    return is_still(file)


def _number(name: str, record: Record) -> str:
    return f"{name}_{record.frame_seq:012d}"


def openpose_document(record: Record) -> dict[str, Any]:
    """Make the document of one frame; ``person_id`` is the tracker's."""
    body = _body_25(record)
    hands = [_select(record, _hand(side)) for side in ("left", "right")]
    face = _select(record, _FACE)
    people = [
        {
            "person_id": [person.id],
            "pose_keypoints_2d": body[row].ravel().tolist(),
            "face_keypoints_2d": face[row].ravel().tolist(),
            "hand_left_keypoints_2d": hands[0][row].ravel().tolist(),
            "hand_right_keypoints_2d": hands[1][row].ravel().tolist(),
            **{name: [] for name in _EMPTY},
        }
        for row, person in enumerate(record.people)
    ]
    return {"version": VERSION, "people": people}


_EMPTY = ("pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d")


def _body_25(record: Record) -> NDArray[np.float32]:
    """The joints of the body (N, 25, 3), by pixel index."""
    points = select_joints(record, "OpenPose's BODY_25", BODY_25)
    for name, sides in _MIDDLES.items():
        if name not in record.joint_names:
            both = points[:, [BODY_25.index(side) for side in sides]]
            is_known = (both[..., 2] > 0).all(axis=1)
            middle = np.concatenate([both[..., :2].mean(axis=1), both[..., 2:].min(axis=1)], axis=1)
            points[is_known, BODY_25.index(name)] = middle[is_known]
    return points


def _hand(side: str) -> tuple[str, ...]:
    fingers = (f"{side}_{finger}{number}" for finger in _FINGERS for number in range(1, 5))
    return (f"{side}_hand_root", *fingers)


def _select(record: Record, names: tuple[str, ...]) -> NDArray[np.float32]:
    """The joints of the face or a hand; (N, 0, 3) where the network has none, as OpenPose without ``--face``."""
    if set(names) & set(record.joint_names):
        return select_joints(record, "OpenPose's face and hands", names)
    return np.zeros((len(record.people), 0, 3), np.float32)
