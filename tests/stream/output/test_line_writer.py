"""Lines to a pipe whose reader takes its time, ends, or sees the writer killed inside a line."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from stream.element import Context, Sink
from stream.errors import StartError
from stream.output import line_writer
from stream.output.line_writer import LineWriter
from stream.registry import make
from stream.testing import make_poses

_ROOM = 1 << 16
_OWN = pytest.param(True, marks=pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc"))


class Killed(BaseException):
    """In place of SIGKILL: nothing handles it."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_TURN_MS", 5), ("_WARN_S", 0.02), ("_END_S", 0.02)):
        monkeypatch.setattr(line_writer, name, value)


@pytest.fixture(params=[_OWN, False], ids=["opened anew", "as it is"])
def pipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    if not request.param:
        monkeypatch.setattr(line_writer, "_open_anew", lambda _: None)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    for descriptor in (reading, writing):
        with suppress(OSError):
            os.close(descriptor)


def read_all(descriptor: int) -> bytes:
    received = b""
    with suppress(BlockingIOError):
        while data := os.read(descriptor, 1 << 20):
            received += data
    return received


def fill(descriptor: int) -> int:
    """Leave no room in a pipe; returns how many bytes that took."""
    poller, written = select.poll(), 0
    poller.register(descriptor, select.POLLOUT)
    while poller.poll(0):
        written += os.write(descriptor, b"." * select.PIPE_BUF)
    return written


def after(turns: int, action: Callable[[], object], reports: list[int]) -> Callable[[], None]:
    """A ``progress`` that acts at the turn of this number."""

    def progress() -> None:
        reports.append(1)
        if len(reports) == turns:
            action()

    return progress


@pytest.mark.parametrize("length", [100, 3 * _ROOM])
def test_a_reader_that_takes_its_time_is_waited_for_with_reports_and_one_warning(
    length: int, pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = pipe
    received: list[bytes] = []
    line, reports = b"x" * length + b"\n", list[int]()

    def read_at_times() -> None:
        reports.append(1)
        if len(reports) % 20 == 0:
            received.append(read_all(reading))

    before = fill(writing)
    writer = LineWriter("jsonsink", "stdout", Context(progress=read_at_times))
    writer.write(writing, line)
    writer.write(writing, line)
    received.append(read_all(reading))
    assert b"".join(received)[before:] == 2 * line
    assert len(reports) >= 20
    (warning,) = caplog.messages
    assert warning.startswith("jsonsink: the line waits for the program that reads stdout, which has read nothing for")


def test_a_line_that_is_asked_to_end_does_not_wait_for_its_reader(pipe: tuple[int, int]) -> None:
    fill(pipe[1])
    reports: list[int] = []
    with pytest.raises(StartError, match="jsonsink: stdout cannot take the last lines: the program that reads it"):
        LineWriter(
            "jsonsink",
            "stdout",
            Context(progress=after(10, lambda: None, reports), is_ending=lambda: len(reports) > 5),
        ).write(pipe[1], b"line\n")


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("is_full", [False, True])
def test_after_a_kill_inside_a_line_the_next_one_begins_anew(is_full: bool, pipe: tuple[int, int]) -> None:
    """What was not begun is not ended either: a newline alone would be a line."""
    reading, writing = pipe
    line, memory = b"x" * 3 * _ROOM + b"\n", dict[str, int]()
    before = fill(writing) if is_full else 0
    with pytest.raises(Killed):
        LineWriter("jsonsink", "stdout", Context(memory=memory, progress=after(3, kill, []))).write(writing, line)
    torn = read_all(reading)[before:]
    writer = LineWriter("jsonsink", "stdout", Context(memory=memory, incarnation=1))
    for _ in range(2):
        writer.write(writing, b"next\n")
    assert read_all(reading) == (b"" if is_full else b"\n") + b"next\nnext\n"
    assert bool(torn) is not is_full


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 6])
@pytest.mark.parametrize("is_same", [True, False])
def test_of_lines_written_together_those_that_were_complete_are_not_written_again(
    taken: int, is_same: bool, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    write, memory = os.write, dict[str, int]()

    def write_some(descriptor: int, data: memoryview) -> int:
        return write(descriptor, data[:taken])

    def wait(writer: LineWriter, _handle: int) -> None:
        if memory.get("torn", 0) or not taken:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_some)
        patch.setattr(LineWriter, "_wait", wait)
        with pytest.raises(Killed):
            LineWriter("jsonsink", "stdout", Context(memory=memory)).write(writing, b"ab\ncd\nef\n", 7)
    LineWriter("jsonsink", "stdout", Context(memory=memory, incarnation=1)).write(
        writing, b"ab\ncd\nef\n", 7 if is_same else 8
    )
    lines = read_all(reading).splitlines()
    whole = [b"ab", b"cd", b"ef"]
    before = {0: [], 1: [b"a"], 3: [b"ab"], 4: [b"ab", b"c"], 6: [b"ab", b"cd"]}[taken]  # as it stood at the kill
    ended = [b""] if taken in (3, 6) else []
    again = {0: whole, 1: whole, 3: whole[1:], 4: whole[1:], 6: whole[2:]}[taken]
    assert lines == before + (again if is_same else ended + whole)


_SINKS: dict[str, tuple[str, dict[str, Any], Callable[[str], int]]] = {
    "lines": ("jsonsink", {}, lambda line: int(json.loads(line)["frame_seq"])),
    "lines to a named pipe": ("jsonsink", {"location": "pipe"}, lambda line: int(json.loads(line)["frame_seq"])),
    "csv": ("jsonsink", {"format": "csv"}, lambda line: int(line.split(",")[2])),
    "dump": ("fakesink", {"dump": True}, lambda line: int(line.split()[1])),
}


@pytest.mark.parametrize("name", _SINKS)
def test_every_sink_that_prints_waits_and_loses_nothing_by_a_kill_while_it_waits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, properties, read_seq = _SINKS[name]
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    memory: dict[str, int] = {}
    seqs: list[int] = []
    with ExitStack() as stack:
        reading = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, reading)
        stdout = stack.enter_context(Path("pipe").open("w"))
        monkeypatch.setattr("sys.stdout", stdout)
        for incarnation, at_end in enumerate((kill, lambda: seqs.extend(take(reading, read_seq)))):
            sink = make(kind, **properties)
            assert isinstance(sink, Sink)
            sink.context = Context(memory=memory, incarnation=incarnation, progress=after(2, at_end, []))
            with suppress(Killed), sink:
                if incarnation == 0:
                    fill(stdout.fileno())
                sink.consume(make_poses(7))
                sink.consume(make_poses(8))
        seqs += take(reading, read_seq)
    assert sorted(set(seqs)) == [7, 8]
    assert seqs == sorted(seqs)


def take(reading: int, read_seq: Callable[[str], int]) -> list[int]:
    """The numbers of the frames that wait in a pipe, behind what filled it and a header."""
    lines = read_all(reading).decode().lstrip(".").splitlines()
    return [read_seq(line) for line in lines if not line.startswith("camera,")]
