"""Answers are assigned to frames by source time and number."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stream.errors import SourceError
from stream.evaluation.alignment import align
from stream.evaluation.line_variants import Request
from stream.pipeline.launch import parse_launch
from tests.stream.evaluation.messages import FPS, LINE, STEP_NS, live_run, offline_run, people

DRAWN = Request(parse_launch(LINE))


@pytest.fixture
def stream(tmp_path: Path) -> Request:
    """A line with a stream of a clip, which is not opened here."""
    for name in ("truth.json", "clip.mp4"):
        (tmp_path / name).touch()
    line = parse_launch("rtspsrc url=rtsp://127.0.0.1/x ! tests.toys.oracle ! keypointsink")
    return Request(line, tmp_path / "truth.json", tmp_path / "clip.mp4")


def test_numbered_frames_are_aligned_by_number() -> None:
    alignment = align(DRAWN, live_run({0: 5, 3: 700, 4: 10}), offline_run(8), None)
    assert [(answer.frame, answer.age_ms) for answer in alignment.answers] == [(0, 5), (3, 700), (4, 10)]
    assert sorted(alignment.offline) == [*range(8)]
    assert alignment.begin is None


def test_a_time_that_does_not_fit_the_number_raises() -> None:
    with pytest.raises(SourceError, match=r"frame 1 is shown at 0\.200 s live and at 0\.100 s offline"):
        align(DRAWN, live_run({1: 5}, first_pts_ns=STEP_NS), offline_run(4), None)


def test_the_frames_of_a_stream_are_aligned_by_time_modulo_the_clip(stream: Request) -> None:
    # A clip of 12 frames; the stream starts at its frame 8, and counts numbers and times from its connection.
    shown = {0: 8, 1: 9, 4: 0, 6: 2, 9: 5, 13: 9}
    messages = [
        dataclasses.replace(message, people=tuple(people(shown[message.frame_seq])))
        for message in live_run(dict.fromkeys(shown, 5.0))
    ]
    alignment = align(stream, messages, offline_run(12), None)
    assert alignment.begin is not None
    assert alignment.begin.first == 8
    assert alignment.begin.difference == 0.0
    assert [alignment.loop.number(answer.frame) for answer in alignment.answers] == [*shown.values()]
    assert [answer.frame - 8 for answer in alignment.answers] == [*shown]


def test_a_stream_of_another_clip_raises(stream: Request) -> None:
    messages = [
        dataclasses.replace(message, people=tuple(people(0, time_s=60 + message.frame_seq / FPS)))
        for message in live_run(dict.fromkeys(range(10), 5.0))
    ]
    with pytest.raises(SourceError, match="cannot find where in --clip the stream began"):
        align(stream, messages, offline_run(12), None)


def test_a_stream_that_was_reconnected_raises(stream: Request) -> None:
    messages = live_run(dict.fromkeys(range(10), 5.0))
    messages[-1] = dataclasses.replace(messages[-1], pts_ns=messages[-1].pts_ns + STEP_NS // 2)
    with pytest.raises(SourceError, match=r"frame 9 of the stream is 50 ms from any frame .* reconnected"):
        align(stream, messages, offline_run(12), None)


def test_a_pause_between_two_turns_can_be_given(stream: Request) -> None:
    # The server rests for half a frame after each turn of 12.
    turn_s = 1.25
    frames = {index: index % 12 for index in range(0, 36, 3)}
    messages = [
        dataclasses.replace(
            message,
            pts_ns=round((index // 12) * turn_s * 1e9) + frames[index] * STEP_NS,
            people=tuple(people(frames[index])),
        )
        for index, message in zip(frames, live_run(dict.fromkeys(frames, 5.0)), strict=True)
    ]
    alignment = align(stream, messages, offline_run(12), turn_s)
    assert [alignment.loop.number(answer.frame) for answer in alignment.answers] == [*frames.values()]
    with pytest.raises(SourceError, match="--loop-s"):
        align(stream, messages, offline_run(12), None)


def test_without_offline_answers_it_raises() -> None:
    with pytest.raises(SourceError, match="the offline run produced no keypoints"):
        align(DRAWN, live_run({0: 5}), [], None)


def test_the_time_of_a_frame_dropped_offline_is_interpolated() -> None:
    alignment = align(DRAWN, live_run({0: 5}), [record for record in offline_run(8) if record.frame_seq != 3], None)
    assert alignment.loop.times_ns[3] == 3 * STEP_NS
