"""The published bytes, on which subscribers in other languages rely."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from stream.errors import WireError
from stream.messages import Forecast, Frame, Poses, WindowFrame
from stream.protocol import schema, topics
from stream.protocol.json import message_map
from stream.protocol.origin import Origin
from stream.protocol.pose_message import PoseMessage
from stream.protocol.schema import EndOfStream, Heartbeat, Skeleton
from stream.testing import make_poses

SESSION = "4c1f0e5ad2b39871"


def make_documented() -> Poses:
    """The example of docs/reference/protocol.md."""
    captured = 1_795_244_400_123_456_789
    steps = ("decoded", "detected", "window_ready", "inferred", "published")
    after_ms = (125.0, 140.0, 208.0, 231.0, 232.5)
    ledger = {step: 1_795_244_400_000_000_000 + round(ms * 1e6) for step, ms in zip(steps, after_ms, strict=True)}
    pixels = np.zeros((720, 1280, 3), np.uint8)
    frame = Frame("hall", 1207, 40_233_333_333, captured, pixels, {"captured": captured, **ledger})
    window = (
        WindowFrame(-1, 1206, 40_200_000_000, "real"),
        WindowFrame(0, 1207, 40_233_333_333, "real"),
        WindowFrame(1, 1209, 40_300_000_000, "repeated"),
    )
    box, score = np.array([[610.5, 122.0, 744.25, 689.75]], np.float32), np.array([0.875], np.float32)
    keypoints = np.array([[[652.5, 171.25, 0.96875], [668.0, 301.5, 0.5]]], np.float32)
    predicted = np.array([[[654.5, 171.25, 40, 0, 2.5], [670.0, 301.5, 40, 0, 4]]], np.float32)
    forecast = Forecast(captured + 135_000_000, captured + 235_000_000, predicted)
    return Poses(frame, box, score, np.array([3]), keypoints, "wand2", "tiny", "9f1c2a7be04d5566", window, forecast)


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/reference/protocol.md").read_text(encoding="utf-8")


def block(page: str, kind: str) -> str:
    """The only fenced block of this kind in the page."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return str(found)


# -- documentation -----------------------------------------------------------------------------------------------------


def test_the_documented_bytes_equal_the_published_ones(page: str) -> None:
    written = bytes.fromhex("".join(line.partition("  ")[0] for line in block(page, "hex").splitlines()))
    assert schema.encode_poses(make_documented(), session=SESSION, seq=1153) == written


def test_the_documented_json_equals_the_documented_bytes(page: str) -> None:
    written = schema.encode_poses(make_documented(), session=SESSION, seq=1153)
    assert json.loads(block(page, "json")) == msgpack.unpackb(written)


def test_every_key_of_every_message_is_documented_and_no_other(page: str) -> None:
    definitions = schema.json_schema()["$defs"]
    known = {key for name in definitions for key in definitions[name]["properties"]} | {*Origin.__struct_fields__}
    tables = page.partition("## Messages")[2]
    cells = re.findall(r"^\| `([a-z_]+(?:\[\]\.[a-z_]+)?)` \|", tables, re.MULTILINE)
    assert {cell.rpartition(".")[2] for cell in cells} == known


def test_the_documented_schema_equals_that_of_the_code(root: Path) -> None:
    assert json.loads((root / "docs/reference/protocol.schema.json").read_text()) == json.loads(
        json.dumps(schema.json_schema())
    )


def test_the_documented_version_equals_that_of_the_code(page: str) -> None:
    assert page.startswith(f"# The keypoint protocol, version {'.'.join(map(str, schema.VERSION))}\n")


# -- round trips -------------------------------------------------------------------------------------------------------


def test_poses_survive_a_round_trip() -> None:
    sent = make_documented()
    received = schema.decode(schema.encode_poses(sent, session=SESSION, seq=7))
    assert isinstance(received, PoseMessage)
    assert (received.camera, received.seq, received.frame_seq) == ("hall", 7, 1207)
    assert (received.pts_ns, received.wall_ns, received.size) == (sent.frame.pts_ns, sent.frame.wall_ns, (1280, 720))
    assert (received.skeleton, received.model, received.fingerprint) == ("wand2", "tiny", "9f1c2a7be04d5566")
    assert (received.session, received.window, received.ledger) == (SESSION, sent.window, sent.frame.ledger)
    (person,) = received.people
    assert (person.id, person.box, person.score) == (3, (610.5, 122.0, 744.25, 689.75), 0.875)
    np.testing.assert_array_equal(person.keypoints, sent.keypoints[0])
    assert person.keypoints.dtype == np.float32
    assert sent.forecast is not None
    assert (received.predicted_for_ns, received.predicted_until_ns) == (sent.forecast.for_ns, sent.forecast.until_ns)
    np.testing.assert_array_equal(person.predicted, sent.forecast.joints[0])
    assert received.ids == (3,)
    assert received.person(3) is person
    assert received.person(4) is None


def test_the_file_of_a_frame_is_a_key_where_it_has_one() -> None:
    poses = make_poses(3)
    assert "file" not in schema.poses_map(poses, session=SESSION, seq=0)
    for file in ("shots/000004.png", "a" * 4096, "\\xe9" * 4096):
        sent = dataclasses.replace(poses, frame=dataclasses.replace(poses.frame, file=file))
        assert msgpack.unpackb(schema.encode_poses(sent, session=SESSION, seq=0))["file"] == file
        received = schema.decode(schema.encode_poses(sent, session=SESSION, seq=0))
        assert isinstance(received, PoseMessage)
        assert received.file == message_map(received)["file"] == file
    without = schema.decode(schema.encode_poses(poses, session=SESSION, seq=0))
    assert isinstance(without, PoseMessage)
    assert without.file == ""
    assert "file" not in message_map(without)


def test_float32_survives_bit_for_bit() -> None:
    sent = make_poses(3)
    keypoints = np.random.default_rng(0).normal(0, 1e3, sent.keypoints.shape).astype(np.float32)
    received = schema.decode(
        schema.encode_poses(dataclasses.replace(sent, keypoints=keypoints), session=SESSION, seq=0)
    )
    assert isinstance(received, PoseMessage)
    for person, given in zip(received.people, keypoints, strict=True):
        np.testing.assert_array_equal(person.keypoints, given)


def test_a_frame_without_people_is_a_message() -> None:
    received = schema.decode(schema.encode_poses(make_poses(0, count=0), session=SESSION, seq=0))
    assert isinstance(received, PoseMessage)
    assert received.people == ()


def test_age_is_from_capture_to_reception() -> None:
    message = schema.decode(schema.encode_poses(make_documented(), session=SESSION, seq=0))
    assert isinstance(message, PoseMessage)
    assert dataclasses.replace(message, received_ns=message.wall_ns + 12_500_000).age_ms == 12.5


def test_the_other_messages_survive_a_round_trip() -> None:
    skeleton = schema.encode_skeleton(session=SESSION, name="wand2", joints=["grip", "tip"], limbs=[(0, 1)])
    assert schema.decode(skeleton) == Skeleton(
        version=schema.VERSION, session=SESSION, name="wand2", joints=("grip", "tip"), limbs=((0, 1),)
    )
    beat = schema.encode_heartbeat(session=SESSION, wall_ns=5, interval_ms=1000, topics={"poses/hall": 3})
    assert schema.decode(beat) == Heartbeat(
        version=schema.VERSION, session=SESSION, wall_ns=5, interval_ms=1000, topics={"poses/hall": 3}
    )
    end = schema.encode_end(session=SESSION, seq=9, camera="hall", wall_ns=6)
    assert schema.decode(end) == EndOfStream(version=schema.VERSION, session=SESSION, camera="hall", seq=9, wall_ns=6)


def test_a_pose_with_nan_is_not_published() -> None:
    poses = make_poses(4, "hall")
    poses.keypoints[1, 2, 0] = np.nan
    with pytest.raises(WireError) as caught:
        schema.encode_poses(poses, session=SESSION, seq=0)
    assert str(caught.value) == "frame 4 of 'hall' has a keypoint, box or score that is not finite; check its model"


# -- versions ----------------------------------------------------------------------------------------------------------


def change(**keys: Any) -> bytes:
    """The make_documented message with other keys; one set to ... is left out."""
    content = {**schema.poses_map(make_documented(), session=SESSION, seq=7), **keys}
    return bytes(msgpack.packb({key: value for key, value in content.items() if value is not ...}))


def test_a_message_without_forecasts_has_none_of_their_keys() -> None:
    content = schema.poses_map(make_poses(0), session=SESSION, seq=0)
    assert not {key for key in content if key.startswith("predicted")}
    assert all("predicted" not in person for person in content["people"])
    received = schema.decode(schema.encode_poses(make_poses(0), session=SESSION, seq=0))
    assert isinstance(received, PoseMessage)
    assert (received.predicted_for_ns, received.people[0].predicted) == (None, None)
    assert received.at(received.wall_ns + 1_000_000_000) is received


def test_keys_and_steps_of_a_later_minor_version_are_ignored() -> None:
    received = schema.decode(change(version=[1, 7], mood="sunny", ledger={"captured": 1, "smoothed": 2}))
    assert isinstance(received, PoseMessage)
    assert received.ledger == {"captured": 1, "smoothed": 2}


def test_a_kind_of_a_later_minor_version_is_ignored() -> None:
    assert schema.decode(bytes(msgpack.packb({"version": [1, 7], "kind": "mood", "session": SESSION}))) is None


def test_another_major_version_raises_with_both_versions() -> None:
    with pytest.raises(WireError) as caught:
        schema.decode(change(version=[2, 0]))
    assert str(caught.value) == ("the publisher uses protocol 2.0 and this subscriber 1.3; upgrade the older one")


# -- make_hostile bytes
# -----------------------------------------------------------------------------------------------------


_PREDICTED = {"id": 1, "box": [0, 0, 1, 1], "score": 1, "keypoints": [[0, 0, 1]]}


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "not a message of protocol 1: Input data was truncated"),
        (b"\x00", "not a message of protocol 1: it must be a mapping, not an integer"),
        (change(seq=-1), "not a 'poses' message of protocol 1: seq must be an integer of at least 0"),
        (
            change(seq=2**63),
            "not a 'poses' message of protocol 1: seq must be an integer of at most 9223372036854775807",
        ),
        (change(camera=...), "not a 'poses' message of protocol 1: it lacks 'camera'"),
        (change(camera=b"hall"), "not a 'poses' message of protocol 1: camera must be text, not bytes"),
        (change(session="now"), "not a 'poses' message of protocol 1: session must match"),
        (change(version="1.0"), "not a message of protocol 1: version must be a list, not text"),
        (change(kind="mood"), "not a 'mood' message of protocol 1: kind cannot be 'mood'"),
        (
            change(window=[{"offset": 0, "seq": 1, "pts_ns": 1, "state": "guessed"}]),
            "not a 'poses' message of protocol 1: window[0].state cannot be 'guessed'",
        ),
        (
            change(people=[{"id": 1, "box": [0, 0, 1, 1], "score": 1, "keypoints": [[0, 0]]}]),
            "not a 'poses' message of protocol 1: people[0].keypoints[0] must be a list of 3 values, not 2",
        ),
        (
            change(people=[{"id": 1, "box": [0, 0, 1, 1], "score": 1, "keypoints": [[0, 1e300, 0]]}]),
            "person 1 has a keypoint, box or score that is not finite",
        ),
        (
            change(people=[{"id": 1, "box": [0, 0, 1, float("nan")], "score": 1, "keypoints": []}]),
            "person 1 has a keypoint, box or score that is not finite",
        ),
        (
            change(people=[_PREDICTED | {"predicted": [[0, 1e300, 0, 0, 1]]}]),
            "person 1 has forecasts that are not finite, or not one for each keypoint",
        ),
        (
            change(people=[_PREDICTED | {"predicted": []}]),
            "person 1 has forecasts that are not finite, or not one for each keypoint",
        ),
        (
            change(people=[_PREDICTED | {"predicted": [[0, 0, 0]]}]),
            "not a 'poses' message of protocol 1: people[0].predicted[0] must be a list of 5 values, not 3",
        ),
        (b"\x91" * 100_000, "not a message of protocol 1: "),
        (b"\xdd\xff\xff\xff\xff", "not a message of protocol 1: "),
        (bytes(schema.MAX_MESSAGE_BYTES + 1), "a message of 4194305 bytes; protocol 1 allows 4194304"),
    ],
)
def test_invalid_bytes_raise_with_the_reason(payload: bytes, why: str) -> None:
    with pytest.raises(WireError) as caught:
        schema.decode(payload)
    assert str(caught.value).startswith(why)
    assert "\n" not in str(caught.value)


def make_hostile(count: int) -> Iterator[bytes]:
    """Yield noise and messages with bytes changed, removed, doubled or inserted, half of each."""
    dice = random.Random(20)
    valid = [
        schema.encode_poses(make_documented(), session=SESSION, seq=7),
        schema.encode_skeleton(session=SESSION, name="wand2", joints=["grip", "tip"], limbs=[(0, 1)]),
        schema.encode_heartbeat(session=SESSION, wall_ns=5, interval_ms=1000, topics={"poses/hall": 3}),
        schema.encode_end(session=SESSION, seq=9, camera="hall", wall_ns=6),
    ]
    for number in range(count):
        yield dice.randbytes(dice.randrange(200)) if number % 2 else mutate(dice, dice.choice(valid))


def mutate(dice: random.Random, message: bytes) -> bytes:
    change = bytearray(message)
    for _ in range(dice.randrange(1, 6)):
        at, end = sorted(dice.choices(range(len(change) + 1), k=2))
        match dice.randrange(4):
            case 0:
                change[at : at + 1] = dice.randbytes(1)
            case 1:
                del change[at : min(end, at + 8)]
            case 2:
                change[at:at] = change[at : min(end, at + 64)]
            case 3:
                change[at:at] = dice.randbytes(dice.randrange(8))
    return bytes(change)


def test_hostile_messages_are_decoded_or_raise_wire_errors() -> None:
    read = refused = 0
    for payload in make_hostile(30_000):
        try:
            schema.decode(payload)
            read += 1
        except WireError:
            refused += 1
    assert read + refused == 30_000
    # Changes within a number or a name make another valid message; if none came through, the decoder would refuse all.
    assert 150 < read < 12_000


def test_snapshot_topics_are_recognised() -> None:
    assert topics.poses_topic("hall", "site1/") == "site1/poses/hall"
    asked = topics.snapshot_topic("5f3a", "poses/", "site1/")
    assert asked == "site1/snapshot/5f3a/poses/"
    assert topics.parse_snapshot_topic(asked, "site1/") == "poses/"
    assert topics.parse_snapshot_topic("snapshot/5f3a/") == ""
    for topic in ("poses/snapshot/1/2", "snapshot/", "snapshot//poses/", "snapshot/5f3a"):
        assert topics.parse_snapshot_topic(topic) is None
