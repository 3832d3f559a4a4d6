"""``posestream demo``: a whole line at work on synthetic people, with its keypoints scored live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.errors import SourceError

if TYPE_CHECKING:
    from stream.cli.demo_score import Score
    from stream.protocol.subscriber import Subscriber
    from stream.runtime.supervisor import Supervisor

_SECONDS_WITHOUT_TERMINAL = 15.0
_PORT = 5570
_POLL_S = 0.1
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
"""What is in flight when the line is stopped is delivered well within this, also on a busy machine."""


@dataclass(frozen=True)
class SceneOptions:
    """What testsrc draws; equal options give equal frames."""

    people: int = 3
    seed: int = 0
    width: int = 640
    height: int = 480
    fps: float = 15.0

    def spell_line(self, port: int, video: Path) -> str:
        """The line that estimates the poses, publishes them on ``port`` and draws them into ``video``."""
        scene = f"people={self.people} seed={self.seed} width={self.width} height={self.height} fps={self.fps:g}"
        return (
            f"testsrc camera=demo realtime=true {scene} ! queue ! detect model=truth ! track ! queue"
            f" ! window ! pose model=hrnet-small ! predict ! tee name=poses\n"
            f"from poses ! queue ! keypointsink bind=tcp://127.0.0.1:{port}\n"
            f"from poses ! queue ! overlaysink location='{video}'"
        )


def demo(
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=1, help="How long; without it until Ctrl-C, or 15 without a terminal."),
    ] = None,
    people: Annotated[int, typer.Option("--people", min=1, max=8, help="How many people walk.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the scene.")] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Video to write.")] = Path("posestream-demo.mp4"),
) -> int:
    """See a whole line at work: keypoints of synthetic people arrive live and are scored against the ground truth.

    It needs no camera, no GPU and no download. Every part is a process of its own. The boxes are the true ones, the
    keypoints come from the faster of the networks that ship, with forecasts of where they are when they are read. The
    result is drawn into a video.

    Examples:

        posestream demo

        posestream demo --seconds 20 --people 5 --output walk.mp4
    """
    from stream.cli.demo_score import Score
    from stream.cli.line_argument import parse_line
    from stream.protocol.subscriber import Subscriber
    from stream.runtime.supervisor import Supervisor

    scene, port = SceneOptions(people, seed), free_port()
    target = _resolve_output(output)
    length_s = seconds or (None if sys.stdout.isatty() else _SECONDS_WITHOUT_TERMINAL)
    line = scene.spell_line(port, target)
    _introduce(line, port)
    score = Score(scene.seed, scene.people, scene.width, scene.height, scene.fps)
    with Supervisor(parse_line(line)) as supervisor, Subscriber(f"tcp://127.0.0.1:{port}", camera="demo") as subscriber:
        code = _watch(supervisor, subscriber, score, length_s)
    _conclude(score, target)
    return code


def free_port(wanted: int = _PORT) -> int:
    """The default port of subscribers where it is free, else any free one."""
    import socket
    from contextlib import closing

    for port in (wanted, 0):
        with closing(socket.socket()) as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(trial.getsockname()[1])
    return wanted


def _resolve_output(output: Path) -> Path:
    target = output.resolve()
    if not target.parent.is_dir():
        raise SourceError(f"--output {output}: there is no folder {target.parent}; create it first")
    return target


def _introduce(line: str, port: int) -> None:
    where = "" if port == _PORT else f" tcp://127.0.0.1:{port}"
    print(f"The line, with a process for each part:\n\n{line}\n")
    print(f"Watch it in other terminals: 'posestream subscribe{where}' and 'posestream top'.\n", flush=True)


def _watch(supervisor: Supervisor, subscriber: Subscriber, score: Score, length_s: float | None) -> int:
    """Run the line and show what arrives; 130 when Ctrl-C ended it. Raises what made the line fail."""
    from stream.cli.demo_score import show

    code = 0
    supervisor.play()
    try:
        with show(score) as refresh:
            for _ in _until_end(supervisor, score, length_s):
                if message := subscriber.poll(_POLL_S):
                    score.observe(message)
                refresh()
    except KeyboardInterrupt:
        code = 130
    supervisor.stop()
    supervisor.wait(_STOP_TIMEOUT_S)
    return code


def _until_end(supervisor: Supervisor, score: Score, length_s: float | None) -> Iterator[None]:
    """Yield until the time is up, counted from the first message, or the line ends. Raises where it never begins."""
    begin_by_s, end_s = time.monotonic() + _START_TIMEOUT_S, float("inf")
    while time.monotonic() < end_s and not supervisor.wait(0):
        yield
        if score.messages and length_s is not None and end_s == float("inf"):
            end_s = time.monotonic() + length_s
        if not score.messages and time.monotonic() > begin_by_s:
            raise SourceError(
                f"no keypoints came within {_START_TIMEOUT_S:.0f} s; 'posestream doctor' checks this machine"
            )


def _conclude(score: Score, video: Path) -> None:
    print(score.summary())
    if not video.is_file():
        return
    still = video.with_suffix(".png")
    if _save_still(video, still):
        print(f"The result is in {_shorten(video)} and {_shorten(still)}")


def _shorten(path: Path) -> Path:
    """The path from here, where the file is below this folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _save_still(video: Path, still: Path) -> bool:
    """Write a still from the middle of the video, which needs no player."""
    import cv2

    reader = cv2.VideoCapture(str(video))
    try:
        reader.set(cv2.CAP_PROP_POS_FRAMES, max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) // 2))
        is_read, picture = reader.read()
        return bool(is_read and cv2.imwrite(str(still), picture))
    finally:
        reader.release()
