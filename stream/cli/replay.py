"""``posestream replay``: publishes the keypoints of a recording once more."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.logs import print_notice

if TYPE_CHECKING:
    from stream.recording.replay import Replay
    from stream.transports.access import Access
    from stream.transports.publisher import Publisher

_SLICE_S = 0.05
_LINGER_S = 2.0
_PROGRESS_S = 1.0


def replay(
    location: Annotated[Path, typer.Argument(help="A file of recordsink (.mcap); those numbered beside it follow.")],
    speed: Annotated[float, typer.Option("--speed", min=0.01, max=1000, help="2 is twice as fast.")] = 1.0,
    bind: Annotated[str, typer.Option("--bind", help="Where to publish, as keypointsink.")] = "tcp://127.0.0.1:5570",
    loop: Annotated[bool, typer.Option("--loop", help="Start over at the end, as a new run of the publisher.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Begin when the first subscriber is there.")] = False,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="CURVE .key_secret file; required beyond this machine.")
    ] = None,
    clients: Annotated[
        Path | None, typer.Option("--clients", help="Folder with the .key files of the allowed subscribers.")
    ] = None,
) -> None:
    """Publish the keypoints of a recording once more: the same messages, byte for byte, at their pace, until Ctrl-C.

    Subscribers receive them as from a line with keypointsink; times in them are those of the recording.

    Examples:

        posestream replay hall.mcap

        posestream replay hall.mcap --speed 4 --loop --bind tcp://127.0.0.1:5571
    """
    from stream.capture.files import expand_home
    from stream.recording.installed import check_installed
    from stream.runtime.signals import handle_signals
    from stream.transports.curve import REMEDY
    from stream.transports.publisher import Publisher
    from stream.transports.zmq_socket import check_address

    check_installed("posestream replay")
    check_address(bind, "replay", has_keys=keys is not None, remedy=f"give --keys, or bind to 127.0.0.1 ({REMEDY})")
    from stream.recording.recording import Recording
    from stream.recording.replay import HEARTBEAT_MS, Replay

    playing = Replay(Recording(expand_home(str(location))), speed=speed, loop=loop)
    playing.open()
    with (
        handle_signals() as received,
        Publisher(
            bind,
            snapshot=playing.snapshot,
            heartbeat=playing.heartbeat,
            heartbeat_ms=HEARTBEAT_MS,
            access=_access(keys, clients),
            owner="replay",
        ) as publisher,
    ):
        print_notice(f"publishing {location} on {publisher.endpoint}")
        progress = _Progress(playing, received, is_loop=loop)
        if wait:
            progress.wait_for_subscriber(publisher)
        playing.run(publisher.publish, progress.wait)
        progress.finish()
        if not received:
            publisher.wait_until_asked(_LINGER_S)


def _access(keys: Path | None, clients: Path | None) -> Access:
    from stream.errors import PropertyError
    from stream.transports import curve
    from stream.transports.access import Access

    if clients is not None and keys is None:
        raise PropertyError(f"--clients {clients} has no effect without --keys; give --keys as well")
    return Access(curve.Keys.load(keys) if keys is not None else None, clients)


class _Progress:
    """Waits between messages, and shows on a terminal how far the replay is."""

    def __init__(self, playing: Replay, received: list[int], *, is_loop: bool) -> None:
        from stream.cli.progress import is_watched

        self._playing, self._received, self._is_loop = playing, received, is_loop
        self._is_shown = is_watched()
        self._next_s = 0.0

    def wait_for_subscriber(self, publisher: Publisher) -> None:
        while not self._received and not publisher.statistics().snapshots:
            publisher.wait_until_asked(_SLICE_S)

    def wait(self, seconds: float) -> bool:
        """Wait between two messages; True once a signal has come."""
        until_s = time.monotonic() + seconds
        while not self._received and (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _SLICE_S))
            self._show()
        return bool(self._received)

    def finish(self) -> None:
        """Say what was published."""
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr)
        print_notice(f"published {self._describe()}")

    def _show(self) -> None:
        if self._is_shown and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _PROGRESS_S
            print(f"\r\033[K{self._describe()}", end="", file=sys.stderr, flush=True)

    def _describe(self) -> str:
        counts = ", ".join(f"{camera}: {count:,}" for camera, count in sorted(self._playing.published.items()))
        turn = f", turn {self._playing.turns + 1}" if self._is_loop else ""
        return f"{counts or 'nothing'}; {self._playing.position_s:.1f} s of the recording{turn}"
