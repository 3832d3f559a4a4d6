"""Whatever is killed, and when: every frame of every camera reaches every sink once, in order, unchanged."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from stream.element import Element
from stream.messages import EOS_SEQ, Key
from stream.runtime.acks import Flow
from stream.runtime.part_runner import PartRunner
from tests.stream.runtime.line_model import Line, Shape

OFTEN = range(40)
"""Seeds of lines that are played in ``make test``; thousands were played when the model was written."""


def play(seed: int) -> None:
    dice = random.Random(seed)
    shape = Shape(
        cameras=dice.choice((1, 2, 2, 3)),
        frames=dice.randrange(3, 12),
        batch=dice.choice((1, 4, 8)),
        branches=dice.choice((1, 2)),
        past=dice.choice((0, 1, 2)),
        future=dice.choice((0, 0, 1, 2)),
    )
    line = Line(shape)
    line.play_random(dice, events=dice.randrange(5, 60), kills=dice.randrange(1, 4))
    line.play_to_end()
    line.check()


@pytest.mark.parametrize("seed", OFTEN)
def test_every_frame_reaches_every_sink_once_in_order_and_unchanged(seed: int) -> None:
    play(seed)


def test_the_model_finds_a_batch_whose_last_key_is_taken_for_that_of_another_camera(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take, send = Flow.take, Flow.send
    last: dict[int, Key] = {}

    def take_any(flow: Flow, key: Key) -> None:
        last[id(flow)] = key
        take(flow, key)

    def send_at_last(flow: Flow, key: Key) -> bool:
        is_sent = send(flow, key)
        if is_sent and flow._branches:
            flow._cameras[key[0]].outputs[key[1]].made_at = last[id(flow)][1]
        return is_sent

    monkeypatch.setattr(Flow, "take", take_any)
    monkeypatch.setattr(Flow, "send", send_at_last)
    with pytest.raises(AssertionError, match=r"at sink 0|stands still"):
        play(27)


def test_the_model_finds_a_memory_that_is_ahead_since_a_batch_is_stored_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    settle, mark = PartRunner._settle, PartRunner._mark_draft

    def mark_ends(runner: PartRunner, element: Element, keys: Sequence[Key]) -> None:
        if keys[0][1] == EOS_SEQ:
            mark(runner, element, keys)

    def settle_batch(runner: PartRunner, keys: Sequence[Key]) -> None:
        for draft in runner.drafts.values():
            draft.mark([keys[-1]])
        settle(runner, keys)

    monkeypatch.setattr(PartRunner, "_mark_draft", mark_ends)
    monkeypatch.setattr(PartRunner, "_settle", settle_batch)
    with pytest.raises(AssertionError, match="at sink 0"):
        play(43)


def test_the_model_finds_what_is_taken_in_again_since_its_acknowledgement_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Flow, "was_released", lambda *_: False)
    with pytest.raises(AssertionError, match=r"at sink 0|stands still"):
        play(43)
