"""The channels of a recording: their topics, and the encodings and schemas that MCAP tools are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.CompressedVideo_pb2 import CompressedVideo
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from mcap_protobuf.schema import build_file_descriptor_set

from stream.protocol import schema

MSGPACK, PROTOBUF = "msgpack", "protobuf"
"""MCAP's names for encodings of messages."""


@dataclass(frozen=True, slots=True)
class Channel:
    """``schema`` is the name of the schema; ``schema_data`` makes its text, once for each file."""

    topic: str
    encoding: str
    schema: str
    schema_encoding: str
    schema_data: Callable[[], bytes]


def message_channel(topic: str) -> Channel:
    """The channel of messages of the keypoint protocol, byte for byte as they would be published on ``topic``."""
    return Channel(topic, MSGPACK, f"posestream.protocol.{schema.VERSION[0]}", "jsonschema", _protocol_schema)


def video_channel(camera: str) -> Channel:
    """The channel of a camera's video, H.264."""
    return _foxglove_channel(video_topic(camera), CompressedVideo)


def image_channel(camera: str) -> Channel:
    """The channel of a camera's pictures, JPEG."""
    return _foxglove_channel(video_topic(camera), CompressedImage)


def skeleton_channel(camera: str) -> Channel:
    """The channel of what Foxglove draws over the pictures of a camera."""
    return _foxglove_channel(f"annotations/{camera}", ImageAnnotations)


def video_topic(camera: str) -> str:
    """The topic of a camera's video or pictures."""
    return f"video/{camera}"


def _foxglove_channel(topic: str, kind: Any) -> Channel:
    return Channel(topic, PROTOBUF, kind.DESCRIPTOR.full_name, PROTOBUF, lambda: _protobuf_schema(kind))


@cache
def _protobuf_schema(kind: Any) -> bytes:
    return bytes(build_file_descriptor_set(kind).SerializeToString())


@cache
def _protocol_schema() -> bytes:
    return msgspec.json.encode(schema.json_schema())
