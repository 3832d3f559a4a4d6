"""Writes docs/clients/conformance/*.json, the cases by which a client of any language is tested: ``make pages``.

The bytes come from the publisher's own encoder; what a client must report is written here by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack

from stream.protocol import schema
from stream.testing import make_poses

FOLDER = Path(__file__).parents[1] / "docs/clients/conformance"
ONE, OTHER = "0123456789abcdef", "fedcba9876543210"
JOINTS = tuple(f"joint{number}" for number in range(17))
Case = dict[str, Any]
Steps = list[dict[str, Any]]
Events = list[dict[str, Any]]


# -- steps -------------------------------------------------------------------------------------------------------------


def message(*parts: bytes) -> Steps:
    """A message of these parts arrives."""
    return [{"message": [part.hex() for part in parts]}]


def wait(milliseconds: int) -> Steps:
    """So much time passes."""
    return [{"wait_ms": milliseconds}]


def clock(time_ns: int) -> Steps:
    """The clock of the client's host shows this time from now on."""
    return [{"clock_ns": time_ns}]


def poses_map(seq: int, camera: str = "hall", session: str = ONE, people: int = 1) -> dict[str, Any]:
    """A map of a frame, whose number is ten times that of the message."""
    return schema.poses_map(make_poses(10 * seq, camera, count=people), session=session, seq=seq)


def poses(*seqs: int, camera: str = "hall", session: str = ONE, topic: str = "", people: int = 1) -> Steps:
    """Poses arrive, on their own topic if ``topic`` is empty."""
    return [
        step
        for seq in seqs
        for step in message((topic or f"poses/{camera}").encode(), pack(poses_map(seq, camera, session, people)))
    ]


def pack(content: Any) -> bytes:
    """Encode as the publisher does."""
    packed = msgpack.packb(content, use_single_float=True)
    assert isinstance(packed, bytes)
    return packed


def skeleton(topic: str = "skeleton/coco17", session: str = ONE, joints: Sequence[str] = JOINTS) -> Steps:
    """A skeleton arrives."""
    payload = schema.encode_skeleton(session=session, name="coco17", joints=joints, limbs=[(0, 1)])
    return message(topic.encode(), payload)


def heartbeat(
    numbers: dict[str, int],
    topic: str = "heartbeat",
    ended: Sequence[str] = (),
    session: str = ONE,
    snapshot: int | None = None,
) -> Steps:
    """A heartbeat arrives, at most 1,000 ms before the next; it may complete a snapshot of so many messages."""
    payload = schema.encode_heartbeat(
        session=session, wall_ns=1, interval_ms=1000, topics=numbers, ended=ended, snapshot=snapshot
    )
    return message(topic.encode(), payload)


def end(seq: int, camera: str = "hall", topic: str = "") -> Steps:
    """The end of a camera arrives."""
    payload = schema.encode_end(session=ONE, seq=seq, camera=camera, wall_ns=1)
    return message((topic or f"poses/{camera}").encode(), payload)


SNAPSHOT = "snapshot/5f3a/poses/hall"
ANOTHER_SNAPSHOT = "snapshot/77aa/poses/hall"
EMPTY_SNAPSHOT = skeleton(SNAPSHOT) + heartbeat({}, SNAPSHOT, snapshot=1)


# -- events ------------------------------------------------------------------------------------------------------------


def got(
    *seqs: int, camera: str = "hall", retained: bool = False, joints: Sequence[str] | None = JOINTS, people: int = 1
) -> Events:
    """Poses are delivered; ``joints`` None: with the names of their joints or without."""
    return [_delivered(poses_map(seq, camera, people=people), retained, joints) for seq in seqs]


def _delivered(content: dict[str, Any], retained: bool, joints: Sequence[str] | None) -> dict[str, Any]:
    decoded = msgpack.unpackb(pack(content))
    kept = {key: decoded[key] for key in ("camera", "seq", "frame_seq", "people")}
    times = {key: str(decoded[key]) for key in ("pts_ns", "wall_ns")}
    return {"event": "poses", **kept, **times, "retained": retained, "joints": list(joints) if joints else None}


def lost(count: int, camera: str = "hall") -> Events:
    """So many messages of a camera are reported as lost."""
    return [{"event": "lost", "camera": camera, "count": count}]


def ended(camera: str = "hall") -> Events:
    """A camera is reported as ended."""
    return [{"event": "end", "camera": camera}]


MALFORMED: Events = [{"event": "malformed"}]
REFUSED: Events = [{"event": "refused"}]
SILENT: Events = [{"event": "silent"}]
ASKED: Events = [{"event": "ask"}]


# -- cases -------------------------------------------------------------------------------------------------------------


def cases() -> dict[str, Case]:
    """All cases by the name of their file."""
    return {
        **_joining(),
        **_snapshots(),
        **_losses(),
        **_ends(),
        **_selections(),
        **_versions(),
        **_forecasts(),
        **_hostile(),
    }


def _case(about: str, steps: Steps, expect: Events, camera: str | None = "hall", prefix: str = "") -> Case:
    return {"about": about, "camera": camera, "prefix": prefix, "steps": steps, "expect": expect}


def _joining() -> dict[str, Case]:
    snapshot = skeleton(SNAPSHOT) + poses(4, topic=SNAPSHOT) + heartbeat({"poses/hall": 4}, SNAPSHOT)
    return {
        "snapshot": _case("a snapshot, then live messages", snapshot + poses(5, 6), got(4, retained=True) + got(5, 6)),
        "heartbeat-before-snapshot": _case(
            "a live heartbeat before the snapshot does not make its poses a duplicate",
            heartbeat({"poses/hall": 4}) + snapshot + poses(5),
            got(4, retained=True) + got(5),
        ),
        "live-before-snapshot": _case(
            "poses arrive live and again in the snapshot", poses(4) + snapshot + poses(5), got(4, joints=None) + got(5)
        ),
        "skeleton-repeated": _case(
            "the publishing part was restarted: a skeleton is sent again",
            EMPTY_SNAPSHOT + poses(0) + skeleton() + poses(1),
            got(0, 1),
        ),
        "reconnection": _case(
            "the connection breaks within a session; the next snapshot reveals what was lost meanwhile",
            EMPTY_SNAPSHOT
            + poses(0)
            + [{"connection": "lost"}, {"connection": "made"}]
            + skeleton(SNAPSHOT)
            + poses(4, topic=SNAPSHOT)
            + heartbeat({"poses/hall": 4}, SNAPSHOT)
            + poses(5),
            got(0) + lost(3) + got(4, retained=True) + got(5),
        ),
        "new-session-snapshot": _case(
            "in a new run, too, a live heartbeat does not make the poses of the snapshot a duplicate",
            EMPTY_SNAPSHOT
            + poses(0)
            + [{"connection": "lost"}, {"connection": "made"}]
            + heartbeat({"poses/hall": 3}, session=OTHER)
            + skeleton(SNAPSHOT, session=OTHER)
            + poses(3, topic=SNAPSHOT, session=OTHER)
            + heartbeat({"poses/hall": 3}, SNAPSHOT, session=OTHER),
            got(0) + got(3, retained=True),
        ),
        "new-session": _case(
            "a new run begins at 0 and has its own skeletons",
            EMPTY_SNAPSHOT
            + poses(0, 1)
            + skeleton(session=OTHER, joints=JOINTS[::-1])
            + poses(0, session=OTHER)
            + heartbeat({"poses/hall": 0}, session=OTHER),
            got(0, 1) + got(0, joints=JOINTS[::-1]),
        ),
    }


def _snapshots() -> dict[str, Case]:
    numbers = {"poses/hall": 4}
    until_asked = wait(1500) + heartbeat(numbers) + wait(1500)
    whole = (
        skeleton(ANOTHER_SNAPSHOT) + poses(4, topic=ANOTHER_SNAPSHOT) + heartbeat(numbers, ANOTHER_SNAPSHOT, snapshot=2)
    )
    return {
        "snapshot-whole": _case(
            "a snapshot with as many messages as it says is whole; the client does not ask again",
            whole + wait(2900) + heartbeat(numbers) + wait(2900) + poses(6),
            got(4, retained=True) + lost(1) + got(6),
        ),
        "snapshot-part-lost": _case(
            "a message of a snapshot is lost: it says nothing of where numbers begin, and the client asks again",
            skeleton(SNAPSHOT)
            + heartbeat(numbers, SNAPSHOT, snapshot=2)
            + until_asked
            + whole
            + until_asked
            + poses(5),
            ASKED + got(4, retained=True) + got(5),
        ),
        "snapshot-end-lost": _case(
            "the heartbeat of a snapshot is lost; messages of another token do not count",
            skeleton(SNAPSHOT) + poses(4, topic=SNAPSHOT) + until_asked + whole + until_asked,
            got(4, retained=True, joints=None) + ASKED,
        ),
        "snapshot-lost": _case(
            "a whole snapshot is lost, twice; a client does not ask a silent publisher",
            heartbeat(numbers) + until_asked * 2 + wait(5000) + heartbeat(numbers) + wait(100) + whole,
            ASKED * 2 + SILENT + ASKED + got(4, retained=True),
        ),
    }


def _losses() -> dict[str, Case]:
    return {
        "gap": _case("messages are missing", EMPTY_SNAPSHOT + poses(0, 4), got(0) + lost(3) + got(4)),
        "duplicate": _case("messages come twice", EMPTY_SNAPSHOT + poses(0, 1, 0, 1, 2), got(0, 1, 2)),
        "first-unknown": _case(
            "without a snapshot, nothing counts as lost before the first message",
            skeleton() + heartbeat({"poses/hall": 7}) + poses(9),
            got(9),
        ),
        "first-lost": _case(
            "a snapshot says where numbers begin",
            skeleton(SNAPSHOT) + heartbeat({"poses/hall": 4}, SNAPSHOT) + poses(6),
            lost(1) + got(6),
        ),
        "last-lost": _case(
            "a heartbeat reveals that the last messages were lost",
            EMPTY_SNAPSHOT + poses(0) + heartbeat({"poses/hall": 2}) + heartbeat({"poses/hall": 2}) + poses(3),
            got(0) + lost(2) + got(3),
        ),
        "only-lost": _case(
            "a heartbeat reveals that the only message was lost", EMPTY_SNAPSHOT + heartbeat({"poses/hall": 0}), lost(1)
        ),
    }


def _ends() -> dict[str, Case]:
    return {
        "end": _case("the end has the next number", EMPTY_SNAPSHOT + poses(0) + end(3), got(0) + lost(2) + ended()),
        "end-lost": _case(
            "a heartbeat says that a camera has ended",
            EMPTY_SNAPSHOT + poses(0) + heartbeat({"poses/hall": 1}, ended=["poses/hall"]) * 2,
            got(0) + lost(1) + ended(),
        ),
        "end-before": _case(
            "the heartbeat of a snapshot says that a camera has ended",
            skeleton(SNAPSHOT) + heartbeat({"poses/hall": 7}, SNAPSHOT, ["poses/hall"]),
            ended(),
        ),
        "end-retained": _case(
            "a snapshot has the last poses and the end",
            skeleton(SNAPSHOT)
            + poses(4, topic=SNAPSHOT)
            + end(5, topic=SNAPSHOT)
            + heartbeat({"poses/hall": 5}, SNAPSHOT, ["poses/hall"]),
            got(4, retained=True) + ended(),
        ),
        "end-first": _case(
            "the end arrives live before the snapshot, which has the last poses",
            end(5)
            + skeleton(SNAPSHOT)
            + poses(4, topic=SNAPSHOT)
            + end(5, topic=SNAPSHOT)
            + heartbeat({"poses/hall": 5}, SNAPSHOT, ["poses/hall"]),
            got(4, retained=True) + ended(),
        ),
        "end-undone": _case(
            "a camera goes on after its end, and ends again",
            EMPTY_SNAPSHOT + poses(0) + end(1) + poses(2) + end(3),
            got(0) + ended() + got(2) + ended(),
        ),
        "silence": _case(
            "a publisher is silent after three intervals, and once each time",
            EMPTY_SNAPSHOT + wait(2900) + heartbeat({}) + wait(2900) + wait(200) + wait(5000) + poses(0) + wait(3100),
            SILENT + got(0) + SILENT,
        ),
    }


def _selections() -> dict[str, Case]:
    everything = "snapshot/5f3a/poses/"
    return {
        "name-as-prefix": _case(
            "a subscription to hall receives hallway as well",
            EMPTY_SNAPSHOT + poses(0, 5, camera="hallway") + end(6, "hallway") + poses(0),
            got(0),
        ),
        "prefix": _case(
            "a publisher has a prefix",
            skeleton("site1/" + SNAPSHOT)
            + heartbeat({"site1/poses/hall": 3}, "site1/" + SNAPSHOT)
            + poses(5, topic="site1/poses/hall")
            + heartbeat({"site1/poses/hall": 6}, "site1/heartbeat", ["site1/poses/hall"]),
            lost(1) + got(5) + lost(1) + ended(),
            prefix="site1/",
        ),
        "all-cameras": _case(
            "each camera has numbers of its own",
            skeleton(everything)
            + heartbeat({"poses/hall": 4}, everything)
            + poses(5)
            + poses(1, camera="yard")
            + end(2, "yard")
            + heartbeat({"poses/hall": 6, "poses/yard": 2}, ended=["poses/yard"]),
            got(5) + lost(1, "yard") + got(1, camera="yard") + ended("yard") + lost(1),
            camera=None,
        ),
        "name": _case(
            "a name may have any printable characters",
            skeleton(everything) + heartbeat({}, everything) + poses(0, camera="Straße 5/Hof, \U0001f6aa"),
            got(0, camera="Straße 5/Hof, \U0001f6aa"),
            camera=None,
        ),
        "people": _case(
            "no people, and many",
            EMPTY_SNAPSHOT + poses(0, people=0) + poses(1, people=9),
            got(0, people=0) + got(1, people=9),
        ),
    }


def _versions() -> dict[str, Case]:
    later = poses_map(0) | {"version": [1, 77], "new": {"nested": [None, True, 1.5, b"bytes"]}}
    later["people"] = [person | {"pose": "sits"} for person in later["people"]]
    unknown = {"version": [1, 77], "kind": "hands", "session": ONE, "camera": "hall", "seq": 0}
    old = {"version": [1, 0], "kind": "heartbeat", "session": ONE, "wall_ns": 1, "interval_ms": 1000}
    other = poses_map(1) | {"version": [2, 0]}
    return {
        "later-minor": _case(
            "unknown keys and kinds of a later minor version are ignored",
            EMPTY_SNAPSHOT + message(b"hands/hall", pack(unknown)) + message(b"poses/hall", pack(later)),
            got(0),
        ),
        "earlier-minor": _case(
            "a heartbeat of 1.0 has no ended",
            EMPTY_SNAPSHOT + poses(0) + message(b"heartbeat", pack(old | {"topics": {"poses/hall": 1}})),
            got(0) + lost(1),
        ),
        "numbers": _case(
            "numbers in other encodings of msgpack: float 64, and integers that are wider than necessary",
            EMPTY_SNAPSHOT + message(b"poses/hall", _widen(poses_map(0))),
            got(0),
        ),
        "other-major": _case(
            "another major version is refused; nothing is expected of what follows",
            EMPTY_SNAPSHOT + poses(0) + message(b"poses/hall", pack(other)),
            got(0) + REFUSED,
        ),
    }


def _widen(content: Any) -> bytes:
    """Encode with every integer in 64 bits and every float in float 64."""
    if isinstance(content, dict):
        pairs = b"".join(_widen(key) + _widen(value) for key, value in content.items())
        return b"\xdf" + len(content).to_bytes(4, "big") + pairs
    if isinstance(content, list | tuple):
        return b"\xdd" + len(content).to_bytes(4, "big") + b"".join(map(_widen, content))
    if isinstance(content, str):
        return b"\xdb" + len(content.encode()).to_bytes(4, "big") + content.encode()
    if isinstance(content, int):
        return b"\xd3" + content.to_bytes(8, "big", signed=True)
    packed = msgpack.packb(msgpack.unpackb(pack(content)))
    assert isinstance(packed, bytes)
    return packed


def _forecasts() -> dict[str, Case]:
    """Two people of two joints each; only the first has a forecast, for 1/8 s after the frame and until 1/4 s."""
    seen: dict[str, Any] = {
        "id": 1,
        "box": [8.0, 16.0, 24.0, 48.0],
        "score": 0.75,
        "keypoints": [[10.0, 20.0, 0.5], [20.0, 40.0, 0.25]],
        "predicted": [[14.0, 20.0, 32.0, 0.0, 1.5], [20.0, 44.0, 0.0, 16.0, 2.0]],
    }
    other = {"id": 2, "box": [1.0, 2.0, 3.0, 4.0], "score": 0.5, "keypoints": [[1.0, 2.0, 0.5], [3.0, 4.0, 0.5]]}
    content = poses_map(0) | {"people": [seen, other]}
    wall_ns = content["wall_ns"]
    times = {"predicted_for_ns": wall_ns + 125_000_000, "predicted_until_ns": wall_ns + 250_000_000}

    def read(after_ns: int, first: list[list[float]], box: list[float], extra: dict[str, int] = times) -> Case:
        moved = seen | {"keypoints": first, "box": box}
        expected = _delivered(content | extra, retained=False, joints=JOINTS) | {"at": [moved, other]}
        steps = EMPTY_SNAPSHOT + clock(wall_ns + after_ns) + message(b"poses/hall", pack(content | extra))
        return _case("people are read at a moment of the client's own", steps, [expected])

    short = content | times | {"people": [seen | {"predicted": seen["predicted"][:1]}]}
    return {
        "forecast": read(187_500_000, [[16.0, 20.0, 0.5], [20.0, 45.0, 0.25]], [11.0, 18.5, 27.0, 50.5]),
        "forecast-early": read(-1_000_000, [[10.0, 20.0, 0.5], [20.0, 42.0, 0.25]], [8.0, 17.0, 24.0, 49.0]),
        "forecast-late": read(9_000_000_000, [[18.0, 20.0, 0.5], [20.0, 46.0, 0.25]], [12.0, 19.0, 28.0, 51.0]),
        "forecast-without-times": read(187_500_000, seen["keypoints"], seen["box"], {}),
        "forecast-malformed": _case(
            "a forecast has one entry for each keypoint",
            EMPTY_SNAPSHOT + message(b"poses/hall", pack(short)) + poses(0),
            MALFORMED + got(0),
        ),
    }


def _hostile() -> dict[str, Case]:
    sound = pack(poses_map(0))
    wrong = [
        (b"poses/hall",),
        (b"poses/hall", sound, b"more"),
        (b"poses/hall", b""),
        (b"poses/hall", b"\xc1"),
        (b"poses/hall", b"\x92\x01\x01"),
        (b"poses/hall", b"\xdd\xff\xff\xff\xff"),
        (b"poses/hall", b"\xdf\xff\xff\xff\xff\xa1a\x01"),
        (b"poses/hall", b"\xdb\xff\xff\xff\xffshort"),
        (b"poses/hall", b"\x91" * 1_000),
        (b"poses/hall", b"\x81\xa1a" * 500 + b"\x01"),
        (b"poses/hall", pack({"kind": "poses", "seq": 0, "camera": "hall"})),
        *((b"poses/hall", sound[:length]) for length in (1, 2, 20, 60, len(sound) // 2, len(sound) - 1)),
    ]
    return {
        "malformed": _case(
            "what is no message is counted and dropped",
            EMPTY_SNAPSHOT + [step for parts in wrong for step in message(*parts)] + poses(0),
            MALFORMED * len(wrong) + got(0),
        ),
    }


def text(case: Case) -> str:
    """A case as the text of its file."""
    return json.dumps(case, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all files, and remove those of cases that no longer exist."""
    for file in FOLDER.glob("*.json"):
        file.unlink()
    for name, case in cases().items():
        (FOLDER / f"{name}.json").write_text(text(case))


if __name__ == "__main__":
    main()
