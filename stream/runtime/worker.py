"""One part of a line as a process: ``python -m stream.runtime.worker LINE.yaml --part NAME --run-dir DIR``.

The supervisor starts parts so; ``posestream run LINE.yaml --part NAME`` calls :func:`run_by_hand`, so that a debugger
can be attached to any part, and parts can sit on two hosts.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stream.errors import PosestreamError, StartError
from stream.runtime.parent_death import die_with_parent

if TYPE_CHECKING:
    from stream.pipeline.pipeline import Pipeline

DONE, FAILED, MUST_BE_MENDED = 0, 1, 78
"""Exit codes; the last one (EX_CONFIG) says that starting the part again would not help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the part that the arguments name, as the supervisor's child; returns the exit code."""
    given = _parser().parse_args(arguments)
    die_with_parent(given.parent, given.lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to understand
    return _run(lambda: _load(given.line), given.part, given.run_dir, given.lateness_ms, is_alone=False)


def run_by_hand(pipeline: Pipeline, part: str, run_dir: Path, lateness_ms: float | None = None) -> int:
    """Run one part of a line in this process, until its streams end or Ctrl-C; returns the exit code.

    ``run_dir`` is where its neighbours find it, and what it remembers is kept; made if it is not there. In the run
    directory of a supervised line the part obeys that line's supervisor too. A part that was killed goes on where it
    was; one that has ended in order begins anew.
    """
    from stream.runtime.run_dir import ensure

    return _run(lambda: pipeline, part, ensure(run_dir), lateness_ms, is_alone=True)


def _load(line: Path) -> Pipeline:
    from stream.pipeline.launch import load_yaml

    return load_yaml(line)


def _run(
    pipeline: Callable[[], Pipeline], part: str, run_dir: Path, lateness_ms: float | None, *, is_alone: bool
) -> int:
    from stream.runtime.runner import Options, Stops, run_part

    stops = Stops()
    former = {number: signal.signal(number, stops) for number in ((signal.SIGTERM, signal.SIGINT) if is_alone else ())}
    try:
        run_part(pipeline(), part, run_dir, Options(lateness_ms, is_alone), stops)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - whatever it is, its last words go where the supervisor finds them
        _say(part, error)
        return MUST_BE_MENDED if isinstance(error, StartError) else FAILED
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    return DONE


def _say(part: str, error: Exception) -> None:
    """The last words on stderr: a fault of ours with its traceback, a fault that can be mended in one line."""
    from stream.runtime.bus import printable

    is_plain = isinstance(error, PosestreamError)
    text = f"{part}: {error}\n" if is_plain else "".join(traceback.format_exception(error))
    sys.stderr.write(printable(text))
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stream.runtime.worker", description=__doc__)
    parser.add_argument("line", type=Path, help="the YAML file of the whole line")
    parser.add_argument("--part", required=True, help="which of its parts to run")
    parser.add_argument("--run-dir", type=Path, required=True, help="the run directory of the line")
    parser.add_argument("--parent", type=int, required=True, help="process id of the supervisor")
    parser.add_argument("--lifeline", type=int, required=True, help="descriptor of the supervisor's pipe")
    parser.add_argument("--lateness-ms", type=float, default=None, help="drop items older than this")
    return parser


if __name__ == "__main__":
    # Not sys.exit: threads of libraries that hang at exit must not keep a part that is done.
    code = main()
    sys.stdout.flush()
    os._exit(code)
