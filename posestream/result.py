"""The result for one frame: the people in it and their keypoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.formats.output_files import replace_file
from engines.skeletons import SKELETONS
from stream.errors import PropertyError, TransportError
from stream.messages import Poses
from stream.output import overlay
from stream.output.locations import check_target
from stream.output.pictures import encode
from stream.protocol.json import json_line
from stream.protocol.pose_message import Person, to_supervision

if TYPE_CHECKING:
    from supervision import Detections, KeyPoints


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What :func:`posestream.estimate` found in one frame; ``poses`` is the line's message that it is read from."""

    poses: Poses

    def __repr__(self) -> str:
        return f"<Result {self.source} {self.index} at {self.time_s:.3f} s: {len(self.people)} people>"

    @property
    def source(self) -> str:
        """The file, camera or address that the frame is from; ``frames`` for arrays."""
        return self.poses.frame.camera

    @property
    def file(self) -> str:
        """The path of the picture or video that the frame is from; empty for cameras and arrays."""
        return self.poses.frame.file

    @property
    def index(self) -> int:
        """The number of the frame in its source, from 0; a camera that has dropped frames leaves gaps."""
        return self.poses.frame.seq

    @property
    def time_s(self) -> float:
        """The time of the frame in its source, in seconds; 0 at the beginning of a file."""
        return self.poses.frame.pts_ns / 1e9

    @property
    def frame(self) -> NDArray[np.uint8]:
        """The pixels (H, W, 3) uint8 BGR. Do not write to them: a later result may share them."""
        return self.poses.frame.pixels

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frame in px."""
        return self.poses.frame.size

    @property
    def skeleton(self) -> str:
        """The name of the skeleton, such as ``coco17``, which defines the keypoints."""
        return self.poses.skeleton

    @property
    def joints(self) -> tuple[str, ...]:
        """The names of the keypoints, in their order; numbers for a skeleton without names."""
        known = SKELETONS.get(self.skeleton)
        return known.joints if known else tuple(str(number) for number in range(self.poses.keypoints.shape[1]))

    @cached_property
    def people(self) -> tuple[Person, ...]:
        """The people in the frame, the best detection first; see :class:`posestream.Person`.

        ``id`` stays the same from frame to frame; it is -1 without tracking, as for photos.
        """
        poses, joints = self.poses, self.joints
        rows = zip(poses.ids.tolist(), poses.boxes.tolist(), poses.scores.tolist(), poses.keypoints, strict=True)
        return tuple(Person(number, tuple(box), score, keypoints, joints) for number, box, score, keypoints in rows)

    def draw(self, *, min_score: float = 0.3, scale: float = 1.0, caption: str = "") -> NDArray[np.uint8]:
        """A copy of the frame (H * scale, W * scale, 3) uint8 BGR with boxes, ids and skeletons drawn on it.

        Joints that score below ``min_score`` are left out. ``caption`` goes into the top left corner.
        """
        return overlay.draw(self.poses, min_score=min_score, scale=scale, caption=caption)

    def to_supervision(self) -> tuple[KeyPoints, Detections]:
        """``KeyPoints`` and ``Detections`` of the package supervision, to draw, filter and count with its tools.

        Both have the people in the order of ``people``; ``Detections`` have the ids as ``tracker_id``.
        """
        return to_supervision(self.people, len(self.joints))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pixels, as plain numbers, strings, lists and dicts; ``file`` where ``source`` differs."""
        return {
            "source": self.source,
            **({"file": self.file} if self.file not in ("", self.source) else {}),
            "index": self.index,
            "time_s": self.time_s,
            "size": list(self.size),
            "skeleton": self.skeleton,
            "joints": list(self.joints),
            "model": self.poses.model,
            "people": [
                {
                    "id": person.id,
                    "box": list(person.box),
                    "score": person.score,
                    "keypoints": person.keypoints.tolist(),
                }
                for person in self.people
            ],
        }

    def save(self, path: str | Path, *, min_score: float = 0.3) -> Path:
        """Write :meth:`to_dict` where ``path`` ends in ``.json``, else the drawn picture; returns the path.

        A file that is there is replaced in one step. Raises :class:`PropertyError` for a suffix of no picture and for a
        frame that is too large for its format, :class:`TransportError` where it cannot be written.
        """
        target = Path(path)
        content = json_line(self.to_dict()) if target.suffix.lower() == ".json" else self._encoded(target, min_score)
        check_target(target, "Result.save")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, lambda file: file.write(content))
        except OSError as error:
            raise TransportError(f"{target} cannot be written: {error.strerror}; choose another place") from None
        return target

    def _encoded(self, target: Path, min_score: float) -> bytes:
        if not target.suffix or not cv2.haveImageWriter(f"picture{target.suffix}"):
            raise PropertyError(f"{target} does not end as a picture does; save to .jpg, .png or .json")
        picture = self.draw(min_score=min_score)
        return encode(picture, target, suffix=target.suffix, remedy="save to .tiff, or write draw(scale=...) smaller")
