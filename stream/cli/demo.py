"""``posestream demo``: a whole line at work on people drawn by the computer, and how right its keypoints are."""

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

_UNWATCHED_S = 15.0
_PORT = 5570
_POLL_S = 0.1
_BEGIN_PATIENCE_S = 60.0
# What is in flight when the line is told to stop is delivered well within this, also on a busy machine.
_END_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Stage:
    """What is drawn: the same people in the same place whenever these are the same."""

    people: int = 3
    seed: int = 0
    width: int = 640
    height: int = 480
    fps: float = 15.0

    def line(self, port: int, picture: Path) -> str:
        """The line that estimates their poses, publishes them on ``port`` and draws them into ``picture``."""
        drawn = f"people={self.people} seed={self.seed} width={self.width} height={self.height} fps={self.fps:g}"
        return (
            f"testsrc camera=demo realtime=true {drawn} ! queue ! detect model=truth ! track ! queue"
            f" ! window ! queue ! pose ! smooth ! tee name=poses\n"
            f"from poses ! queue ! keypointsink bind=tcp://127.0.0.1:{port}\n"
            f"from poses ! queue ! overlaysink location='{picture}'"
        )


def demo(
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=1, help="End after so many; else at Ctrl-C, or after 15 where nobody watches."),
    ] = None,
    people: Annotated[int, typer.Option("--people", min=1, max=8, help="How many walk about.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number, other people in another place.")] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Video to draw.")] = Path("posestream-demo.mp4"),
) -> int:
    """See a whole line at work: drawn people walk, and their keypoints arrive live, scored against the exact truth.

    Needs no camera, no GPU and no network. Every part is a process of its own; boxes come from the truth, keypoints
    from the temporal network that ships, which reads each frame with its two neighbours. The video shows what it found.

    Examples:

        posestream demo

        posestream demo --seconds 20 --people 5 --output walk.mp4
    """
    from stream.cli.demo_score import Score
    from stream.cli.line_argument import parse_line
    from stream.protocol.subscriber import Subscriber
    from stream.runtime.supervisor import Supervisor

    stage, port = Stage(people, seed), free_port()
    target = _target(output)
    length_s = seconds or (None if sys.stdout.isatty() else _UNWATCHED_S)
    line = stage.line(port, target)
    _introduce(line, port)
    score = Score(stage.seed, stage.people, stage.width, stage.height, stage.fps)
    with Supervisor(parse_line(line)) as supervisor, Subscriber(f"tcp://127.0.0.1:{port}") as subscriber:
        code = _watch(supervisor, subscriber, score, length_s)
    _conclude(score, target)
    return code


def free_port(wanted: int = _PORT) -> int:
    """The port that subscribers try first, if nobody has it; else any free one."""
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


def _target(output: Path) -> Path:
    target = output.resolve()
    if not target.parent.is_dir():
        raise SourceError(f"--output {output}: there is no folder {target.parent}; make it first")
    return target


def _introduce(line: str, port: int) -> None:
    where = "" if port == _PORT else f" tcp://127.0.0.1:{port}"
    print(f"The line, a process for each part:\n\n{line}\n")
    print(f"While it runs, in other terminals: 'posestream subscribe{where}' and 'posestream top'.\n", flush=True)


def _watch(supervisor: Supervisor, subscriber: Subscriber, score: Score, length_s: float | None) -> int:
    """Play, and show what arrives; 130 when Ctrl-C ended it. Raises what made the line fail."""
    from stream.cli.demo_score import showing

    code = 0
    supervisor.play()
    try:
        with showing(score) as refresh:
            for _ in _turns(supervisor, score, length_s):
                if message := subscriber.poll(_POLL_S):
                    score.observe(message)
                refresh()
    except KeyboardInterrupt:
        code = 130
    supervisor.stop()
    supervisor.wait(_END_PATIENCE_S)
    return code


def _turns(supervisor: Supervisor, score: Score, length_s: float | None) -> Iterator[None]:
    """Go on until the time is up, counted from the first message; or until the line ends, or never begins."""
    begin_by_s, end_s = time.monotonic() + _BEGIN_PATIENCE_S, float("inf")
    while time.monotonic() < end_s and not supervisor.wait(0):
        yield
        if score.messages and length_s is not None and end_s == float("inf"):
            end_s = time.monotonic() + length_s
        if not score.messages and time.monotonic() > begin_by_s:
            raise SourceError(f"no keypoints came within {_BEGIN_PATIENCE_S:.0f} s; 'posestream doctor' may know why")


def _conclude(score: Score, video: Path) -> None:
    print(score.summary())
    if not video.is_file():
        return
    still = video.with_suffix(".png")
    if _save_still(video, still):
        print(f"Look at what it saw: {video} and {still}")


def _save_still(video: Path, still: Path) -> bool:
    """A still from the middle of the video, for those who have no player at hand."""
    import cv2

    reader = cv2.VideoCapture(str(video))
    try:
        reader.set(cv2.CAP_PROP_POS_FRAMES, max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) // 2))
        there, picture = reader.read()
        return bool(there and cv2.imwrite(str(still), picture))
    finally:
        reader.release()
