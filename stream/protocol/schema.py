"""The keypoint protocol, version 1.0: what a subscriber gets, as bytes and as Python objects; no sockets.

``docs/reference/protocol.md`` is the specification; this module is its one implementation on the publishing side and
the reference on the receiving one. Every message is a topic and a msgpack map, whose key ``kind`` says which of four
it is:

>>> sent = encode_end(session="00c0ffee00c0ffee", seq=42, camera="hall", wall_ns=0)
>>> decode(sent)
EndOfStream(version=(1, 0), session='00c0ffee00c0ffee', camera='hall', seq=42, wall_ns=0)
>>> decode(b"not a message")
Traceback (most recent call last):
stream.errors.WireError: not a message of protocol 1: Expected `object`, got `int`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgpack
import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from stream.errors import WireError
from stream.messages import Poses, WindowFrame

VERSION = (1, 0)
"""Major and minor. A new minor adds keys and kinds, which old readers ignore; a new major may change anything."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""No message is longer: a thousand people of 133 joints are 2 MB."""

Unsigned = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=255)]
Topic = Annotated[str, Meta(max_length=1024)]
Session = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Version = tuple[Annotated[int, Meta(ge=0, le=65535)], Annotated[int, Meta(ge=0, le=65535)]]


# -- what is published -------------------------------------------------------------------------------------------------


class PersonMap(Struct, frozen=True, kw_only=True):
    """One person as it is on the wire."""

    id: Annotated[int, Meta(description="stable from frame to frame; -1 where nobody has given one")]
    box: Annotated[tuple[float, float, float, float], Meta(description="x1, y1, x2, y2 in px")]
    score: Annotated[float, Meta(description="how sure the detector is of the box, 0..1")]
    keypoints: Annotated[
        list[tuple[float, float, float]],
        Meta(max_length=1024, description="x px, y px, score 0..1; one a joint, in the skeleton's order"),
    ]


class _Head(Struct, frozen=True, kw_only=True, tag_field="kind"):
    version: Annotated[Version, Meta(description="major, minor")]
    session: Annotated[Session, Meta(description="one life of the publisher; numbers start at 0 in each")]


class PosesMap(_Head, frozen=True, kw_only=True, tag="poses"):
    """A poses message as it is on the wire; a reader gets a :class:`PoseMessage`."""

    camera: Text
    seq: Annotated[Unsigned, Meta(description="number of this message on its topic, without gaps")]
    frame_seq: Annotated[Unsigned, Meta(description="number the source gave the frame; gaps are frames dropped before")]
    pts_ns: Annotated[int, Meta(description="the source's own clock")]
    wall_ns: Annotated[int, Meta(description="when the frame was captured, ns since 1970 UTC")]
    size: Annotated[tuple[Unsigned, Unsigned], Meta(description="width, height of the frame in px")]
    skeleton: Text
    model: Text
    fingerprint: Text
    people: Annotated[list[PersonMap], Meta(max_length=65535)]
    window: Annotated[list[WindowFrame], Meta(max_length=1024)]
    ledger: Annotated[dict[Text, int], Meta(max_length=64, description="step: ns since 1970 UTC when it was done")]


class Skeleton(_Head, frozen=True, kw_only=True, tag="skeleton"):
    """The joints of a skeleton, in the order of every person's keypoints, and the ``limbs`` between them to draw."""

    name: Text
    joints: Annotated[tuple[Text, ...], Meta(max_length=1024)]
    limbs: Annotated[tuple[tuple[Unsigned, Unsigned], ...], Meta(max_length=4096)]


class Heartbeat(_Head, frozen=True, kw_only=True, tag="heartbeat"):
    """The publisher lives, and says so again within ``interval_ms``; ``topics`` holds the last ``seq`` of each."""

    wall_ns: int
    interval_ms: Unsigned
    topics: Annotated[dict[Topic, Unsigned], Meta(max_length=65535)]


class EndOfStream(_Head, frozen=True, kw_only=True, tag="end"):
    """Nothing more will come from this camera in this session; ``seq`` counts it like any message of its topic."""

    camera: Text
    seq: Unsigned
    wall_ns: int


@dataclass(frozen=True, slots=True)
class Person:
    """One person of a frame.

    ``box`` is x1, y1, x2, y2 in px; ``keypoints`` (K, 3) float32: x px, y px, score in 0..1, in the skeleton's order.
    ``joints`` names the K keypoints. A person is also a mapping from these names: ``person["left_wrist"]`` is a row of
    ``keypoints``, and ``dict(person)`` has all of them.

    >>> person = Person(1, (0, 0, 9, 9), 0.9, np.array([[4, 2, 0.8]], np.float32), ("nose",))
    >>> x, y, score = person["nose"]
    >>> float(x), float(y)
    (4.0, 2.0)
    """

    id: int
    box: tuple[float, float, float, float]
    score: float
    keypoints: NDArray[np.float32] = field(repr=False)
    joints: tuple[str, ...] = field(default=(), repr=False)

    def keys(self) -> tuple[str, ...]:
        """The names of the joints."""
        return self.joints

    def __getitem__(self, joint: str) -> NDArray[np.float32]:
        """x px, y px and score (3,) of a joint. Raises ``KeyError`` for one that the skeleton lacks."""
        if joint not in self.joints:
            known = ", ".join(self.joints) or "none: the publisher has not sent its skeleton"
            raise KeyError(f"no joint {joint!r}; this skeleton has {known}")
        row: NDArray[np.float32] = self.keypoints[self.joints.index(joint)]
        return row

    def __iter__(self) -> Iterator[str]:
        """The names of the joints."""
        return iter(self.joints)


@dataclass(frozen=True, slots=True)
class PoseMessage:
    """Everybody's keypoints in one frame of one camera, as a subscriber gets them.

    ``seq`` numbers the messages of a camera without gaps, so a gap is a loss; ``frame_seq`` is the frame's own number.
    ``wall_ns``, the values of ``ledger`` and ``received_ns`` are ns since 1970 UTC, the last by the subscriber's clock.
    ``retained`` is True for the last value a newcomer is given, which may be old. ``joints`` names the keypoints.
    """

    camera: str
    seq: int
    frame_seq: int
    pts_ns: int
    wall_ns: int
    size: tuple[int, int]
    skeleton: str
    people: tuple[Person, ...]
    model: str = ""
    fingerprint: str = ""
    window: tuple[WindowFrame, ...] = ()
    ledger: Mapping[str, int] = field(default_factory=dict)
    session: str = ""
    received_ns: int = 0
    retained: bool = False
    joints: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of the people, in order."""
        return tuple(person.id for person in self.people)

    @property
    def age_ms(self) -> float:
        """From capture to reception; right as far as the clocks of the two hosts agree."""
        return (self.received_ns - self.wall_ns) / 1e6

    def person(self, person_id: int) -> Person | None:
        """The person with this id, or None when not in this frame."""
        return next((person for person in self.people if person.id == person_id), None)


Published = PoseMessage | Skeleton | Heartbeat | EndOfStream


# -- topics ------------------------------------------------------------------------------------------------------------


def poses_topic(camera: str, prefix: str = "") -> str:
    """Where a camera's poses and its end are published."""
    return f"{prefix}poses/{camera}"


def skeleton_topic(name: str, prefix: str = "") -> str:
    """Where a skeleton is published."""
    return f"{prefix}skeleton/{name}"


def heartbeat_topic(prefix: str = "") -> str:
    """Where the publisher says that it lives."""
    return f"{prefix}heartbeat"


def snapshot_topic(token: str, wanted: str, prefix: str = "") -> str:
    """What a newcomer subscribes to beside ``wanted`` (a topic or the beginning of one): the publisher answers on it
    with what it retains; ``token`` is the newcomer's own random word, so that nobody else gets the answer."""
    return f"{prefix}snapshot/{token}/{wanted}"


def wanted_by(topic: str, prefix: str = "") -> str | None:
    """The ``wanted`` of a snapshot topic; None for any other.

    >>> wanted_by("snapshot/5f3a/poses/hall")
    'poses/hall'
    """
    head = f"{prefix}snapshot/"
    if not topic.startswith(head):
        return None
    token, slash, wanted = topic.removeprefix(head).partition("/")
    return wanted if token and slash else None


# -- encoding ----------------------------------------------------------------------------------------------------------


def poses_map(poses: Poses, *, session: str, seq: int) -> dict[str, Any]:
    """The map that is published for ``poses``, in the order of the protocol's page. Raises :class:`WireError`."""
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
    }


def encode_poses(poses: Poses, *, session: str, seq: int) -> bytes:
    """The bytes of ``poses`` as message ``seq`` of its topic. Raises :class:`WireError` for numbers that are not."""
    return _pack(poses_map(poses, session=session, seq=seq))


def encode_skeleton(*, session: str, name: str, joints: Sequence[str], limbs: Sequence[tuple[int, int]]) -> bytes:
    """The bytes that tell a newcomer what the keypoints are."""
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


def encode_heartbeat(*, session: str, wall_ns: int, interval_ms: int, topics: Mapping[str, int]) -> bytes:
    """The bytes of a sign of life; ``topics`` maps each to the last ``seq`` published on it."""
    return _pack(
        {
            "version": VERSION,
            "kind": "heartbeat",
            "session": session,
            "wall_ns": wall_ns,
            "interval_ms": interval_ms,
            "topics": dict(topics),
        }
    )


def encode_end(*, session: str, seq: int, camera: str, wall_ns: int) -> bytes:
    """The bytes that end a camera's stream."""
    return _pack(
        {"version": VERSION, "kind": "end", "session": session, "camera": camera, "seq": seq, "wall_ns": wall_ns}
    )


def _people(poses: Poses) -> list[dict[str, Any]]:
    if not (np.isfinite(poses.keypoints).all() and np.isfinite(poses.boxes).all() and np.isfinite(poses.scores).all()):
        camera, seq = poses.key
        raise WireError(f"frame {seq} of {camera!r} has a keypoint, box or score that is no number; look at its model")
    rows = zip(poses.ids.tolist(), poses.boxes.tolist(), poses.scores.tolist(), poses.keypoints.tolist(), strict=True)
    return [dict(zip(_PERSON_KEYS, row, strict=True)) for row in rows]


_PERSON_KEYS = ("id", "box", "score", "keypoints")


def _window_frame(frame: WindowFrame) -> dict[str, Any]:
    return {"offset": frame.offset, "seq": frame.seq, "pts_ns": frame.pts_ns, "state": frame.state}


def _pack(content: Mapping[str, Any]) -> bytes:
    packed = msgpack.packb(content, use_single_float=True)
    assert isinstance(packed, bytes)
    return packed


# -- decoding ----------------------------------------------------------------------------------------------------------

_decoder = msgspec.msgpack.Decoder(PosesMap | Skeleton | Heartbeat | EndOfStream)


class _AnyKind(Struct):
    """What every future message of this major version still begins with."""

    version: Version
    kind: str


_any_kind = msgspec.msgpack.Decoder(_AnyKind)


def decode(payload: bytes | memoryview) -> Published | None:
    """Read one message; None for a kind that only a later minor version knows.

    Raises :class:`WireError`, and nothing else, for whatever is not a message of this major version.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise WireError(f"a message of {len(payload)} bytes; protocol {VERSION[0]} allows {MAX_MESSAGE_BYTES}")
    try:
        found = _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, MemoryError) as error:
        _refuse_unless_later(payload, error)
        return None
    _check_major(found.version)
    return _typed(found) if isinstance(found, PosesMap) else found


def json_schema() -> dict[str, Any]:
    """The four maps as a JSON Schema (msgpack's types are JSON's here)."""
    return msgspec.json.schema(PosesMap | Skeleton | Heartbeat | EndOfStream)


def _refuse_unless_later(payload: bytes | memoryview, error: Exception) -> None:
    """Raise what is wrong with ``payload``, unless a later minor version may have made it."""
    try:
        head = _any_kind.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, MemoryError):
        raise WireError(f"not a message of protocol {VERSION[0]}: {error}") from None
    _check_major(head.version)
    if head.kind in ("poses", "skeleton", "heartbeat", "end") or head.version[1] <= VERSION[1]:
        raise WireError(f"not a {head.kind!r} message of protocol {VERSION[0]}: {error}")


def _check_major(version: tuple[int, int]) -> None:
    if version[0] != VERSION[0]:
        theirs, ours = ".".join(map(str, version)), ".".join(map(str, VERSION))
        raise WireError(f"the publisher speaks protocol {theirs} and this subscriber {ours}; upgrade the older of them")


def _typed(found: PosesMap) -> PoseMessage:
    return PoseMessage(
        camera=found.camera,
        seq=found.seq,
        frame_seq=found.frame_seq,
        pts_ns=found.pts_ns,
        wall_ns=found.wall_ns,
        size=found.size,
        skeleton=found.skeleton,
        people=tuple(_person(person) for person in found.people),
        model=found.model,
        fingerprint=found.fingerprint,
        window=tuple(found.window),
        ledger=found.ledger,
        session=found.session,
    )


def _person(found: PersonMap) -> Person:
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused below
        keypoints = np.array(found.keypoints, np.float32).reshape(-1, 3)
    if not (np.isfinite(keypoints).all() and np.isfinite((*found.box, found.score)).all()):
        raise WireError(f"person {found.id} has a keypoint, box or score that is no number")
    return Person(found.id, found.box, found.score, keypoints)
