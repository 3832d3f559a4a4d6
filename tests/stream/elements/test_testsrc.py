"""``testsrc``: the same frames and ground truth for the same seed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.datasets.synthetic.scene import Picture, Scene
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


def test_it_keeps_the_contract_of_an_element() -> None:
    check_element(lambda: make("testsrc", num_frames=4, width=160, height=120), [])


def test_another_process_renders_the_same_frames(root: Path) -> None:
    script = (
        "from tests.stream.elements.test_testsrc import digest, frames; print(digest(frames(seed=5, num_frames=3)))"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == digest(frames(seed=5, num_frames=3))
    assert digest(frames(seed=6, num_frames=3)) != digest(frames(seed=5, num_frames=3))


def test_people_of_half_the_pace_take_twice_the_time() -> None:
    slow, usual = (frames(num_frames=5, fps=10, pace=pace) for pace in (0.5, None))
    late, early = slow[4].truth, usual[2].truth
    assert late is not None
    assert early is not None
    np.testing.assert_allclose(late.keypoints, early.keypoints, atol=1e-3)


def test_times_are_those_of_the_frame_rate() -> None:
    assert [frame.pts_ns for frame in frames(num_frames=4, fps=25)] == [0, 40_000_000, 80_000_000, 120_000_000]


def test_an_empty_scene_has_empty_ground_truth() -> None:
    (frame,) = frames(people=0, num_frames=1)
    assert frame.truth is not None
    assert frame.truth.boxes.shape == (0, 4)
    assert frame.truth.keypoints.shape == (0, 17, 3)


def test_frames_are_written_into_the_memory_of_the_context() -> None:
    allocated = np.zeros((240, 320, 3), np.uint8)
    source = make("testsrc", width=320, height=240, num_frames=1)
    source.context = Context(name="testsrc", allocate=lambda shape: allocated)
    (frame,) = through(source, [])
    assert frame.pixels is allocated
    assert allocated.any()


def test_a_restarted_realtime_source_continues_after_its_last_frame() -> None:
    source = make("testsrc", width=64, height=64, people=1, realtime=True, fps=200, num_frames=9)
    source.context = Context(name="testsrc", memory={"seq": 5}, incarnation=1)
    assert [(frame.seq, frame.pts_ns) for frame in through(source, [])] == [
        (6, 30_000_000),
        (7, 35_000_000),
        (8, 40_000_000),
    ]
    assert source.context.memory == {"seq": 8}


def test_a_realtime_frame_is_drawn_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    draw = Scene.at

    def record_draw(scene: Scene, time_s: float, number: int) -> Picture:
        events.append("draw")
        return draw(scene, time_s, number)

    def record_wait(_: int) -> Iterator[None]:
        events.append("wait")
        return iter(())

    monkeypatch.setattr(Scene, "at", record_draw)
    monkeypatch.setattr("stream.elements.testsrc.sleep_until", record_wait)
    source = Testsrc(width=64, height=64, people=1, realtime=True, fps=500, num_frames=3)
    with source:
        for frame in source.frames():
            events += ["frame" if frame else "none"]
    assert events == ["draw", "wait", "frame"] * 3


def test_a_restarted_offline_source_starts_over_so_that_no_frame_is_lost() -> None:
    source = make("testsrc", width=64, height=64, people=1, num_frames=2)
    source.context = Context(name="testsrc", memory={"seq": 5}, incarnation=1)
    assert [frame.seq for frame in through(source, [])] == [0, 1]


def test_the_length_is_known_where_the_number_of_frames_is() -> None:
    assert Testsrc(num_frames=6).length == 6
    assert Testsrc().length is None
