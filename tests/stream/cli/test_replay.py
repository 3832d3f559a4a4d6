"""``posestream replay`` to a subscriber."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from stream.__main__ import execute
from stream.protocol.subscriber import Subscriber
from tests.stream.recording.recordings import interleave, record

Capture = pytest.CaptureFixture[str]


def test_a_subscriber_receives_a_recording_as_a_line(tmp_path: Path, capsys: Capture) -> None:
    path = record(tmp_path / "x.mcap", interleave(5), video="none")
    address = f"ipc://{tmp_path}/s"
    found: list[tuple[str, int, tuple[str, ...]]] = []
    lost: list[int] = []

    def subscribe() -> None:
        with Subscriber(address, until_end=True, timeout_s=60) as subscriber:
            found.extend((message.camera, message.seq, message.joints[:1]) for message in subscriber)
            lost.append(subscriber.statistics.total.lost)

    reader = threading.Thread(target=subscribe)
    reader.start()
    assert execute(["replay", str(path), "--bind", address, "--speed", "10", "--wait"]) == 0
    reader.join(60)
    assert found == [(camera, seq, ("nose",)) for seq in range(5) for camera in ("hall", "yard")]
    assert lost == [0]
    assert capsys.readouterr().err == (
        f"publishing {path} on {address}\npublished hall: 6, yard: 6; 0.4 s of the recording\n"
    )


def test_ctrl_c_ends_a_replay(tmp_path: Path, capsys: Capture) -> None:
    path = record(tmp_path / "x.mcap", interleave(5), video="none")
    before = signal.getsignal(signal.SIGINT)

    def press_ctrl_c() -> None:
        """Call the handler once there is one: a real signal could end the worker of the tests."""
        while (handler := signal.getsignal(signal.SIGINT)) is before:
            time.sleep(0.05)
        time.sleep(0.5)  # the first message is published at once
        assert callable(handler)
        handler(signal.SIGINT, None)

    pressing = threading.Thread(target=press_ctrl_c)
    pressing.start()
    assert execute(["replay", str(path), "--bind", f"ipc://{tmp_path}/s", "--speed", "0.01", "--loop"]) == 0
    pressing.join()
    assert "published hall: 1; " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.mcap"], "'none.mcap' cannot be read: No such file or directory; check the path and its permissions"),
        (["x.mcap", "--clients", "folder"], "--clients folder has no effect without --keys; give --keys as well"),
        (["x.mcap", "--bind", "tcp://0.0.0.0:5570"], "replay: tcp://0.0.0.0:5570 is reachable from other"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    record(Path("x.mcap"), interleave(1), video="none")
    assert execute(["replay", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"posestream: {message}")
    assert error.count("\n") == 1
