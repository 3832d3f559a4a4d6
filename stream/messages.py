"""The messages of a pipeline: ``Frame`` → ``People`` → ``Window`` → ``Poses``.

Each message contains its frame, so no two streams ever have to be joined. All are frozen; an element that adds
something makes a new message with :func:`dataclasses.replace`.

Conventions:

* **Coordinates** are continuous pixels, origin at the top-left corner of the top-left pixel (the centre of that pixel
  is (0.5, 0.5)); a box is ``x1, y1, x2, y2`` with ``x2``, ``y2`` exclusive edges, so its width is ``x2 - x1``.
* **Times** end in ``_ns``. ``pts_ns`` is the source's own clock (when the frame should be shown; the first frame of a
  file is usually 0); ``wall_ns`` is ``time.time_ns()`` at capture and so comparable between processes of one host.
* **Arrays** are C-contiguous and must not be written to: pixels may be a view on shared memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engines.vision import windows

Key = windows.Key
"""``(camera, seq)``: identifies one frame of a run, and every message made from it."""

NO_ID = windows.NO_ID
"""The id of a person that no tracker has identified."""

EOS_SEQ = 2**62
"""``seq`` of the item that ends a camera's stream: greater than that of any frame."""

FrameState = Literal["real", "repeated", "padded"]
"""The origin of a frame in a window: ``real`` is the frame itself; ``repeated`` is a neighbour in place of a dropped
frame; ``padded`` is the first or last frame in place of one before the beginning or after the end."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The exact ground truth of a frame, from a synthetic source.

    ``boxes`` (N, 4) float32 px, ``ids`` (N,) int64, ``keypoints`` (N, K, 3) float32: x px, y px and visibility
    (0 outside the picture, 1 hidden, 2 visible, as in COCO).
    """

    boxes: NDArray[np.float32]
    ids: NDArray[np.int64]
    keypoints: NDArray[np.float32]
    skeleton: str = "coco17"


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera.

    ``pixels`` (H, W, 3) uint8 BGR. ``seq`` counts the captured frames from 0, including those that the source dropped;
    a gap means frames that never entered the pipeline. ``ledger`` maps the name of a step (``captured``,
    ``decoded``, ``detected``, ``window_ready``, ``inferred``, ``published``) to its ``time.time_ns()``. ``file`` is the
    path of the picture or video that it was read from; empty for a camera.
    """

    camera: str
    seq: int
    pts_ns: int
    wall_ns: int
    pixels: NDArray[np.uint8] = field(repr=False)
    ledger: Mapping[str, int] = field(default_factory=dict, repr=False)
    truth: Truth | None = field(default=None, repr=False)
    file: str = ""

    @property
    def key(self) -> Key:
        """``(camera, seq)``."""
        return self.camera, self.seq

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)`` in pixels."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[0])

    def stamp(self, step: str, time_ns: int) -> Frame:
        """A copy with one more entry in the ledger."""
        return replace(self, ledger={**self.ledger, step: time_ns})


@dataclass(frozen=True, slots=True)
class People:
    """A frame and the people found in it.

    ``boxes`` (N, 4) float32 px; ``scores`` (N,) float32 in 0..1; ``ids`` (N,) int64, :data:`NO_ID` without one.
    ``detected`` is False where the detector skipped this frame (``detect interval=N``): the boxes are then those of
    its last detection, and a tracker should predict its own instead.
    """

    frame: Frame
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    detected: bool = True

    @classmethod
    def from_boxes(
        cls, frame: Frame, boxes: object, scores: object, ids: object | None = None, *, detected: bool = True
    ) -> People:
        """People from anything array-like; the lengths must agree. Raises ``ValueError``."""
        xyxy = np.ascontiguousarray(boxes, np.float32).reshape(-1, 4)
        confidence = np.ascontiguousarray(scores, np.float32).reshape(-1)
        given = np.full(len(xyxy), NO_ID, np.int64) if ids is None else np.ascontiguousarray(ids, np.int64).reshape(-1)
        if not len(xyxy) == len(confidence) == len(given):
            raise ValueError(
                f"{len(xyxy)} boxes, {len(confidence)} scores and {len(given)} ids: give one of each per person"
            )
        return cls(frame, xyxy, confidence, given, detected)

    @property
    def key(self) -> Key:
        """``(camera, seq)`` of the frame."""
        return self.frame.key


@dataclass(frozen=True, slots=True)
class Window:
    """The frames around a key frame, oldest first, and the people of the key frame.

    ``frames`` are T = past + 1 + future whole frames. All are later cropped by one affine of the key frame's box, since
    cropping each by its own box would remove the motion that a temporal model reads. ``states[i]`` is the origin of
    ``frames[i]``.
    """

    frames: tuple[Frame, ...]
    states: tuple[FrameState, ...]
    index: int
    people: People = field(repr=False)

    @property
    def key_frame(self) -> Frame:
        """``frames[index]``: the frame whose people are estimated."""
        return self.frames[self.index]

    @property
    def key(self) -> Key:
        """``(camera, seq)`` of the key frame."""
        return self.key_frame.key


@dataclass(frozen=True, slots=True)
class WindowFrame:
    """One frame of a window, as published: its offset from the key frame in frames, its ``seq`` and ``pts_ns``, and its
    origin."""

    offset: int
    seq: int
    pts_ns: int
    state: FrameState


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where the joints of a frame's people will be at ``for_ns``, a ``wall_ns`` after that of the frame.

    ``joints`` (N, K, 5) float32: x px, y px at that moment, the speed along x and y then, px/s, and the spread, px: the
    radius around (x, y) within which the joint will be in two of three cases. The speed may be used to extrapolate
    until ``until_ns`` and not beyond.
    """

    for_ns: int
    until_ns: int
    joints: NDArray[np.float32]

    def points_at(self, moment_ns: int) -> NDArray[np.float32]:
        """(N, K, 2) px: where the joints are at a moment, extrapolated to ``until_ns`` and not beyond."""
        after_s = np.float32((min(moment_ns, self.until_ns) - self.for_ns) / 1e9)
        points: NDArray[np.float32] = self.joints[..., :2] + after_s * self.joints[..., 2:4]
        return points


@dataclass(frozen=True, slots=True)
class Poses:
    """The keypoints of all people in one frame, as they were seen, and a ``forecast`` of them if an element made one.

    ``keypoints`` (N, K, 3) float32: x px, y px in the frame, score in 0..1; the ``skeleton`` defines the order of K.
    ``fingerprint`` identifies the model file that computed them.
    """

    frame: Frame
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    keypoints: NDArray[np.float32]
    skeleton: str
    model: str = ""
    fingerprint: str = ""
    window: tuple[WindowFrame, ...] = ()
    forecast: Forecast | None = None

    @property
    def key(self) -> Key:
        """``(camera, seq)`` of the key frame."""
        return self.frame.key


@dataclass(frozen=True, slots=True)
class Eos:
    """The end of one camera's stream; the last item of that camera on every link."""

    camera: str

    @property
    def key(self) -> Key:
        """``(camera, EOS_SEQ)``."""
        return self.camera, EOS_SEQ


Message = Frame | People | Window | Poses
