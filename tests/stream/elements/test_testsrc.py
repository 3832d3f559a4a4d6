"""``testsrc``: the same people for the same seed, and a truth that is true."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from stream.element import Context
from stream.elements.testsrc import Testsrc
from stream.messages import Frame
from stream.pipeline.executor import through
from stream.registry import make
from stream.testing import check_element


def frames(**properties: Any) -> list[Frame]:
    return list(through(make("testsrc", camera="test", width=320, height=240, **properties), []))


def digest(given: list[Frame]) -> str:
    total = hashlib.sha256()
    for frame in given:
        assert frame.truth is not None
        for array in (frame.pixels, frame.truth.boxes, frame.truth.keypoints):
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def test_it_keeps_the_promises_of_an_element() -> None:
    check_element(lambda: make("testsrc", num_frames=4, width=160, height=120), [])


def test_another_process_draws_the_same_frames(root: Path) -> None:
    script = (
        "from tests.stream.elements.test_testsrc import digest, frames; print(digest(frames(seed=5, num_frames=3)))"
    )
    told = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == digest(frames(seed=5, num_frames=3))
    assert digest(frames(seed=6, num_frames=3)) != digest(frames(seed=5, num_frames=3))


def test_times_are_those_of_the_frame_rate() -> None:
    assert [frame.pts_ns for frame in frames(num_frames=4, fps=25)] == [0, 40_000_000, 80_000_000, 120_000_000]


def test_an_empty_scene_has_a_truth_with_nobody_in_it() -> None:
    (frame,) = frames(people=0, num_frames=1)
    assert frame.truth is not None
    assert frame.truth.boxes.shape == (0, 4)
    assert frame.truth.keypoints.shape == (0, 17, 3)


def test_frames_are_drawn_into_the_memory_that_is_lent() -> None:
    lent = np.zeros((240, 320, 3), np.uint8)
    source = make("testsrc", width=320, height=240, num_frames=1)
    source.context = Context(name="testsrc", allocate=lambda shape: lent)
    (frame,) = through(source, [])
    assert frame.pixels is lent
    assert lent.any()


def test_a_live_one_that_is_restarted_goes_on_where_it_was() -> None:
    source = make("testsrc", width=64, height=64, people=1, realtime=True, fps=200, num_frames=9)
    source.context = Context(name="testsrc", memory={"seq": 5}, incarnation=1)
    assert [(frame.seq, frame.pts_ns) for frame in through(source, [])] == [
        (6, 30_000_000),
        (7, 35_000_000),
        (8, 40_000_000),
    ]
    assert source.context.memory == {"seq": 8}


def test_one_that_waits_begins_anew_after_a_restart_so_that_what_was_in_flight_comes_again() -> None:
    source = make("testsrc", width=64, height=64, people=1, num_frames=2)
    source.context = Context(name="testsrc", memory={"seq": 5}, incarnation=1)
    assert [frame.seq for frame in through(source, [])] == [0, 1]


def test_the_length_is_known_where_the_number_of_frames_is() -> None:
    assert Testsrc(num_frames=6).length == 6
    assert Testsrc().length is None
