"""From a shot to a frame: converted straight into the memory that whoever runs the source lends."""

from __future__ import annotations

from stream.capture.decoded_picture import Shot
from stream.element import Context
from stream.messages import Frame


def frame_of(shot: Shot, camera: str, seq: int, context: Context) -> Frame:
    """The frame ``(camera, seq)``; its ledger says when it was captured and when its pixels were there."""
    pixels = context.allocate(shot.picture.shape)
    shot.picture.copy_to(pixels)
    ledger = {"captured": shot.captured_ns, "decoded": context.now_ns()}
    return Frame(camera, seq, shot.begin_ns, shot.captured_ns, pixels, ledger)
