"""What a bridge sends: JSON that a person can read, with names instead of positions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from stream.protocol.pose_message import Person, PoseMessage

_DECIMALS_PX, _DECIMALS_SCORE = 1, 3
_NS = 1_000_000_000

_encoder = msgspec.json.Encoder()


def encode_frame(message: PoseMessage) -> bytes:
    """The people of a frame: camera, frame number, time of capture (UTC), size in px and the people.

    >>> message = PoseMessage("hall", 0, 7, 0, 1_000_000_000, (640, 480), "coco17", ())
    >>> print(encode_frame(message).decode())
    {"camera":"hall","frame":7,"time":"1970-01-01T00:00:01.000Z","size":[640,480],"people":[]}
    """
    return _encoder.encode(_head(message) | {"people": [_person(person) for person in message.people]})


def encode_person(message: PoseMessage, person: Person) -> bytes:
    """One person of a frame: camera, frame number, time of capture, size, and the person's id, box and joints."""
    return _encoder.encode(_head(message) | _person(person))


def _head(message: PoseMessage) -> dict[str, Any]:
    return {
        "camera": message.camera,
        "frame": message.frame_seq,
        "time": format_time(message.wall_ns),
        "size": message.size,
    }


def format_time(wall_ns: int) -> str:
    """Nanoseconds since 1970 as ISO 8601, UTC, in whole milliseconds.

    >>> format_time(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123Z'
    """
    second = datetime.fromtimestamp(wall_ns // _NS, tz=UTC)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{wall_ns % _NS // 1_000_000:03d}Z"


def _person(person: Person) -> dict[str, Any]:
    """Box as x1, y1, x2, y2 and each joint as x, y (px) and score."""
    return {
        "id": person.id,
        "score": round(person.score, _DECIMALS_SCORE),
        "box": [round(edge, _DECIMALS_PX) for edge in person.box],
        "joints": {name: _joint(*map(float, person[name])) for name in person},
    }


def _joint(x: float, y: float, score: float) -> list[float]:
    return [round(x, _DECIMALS_PX), round(y, _DECIMALS_PX), round(score, _DECIMALS_SCORE)]
