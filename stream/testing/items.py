"""Messages for tests: a camera's frames, people, windows and poses, each made from its number.

>>> [item.key for item in people_items(2)]
[('cam', 0), ('cam', 1)]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream.caps import MEDIA
from stream.messages import Frame, FrameState, Message, People, Poses, Window

_FRAME_NS = 33_366_667  # 29.97 frames a second: not a round number, which code might rely on
_EPOCH_NS = 1_700_000_000 * 10**9
MESSAGE_OF = dict(zip(MEDIA, (Frame, People, Window, Poses), strict=True))
"""The message class of each media type."""


def make_frame(seq: int, camera: str = "cam", size: tuple[int, int] = (64, 48)) -> Frame:
    """A frame with random pixels, seeded by its number; ``size`` is (width, height) px."""
    width, height = size
    pixels = np.random.default_rng(seq).integers(0, 256, (height, width, 3), np.uint8)
    pts_ns = seq * _FRAME_NS
    return Frame(camera, seq, pts_ns, _EPOCH_NS + pts_ns, pixels, {"captured": _EPOCH_NS + pts_ns})


def make_people(seq: int, camera: str = "cam", *, count: int = 2, size: tuple[int, int] = (64, 48)) -> People:
    """``count`` people in frame ``seq``, side by side, moving slowly to the right, with ids from 1."""
    width, height = size
    left = np.arange(count, dtype=np.float32) * width / max(count, 1) + seq % 8 * 0.25
    boxes = np.stack([left, np.full(count, 2.0), left + width / 4, np.full(count, height - 2.0)], axis=1)
    return People.from_boxes(make_frame(seq, camera, size), boxes, np.full(count, 0.9), np.arange(1, count + 1))


def make_window(seq: int, camera: str = "cam", *, past: int = 0, future: int = 0, count: int = 2) -> Window:
    """The window around frame ``seq``, all of it ``real``; ``seq`` must be at least ``past``."""
    people = make_people(seq, camera, count=count)
    around = (make_frame(at, camera) if at != seq else people.frame for at in range(seq - past, seq + future + 1))
    real: FrameState = "real"
    return Window(tuple(around), (real,) * (past + 1 + future), past, people)


def make_poses(seq: int, camera: str = "cam", *, count: int = 2) -> Poses:
    """Seventeen COCO joints on a slanting line through each person's box."""
    people = make_people(seq, camera, count=count)
    steps = np.linspace(0.1, 0.9, 17, dtype=np.float32)[:, None]
    corner, extent = people.boxes[:, None, :2], people.boxes[:, None, 2:] - people.boxes[:, None, :2]
    joints = np.concatenate([corner + extent * steps, np.full((count, 17, 1), 0.8, np.float32)], axis=2)
    keypoints = np.ascontiguousarray(joints, np.float32)
    return Poses(people.frame, people.boxes, people.scores, people.ids, keypoints, "coco17", "made up", "0" * 16)


def people_items(count: int, cameras: Sequence[str] = ("cam",)) -> list[Message]:
    """People in ``count`` consecutive frames of each camera, interleaved."""
    return [make_people(seq, camera) for seq in range(count) for camera in cameras]


def items_for(media: str, *, past: int = 0, future: int = 0) -> list[Message]:
    """Twelve items of a media type from two cameras, interleaved: the default items of :func:`check_element`."""
    seqs = range(past, past + 6)
    return [_item(media, seq, camera, past=past, future=future) for seq in seqs for camera in ("hall", "yard")]


def without_people(item: Message) -> Message:
    """The same item for a black picture without people."""
    seq, camera = item.key[1], item.key[0]
    match item:
        case Frame():
            return Frame(camera, seq, item.pts_ns, item.wall_ns, np.zeros_like(item.pixels), item.ledger)
        case People():
            return make_people(seq, camera, count=0)
        case Window():
            past = item.index
            return make_window(seq, camera, past=past, future=len(item.frames) - 1 - past, count=0)
        case Poses():
            return make_poses(seq, camera, count=0)


def _item(media: str, seq: int, camera: str, *, past: int, future: int) -> Message:
    makers = dict(zip(MEDIA, (make_frame, make_people, None, make_poses), strict=True))
    make = makers.get(media, make_frame)  # "any" is tested with frames
    return make(seq, camera) if make else make_window(seq, camera, past=past, future=future)
