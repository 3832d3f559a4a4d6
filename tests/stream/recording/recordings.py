"""Helpers for tests of recordings: poses in pictures that a codec keeps, and files of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stream.element import Context
from stream.elements.recordsink import RecordSink
from stream.messages import Poses
from stream.recording.recording import Recording
from stream.testing import Clock, make_poses

SESSION = 0xC0FFEE


def picture_poses(seq: int, camera: str = "hall", size: tuple[int, int] = (64, 48), count: int = 2) -> Poses:
    """Poses in a coloured picture that becomes lighter from left to right, and from frame to frame."""
    poses = make_poses(seq, camera, count=count)
    width, height = size
    pixels = np.empty((height, width, 3), np.uint8)
    light = np.linspace(20, 160, width).astype(np.uint8) + seq % 50
    pixels[:] = light[None, :, None] + np.array([0, 20, 40], np.uint8)
    return dataclasses.replace(poses, frame=dataclasses.replace(poses.frame, pixels=pixels))


def interleave(frames: int, cameras: Sequence[str] = ("hall", "yard")) -> list[Poses]:
    """The first frames of each camera, in turn."""
    return [picture_poses(seq, camera) for seq in range(frames) for camera in cameras]


def open_sink(
    path: Path, *, clock: Any = None, memory: Any = None, incarnation: int = 0, **properties: Any
) -> RecordSink:
    """A recordsink that is yet to be entered."""
    sink = RecordSink(location=str(path), **properties)
    sink.context = Context(now_ns=clock or Clock(), memory={} if memory is None else memory, incarnation=incarnation)
    return sink


def record(path: Path, items: Iterable[Poses], **properties: Any) -> Path:
    """Record ``items``, a frame each 40 ms, to the end."""
    clock = Clock()
    with open_sink(path, clock=clock, **properties) as sink:
        for item in items:
            sink.consume(item)
            clock.advance(40)
        sink.flush()
    return path


def summarise(path: Path) -> list[tuple[str, str, int, int]]:
    """Kind, camera, number and frame of all messages of poses and ends."""
    heads = [message.head for message in Recording(path).messages()]
    return [(head.kind, head.camera, head.seq, head.frame_seq) for head in heads if head.kind != "skeleton"]
