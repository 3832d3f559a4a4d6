"""The encoder of pictures: it never waits, takes a bounded rate, and its pictures have a bounded size."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np
import pytest

from stream.messages import Frame
from stream.output.picture_encoder import Picture, PictureEncoder
from stream.testing.items import make_frame
from stream.testing.videos import numbered_picture, read_number
from tests.stream.publishing import wait_until

Publish = Callable[[Frame, bytes], None]


def make_encoder(publish: Publish, *, height: int = 720, fps: float = 1e6, max_bytes: int = 10**6) -> PictureEncoder:
    return PictureEncoder(publish, height=height, fps=fps, max_bytes=max_bytes, owner="test")


def decode(jpeg: bytes) -> Picture:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_the_picture_is_that_of_the_frame_though_its_memory_is_used_again() -> None:
    pictures: list[tuple[int, int | None]] = []
    pixels = numbered_picture(0)
    with closing(make_encoder(lambda frame, jpeg: pictures.append((frame.seq, read_number(decode(jpeg)))))) as encoder:
        for seq in range(5):
            pixels[:] = numbered_picture(seq)
            assert encoder.offer(replace(make_frame(seq), pixels=pixels))
            pixels[:] = 0
            wait_until(lambda seq=seq: len(pictures) > seq, "it is encoded")  # type: ignore[misc]
            wait_until(lambda: encoder._spare, "its memory is free")
    assert pictures == [(seq, seq) for seq in range(5)]


def test_frames_are_left_out_while_the_encoder_is_busy_and_offering_does_not_wait() -> None:
    hold, begun = threading.Event(), threading.Event()
    taken: list[tuple[str, int]] = []

    def publish(frame: Frame, _jpeg: bytes) -> None:
        begun.set()
        hold.wait(30)
        taken.append(frame.key)

    with closing(make_encoder(publish)) as encoder:
        assert encoder.offer(make_frame(0))
        begun.wait(30)
        began_s = time.monotonic()
        offers = [encoder.offer(make_frame(seq, camera)) for seq in range(1, 9) for camera in ("cam", "yard")]
        assert time.monotonic() - began_s < 5
        hold.set()
        wait_until(lambda: len(taken) == 3, "what was taken is encoded")
    assert offers == [True, True] + [False] * 14, "one frame of each camera waits"
    assert taken == [("cam", 0), ("cam", 1), ("yard", 1)]


def test_a_camera_has_so_many_pictures_a_second_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    with closing(make_encoder(lambda frame, _: taken.append(frame.seq), fps=10)) as encoder:
        now_s = 0.0
        monkeypatch.setattr("stream.output.picture_encoder.time.monotonic", lambda: now_s)
        counts = []
        for seq in range(100):  # at 25 frames a second
            now_s = seq / 25 + (0.01 if seq % 2 else 0.0)
            counts.append(encoder.offer(make_frame(seq)))
            while encoder._waiting:
                time.sleep(0.001)
    assert sum(counts) == pytest.approx(40, abs=2)


@pytest.mark.parametrize(("size", "max_bytes", "expected"), [((1920, 1080), 10**6, 720), ((640, 480), 20_000, 120)])
def test_pictures_are_scaled_down_to_their_limits(size: tuple[int, int], max_bytes: int, expected: int) -> None:
    found: list[bytes] = []
    with closing(make_encoder(lambda _, jpeg: found.append(jpeg), max_bytes=max_bytes)) as encoder:
        noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
        noise = cv2.blur(noise, (9, 9)).astype(np.uint8) if expected == 720 else noise
        encoder.offer(replace(make_frame(0), pixels=noise))
        wait_until(lambda: found, "it is encoded")
    assert decode(found[0]).shape[:2] == (expected, round(size[0] * expected / size[1]))
    assert len(found[0]) <= max_bytes


def test_what_cannot_be_encoded_is_said_once_and_the_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    count = 0

    def publish(_frame: Frame, _jpeg: bytes) -> None:
        nonlocal count
        count += 1
        if count < 3:
            raise OSError("no room")

    with caplog.at_level(logging.WARNING), closing(make_encoder(publish)) as encoder:
        for seq in range(3):
            encoder.offer(make_frame(seq))
            wait_until(lambda seq=seq: count > seq, "it was tried")  # type: ignore[misc]
    assert [record.getMessage() for record in caplog.records] == [
        "test: the picture of frame 0 of 'cam' is not published: no room"
    ]


def test_a_picture_wider_than_a_jpeg_can_be_is_scaled_down() -> None:
    pictures: list[Picture] = []
    with closing(make_encoder(lambda _, jpeg: pictures.append(decode(jpeg)))) as encoder:
        encoder.offer(replace(make_frame(0), pixels=np.zeros((8, 70_000, 3), np.uint8)))
        wait_until(lambda: len(pictures) > 0, "it is encoded")
    assert pictures[0].shape == (7, 61_250, 3)
