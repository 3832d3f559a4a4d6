"""Frames of a recording: its pictures, each with the message that describes its frame."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress

from stream.capture.decoded_picture import Picture
from stream.protocol.topics import poses_topic
from stream.recording.channels import MSGPACK, video_topic
from stream.recording.foxglove import read_picture
from stream.recording.picture_decoder import CroppedPicture, PictureDecoder
from stream.recording.reader import Recorded
from stream.recording.recording import Head, Recording

_log = logging.getLogger(__name__)


def read_frames(recording: Recording, camera: str) -> Iterator[tuple[Head, Picture]]:
    """Yield the frames of a camera that were recorded whole, each once and in order.

    A warning says how many pictures could not be decoded. Raises :class:`SourceError`, :class:`VersionError`.
    """
    decoder = PictureDecoder()
    pictures, poses = video_topic(camera), poses_topic(camera)
    key: tuple[int, int] | None = None
    picture: Picture | None = None
    last, undecoded = -1, 0
    for recorded in recording.records():
        if recorded.topic == pictures:
            key, picture = (recorded.sequence, recorded.log_ns), _decode(decoder, recorded)
        elif recorded.topic == poses and recorded.encoding == MSGPACK:
            head = recording.read_head(recorded)
            if head.kind != "poses" or head.frame_seq <= last or key != (head.frame_seq % 2**32, head.wall_ns):
                continue
            last = head.frame_seq
            fitted = _fit(picture, head.size) if picture is not None else None
            if fitted is None:
                undecoded += 1
            else:
                yield head, fitted
    if undecoded:
        _log.warning("%s: pictures of camera %r that cannot be decoded: %d", recording.path, camera, undecoded)


def _decode(decoder: PictureDecoder, recorded: Recorded) -> Picture | None:
    with suppress(ValueError):
        return decoder.decode(*read_picture(recorded.schema, recorded.payload))
    return None


def _fit(picture: Picture, size: tuple[int, int]) -> Picture | None:
    """The picture at the size of its frame: 4:2:0 video has even sizes. None for a picture of something else."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    is_padded = width - size[0] in (0, 1) and height - size[1] in (0, 1)
    return CroppedPicture(picture, size) if is_padded else None
