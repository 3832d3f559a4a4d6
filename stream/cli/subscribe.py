"""``posestream subscribe``: shows the keypoints that a line publishes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stream.protocol.pose_message import PoseMessage
    from stream.protocol.subscriber import Subscriber

Cameras = Annotated[list[str] | None, typer.Option("--camera", "-c", help="Only this camera; may be repeated.")]
UntilEnd = Annotated[bool, typer.Option("--until-end", help="Stop when all these cameras have ended.")]
ServerKey = Annotated[
    Path | None, typer.Option("--server-key", help="The publisher's public .key file; needed for another host.")
]
ClientKey = Annotated[
    Path | None,
    typer.Option("--client-key", help="Your .key_secret file, where the publisher admits known clients only."),
]

_REFRESH_HZ = 10
_SILENCE_S = 5.0
_POLL_S = 0.5


def subscribe(
    address: Annotated[str, typer.Argument(help="Where a keypointsink publishes.")] = "tcp://127.0.0.1:5570",
    camera: Cameras = None,
    person: Annotated[int | None, typer.Option("--person", "-p", help="Only the person with this id.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, keys as in docs/reference/protocol.md.")
    ] = False,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many messages.")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, help="Fail after so many seconds without a message.")
    ] = None,
    until_end: UntilEnd = False,
    latest: Annotated[bool, typer.Option("--latest", help="Skip all waiting messages but the newest.")] = False,
    prefix: Annotated[str, typer.Option("--prefix", help="The publisher's prefix of topics.")] = "",
    server_key: ServerKey = None,
    client_key: ClientKey = None,
) -> None:
    """Show the keypoints that a line publishes: a live table on a terminal, else one line for each message.

    'age' is from capture to arrival. 'px off' is how far people were, at the capture of a frame, from where the newest
    message at that time had them: where its forecasts say if the line has predict, else where they were seen.

    You may start it before the line; it goes on when the line is restarted. Ctrl-C ends it. Messages that were lost are
    counted at the end, and with --until-end the exit status is then 1.

    Examples:

        posestream subscribe

        posestream subscribe --camera hall --person 3

        posestream subscribe tcp://192.168.1.20:5570 --server-key keys/server.key --client-key keys/client.key_secret

        posestream subscribe --json --count 100 > poses.jsonl
    """
    from stream.protocol.subscriber import Subscriber

    with Subscriber(
        address,
        camera=camera or None,
        person=person,
        latest=latest,
        until_end=until_end,
        timeout_s=timeout,
        prefix=prefix,
        server_key=server_key,
        client_key=client_key,
    ) as subscriber:
        try:
            if as_json:
                _print_json(subscriber, count)
            elif sys.stdout.isatty():
                _show_table(subscriber, count)
            else:
                _print_lines(subscriber, count)
        finally:
            has_lost = _say_lost(subscriber)
        if has_lost and until_end:
            raise typer.Exit(1)


def _say_lost(subscriber: Subscriber) -> bool:
    """Name the messages of each camera that did not arrive; False where all did."""
    lost = {camera: counts.lost for camera, counts in subscriber.statistics.cameras.items() if counts.lost}
    if lost:
        cameras = ", ".join(f"{camera}: {count}" for camera, count in lost.items())
        print(f"lost messages, since they came faster than they were read or sent: {cameras}", file=sys.stderr)
    return bool(lost)


def _first(subscriber: Subscriber, count: int | None) -> Iterator[PoseMessage]:
    """The first ``count`` messages; all where None. Silence is said, each time once."""
    with _SilenceWatch(subscriber) as watch:
        for number, message in enumerate(subscriber, 1):
            watch.reset()
            yield message
            if number == count:
                return


class _SilenceWatch:
    """Says on stderr that nothing has come for a while, and why."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._last_s = time.monotonic()
        self._is_warned = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="silence", daemon=True)

    def reset(self) -> None:
        """A message has come."""
        self._last_s, self._is_warned = time.monotonic(), False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(min(_POLL_S, _SILENCE_S / 2)):
            # With --person, nothing comes while that person is out of sight.
            is_well = self._is_begun and self._subscriber.alive
            if not self._is_warned and not is_well and time.monotonic() - self._last_s >= _SILENCE_S:
                self._is_warned = True
                _warn_of_silence(self._subscriber)

    @property
    def _is_begun(self) -> bool:
        return self._subscriber.statistics.total.messages > 0


def _warn_of_silence(subscriber: Subscriber) -> None:
    if subscriber.refusal:
        why = f"it refuses this subscriber: {subscriber.refusal}"
    elif subscriber.alive:
        known = ", ".join(subscriber.cameras) or "none yet"
        why = f"a line publishes there, but nothing of what was asked for yet; its cameras: {known}"
    else:
        why = "no line publishes there; start one that ends in keypointsink"
    print(f"nothing from {subscriber.address} for {_SILENCE_S:g} s ({why}); still trying", file=sys.stderr, flush=True)


def _print_json(subscriber: Subscriber, count: int | None) -> None:
    from stream.protocol.json import json_line, message_map

    for message in _first(subscriber, count):
        sys.stdout.write(json_line(message_map(message)).decode())
        sys.stdout.flush()


def _print_lines(subscriber: Subscriber, count: int | None) -> None:
    from stream.cli.live_table import format_line, streaming_error
    from stream.protocol.hindsight import Hindsight

    hindsight = Hindsight()
    for message in _first(subscriber, count):
        print(format_line(message, streaming_error(hindsight, message)), flush=True)


def _show_table(subscriber: Subscriber, count: int | None) -> None:
    from rich.live import Live

    from stream.cli.live_table import LiveTable

    table = LiveTable()

    def picture() -> RenderableType:
        return table.render(_title(subscriber), subscriber.statistics, time.time_ns())

    with Live(get_renderable=picture, refresh_per_second=_REFRESH_HZ):
        for message in _first(subscriber, count):
            table.observe(message)


def _title(subscriber: Subscriber) -> str:
    """The publisher's address and state."""
    state = "publishing" if subscriber.alive else "silent"
    return f"{subscriber.address}: {state}"
