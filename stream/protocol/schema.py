"""The keypoint protocol, version 1.3: messages as bytes and as Python objects, without sockets.

``docs/reference/protocol.md`` is the specification; this module is its only implementation on the publishing side and
the reference implementation on the receiving side. A message is a topic and a msgpack map, whose key ``kind`` is one of
five:

>>> sent = encode_end(session="00c0ffee00c0ffee", seq=42, camera="hall", wall_ns=0)
>>> decode(sent)
EndOfStream(version=(1, 3), session='00c0ffee00c0ffee', camera='hall', seq=42, wall_ns=0)
>>> decode(b"not a message")
Traceback (most recent call last):
stream.errors.WireError: not a message of protocol 1: Expected `object`, got `int`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgpack
import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray

from engines.formats.files import FormatError
from engines.formats.msgpack import decode_msgpack
from engines.skeletons import SKELETONS
from stream.errors import VersionError, WireError
from stream.messages import Forecast, Frame, Poses, WindowFrame
from stream.protocol.pose_message import Person, PoseMessage

VERSION = (1, 3)
"""Major and minor. A new minor adds keys and kinds, which old readers ignore; a new major may change anything."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Maximum size of a message: a thousand people with 133 joints take 2 MB, seven hundred with forecasts 4 MB."""

MAX_PICTURE_BYTES = 1024 * 1024
"""Maximum size of a JPEG; those of 1280 x 720 px take 50 to 300 kB."""

Unsigned = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=255)]
Topic = Annotated[str, Meta(max_length=1024)]
File = Annotated[str, Meta(max_length=16384)]
"""A path of up to 4,096 bytes, each of which takes up to four characters, as ``\\xe9``."""

Session = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Version = tuple[Annotated[int, Meta(ge=0, le=65535)], Annotated[int, Meta(ge=0, le=65535)]]


# -- messages ----------------------------------------------------------------------------------------------------------


class PersonMap(Struct, frozen=True, kw_only=True):
    """One person on the wire."""

    id: Annotated[int, Meta(description="stable from frame to frame; -1 if no tracker has assigned one")]
    box: Annotated[tuple[float, float, float, float], Meta(description="x1, y1, x2, y2 in px")]
    score: Annotated[float, Meta(description="confidence of the detector in the box, 0..1")]
    keypoints: Annotated[
        list[tuple[float, float, float]],
        Meta(max_length=1024, description="x px, y px, score 0..1; one per joint, in the skeleton's order"),
    ]
    predicted: (
        Annotated[
            list[tuple[float, float, float, float, float]],
            Meta(
                max_length=1024,
                description="at predicted_for_ns: x px, y px, their speeds px/s, spread px; one per joint; since 1.2",
            ),
        ]
        | UnsetType
    ) = UNSET


class _Head(Struct, frozen=True, kw_only=True, tag_field="kind"):
    version: Annotated[Version, Meta(description="major, minor")]
    session: Annotated[Session, Meta(description="identifies a run of the publisher; numbers start at 0 in each")]


class PosesMap(_Head, frozen=True, kw_only=True, tag="poses"):
    """A poses message on the wire; :func:`decode` returns it as a :class:`PoseMessage`."""

    camera: Text
    seq: Annotated[Unsigned, Meta(description="number of this message on its topic, without gaps")]
    frame_seq: Annotated[Unsigned, Meta(description="number of the frame in its source; gaps are dropped frames")]
    pts_ns: Annotated[int, Meta(description="the source's own clock")]
    wall_ns: Annotated[int, Meta(description="when the frame was captured, ns since 1970 UTC")]
    size: Annotated[tuple[Unsigned, Unsigned], Meta(description="width, height of the frame in px")]
    skeleton: Text
    model: Text
    fingerprint: Text
    people: Annotated[list[PersonMap], Meta(max_length=65535)]
    window: Annotated[list[WindowFrame], Meta(max_length=1024)]
    ledger: Annotated[dict[Text, int], Meta(max_length=64, description="step: its time, ns since 1970 UTC")]
    file: Annotated[File, Meta(description="picture or video that the frame was read from; since 1.2")] = ""
    predicted_for_ns: Annotated[
        int | UnsetType, Meta(description="the moment of people[].predicted, ns since 1970 UTC; since 1.2")
    ] = UNSET
    predicted_until_ns: Annotated[
        int | UnsetType, Meta(description="extrapolate with the speeds until here and not beyond; since 1.2")
    ] = UNSET


class Skeleton(_Head, frozen=True, kw_only=True, tag="skeleton"):
    """The joints of a skeleton, in the order of every person's keypoints, and the ``limbs`` between them to draw."""

    name: Text
    joints: Annotated[tuple[Text, ...], Meta(max_length=1024)]
    limbs: Annotated[tuple[tuple[Unsigned, Unsigned], ...], Meta(max_length=4096)]


class Heartbeat(_Head, frozen=True, kw_only=True, tag="heartbeat"):
    """The publisher is alive, and sends the next heartbeat within ``interval_ms``; ``topics`` has the last ``seq`` of
    each topic."""

    wall_ns: int
    interval_ms: Unsigned
    topics: Annotated[dict[Topic, Unsigned], Meta(max_length=65535)]
    ended: Annotated[
        tuple[Topic, ...], Meta(max_length=65535, description="topics whose last message was an end; since 1.1")
    ] = ()
    snapshot: Annotated[
        Unsigned | UnsetType, Meta(description="number of the messages of a snapshot before this, its end; since 1.3")
    ] = UNSET


class EndOfStream(_Head, frozen=True, kw_only=True, tag="end"):
    """The end of a camera's stream in this session; ``seq`` numbers it like any message of its topic."""

    camera: Text
    seq: Unsigned
    wall_ns: int


class Picture(_Head, frozen=True, kw_only=True, tag="picture"):
    """The picture of a frame whose poses were published before it; since 1.3."""

    camera: Text
    frame_seq: Unsigned
    wall_ns: int
    size: Annotated[tuple[Unsigned, Unsigned], Meta(description="width, height of the frame in px, not of the picture")]
    jpeg: Annotated[bytes, Meta(max_length=MAX_PICTURE_BYTES, description="a JPEG file; msgpack's bin")]


_Wire = PosesMap | Skeleton | Heartbeat | EndOfStream | Picture
Published = PoseMessage | Skeleton | Heartbeat | EndOfStream | Picture


# -- encoding ----------------------------------------------------------------------------------------------------------


def poses_map(poses: Poses, *, session: str, seq: int) -> dict[str, Any]:
    """Convert ``poses`` to the published map, with the order of the specification. Raises :class:`WireError`."""
    return {
        "version": VERSION,
        "kind": "poses",
        "session": session,
        "camera": poses.frame.camera,
        "seq": seq,
        "frame_seq": poses.frame.seq,
        "pts_ns": poses.frame.pts_ns,
        "wall_ns": poses.frame.wall_ns,
        "size": poses.frame.size,
        "skeleton": poses.skeleton,
        "model": poses.model,
        "fingerprint": poses.fingerprint,
        "people": _people(poses),
        "window": [_window_frame(frame) for frame in poses.window],
        "ledger": dict(poses.frame.ledger),
        **({"file": poses.frame.file} if poses.frame.file else {}),
        **_forecast_times(poses.forecast),
    }


def encode_poses(poses: Poses, *, session: str, seq: int) -> bytes:
    """Encode ``poses`` as message ``seq`` of its topic.

    Raises :class:`WireError` for NaN and infinity, and for a message that is longer than the protocol allows.
    """
    return _pack(poses_map(poses, session=session, seq=seq))


def encode_skeleton(*, session: str, name: str, joints: Sequence[str], limbs: Sequence[tuple[int, int]]) -> bytes:
    """Encode a skeleton, the names of the keypoints."""
    return _pack(
        {
            "version": VERSION,
            "kind": "skeleton",
            "session": session,
            "name": name,
            "joints": list(joints),
            "limbs": [(int(start), int(end)) for start, end in limbs],
        }
    )


def encode_known_skeleton(name: str, *, session: str) -> bytes:
    """Encode the skeleton called ``name``; without joints and limbs if it is none of ``engines.skeletons``."""
    known = SKELETONS.get(name)
    joints, limbs = (known.joints, known.limbs) if known else ((), ())
    return encode_skeleton(session=session, name=name, joints=joints, limbs=limbs)


def encode_heartbeat(
    *,
    session: str,
    wall_ns: int,
    interval_ms: int,
    topics: Mapping[str, int],
    ended: Sequence[str] = (),
    snapshot: int | None = None,
) -> bytes:
    """Encode a heartbeat; ``topics`` maps each topic to the last ``seq`` published on it, ``ended`` are those of them
    that have ended. ``snapshot`` is the number of messages of the snapshot that it completes."""
    return _pack(
        {
            "version": VERSION,
            "kind": "heartbeat",
            "session": session,
            "wall_ns": wall_ns,
            "interval_ms": interval_ms,
            "topics": dict(topics),
            "ended": list(ended),
            **({} if snapshot is None else {"snapshot": snapshot}),
        }
    )


def encode_end(*, session: str, seq: int, camera: str, wall_ns: int) -> bytes:
    """Encode the end of a camera's stream."""
    return _pack(
        {"version": VERSION, "kind": "end", "session": session, "camera": camera, "seq": seq, "wall_ns": wall_ns}
    )


def encode_picture(frame: Frame, jpeg: bytes, *, session: str) -> bytes:
    """Encode the picture of ``frame``, a JPEG of at most :data:`MAX_PICTURE_BYTES`."""
    head = {"version": VERSION, "kind": "picture", "session": session, "camera": frame.camera, "frame_seq": frame.seq}
    return _pack({**head, "wall_ns": frame.wall_ns, "size": frame.size, "jpeg": jpeg})


def _people(poses: Poses) -> list[dict[str, Any]]:
    columns: dict[str, NDArray[Any]] = {
        "id": poses.ids,
        "box": poses.boxes,
        "score": poses.scores,
        "keypoints": poses.keypoints,
    }
    if poses.forecast is not None:
        columns["predicted"] = poses.forecast.joints
    if not all(np.isfinite(column).all() for column in columns.values()):
        camera, seq = poses.key
        raise WireError(f"frame {seq} of {camera!r} has a keypoint, box or score that is not finite; check its model")
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _forecast_times(forecast: Forecast | None) -> dict[str, int]:
    return {"predicted_for_ns": forecast.for_ns, "predicted_until_ns": forecast.until_ns} if forecast else {}


def _window_frame(frame: WindowFrame) -> dict[str, Any]:
    return {"offset": frame.offset, "seq": frame.seq, "pts_ns": frame.pts_ns, "state": frame.state}


def _pack(content: Mapping[str, Any]) -> bytes:
    packed = msgpack.packb(content, use_single_float=True)
    assert isinstance(packed, bytes)
    if len(packed) > MAX_MESSAGE_BYTES:
        raise WireError(
            f"a {content['kind']!r} message of camera {content.get('camera', '')!r} has {len(packed)} bytes; "
            f"protocol {VERSION[0]} allows {MAX_MESSAGE_BYTES}: estimate fewer people per frame"
        )
    return packed


# -- decoding ----------------------------------------------------------------------------------------------------------

_decoder = msgspec.msgpack.Decoder(_Wire)


class _AnyKind(Struct):
    """The keys that every message of this major version has."""

    version: Version
    kind: str


_KINDS = ("poses", "skeleton", "heartbeat", "end", "picture")
_any_kind = msgspec.msgpack.Decoder(_AnyKind)


def decode(payload: bytes | memoryview) -> Published | None:
    """Decode one message; return None for a kind of a later minor version.

    Raises :class:`WireError`, and nothing else, for bytes that are not a message of this major version; where they are
    of another one, its subclass :class:`VersionError`.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise WireError(f"a message of {len(payload)} bytes; protocol {VERSION[0]} allows {MAX_MESSAGE_BYTES}")
    try:
        found = decode_msgpack(_decoder, payload, MAX_MESSAGE_BYTES)
    except FormatError as error:
        _raise_unless_later(payload, error)
        return None
    _check_major(found.version)
    return _read_poses(found) if isinstance(found, PosesMap) else found


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the five maps; msgpack's types are those of JSON, but ``jpeg``, which is bytes."""
    return msgspec.json.schema(_Wire)


def _raise_unless_later(payload: bytes | memoryview, error: Exception) -> None:
    """Raise :class:`WireError`, unless ``payload`` may be of a later minor version."""
    try:
        head = decode_msgpack(_any_kind, payload, MAX_MESSAGE_BYTES)
    except FormatError:
        raise WireError(f"not a message of protocol {VERSION[0]}: {error}") from None
    _check_major(head.version)
    if head.kind in _KINDS or head.version[1] <= VERSION[1]:
        raise WireError(f"not a {head.kind!r} message of protocol {VERSION[0]}: {error}")


def _check_major(version: tuple[int, int]) -> None:
    if version[0] != VERSION[0]:
        theirs, ours = ".".join(map(str, version)), ".".join(map(str, VERSION))
        raise VersionError(f"the publisher uses protocol {theirs} and this subscriber {ours}; upgrade the older one")


def _read_poses(found: PosesMap) -> PoseMessage:
    return PoseMessage(
        camera=found.camera,
        seq=found.seq,
        frame_seq=found.frame_seq,
        pts_ns=found.pts_ns,
        wall_ns=found.wall_ns,
        size=found.size,
        skeleton=found.skeleton,
        people=tuple(_read_person(person) for person in found.people),
        model=found.model,
        fingerprint=found.fingerprint,
        window=tuple(found.window),
        ledger=found.ledger,
        session=found.session,
        file=found.file,
        predicted_for_ns=_read_time(found.predicted_for_ns),
        predicted_until_ns=_read_time(found.predicted_until_ns),
    )


def _read_time(time_ns: int | UnsetType) -> int | None:
    return None if isinstance(time_ns, UnsetType) else time_ns


def _read_person(found: PersonMap) -> Person:
    with np.errstate(over="ignore"):  # a number that is too large becomes infinite and is refused below
        keypoints = np.array(found.keypoints, np.float32).reshape(-1, 3)
        given = [] if isinstance(found.predicted, UnsetType) else found.predicted
        predicted = np.array(given, np.float32).reshape(-1, 5)
    if not (np.isfinite(keypoints).all() and np.isfinite((*found.box, found.score)).all()):
        raise WireError(f"person {found.id} has a keypoint, box or score that is not finite")
    if found.predicted is UNSET:
        return Person(found.id, found.box, found.score, keypoints)
    if len(predicted) != len(keypoints) or not np.isfinite(predicted).all():
        raise WireError(f"person {found.id} has forecasts that are not finite, or not one for each keypoint")
    return Person(found.id, found.box, found.score, keypoints, predicted=predicted)
