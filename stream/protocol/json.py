"""Poses as JSON text: the protocol's own keys, numbers cut to what they are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from stream.protocol.schema import Person, PoseMessage

DECIMALS = 4
"""A ten-thousandth of a pixel is far below what any network knows, and float32 written out in full is mostly noise."""

_encoder = msgspec.json.Encoder()


def json_line(content: Mapping[str, Any]) -> bytes:
    """One line of JSON, its end of line included."""
    return _encoder.encode(rounded(content)) + b"\n"


def rounded(content: Any) -> Any:
    """The same maps and lists with every float cut to :data:`DECIMALS` decimals.

    >>> rounded({"score": 0.8999999761581421, "box": [1, 2.00001]})
    {'score': 0.9, 'box': [1, 2.0]}
    """
    if isinstance(content, float):
        return round(content, DECIMALS)
    if isinstance(content, Mapping):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [rounded(value) for value in content]
    return content


def message_map(message: PoseMessage) -> dict[str, Any]:
    """A received message with the keys of docs/reference/protocol.md, and the names of its joints."""
    return {
        "camera": message.camera,
        "seq": message.seq,
        "frame_seq": message.frame_seq,
        "pts_ns": message.pts_ns,
        "wall_ns": message.wall_ns,
        "received_ns": message.received_ns,
        "retained": message.retained,
        "size": message.size,
        "skeleton": message.skeleton,
        "joints": message.joints,
        "model": message.model,
        "fingerprint": message.fingerprint,
        "people": [_person_map(person) for person in message.people],
        "window": [dataclasses.asdict(frame) for frame in message.window],
        "ledger": message.ledger,
    }


def _person_map(person: Person) -> dict[str, Any]:
    return {"id": person.id, "box": person.box, "score": person.score, "keypoints": person.keypoints.tolist()}
