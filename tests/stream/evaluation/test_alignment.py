"""Answers come to the frames that they are about, by source time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stream.errors import SourceError
from stream.evaluation.alignment import join
from stream.evaluation.line_variants import Asked
from stream.pipeline.launch import parse_launch
from tests.stream.evaluation.messages import FPS, LINE, STEP_NS, live_run, offline_run, people

DRAWN = Asked(parse_launch(LINE))


@pytest.fixture
def stream(tmp_path: Path) -> Asked:
    """A line that shows a clip, which nobody opens here."""
    for name in ("truth.json", "clip.mp4"):
        (tmp_path / name).touch()
    line = parse_launch("rtspsrc url=rtsp://127.0.0.1/x ! tests.toys.oracle ! keypointsink")
    return Asked(line, tmp_path / "truth.json", tmp_path / "clip.mp4")


def test_a_source_that_numbers_its_frames_is_taken_at_its_word() -> None:
    joined = join(DRAWN, live_run({0: 5, 3: 700, 4: 10}), offline_run(8), None)
    assert [(answer.frame, answer.age_ms) for answer in joined.answers] == [(0, 5), (3, 700), (4, 10)]
    assert sorted(joined.offline) == [*range(8)]
    assert joined.begin is None


def test_a_time_that_does_not_go_with_the_number_is_told() -> None:
    with pytest.raises(SourceError, match=r"frame 1 is shown at 0\.200 s live and at 0\.100 s offline"):
        join(DRAWN, live_run({1: 5}, first_pts_ns=STEP_NS), offline_run(4), None)


def test_of_a_stream_the_time_says_it_modulo_the_clip(stream: Asked) -> None:
    # A clip of 12 frames, joined at its frame 8; the stream counts from its connection, in numbers and in time.
    shown = {0: 8, 1: 9, 4: 0, 6: 2, 9: 5, 13: 9}
    messages = [
        dataclasses.replace(message, people=tuple(people(shown[message.frame_seq])))
        for message in live_run(dict.fromkeys(shown, 5.0))
    ]
    joined = join(stream, messages, offline_run(12), None)
    assert joined.begin is not None
    assert joined.begin.first == 8
    assert joined.begin.disagree == 0.0
    assert [joined.loop.number(answer.frame) for answer in joined.answers] == [*shown.values()]
    assert [answer.frame - 8 for answer in joined.answers] == [*shown]


def test_a_stream_of_another_clip_begins_nowhere(stream: Asked) -> None:
    messages = [
        dataclasses.replace(message, people=tuple(people(0, time_s=60 + message.frame_seq / FPS)))
        for message in live_run(dict.fromkeys(range(10), 5.0))
    ]
    with pytest.raises(SourceError, match="cannot tell where in --clip the stream began"):
        join(stream, messages, offline_run(12), None)


def test_a_stream_that_was_connected_anew_is_told(stream: Asked) -> None:
    messages = live_run(dict.fromkeys(range(10), 5.0))
    messages[-1] = dataclasses.replace(messages[-1], pts_ns=messages[-1].pts_ns + STEP_NS // 2)
    with pytest.raises(SourceError, match=r"frame 9 of the stream lies 50 ms from any frame .* reconnected"):
        join(stream, messages, offline_run(12), None)


def test_a_pause_between_two_turns_can_be_told(stream: Asked) -> None:
    # The server rests for half a frame after each turn of 12.
    turn_s = 1.25
    frames = {place: place % 12 for place in range(0, 36, 3)}
    messages = [
        dataclasses.replace(
            message,
            pts_ns=round((place // 12) * turn_s * 1e9) + frames[place] * STEP_NS,
            people=tuple(people(frames[place])),
        )
        for place, message in zip(frames, live_run(dict.fromkeys(frames, 5.0)), strict=True)
    ]
    joined = join(stream, messages, offline_run(12), turn_s)
    assert [joined.loop.number(answer.frame) for answer in joined.answers] == [*frames.values()]
    with pytest.raises(SourceError, match="--loop-s"):
        join(stream, messages, offline_run(12), None)


def test_without_any_offline_answer_there_is_nothing_to_join() -> None:
    with pytest.raises(SourceError, match="the offline run gave no keypoints at all"):
        join(DRAWN, live_run({0: 5}), [], None)


def test_a_frame_that_the_line_leaves_out_also_offline_has_the_time_between() -> None:
    joined = join(DRAWN, live_run({0: 5}), [told for told in offline_run(8) if told.frame_seq != 3], None)
    assert joined.loop.times_ns[3] == 3 * STEP_NS
