"""What a relay passes on, under which numbers, and of which publisher, without sockets."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from stream.protocol import origin, schema
from stream.protocol import relay as relay_module
from stream.protocol.origin import Answer, Origin, Receipt, Verdict
from stream.protocol.placements import Placements
from stream.protocol.pose_message import PoseMessage
from stream.protocol.relay import Allowance, Relay
from stream.protocol.schema import EndOfStream, Heartbeat, Skeleton
from stream.protocol.sequence import Reception
from stream.testing import make_poses

_SESSIONS = itertools.count(1)


class Bench:
    """A relay on a clock of its own, what it has published and answered, and a subscriber that joined at its start."""

    def __init__(self, **options: Any) -> None:
        self.now_s, self.senders = 100.0, 0
        self.sent: list[tuple[str, bytes]] = []
        self.answers: list[Answer] = []
        self.relay = Relay(
            lambda topic, payload: self.sent.append((topic, payload)),
            lambda content: self.answers.append(origin.decode_answer(content)),
            now_ns=lambda: round(self.now_s * 1e9),
            now_s=lambda: self.now_s,
            **options,
        )
        self.reader = self.join()

    def join(self) -> Reception:
        """A subscriber that joins now, after its snapshot."""
        reader = Reception(now_s=lambda: self.now_s)
        for payload in self.relay.cache.snapshot("snapshot/token/poses/"):
            list(reader.take(b"snapshot/token/poses/", payload, 0))
        return reader

    def read(self) -> list[tuple[str, int, int]]:
        """The camera, number and frame of what the first subscriber has received since the last call."""
        found = [message for topic, payload in self.sent for message in self.reader.take(topic.encode(), payload, 0)]
        self.sent.clear()
        heartbeat = self.reader.take(b"heartbeat", self.relay.cache.heartbeat(), 0)
        return [(message.camera, message.seq, message.frame_seq) for message in [*found, *heartbeat]]

    @property
    def refusals(self) -> list[Verdict]:
        """What was answered, less that cameras are passed on."""
        return [answer for answer in self.answers if isinstance(answer, Verdict) and answer.reason]

    def lost(self) -> int:
        self.read()
        return self.reader.statistics().total.lost


class Sender:
    """A run of a publisher."""

    def __init__(self, bench: Bench, name: str = "a", placement: int = 0, connection: int | None = None) -> None:
        bench.senders += 1
        self._bench, self.connection = bench, bench.senders if connection is None else connection
        self.session = f"{next(_SESSIONS):016x}"
        self.origin = Origin(session=self.session, placement=placement, name=name)

    def send(self, payload: bytes) -> bool:
        return self._bench.relay.take((b"topic", payload, origin.encode(self.origin)), self.connection)

    def poses(self, *seqs: int, camera: str = "hall") -> None:
        for seq in seqs:
            assert self.send(schema.encode_poses(make_poses(seq + 1000, camera), session=self.session, seq=seq))

    def end(self, seq: int, camera: str = "hall") -> None:
        assert self.send(schema.encode_end(session=self.session, seq=seq, camera=camera, wall_ns=5))

    def heartbeat(self, ended: tuple[str, ...] = (), **cameras: int) -> None:
        topics = {f"poses/{camera}": seq for camera, seq in cameras.items()}
        assert self.send(
            schema.encode_heartbeat(
                session=self.session,
                wall_ns=7,
                interval_ms=1000,
                topics=topics,
                ended=[f"poses/{camera}" for camera in ended],
            )
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_only_the_session_of_a_message_changes_where_the_relay_was_there_from_the_start(bench: Bench) -> None:
    sender = Sender(bench)
    payload = schema.encode_poses(make_poses(7, "hall"), session=sender.session, seq=0)
    sender.send(payload)
    [(topic, passed)] = bench.sent
    assert topic == "poses/hall"
    assert passed == payload.replace(sender.session.encode(), bench.relay.cache.session.encode())
    assert len(passed) == len(payload)


def test_what_was_lost_before_the_relay_counts_as_lost_at_a_subscriber(bench: Bench) -> None:
    sender = Sender(bench)
    sender.poses(0, 1, 4)
    assert bench.read() == [("hall", 0, 1000), ("hall", 1, 1001), ("hall", 4, 1004)]
    assert bench.lost() == 2
    sender.heartbeat(hall=9)  # and nothing follows
    assert bench.lost() == 7
    assert bench.relay.statistics().lost == 7
    sender.poses(10)
    assert bench.lost() == 7


def test_a_relay_that_starts_later_counts_nothing_as_lost_that_was_before_it(bench: Bench) -> None:
    Sender(bench).poses(500, 501, camera="hall")
    Sender(bench).poses(700, 702, camera="yard")
    late = Sender(bench)
    late.heartbeat(attic=900)
    late.poses(901, camera="attic")
    assert [seq for _, seq, _ in bench.read()] == [0, 1, 0, 2, 0]
    assert bench.lost() == 1


def test_numbers_go_on_where_a_publisher_is_followed_by_its_next_run(bench: Bench) -> None:
    first, second = Sender(bench), Sender(bench, connection=2)
    first.poses(0, 1, 2)
    bench.relay.disconnected(1)
    second.poses(0, 1)
    assert [seq for _, seq, _ in bench.read()] == [0, 1, 2, 3, 4]
    assert bench.reader.statistics().sessions == 1
    assert bench.lost() == 0


def test_a_message_that_comes_twice_is_passed_on_once(bench: Bench) -> None:
    sender = Sender(bench)
    sender.poses(0, 1, 1, 0)
    assert [seq for _, seq, _ in bench.read()] == [0, 1]
    assert bench.relay.statistics().duplicates == 2


def test_who_joins_late_is_sent_skeletons_and_the_last_message_of_each_camera_and_has_lost_nothing(
    bench: Bench,
) -> None:
    sender, other = Sender(bench), Sender(bench, "b")
    sender.send(schema.encode_known_skeleton("coco17", session=sender.session))
    sender.poses(0, 1)
    other.poses(0, camera="yard")
    other.end(1, camera="yard")
    snapshot = [schema.decode(payload) for payload in bench.relay.cache.snapshot("snapshot/x/poses/")]
    assert [type(one) for one in snapshot] == [Skeleton, PoseMessage, PoseMessage, EndOfStream, Heartbeat]
    assert {one.session for one in snapshot if one} == {bench.relay.cache.session}
    sender.heartbeat(hall=5)  # what came between was lost, but not to a subscriber who joins now
    late = bench.join()
    assert late.statistics().total.lost == 0
    assert late.ended_cameras == {"yard"}


def test_an_end_that_was_lost_on_the_way_is_passed_on_from_the_next_heartbeat(bench: Bench) -> None:
    sender = Sender(bench)
    sender.poses(0)
    sender.heartbeat(ended=("hall",), hall=1)
    assert bench.lost() == 0
    assert bench.reader.ended_cameras == {"hall"}
    sender.heartbeat(ended=("hall",), hall=1)
    assert bench.sent == []


def test_a_publisher_hears_once_over_each_connection_that_its_camera_is_passed_on(bench: Bench) -> None:
    sender = Sender(bench, connection=1)
    sender.poses(0, 1)
    sender.heartbeat(hall=1)
    taken = Verdict(session=sender.session, camera="hall")
    assert bench.answers == [taken]
    sender.connection = 2
    sender.heartbeat(hall=1)
    assert bench.answers == [taken] * 2


def test_a_receipt_is_of_all_messages_so_far_and_says_how_many_this_relay_has_passed_on(bench: Bench) -> None:
    sender = Sender(bench)
    sender.poses(0)
    sender.end(1)
    sender.heartbeat(ended=("hall",), hall=1)
    sender.heartbeat(ended=("hall", "yard"), hall=1, yard=9)  # of which 9 poses never came
    before_it = Sender(bench)
    before_it.heartbeat(street=4)  # which a relay before this one has taken
    before_it.poses(5, camera="street")
    before_it.end(6, camera="street")
    before_it.heartbeat(ended=("street",), street=6)
    assert [answer for answer in bench.answers if isinstance(answer, Receipt)] == [
        Receipt(session=sender.session, of=2, missing=0),
        Receipt(session=sender.session, of=12, missing=9),
        Receipt(session=before_it.session, of=7, missing=5),
    ]


# -- two publishers with one camera ------------------------------------------------------------------------------------


def test_a_second_publisher_of_a_camera_is_refused_with_both_named_until_the_first_has_gone(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Sender(bench, "process 1 on a", connection=1), Sender(bench, "process 2 on b", connection=2)
    first.poses(0)
    second.poses(0, 1)
    reason = "process 1 on a publishes a camera of this name already; rename one with camera="
    assert bench.refusals == [Verdict(session=second.session, camera="hall", reason=reason)]
    assert f"relay: camera 'hall' of process 2 on b is refused: {reason}" in caplog.messages
    second.heartbeat(hall=1)  # the answer may have been lost
    assert len(bench.refusals) == 2
    second.poses(0, camera="yard")  # its other cameras are passed on
    bench.relay.disconnected(1)
    second.poses(2, 3)
    assert bench.answers[-1] == Verdict(session=second.session, camera="hall")
    assert bench.read() == [("hall", 0, 1000), ("yard", 0, 1000), ("hall", 1, 1002), ("hall", 2, 1003)]
    assert bench.lost() == 0
    assert bench.relay.statistics().refused == 2
    assert caplog.messages.count(f"relay: camera 'hall' of process 2 on b is refused: {reason}") == 1


def test_a_publisher_that_is_silent_for_three_of_its_heartbeats_may_be_followed(bench: Bench) -> None:
    first, second = Sender(bench, connection=1), Sender(bench, connection=2)
    first.poses(0)
    first.heartbeat(hall=0)
    bench.now_s += 2.9
    bench.relay.check_silence()
    second.poses(0)
    assert [seq for _, seq, _ in bench.read()] == [0]
    bench.now_s += 0.2
    bench.relay.check_silence()
    second.poses(1)
    assert [seq for _, seq, _ in bench.read()] == [1]


def test_a_newer_placement_takes_a_camera_at_once_and_the_older_is_refused_for_good(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = Sender(bench, "a", placement=3, connection=1), Sender(bench, "b", placement=4, connection=2)
    old.poses(0, 1)
    new.poses(0)
    old.poses(2)
    verdict = Verdict(
        session=old.session, camera="hall", reason="placement 3 of a was replaced by b (placement 4)", is_final=True
    )
    assert bench.refusals == [verdict]
    bench.relay.disconnected(2)
    again = Sender(bench, "a", placement=3, connection=3)  # a host that comes back, after the newer one has gone too
    again.poses(0)
    again.heartbeat(hall=0)
    assert bench.read() == [("hall", 0, 1000), ("hall", 1, 1001), ("hall", 2, 1000)]
    assert bench.lost() == 0
    assert "relay: camera 'hall' now comes from b (placement 4), before from a (placement 3)" in caplog.messages


def test_a_relay_that_restarts_refuses_what_was_replaced_before(tmp_path: Path) -> None:
    file = tmp_path / "placements.json"
    before = Bench(placements=Placements(file))
    Sender(before, "a", placement=1).poses(0)
    Sender(before, "b", placement=2).poses(0)
    after = Bench(placements=Placements(file))
    old, new = Sender(after, "a", placement=1), Sender(after, "b", placement=2)
    old.poses(7)
    new.poses(7)
    assert after.read() == [("hall", 0, 1007)]
    [verdict] = after.refusals
    reason = "placement 1 of a was replaced by placement 2"
    assert verdict == Verdict(session=old.session, camera="hall", reason=reason, is_final=True)


def test_the_end_of_a_replaced_placement_does_not_end_its_camera(bench: Bench) -> None:
    old, new = Sender(bench, placement=1), Sender(bench, placement=2)
    old.poses(0)
    new.poses(0)
    old.end(1)
    old.heartbeat(ended=("hall",), hall=1)
    bench.read()
    assert not bench.reader.ended_cameras


def test_who_is_away_and_back_is_said_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender(bench, "a")
    sender.poses(0, camera="hall")
    sender.poses(0, camera="yard")
    for _ in range(3):
        bench.relay.disconnected(1)
        bench.relay.check_silence()
    sender.connection = -1
    sender.poses(1)  # what was still on its way does not bring it back
    sender.connection = 2
    sender.poses(2, 3)
    assert caplog.messages == ["relay: publisher a is away, with cameras 'hall', 'yard'", "relay: publisher a is back"]


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_a_publisher_that_floods_loses_its_own_messages_which_are_counted_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(rate=10)
    flooding, other = Sender(bench, "flooding"), Sender(bench, "other")
    for seq in range(100):
        flooding.poses(seq)
        bench.now_s += 0.001
    other.poses(*range(5), camera="yard")
    assert len(bench.read()) == 15
    assert bench.relay.statistics().dropped == 90
    assert caplog.messages == [
        (
            "relay: publisher flooding sends more of camera 'hall' than 10 messages a second (--max-rate); "
            "the rest is dropped"
        )
    ]
    assert bench.reader.statistics().cameras["yard"].lost == 0


def test_a_long_message_is_paid_off_by_those_after_it() -> None:
    allowance = Allowance(rate=4)
    assert allowance.take(7 * 16 * 1024, 0.0)  # 8 units
    assert not allowance.take(1, 1.0)
    assert allowance.take(1, 1.3)


def test_one_publisher_cannot_take_the_places_of_all_cameras(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MAX_CAMERAS_EACH", 2)
    monkeypatch.setattr(relay_module, "MAX_CAMERAS", 3)
    one, other = Sender(bench), Sender(bench)
    for camera in "abc":
        one.poses(0, camera=camera)
    for camera in "de":
        other.poses(0, camera=camera)
    assert [camera for camera, _, _ in bench.read()] == ["a", "b", "d"]
    assert [refusal.reason for refusal in bench.refusals] == [
        "a publisher may have 2 cameras, and has them",
        "the relay has 3 cameras already; restart it to forget those that have gone",
    ]


def test_a_message_that_is_too_long_to_keep_is_passed_on_and_who_joins_late_has_lost_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "MAX_RETAINED_BYTES", 10)
    Sender(bench).poses(0, 1)
    assert len(bench.read()) == 2
    late = bench.join()
    assert late.statistics().total.messages == late.statistics().total.lost == 0


@pytest.mark.parametrize(
    "parts",
    [
        (b"poses/hall", b"x"),
        (b"t", b"\xc1", b"\xc1"),
        (b"t", schema.encode_end(session="0" * 16, seq=0, camera="hall", wall_ns=0), b"\x80"),
        (
            b"t",
            schema.encode_end(session="0" * 16, seq=0, camera="hall", wall_ns=0),
            origin.encode(Origin(session="1" * 16)),
        ),
        (b"t", b"\x81\xa4kind\xa5poses", origin.encode(Origin(session="1" * 16))),
        (
            b"t",
            schema.encode_end(session="0" * 16, seq=0, camera=" ", wall_ns=0),
            origin.encode(Origin(session="0" * 16)),
        ),
    ],
)
def test_what_is_no_message_of_a_publisher_is_dropped_and_counted(bench: Bench, parts: tuple[bytes, ...]) -> None:
    assert not bench.relay.take(parts, 1)
    assert bench.relay.statistics().malformed == 1
    assert bench.sent == []


def test_a_publisher_that_invents_numbers_names_and_sessions_costs_the_others_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay_module, "MAX_CAMERAS_EACH", 2)
    monkeypatch.setattr(relay_module, "MAX_PUBLISHERS", 3)
    good, bad = Sender(bench, "good"), Sender(bench, "bad", connection=2)
    good.poses(0)
    bad.poses(0, camera="yard")
    far = schema.encode_poses(make_poses(1, "yard"), session=bad.session, seq=2**63 - 1)
    assert not bad.send(far)
    bad.poses(1, camera="yard")
    for number in range(20):
        bad.poses(0, camera=f"invented{number}")
    assert len(bench.refusals) == 2
    for _ in range(20):
        assert not Sender(bench, "bad", connection=2).send(far)
    for number in range(20):  # also over new connections
        Sender(bench, "bad", connection=10 + number).poses(0, camera="yard")
        bench.relay.disconnected(10 + number)
    assert bench.relay.statistics().publishers == 2
    good.poses(1)
    assert [seq for camera, seq, _ in bench.read() if camera == "hall"] == [0, 1]
    assert bench.lost() == 0
    assert len(caplog.messages) < 60


def test_a_key_that_is_no_text_is_malformed(bench: Bench) -> None:
    sender = Sender(bench)
    payload = schema.encode_poses(make_poses(1, "hall"), session=sender.session, seq=0)
    assert not sender.send(payload.replace(b"\xa6people", b"\xa6\xffeople"))
    assert bench.relay.statistics().malformed == 1


def test_a_publisher_of_another_major_version_is_refused_with_both_versions(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    sender = Sender(bench, "a")
    payload = schema.encode_end(session=sender.session, seq=0, camera="hall", wall_ns=0)
    assert not sender.send(payload.replace(b"\x92\x01\x03", b"\x92\x02\x00"))
    assert "the publisher uses protocol 2.0 and this relay 1.3; upgrade the older one" in caplog.text


def test_a_skeleton_with_other_joints_than_one_of_its_name_is_said(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for name, joints in (("a", ["x"]), ("b", ["x"]), ("c", ["y"])):
        sender = Sender(bench, name)
        sender.send(schema.encode_skeleton(session=sender.session, name="wand", joints=joints, limbs=[]))
    assert len(bench.sent) == 1
    assert caplog.messages == [
        (
            "relay: publisher c has other joints in skeleton 'wand' than a, whose are used; "
            "run one version of posestream on both"
        )
    ]
