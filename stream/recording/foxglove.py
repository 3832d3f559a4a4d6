"""Frames and people as Foxglove's messages, which Foxglove Studio shows; coordinates are those of the protocol."""

from __future__ import annotations

from typing import Any

from foxglove_schemas_protobuf.Color_pb2 import Color
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.CompressedVideo_pb2 import CompressedVideo
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from foxglove_schemas_protobuf.PointsAnnotation_pb2 import PointsAnnotation
from google.protobuf.timestamp_pb2 import Timestamp

from engines.skeletons import SKELETONS
from stream.messages import NO_ID, Frame, Poses
from stream.output.overlay import get_colour

MIN_SCORE = 0.3
"""Joints with lower scores are not drawn."""

_LINE_PX, _JOINT_PX, _FONT_PX = 2.0, 4.0, 14.0


def encode_video(frame: Frame, data: bytes) -> bytes:
    """One frame of H.264."""
    return _serialise(CompressedVideo(timestamp=_time(frame), frame_id=frame.camera, data=data, format="h264"))


def encode_image(frame: Frame, data: bytes) -> bytes:
    """One JPEG."""
    return _serialise(CompressedImage(timestamp=_time(frame), frame_id=frame.camera, data=data, format="jpeg"))


def encode_people(poses: Poses) -> bytes:
    """Limbs, joints, box and id of each person in a frame; joints with scores below :data:`MIN_SCORE` are left out."""
    time, found = _time(poses.frame), ImageAnnotations()
    known = SKELETONS.get(poses.skeleton)
    limbs = known.limbs if known else ()
    rows = zip(poses.ids.tolist(), poses.boxes.tolist(), poses.keypoints.tolist(), strict=True)
    for person, (left, top, right, bottom), joints in rows:
        colour = _colour(person)
        seen = {number: (x, y) for number, (x, y, score) in enumerate(joints) if score >= MIN_SCORE}
        ends = [seen[joint] for limb in limbs if limb[0] in seen and limb[1] in seen for joint in limb]
        box = [(left, top), (right, top), (right, bottom), (left, bottom)]
        _add(found, time, PointsAnnotation.LINE_LOOP, box, colour, _LINE_PX)
        _add(found, time, PointsAnnotation.LINE_LIST, ends, colour, _LINE_PX)
        _add(found, time, PointsAnnotation.POINTS, list(seen.values()), colour, _JOINT_PX)
        if person != NO_ID:
            text = found.texts.add(timestamp=time, text=str(person), font_size=_FONT_PX, text_color=colour)
            text.position.x, text.position.y = left, top
    return _serialise(found)


def read_picture(schema: str, payload: bytes) -> tuple[str, bytes]:
    """The format, as ``h264`` or ``jpeg``, and the data of a message with this schema. Raises ``ValueError``."""
    from google.protobuf.message import DecodeError

    kinds: dict[str, Any] = {kind.DESCRIPTOR.full_name: kind for kind in (CompressedVideo, CompressedImage)}
    if schema not in kinds:
        raise ValueError(f"its schema {schema!r} is none of pictures")
    try:
        found = kinds[schema].FromString(payload)
    except DecodeError as error:
        raise ValueError(f"it is no {schema}: {error}") from None
    return found.format, found.data


def _serialise(message: CompressedVideo | CompressedImage | ImageAnnotations) -> bytes:
    return bytes(message.SerializeToString())


def _add(
    found: ImageAnnotations,
    time: Timestamp,
    kind: PointsAnnotation.Type.ValueType,
    points: list[tuple[float, float]],
    colour: Color,
    thickness: float,
) -> None:
    if not points:
        return
    added = found.points.add(timestamp=time, type=kind, outline_color=colour, thickness=thickness)
    for x, y in points:
        added.points.add(x=x, y=y)


def _colour(person: int) -> Color:
    blue, green, red = get_colour(person)
    return Color(r=red / 255, g=green / 255, b=blue / 255, a=1.0)


def _time(frame: Frame) -> Timestamp:
    seconds, nanos = divmod(frame.wall_ns, 10**9)
    return Timestamp(seconds=seconds, nanos=nanos)
