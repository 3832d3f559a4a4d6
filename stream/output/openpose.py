"""Poses as OpenPose writes them with ``--write_json``: a folder with one JSON file per frame, body joints as BODY_25.

The layout is that of OpenPose's page "Output", its names of files those of its releases since 1.5. Coordinates are
pixel indices, as OpenPose's, which it divides by ``size - 1`` for the range 0..1. A joint that the network lacks is
0, 0, 0. OpenPose's ``Neck`` and ``MidHip`` are the middle between the shoulders and between the hips; they are computed
where the network has no joint of that name. The whole-body skeleton fills the arrays of face and hands.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.formats.json import NOT_JSON
from engines.formats.output_files import open_temporary, replace_file
from stream.capture.picture_suffixes import is_picture
from stream.element import Context
from stream.errors import StartError
from stream.output.json_lines import CHANGED, OWNER, make_error, name_in_memory, refuse_camera
from stream.output.locations import make_folder, write_error
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

    def __init__(self, path: Path, context: Context) -> None:
        self.path = path
        self._camera: str | None = None
        make_folder(path, OWNER)
        self._names = _Names(path / ".names.part", context)

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
        target = self.path / f"{self._names.find(record)}_keypoints.json"
        try:
            replace_file(target, lambda file: file.write(content))
        except OSError as error:
            raise make_error(target, error) from None

    def close(self) -> None:
        """Remove what only a restart needs; idempotent."""
        self._names.path.unlink(missing_ok=True)


class _Names:
    """The names of a run's frames, none of which two frames have: a picture's own, or that of a video or camera with
    the frame's number. The second frame of a name has its number behind it (``a.jpg``, ``a.png``).

    Those of pictures, and of videos and cameras without the number, are kept in the file ``path`` too, in which a
    restarted part finds them. Its size is in the memory of ``context``.
    """

    def __init__(self, path: Path, context: Context) -> None:
        self.path, self._memory = path, context.memory
        self._size = name_in_memory("names", path)
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()
        self._numbered: set[str] = set()
        if context.incarnation:
            self._read()
        else:
            path.unlink(missing_ok=True)
            self._memory[self._size] = 0

    def find(self, record: Record) -> str:
        """The name of a frame, the same if it comes again. Raises :class:`TransportError`."""
        is_whole = _is_picture(record)
        key = record.file if is_whole else f"{record.file}\0{record.frame_seq}"
        if key in self._given:
            return self._given[key]
        first = name = frame_name(record)
        while self._is_taken(name, is_whole=is_whole):
            name, is_whole = _number(name, record), True
        if name != first:
            _log.warning("%s: %s has the name of another frame and becomes %s", OWNER, record.file or first, name)
        entry = (key, name) if is_whole else ("", name[:-_DIGITS])
        if is_whole or entry[1] not in self._numbered:
            self._add(*entry)
            self._keep(entry)
        return name

    def _is_taken(self, name: str, *, is_whole: bool) -> bool:
        is_number = is_whole and _NUMBERED.search(name) is not None and name[:-_DIGITS] in self._numbered
        return is_number or name in self._taken

    def _add(self, key: str, name: str) -> None:
        if key:
            self._given[key] = name
            self._taken.add(name)
        else:
            self._numbered.add(name)

    def _keep(self, entry: tuple[str, str]) -> None:
        """Before the frame has its file: a part that is killed in between finds the name kept."""
        try:
            with open(self.path, "ab", opener=open_temporary) as file:
                file.write(msgspec.json.encode(entry) + b"\n")
                file.flush()
                self._memory[self._size] = file.tell()
        except OSError as error:
            raise make_error(self.path, error) from None

    def _changed(self) -> StartError:
        return StartError(str(write_error(OWNER, self.path.parent, f"{self.path} {CHANGED}")))

    def _read(self) -> None:
        """Raises :class:`StartError`: which names were given is unknown, and no restart helps."""
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < self._memory.get(self._size, 0):
                raise self._changed()
            for line in whole.splitlines():
                self._add(*msgspec.json.decode(line, type=tuple[str, str]))
            if content != whole:
                os.truncate(self.path, len(whole))
        except NOT_JSON:
            raise self._changed() from None
        except OSError as error:
            raise make_error(self.path, error) from None


_DIGITS = 13
"""The characters of ``_000000000007``."""

_NUMBERED = re.compile(r"_\d{12}$")


def frame_name(record: Record) -> str:
    """OpenPose's name of a frame: that of a picture; else that of the video or camera and the frame's number.

    >>> frame_name(Record("hall", 7, (640, 480), "coco17", []))
    'hall_000000000007'
    >>> frame_name(Record("hall", 7, (640, 480), "coco17", [], file="clips/walk.mp4"))
    'walk_000000000007'
    """
    if not record.file:
        return _number(record.camera.replace("/", "%2F"), record)
    stem = Path(record.file).stem
    return stem if _is_picture(record) else _number(stem, record)


def _is_picture(record: Record) -> bool:
    file = Path(record.file)
    return bool(record.file) and is_picture(file) and _is_still(file)


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
