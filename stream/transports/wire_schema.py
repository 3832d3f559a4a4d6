"""Schema of a message's head on the wire, with bounds that are checked before anything is allocated.

Every class is a msgpack array; in a union, the first field is a tag. Small arrays are bytes, little-endian and
C-contiguous: ``boxes`` (N, 4) float32, ``scores`` (N,) float32, ``ids`` (N,) int64, ``keypoints`` (N, ``joints``, 3)
float32, where N follows from the length of ``ids``.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from stream.messages import EOS_SEQ, FrameState

VERSION = "posestream.wire.2"
"""First field of every head; heads with another version are refused."""

MAX_FRAMES = 128
MAX_PEOPLE = 4096
MAX_JOINTS = 1024
MAX_LIMBS = 4096
MAX_SIDE_PX = 16384
MAX_HEAD_BYTES = 8 * 1024 * 1024

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Seq = Annotated[int, Meta(ge=0, le=EOS_SEQ)]
Index = Annotated[int, Meta(ge=0, lt=MAX_FRAMES)]
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE_PX)]
Shape = tuple[Side, Side, Annotated[int, Meta(ge=3, le=3)]]
Name = Annotated[str, Meta(max_length=256)]
File = Annotated[str, Meta(max_length=16384)]
Boxes = Annotated[bytes, Meta(max_length=MAX_PEOPLE * 16)]
Scores = Annotated[bytes, Meta(max_length=MAX_PEOPLE * 4)]
Ids = Annotated[bytes, Meta(max_length=MAX_PEOPLE * 8)]
Joints = Annotated[int, Meta(ge=0, le=MAX_JOINTS)]
Keypoints = Annotated[bytes, Meta(max_length=MAX_HEAD_BYTES)]
Ledger = Annotated[dict[Name, Int64], Meta(max_length=64)]


class Body(Struct, array_like=True, forbid_unknown_fields=True):
    """Base class of the parts."""


class FrameRef(Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag="ref"):
    """A reference to pixels in slot ``slot`` of shared-memory ring ``ring``, valid while its generation is unchanged.

    ``shape`` is (height, width, 3); the pixels are uint8 BGR.
    """

    ring: Annotated[str, Meta(min_length=1, max_length=200)]
    slot: Annotated[int, Meta(ge=0, lt=65536)]
    generation: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    shape: Shape


class InlinePicture(Body, tag="inline"):
    """Pixels in buffer number ``buffer``, counted without the head."""

    buffer: Index
    shape: Shape


class TruthBody(Body):
    """:class:`stream.messages.Truth`."""

    boxes: Boxes
    ids: Ids
    joints: Joints
    keypoints: Keypoints
    skeleton: Name


class FrameBody(Body):
    """A frame; ``picture`` is the index of its picture."""

    camera: Name
    seq: Seq
    pts_ns: Int64
    wall_ns: Int64
    picture: Index
    ledger: Ledger
    truth: TruthBody | None
    file: File


class FrameMessageBody(Body, tag="frame"):
    """A message that is a single frame."""

    frame: Index


class PeopleBody(Body, tag="people"):
    """:class:`stream.messages.People`."""

    frame: Index
    boxes: Boxes
    scores: Scores
    ids: Ids
    detected: bool


class WindowBody(Body, tag="window"):
    """:class:`stream.messages.Window`."""

    frames: Annotated[list[Index], Meta(min_length=1, max_length=MAX_FRAMES)]
    states: Annotated[list[FrameState], Meta(min_length=1, max_length=MAX_FRAMES)]
    index: Index
    people: PeopleBody


class WindowFrameBody(Body):
    """:class:`stream.messages.WindowFrame`."""

    offset: Int64
    seq: Seq
    pts_ns: Int64
    state: FrameState


class SkeletonBody(Body):
    """A skeleton that does not ship: ``joints``, and ``limbs`` as pairs of their names."""

    joints: Annotated[list[Name], Meta(max_length=MAX_JOINTS)]
    limbs: Annotated[list[tuple[Name, Name]], Meta(max_length=MAX_LIMBS)]


class ForecastBody(Body):
    """:class:`stream.messages.Forecast`; ``values`` (N, joints, 5) float32."""

    for_ns: Int64
    until_ns: Int64
    values: Keypoints


class PosesBody(Body, tag="poses"):
    """:class:`stream.messages.Poses`; ``own`` describes its skeleton if that does not ship."""

    frame: Index
    boxes: Boxes
    scores: Scores
    ids: Ids
    joints: Joints
    keypoints: Keypoints
    skeleton: Name
    model: Name
    fingerprint: Name
    window: Annotated[list[WindowFrameBody], Meta(max_length=MAX_FRAMES)]
    own: SkeletonBody | None
    forecast: ForecastBody | None


class EosBody(Body, tag="eos"):
    """:class:`stream.messages.Eos`."""

    camera: Name


AnyBody = FrameMessageBody | PeopleBody | WindowBody | PosesBody | EosBody


class Head(Body):
    """The head: pictures and frames, each once, and the message that refers to them by index."""

    version: str
    pictures: Annotated[list[FrameRef | InlinePicture], Meta(max_length=MAX_FRAMES)]
    frames: Annotated[list[FrameBody], Meta(max_length=MAX_FRAMES)]
    body: AnyBody
