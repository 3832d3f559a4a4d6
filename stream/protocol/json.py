"""Poses as JSON text, with the keys of the protocol and round_floats numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from stream.protocol.pose_message import Person, PoseMessage

DECIMALS = 4
"""A ten-thousandth of a pixel is far below the accuracy of any network; more digits of a float32 are noise."""

_encoder = msgspec.json.Encoder()


def json_line(content: Mapping[str, Any]) -> bytes:
    """Encode one line of JSON, with its line break."""
    return _encoder.encode(round_floats(content)) + b"\n"


def round_floats(content: Any) -> Any:
    """Copy maps and lists, with every float rounded to :data:`DECIMALS` decimals.

    >>> round_floats({"score": 0.8999999761581421, "box": [1, 2.00001]})
    {'score': 0.9, 'box': [1, 2.0]}
    """
    if isinstance(content, float):
        return round(content, DECIMALS)
    if isinstance(content, Mapping):
        return {key: round_floats(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [round_floats(value) for value in content]
    return content


def message_map(message: PoseMessage) -> dict[str, Any]:
    """Convert a received message to a map with the keys of docs/reference/protocol.md and the names of its joints."""
    return {
        "camera": message.camera,
        "seq": message.seq,
        "frame_seq": message.frame_seq,
        **({"file": message.file} if message.file else {}),
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
        **_forecast_times(message),
    }


def _person_map(person: Person) -> dict[str, Any]:
    known = {"id": person.id, "box": person.box, "score": person.score, "keypoints": person.keypoints.tolist()}
    return known if person.predicted is None else known | {"predicted": person.predicted.tolist()}


def _forecast_times(message: PoseMessage) -> dict[str, int | None]:
    if message.predicted_for_ns is None:
        return {}
    return {"predicted_for_ns": message.predicted_for_ns, "predicted_until_ns": message.predicted_until_ns}
