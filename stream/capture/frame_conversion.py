"""Conversion of a shot to a frame, directly into the memory that the element's context allocates."""

from __future__ import annotations

from stream.capture.decoded_picture import Shot
from stream.element import Context
from stream.messages import Frame


def make_frame(shot: Shot, camera: str, seq: int, context: Context) -> Frame:
    """Make the frame ``(camera, seq)``; its ledger says when it was captured and when it was decoded."""
    pixels = context.allocate(shot.picture.shape)
    shot.picture.copy_to(pixels)
    ledger = {"captured": shot.captured_ns, "decoded": context.now_ns()}
    return Frame(camera, seq, shot.begin_ns, shot.captured_ns, pixels, ledger, file=shot.file)
