"""Replay: the same bytes at the same pace, in turns that are sessions of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.protocol import schema
from stream.protocol.pose_message import PoseMessage
from stream.protocol.schema import EndOfStream, Heartbeat, Skeleton
from stream.recording.recording import Recording
from stream.recording.replay import Replay
from stream.testing import Clock
from tests.stream.recording.recordings import interleave, open_sink, picture_poses, record


class Stage:
    """A clock that goes on during a wait, and what was published at which time, s."""

    def __init__(self, ends_at_s: float = math.inf) -> None:
        self.now_s, self._ends_at_s = 100.0, ends_at_s
        self.published: list[tuple[float, str, bytes]] = []

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        return self.now_s - 100 > self._ends_at_s

    def publish(self, topic: str, payload: bytes) -> None:
        self.published.append((round(self.now_s - 100, 6), topic, payload))

    def run(self, replay: Replay) -> list[tuple[float, str, bytes]]:
        replay.open()
        replay.run(self.publish, self.wait, lambda: self.now_s)
        return self.published


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three frames each of two cameras, 40 ms after each other, in two files."""
    return record(tmp_path / "x.mcap", interleave(3), video="none", max_mb=0.02)


def test_messages_are_published_byte_for_byte_at_their_pace(path: Path) -> None:
    recorded = list(Recording(path).messages())
    published = Stage().run(Replay(Recording(path)))
    assert [(topic, payload) for _, topic, payload in published] == [(one.topic, one.payload) for one in recorded]
    poses = [at for at, topic, payload in published if isinstance(schema.decode(payload), PoseMessage)]
    assert poses == [0, 0.04, 0.08, 0.12, 0.16, 0.2]


def test_speed_divides_the_time(path: Path) -> None:
    published = Stage().run(Replay(Recording(path), speed=4))
    assert [at for at, _, payload in published if isinstance(schema.decode(payload), PoseMessage)] == [
        0, 0.01, 0.02, 0.03, 0.04, 0.05,
    ]  # fmt: skip


def test_a_clock_that_was_set_back_costs_no_time_and_saves_none(tmp_path: Path) -> None:
    clock = Clock()
    with open_sink(tmp_path / "x.mcap", clock=clock, video="none") as sink:
        for seq, after_ms in enumerate((0, 40, -3_600_000, 40)):
            clock.advance(after_ms)
            sink.consume(picture_poses(seq))
    published = Stage().run(Replay(Recording(tmp_path / "x.mcap")))
    assert [at for at, topic, _ in published if topic == "poses/hall"] == [0, 0.04, 0.04, 0.08]


def test_a_restart_that_repeated_a_frame_is_not_heard(tmp_path: Path) -> None:
    first = record(tmp_path / "x.mcap", interleave(2, ("hall",)), video="none")
    (tmp_path / "x.2.mcap").write_bytes(first.read_bytes())
    published = Stage().run(Replay(Recording(first)))
    seqs = [
        found.seq for _, _, data in published if isinstance(found := schema.decode(data), PoseMessage | EndOfStream)
    ]
    assert seqs == [0, 1, 2]


def test_each_turn_is_a_session_and_else_the_same_bytes(path: Path) -> None:
    replay = Replay(Recording(path), loop=True)
    published = Stage(ends_at_s=3.0).run(replay)
    turns = replay.turns
    assert turns >= 3
    count = len(list(Recording(path).messages()))
    first = [payload for _, _, payload in published[:count]]
    sessions = []
    for turn in range(turns):
        payloads = [payload for _, _, payload in published[turn * count : (turn + 1) * count]]
        found = {message.session for message in map(schema.decode, payloads) if message is not None}
        (session,) = found
        sessions.append(session)
        assert [payload.replace(session.encode(), sessions[0].encode()) for payload in payloads] == first
    assert len(set(sessions)) == turns


def test_turns_of_a_single_frame_have_a_pause(tmp_path: Path) -> None:
    published = Stage(ends_at_s=4.5).run(Replay(Recording(record(tmp_path / "x.mcap", [picture_poses(0)])), loop=True))
    assert [round(at) for at, _, payload in published if isinstance(schema.decode(payload), PoseMessage)] == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_stopping_ends_between_two_messages(path: Path) -> None:
    published = Stage(ends_at_s=0.1).run(Replay(Recording(path), loop=True))
    assert [at for at, _, payload in published if isinstance(schema.decode(payload), PoseMessage)] == [0, 0.04, 0.08]


def test_who_joins_late_gets_the_last_message_of_each_camera(path: Path) -> None:
    replay = Replay(Recording(path))
    kinds: list[list[type]] = []

    def look(_seconds: float) -> bool:
        kinds.append([type(schema.decode(payload)) for payload in replay.snapshot("snapshot/5f/poses/hall")])
        return False

    wait: Callable[[float], bool] = look
    replay.open()
    replay.run(lambda topic, payload: None, wait, lambda: 0.0)
    assert kinds[0] == [Heartbeat]
    assert kinds[2] == [Skeleton, PoseMessage, Heartbeat]
    assert kinds[-1] == [Skeleton, PoseMessage, EndOfStream, Heartbeat]
    topic, payload = replay.heartbeat()
    beat = schema.decode(payload)
    assert isinstance(beat, Heartbeat)
    assert (topic, beat.topics, beat.ended) == (
        "heartbeat",
        {"poses/hall": 3, "poses/yard": 3},
        ("poses/hall", "poses/yard"),
    )
    assert beat.session == next(Recording(path).messages()).head.session


def test_what_was_removed_before_the_first_file_does_not_count_as_lost(path: Path) -> None:
    path.unlink()
    replay = Replay(Recording(path))
    replay.open()
    beat = schema.decode(replay.heartbeat()[1])
    first = [message.head for message in Recording(path).messages() if message.head.kind == "poses"][:2]
    assert isinstance(beat, Heartbeat)
    assert beat.topics == {f"poses/{head.camera}": head.seq - 1 for head in first if head.seq}
    assert beat.topics


def test_a_recording_that_cannot_be_played_says_so_before_anything_is_published(tmp_path: Path) -> None:
    (tmp_path / "x.mcap").write_bytes(record(tmp_path / "y.mcap", [picture_poses(0)]).read_bytes()[:100])
    with pytest.raises(Exception, match="has no keypoints"):
        Replay(Recording(tmp_path / "x.mcap")).open()
