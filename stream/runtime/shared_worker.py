"""A process that runs several parts, each in a thread: ``python -P -m stream.runtime.shared_worker …``.

For every part the supervisor passes two descriptors through the socket ``--control``: that of a conversation, and the
stderr of the part. The conversation begins with a :class:`Request`, in one line, and ends with the exit code of the
part, in one byte. If the supervisor ends it before, the part is cancelled. Its end of ``--control`` ends the process.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from stream.runtime.worker import FAILED, follow_supervisor, get_exit_code, part_parser, process_parser

if TYPE_CHECKING:
    from typing import TextIO

    from stream.pipeline.pipeline import Pipeline


class Request(msgspec.Struct, frozen=True):
    """The part to run: the options that :mod:`stream.runtime.worker` takes for it, and the YAML of the whole line."""

    arguments: tuple[str, ...]
    line: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run parts until the supervisor closes its end of the control socket; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -P -m stream.runtime.shared_worker", description=__doc__, parents=[process_parser()]
    )
    parser.add_argument("--control", type=int, required=True, help="descriptor of the socket that parts come through")
    options = parser.parse_args(arguments)
    follow_supervisor(options)
    from stream.logs import level_from_environment, logging_to_stderr, redacting_stderr
    from stream.runtime.part_output import PartStderr

    sys.stderr = cast("TextIO", PartStderr(sys.stderr))
    with (
        redacting_stderr(),
        logging_to_stderr(level_from_environment()),
        socket.socket(fileno=options.control) as control,
    ):
        _SharedWorker().serve(control)
    return 0


class _SharedWorker:
    """The parts that run in this process."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._lock = threading.Lock()
        self._count = 0

    def serve(self, control: socket.socket) -> None:
        """Start a thread for each part that is asked for, until ``control`` is closed."""
        while True:
            data, descriptors, *_ = socket.recv_fds(control, 1, 2)
            if not data:
                return
            if len(descriptors) != 2:  # this process may have no more of them, and the system has closed the rest
                for descriptor in descriptors:
                    os.close(descriptor)
                continue
            self._start(socket.socket(fileno=descriptors[0]), descriptors[1])

    def _start(self, conversation: socket.socket, stderr: int) -> None:
        try:
            threading.Thread(target=self._run, args=(conversation, stderr), daemon=True).start()
        except RuntimeError as error:  # without memory, there is no thread for it
            with open(stderr, "w") as text:
                text.write(f"it cannot be started: {error}\n")
            _answer(conversation, FAILED)

    def _run(self, conversation: socket.socket, stderr: int) -> None:
        from stream.runtime.part_output import PART_STDERR

        code = FAILED
        self._add(1)
        try:
            with open(stderr, "w", buffering=1, errors="backslashreplace") as text:
                PART_STDERR.set(text)
                code = self._run_part(conversation)
        finally:
            self._add(-1)
            _answer(conversation, code)

    def _run_part(self, conversation: socket.socket) -> int:
        from stream.runtime.runner import Options, run_part

        with conversation.makefile("rb") as requests:
            line = requests.readline()
        if not line.endswith(b"\n"):  # cancelled
            return FAILED
        request = msgspec.json.decode(line, type=Request)
        options = part_parser().parse_args(request.arguments)
        how = Options(
            options.lateness_ms,
            is_restart=options.restart,
            count_parts=lambda: self._count,
            is_cancelled=lambda: _has_ended(conversation),
        )
        return get_exit_code(
            options.part,
            lambda: run_part(self._lines.take(request.line, options.part), options.part, options.run_dir, how),
        )

    def _add(self, count: int) -> None:
        with self._lock:
            self._count += count


class _Lines:
    """The newest line, parsed once for all of its parts: parsing takes longer the more sources it has."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._text = ""
        self._unused: set[str] = set()
        self._pipeline: Pipeline | None = None

    def take(self, text: str, part: str) -> Pipeline:
        """The pipeline for one run of a part, whose elements no other run uses."""
        from stream.pipeline.launch import parse_yaml

        with self._lock:
            if self._pipeline is None or text != self._text or part not in self._unused:
                pipeline = parse_yaml(text, place="the line")
                self._pipeline, self._text = pipeline, text
                self._unused = {each.name for each in pipeline.parts}
            self._unused.discard(part)
            return self._pipeline


def _has_ended(conversation: socket.socket) -> bool:
    try:
        return not conversation.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _answer(conversation: socket.socket, code: int) -> None:
    with conversation:
        try:
            conversation.sendall(bytes([code]))
        except OSError:  # the supervisor has ended, and so does this process
            return


if __name__ == "__main__":
    # As in stream.runtime.worker: threads of libraries that hang at exit must not keep the process running.
    exit_code = main()
    os._exit(exit_code)
