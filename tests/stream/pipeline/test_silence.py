"""The silence of live sources, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from stream.caps import Caps
from stream.element import Source
from stream.elements.filesrc import Filesrc
from stream.elements.testsrc import Testsrc
from stream.messages import Frame
from stream.pipeline.executor import Executor
from stream.pipeline.silence import SilenceMonitor
from stream.testing import make_frame

FRAME = make_frame(0)


@dataclass
class Camera(Source):
    """A camera that gives a frame, or None, after each number of seconds in ``script``."""

    src = Caps("video/raw")
    fps: float | None = None
    reason = ""

    def __post_init__(self) -> None:
        self.script: list[tuple[float, Frame | None]] = []
        self.now_s = 100.0
        self.name = "hall"

    @property
    def is_live(self) -> bool:
        return True

    @property
    def nominal_fps(self) -> float | None:
        return self.fps

    def describe_silence(self) -> str:
        return self.reason

    def frames(self) -> Iterator[Frame | None]:
        for seconds, frame in self.script:
            self.now_s += seconds
            yield frame


def _watch(camera: Camera, *script: tuple[float, Frame | None]) -> Iterator[SilenceMonitor]:
    """The monitor after each step."""
    camera.script = list(script)
    monitor = SilenceMonitor(camera, lambda: camera.now_s)
    for _ in monitor.watch(camera.frames()):
        yield monitor


def test_silence_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    camera = Camera()
    camera.reason = "Connection refused; reconnecting"
    script = [(0.1, FRAME), *[(1.0, None)] * 12, (0.5, FRAME), (0.1, FRAME)]
    said = [monitor.describe() for monitor in _watch(camera, *script)]
    assert caplog.messages == [
        "camera 'hall' has given no frame for 5 s: Connection refused; reconnecting",
        "camera 'hall' gives frames again, after 12 s",
    ]
    assert said[4:6] == ["", "silent for 5 s: Connection refused; reconnecting"]
    assert said[12] == "silent for 12 s: Connection refused; reconnecting"
    assert said[13:] == ["", ""]


def test_each_silence_is_said(caplog: pytest.LogCaptureFixture) -> None:
    list(_watch(Camera(), (6.0, None), (0.1, FRAME), (4.0, None), (0.1, FRAME), (7.0, None)))
    assert [message.split(" for ")[-1] for message in caplog.messages if "no frame" in message] == ["6 s", "7 s"]


def test_a_source_that_blocks_is_noticed_when_it_returns(caplog: pytest.LogCaptureFixture) -> None:
    list(_watch(Camera(), (9.0, FRAME)))
    assert caplog.messages == [
        "camera 'hall' has given no frame for 9 s",
        "camera 'hall' gives frames again, after 9 s",
    ]


def test_the_time_of_the_reader_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    camera = Camera()
    for _ in _watch(camera, *[(0.1, None)] * 3, (0.1, FRAME)):
        camera.now_s += 60  # a network that is compiled, say
    assert not caplog.messages


def test_a_low_rate_is_no_silence(caplog: pytest.LogCaptureFixture) -> None:
    list(_watch(Camera(fps=0.1), *[(1.0, None)] * 29, (0.1, FRAME)))
    assert not caplog.messages
    list(_watch(Camera(fps=0.1), *[(1.0, None)] * 31))
    assert caplog.messages == ["camera 'hall' has given no frame for 30 s"]


def test_live_sources_have_a_monitor_and_others_none() -> None:
    assert Executor([Testsrc(realtime=True)]).silence is not None
    assert Executor([Testsrc()]).silence is None
    assert Executor([Filesrc(location="clip.mp4")]).silence is None


def test_the_executor_watches_and_closes_what_it_reads() -> None:
    camera = Camera()
    camera.script = [(0.0, FRAME)] * 3
    frames = Executor([camera]).frames()
    assert next(frames) is FRAME
    frames.close()  # type: ignore[attr-defined]
    assert list(frames) == []
