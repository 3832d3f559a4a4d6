"""The process of one part, as a supervisor starts it: ``python -P -m stream.runtime.worker --part NAME …``.

The YAML of the whole line comes on stdin, since an address in it may hold a password.

``posestream run LINE.yaml --part NAME`` runs a part with the same :func:`stream.runtime.runner.run_part`, but without a
supervisor, so that you can attach a debugger to it or run it on another host.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stream.runtime.import_path import pin_own_packages
from stream.runtime.parent_death import die_with_parent

DONE, FAILED, CANNOT_START = 0, 1, 78
"""Exit codes; the last one (EX_CONFIG) says that restarting the part would not help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the part that the arguments name as a child of the supervisor; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -P -m stream.runtime.worker", description=__doc__, parents=[part_parser(), process_parser()]
    )
    options = parser.parse_args(arguments)
    try:
        follow_supervisor(options)
    except RuntimeError as error:  # without memory, there is no thread for it
        sys.stderr.write(f"{options.part}: it cannot be started: {error}\n")
        return FAILED
    return _run(options)


def follow_supervisor(options: argparse.Namespace) -> None:
    """End with the supervisor, and leave Ctrl-C to it. Raises ``RuntimeError`` without memory for a thread."""
    die_with_parent(options.parent, options.lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked so far
    pin_own_packages()  # before anything else of ours is imported


def _run(options: argparse.Namespace) -> int:
    from stream.logs import level_from_environment, logging_to_stderr, redacting_stderr
    from stream.pipeline.launch import parse_yaml
    from stream.runtime.runner import Options, run_part

    def run() -> None:
        with redacting_stderr(), logging_to_stderr(level_from_environment()):
            line = parse_yaml(sys.stdin.read(), place="the line")
            run_part(line, options.part, options.run_dir, Options(options.lateness_ms, is_restart=options.restart))

    return get_exit_code(options.part, run)


def get_exit_code(part: str, run: Callable[[], None]) -> int:
    """Run a part, and return the exit code of its process; an error is printed on stderr."""
    from stream.errors import StartError

    try:
        run()
    except Exception as error:  # noqa: BLE001 - the supervisor reports whatever ended the part
        _print_error(part, error)
        return CANNOT_START if isinstance(error, StartError) else FAILED
    return DONE


def _print_error(part: str, error: Exception) -> None:
    """On stderr: an error of posestream in one line, any other with its traceback, also where it is the cause of a
    start that failed."""
    from stream.errors import PosestreamError, StartError, format_traceback
    from stream.runtime.bus import sanitize

    cause = error.__cause__ if isinstance(error, StartError) else None
    unexpected = next((each for each in (cause, error) if each and not isinstance(each, PosestreamError)), None)
    sys.stderr.write(sanitize(format_traceback(unexpected) if unexpected else f"{part}: {error}\n"))
    sys.stderr.flush()


def part_parser() -> argparse.ArgumentParser:
    """The options of one part."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--part", required=True, help="which of its parts to run")
    parser.add_argument("--run-dir", type=Path, required=True, help="the run directory of the line")
    parser.add_argument("--restart", action="store_true", help="the part has worked before, and has a memory")
    parser.add_argument("--lateness-ms", type=float, default=None, help="drop items older than this")
    return parser


def process_parser() -> argparse.ArgumentParser:
    """The options of a process of a supervisor."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--parent", type=int, required=True, help="process id of the supervisor")
    parser.add_argument("--lifeline", type=int, required=True, help="descriptor of the supervisor's pipe")
    return parser


if __name__ == "__main__":
    # Not sys.exit: threads of libraries that hang at exit must not keep a finished part running.
    code = main()
    sys.stdout.flush()
    os._exit(code)
