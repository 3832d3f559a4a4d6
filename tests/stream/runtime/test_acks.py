"""Which inputs may be acknowledged, judged by what a restart would need."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.messages import EOS_SEQ, Key
from stream.runtime.acks import Flow


def hall(*seqs: int) -> list[Key]:
    return [("hall", seq) for seq in seqs]


def pass_through(flow: Flow, seq: int) -> None:
    """One input that leads to one output of the same key."""
    key = ("hall", seq)
    flow.take(key)
    flow.send(key)
    flow.mark_processed([key])


def test_an_input_is_released_when_every_branch_acknowledged_its_output() -> None:
    flow = Flow(branches=2)
    pass_through(flow, 0)
    assert flow.release() == []
    flow.acknowledge(1, ("hall", 0))
    assert flow.release() == []
    flow.acknowledge(0, ("hall", 0))
    assert flow.release() == hall(0)
    assert flow.release() == []


def test_an_input_that_leads_to_nothing_is_released_once_processed() -> None:
    flow = Flow(branches=1)
    flow.take(("hall", 0))
    assert flow.release() == []
    flow.mark_processed(hall(0))
    assert flow.release() == hall(0)


def test_a_sink_releases_what_it_has_consumed() -> None:
    flow = Flow(branches=0)
    pass_through(flow, 0)
    assert flow.release() == hall(0)
    assert flow.finished_seqs() == {"hall": 0}


def test_an_output_keeps_the_inputs_of_its_own_camera_whatever_else_is_in_the_batch() -> None:
    flow = Flow(branches=1)
    batch = [*hall(36, 37, 38, 39, 40), ("yard", 36)]
    for key in batch:
        flow.take(key)
    assert [flow.send(key) for key in batch] == [True] * len(batch)
    flow.mark_processed(batch)
    assert flow.release() == []
    for key in batch:
        flow.acknowledge(0, key)
    assert sorted(flow.release()) == batch


def test_a_pending_input_and_all_after_it_stay() -> None:
    flow = Flow(branches=1)
    for seq in (0, 1):
        flow.take(("hall", seq))
        flow.mark_processed(hall(seq), pending=hall(*range(seq + 1)))
    flow.take(("hall", 2))
    flow.send(("hall", 0))
    flow.mark_processed(hall(2), pending=hall(1, 2))
    flow.acknowledge(0, ("hall", 0))
    assert flow.release() == hall(0)


def test_the_newest_reach_inputs_stay_although_they_are_finished() -> None:
    flow = Flow(branches=0, reach=2)
    for seq in range(4):
        pass_through(flow, seq)
    assert flow.release() == hall(0, 1)
    assert flow.finished_seqs() == {"hall": 3}


def test_the_end_of_a_stream_releases_everything() -> None:
    flow = Flow(branches=0, reach=2)
    for seq in (0, 1, EOS_SEQ):
        pass_through(flow, seq)
    assert flow.release() == hall(0, 1, EOS_SEQ)
    assert flow.has_ended("hall")


def test_an_end_of_stream_that_is_not_delivered_keeps_what_its_flush_was_made_of() -> None:
    flow = Flow(branches=1, reach=1)
    for seq in (0, 1):
        flow.take(("hall", seq))
        flow.mark_processed(hall(seq), pending=hall(*range(seq + 1)))
    flow.take(("hall", EOS_SEQ))
    for seq in (0, 1, EOS_SEQ):
        flow.send(("hall", seq))
    flow.mark_processed(hall(EOS_SEQ))
    flow.acknowledge(0, ("hall", 0))
    assert flow.release() == []  # 1 is made again from 0 to the end
    flow.acknowledge(0, ("hall", 1))
    assert flow.release() == hall(0)  # the end itself looks back on 1
    flow.acknowledge(0, ("hall", EOS_SEQ))
    assert flow.release() == hall(1, EOS_SEQ)


def test_what_was_dropped_behind_a_slow_item_gives_its_credit_back_at_once() -> None:
    flow = Flow(branches=1)
    for seq in range(4):
        pass_through(flow, seq)
    for dropped in (1, 2):
        flow.acknowledge(0, ("hall", dropped))
    assert flow.release() == hall(1, 2)
    assert flow.count_unreleased("hall") == 2
    assert flow.finished_seqs() == {}  # a restart may not skip 0


def test_an_output_is_not_given_again_after_a_restart() -> None:
    flow = Flow(branches=1, finished={"hall": 1})
    for seq in (0, 1, 2):
        flow.take(("hall", seq))
    assert [flow.send(key) for key in hall(0, 1, 2)] == [False, False, True]


def test_what_was_released_before_a_restart_is_known() -> None:
    flow = Flow(branches=1)
    for seq in (3, 5, 8):
        pass_through(flow, seq)
    flow.acknowledge(0, ("hall", 3))
    flow.acknowledge(0, ("hall", 8))
    flow.release()
    assert flow.released_seqs() == {"hall": 4}  # 8 is released too, but 5 will come again
    again = Flow(branches=1, finished=flow.finished_seqs(), released=flow.released_seqs())
    assert [again.was_released(key) for key in hall(3, 5, 8)] == [True, False, False]
    assert again.released_seqs() == {}
    pass_through(again, 5)
    assert again.release() == []
    assert again.released_seqs() == {"hall": 4}


def test_a_second_output_of_one_input_and_one_out_of_order_are_not_sent() -> None:
    flow = Flow(branches=1)
    assert [flow.send(("hall", seq)) for seq in (2, 2, 1, 3)] == [True, False, False, True]


def test_an_acknowledgement_meant_for_an_earlier_life_is_ignored() -> None:
    flow = Flow(branches=1)
    flow.acknowledge(0, ("hall", 7))
    pass_through(flow, 7)
    assert flow.release() == []


def test_cameras_do_not_wait_for_each_other() -> None:
    flow = Flow(branches=1)
    for camera in ("hall", "yard"):
        flow.take((camera, 0))
        flow.send((camera, 0))
        flow.mark_processed([(camera, 0)])
    flow.acknowledge(0, ("yard", 0))
    assert flow.release() == [("yard", 0)]
    assert (flow.count_unfinished("hall"), flow.count_unfinished("yard"), flow.count_unfinished()) == (1, 0, 1)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), past=st.integers(0, 3), future=st.integers(0, 3), length=st.integers(0, 12))
def test_whenever_a_part_dies_what_is_unreleased_makes_the_same_outputs_again(
    data: st.DataObject, past: int, future: int, length: int
) -> None:
    """A receiver acknowledges in any order, as a leaky queue does; the part is killed at any moment, several times."""
    end = [EOS_SEQ]
    expected = dict(
        made for life in [Windows(past, future)] for seq in [*range(length), *end] for made in life.take(seq)
    )
    part = Restarted(past, future, [*range(length), *end])
    for _ in range(4):
        while part.is_busy and data.draw(st.integers(0, 9), label="dies at 0"):
            if part.unacknowledged and (not part.waiting or data.draw(st.booleans(), label="acknowledge")):
                part.acknowledge(data.draw(st.sampled_from(part.unacknowledged), label="which"))
            else:
                part.take_next()
        part.restart()
    while part.waiting:
        part.take_next()
    assert part.delivered == expected


class Windows:
    """A part as any other: output k is made of inputs k - past to k + future, and of the end where it comes first."""

    def __init__(self, past: int, future: int) -> None:
        self.past, self.future = past, future
        self.ring: list[int] = []
        self.next = 0

    def take(self, seq: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        if seq != EOS_SEQ:
            self.ring.append(seq)
        while self.next < len(self.ring) and (seq == EOS_SEQ or self.next + self.future < len(self.ring)):
            index, self.next = self.next, self.next + 1
            yield self.ring[index], tuple(self.ring[max(0, index - self.past) : index + self.future + 1])
        if seq == EOS_SEQ:
            yield EOS_SEQ, ()

    @property
    def pending(self) -> list[Key]:
        return hall(*self.ring[self.next :])


class Restarted:
    """A part, what waits upstream of it for its acknowledgement, and what its receiver has got."""

    def __init__(self, past: int, future: int, upstream: list[int]) -> None:
        self.past, self.future, self.upstream = past, future, upstream
        self.finished: dict[str, int] = {}
        self.delivered: dict[int, tuple[int, ...]] = {}
        self.acknowledged: set[int] = set()
        self.restart()

    def restart(self) -> None:
        self.flow = Flow(branches=1, reach=self.past, finished=self.finished)
        self.part = Windows(self.past, self.future)
        self.waiting = list(self.upstream)
        self.unacknowledged: list[int] = []

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self.unacknowledged)

    def take_next(self) -> None:
        key = ("hall", self.waiting.pop(0))
        self.flow.take(key)
        for seq, content in self.part.take(key[1]):
            if self.flow.send(("hall", seq)):
                self._receive(seq, content)
        self.flow.mark_processed([key], pending=() if key[1] == EOS_SEQ else self.part.pending)
        self._release()

    def acknowledge(self, seq: int) -> None:
        self.unacknowledged.remove(seq)
        self.acknowledged.add(seq)
        self.flow.acknowledge(0, ("hall", seq))
        self._release()

    def _receive(self, seq: int, content: tuple[int, ...]) -> None:
        self.unacknowledged.append(seq)
        if seq not in self.acknowledged:  # a receiver that was restarted too wants the very same again
            assert self.delivered.setdefault(seq, content) == content

    def _release(self) -> None:
        released = [seq for _, seq in self.flow.release()]
        self.finished = self.flow.finished_seqs()
        self.upstream = [seq for seq in self.upstream if seq not in released]
