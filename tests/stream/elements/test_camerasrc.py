"""A fake camera replaces ``open_capture``; the cameras of this machine are only listed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stream.capture.devices import Device, describe_devices, list_devices, resolve_device
from stream.elements import camerasrc
from stream.elements.camerasrc import Camerasrc
from stream.errors import PropertyError, SourceError
from stream.messages import Frame
from stream.registry import make
from stream.testing import check_element
from stream.testing.videos import numbered_picture, read_number

TIMEOUT_S = 30.0
PRESENT = (Device("/dev/video0", "USB camera"), Device("/dev/video2", "Integrated Webcam"))


class FakeCamera:
    """A camera with numbered pictures, which supports only 320x240 at 30 fps in YUYV, until it is unplugged."""

    def __init__(self, first: int = 0, pictures: int = 10**9, *, channels: int = 3, opens: bool = True) -> None:
        self._next, self._left, self._channels, self._opens = first, pictures, channels, opens
        self.requests: list[tuple[int, float]] = []
        self.is_released = threading.Event()

    def isOpened(self) -> bool:
        return self._opens

    def read(self) -> tuple[bool, Any]:
        time.sleep(0.002)
        if not self._left:
            return False, None
        pixels = numbered_picture(self._next % 4096)
        self._next, self._left = self._next + 1, self._left - 1
        return True, pixels if self._channels == 3 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)

    def get(self, prop: int) -> float:
        yuyv = cv2.VideoWriter.fourcc(*"YUYV")
        values = {cv2.CAP_PROP_FRAME_WIDTH: 320, cv2.CAP_PROP_FRAME_HEIGHT: 240, cv2.CAP_PROP_FPS: 30}
        return float(values.get(prop, yuyv))

    def set(self, prop: int, value: float) -> bool:
        self.requests.append((prop, value))
        return False

    def release(self) -> None:
        self.is_released.set()


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int | str]]:
    """Make ``open_capture`` open these cameras, one after the other; the last one repeats."""

    def plug_in(*fakes: FakeCamera) -> list[int | str]:
        opened: list[int | str] = []

        def open_capture(device: int | str, backend: int) -> FakeCamera:
            opened.append(device)
            return fakes[min(len(opened), len(fakes)) - 1]

        monkeypatch.setattr(Camerasrc, "open_capture", staticmethod(open_capture))
        monkeypatch.setattr(camerasrc, "list_devices", lambda: PRESENT)
        return opened

    return plug_in


def first(source: Camerasrc, count: int) -> list[Frame]:
    source.num_frames = count
    deadline_s, frames = time.monotonic() + TIMEOUT_S, []
    with source:
        for frame in source.frames():
            assert time.monotonic() < deadline_s
            frames += [] if frame is None else [frame]
    return frames


def test_frames_of_a_camera_have_their_number_and_increasing_times(plug: Any) -> None:
    camera = FakeCamera()
    plug(camera)
    frames = first(Camerasrc(camera="hall"), 20)
    assert [read_number(frame.pixels) for frame in frames] == [frame.seq for frame in frames]
    assert {frame.camera for frame in frames} == {"hall"}
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))
    assert all(frame.ledger["captured"] == frame.wall_ns <= frame.ledger["decoded"] for frame in frames)
    assert camera.is_released.wait(TIMEOUT_S), "the camera is released"


def test_a_slow_line_sees_new_frames_and_a_gap_in_their_numbers(plug: Any) -> None:
    plug(FakeCamera())
    source = Camerasrc(max_items=1)
    with source:
        frames = (frame for frame in source.frames() if frame)
        before = next(frames)
        time.sleep(0.3)
        next(frames)
        after = next(frames)
    # A picture every 2 ms or so: about a hundred passed during the sleep, and at most one of them waited.
    assert after.seq - before.seq > 10
    assert read_number(after.pixels) == after.seq


def test_an_unplugged_camera_is_waited_for_and_its_numbers_continue(
    plug: Any, caplog: pytest.LogCaptureFixture
) -> None:
    opened = plug(FakeCamera(0, 5), FakeCamera(opens=False), FakeCamera(100, 5))
    frames = first(Camerasrc(max_items=50, backoff_s=0.01), 10)
    assert [read_number(frame.pixels) for frame in frames] == [*range(5), *range(100, 105)]
    assert [frame.seq for frame in frames] == list(range(10))
    assert opened == [0, 0, 0]
    assert "camera '0' is unavailable: it delivers no more pictures; retrying in 0.0 s" in caplog.text


def test_frames_of_a_grey_camera_have_three_channels(plug: Any) -> None:
    plug(FakeCamera(7, channels=1))
    frame = first(Camerasrc(), 1)[0]
    assert frame.pixels.shape == (240, 320, 3)
    assert read_number(frame.pixels) == 7


def test_the_pixel_format_is_set_before_size_and_rate(plug: Any) -> None:
    camera = FakeCamera()
    plug(camera)
    first(Camerasrc(width=640, height=480, fps=15, fourcc="MJPG"), 1)
    assert [prop for prop, _ in camera.requests] == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
    ]


def test_a_refused_property_logs_a_warning(plug: Any, caplog: pytest.LogCaptureFixture) -> None:
    plug(FakeCamera())
    first(Camerasrc(width=640, height=240, fps=30, fourcc="MJPG"), 1)
    assert "camera '0' does not support fourcc=MJPG and width=640; it delivers 320x240 at 30 fps in YUYV" in caplog.text


def test_a_supported_property_logs_no_warning(plug: Any, caplog: pytest.LogCaptureFixture) -> None:
    plug(FakeCamera())
    first(Camerasrc(width=320, height=240, fps=30), 1)
    assert not caplog.records


def test_a_camera_is_found_by_index_path_and_part_of_its_name(tmp_path: Path) -> None:
    link = tmp_path / "usb-camera"
    link.touch()
    assert resolve_device("2", PRESENT) == 2
    assert resolve_device(str(link), PRESENT) == str(link)
    assert resolve_device("integrated", PRESENT) == "/dev/video2"
    assert resolve_device("front", (Device("1", "Front camera"),)) == 1
    assert resolve_device("/dev/no-such-camera", PRESENT) is None
    assert resolve_device("no such camera", PRESENT) is None


def test_it_keeps_the_contract_of_elements(plug: Any) -> None:
    plug(FakeCamera())
    check_element(lambda: Camerasrc(camera="hall", num_frames=20))


# -- errors -----------------------------------------------------------------------------------------------------------


def catch_error(source: Camerasrc) -> str:
    with pytest.raises(SourceError) as caught:
        first(source, 1)
    return str(caught.value)


def test_a_missing_camera_raises_with_the_available_ones(plug: Any) -> None:
    plug(FakeCamera(opens=False))
    there = "it is not connected; there is /dev/video0 (USB camera), /dev/video2 (Integrated Webcam); plug it in"
    assert catch_error(Camerasrc(device="7")).startswith(f"cannot reach camera '7': {there}")
    assert catch_error(Camerasrc(device="/dev/video7")).startswith(f"cannot reach camera '/dev/video7': {there}")
    assert catch_error(Camerasrc(device="Logitech")).startswith(f"cannot reach camera 'Logitech': {there}")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a camera has an index and no path")
def test_a_busy_camera_has_its_own_message(plug: Any) -> None:
    plug(FakeCamera(opens=False))
    assert "it is connected, but another program uses it, or this user may not open it" in catch_error(
        Camerasrc(device="2")
    )


def test_the_cameras_of_this_machine_are_listed_and_a_missing_one_raises(capfd: pytest.CaptureFixture[str]) -> None:
    """With FFmpeg's list and OpenCV's camera, for an index that no machine has."""
    assert all(isinstance(device, Device) for device in list_devices())
    message = catch_error(Camerasrc(device="977", open_timeout_s=TIMEOUT_S))
    assert message.startswith("cannot reach camera '977': it is not connected; ")
    assert describe_devices(list_devices()) in message
    assert capfd.readouterr().err == "", "one line is enough"


def test_a_format_that_is_not_four_letters_raises() -> None:
    with pytest.raises(PropertyError, match="camerasrc: fourcc=MJPEG is not valid"):
        make("camerasrc", fourcc="MJPEG")


def test_a_camera_is_live_and_its_nominal_rate_is_the_requested_one() -> None:
    assert Camerasrc().is_live
    assert Camerasrc(fps=25).nominal_fps == 25
    assert Camerasrc().nominal_fps is None


def test_the_picture_is_copied_since_a_camera_may_reuse_its_buffer(plug: Any) -> None:
    plug(FakeCamera())
    source = Camerasrc()
    slot = np.zeros((240, 320, 3), np.uint8)
    source.context.allocate = lambda shape: slot
    assert first(source, 1)[0].pixels is slot
