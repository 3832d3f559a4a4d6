"""A line on stdout is whole, or not there, or ended before the next one."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream.element import Context
from stream.errors import FullDiskError
from stream.output import line_writer
from stream.output.standard_output import StandardOutput

LINE = b'{"camera": "hall"}\n'


def make_output() -> StandardOutput:
    return StandardOutput("jsonsink", Context())


@contextmanager
def stdout_to(path: Path, monkeypatch: pytest.MonkeyPatch, mode: str = "wb") -> Iterator[None]:
    with path.open(mode) as file, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(io.FileIO(file.fileno(), "w", closefd=False))))
        yield


def fill(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """The disk takes so many bytes more, and then none."""
    write, left = os.write, room

    def write_some(descriptor: int, data: memoryview) -> int:
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[:left])
        left -= written
        return written

    monkeypatch.setattr(os, "write", write_some)


@pytest.mark.parametrize("mode", ["wb", "ab"])
@pytest.mark.parametrize("room", [0, 1, len(LINE) - 1])
def test_of_a_line_that_did_not_fit_nothing_stays(
    mode: str, room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, output = tmp_path / "out.jsonl", make_output()
    path.write_bytes(b"" if mode == "wb" else b"before\n")
    with stdout_to(path, monkeypatch, mode):
        output.write(LINE)
        with monkeypatch.context() as patch:
            fill(patch, room)
            with pytest.raises(FullDiskError, match="No space left"):
                output.write(LINE)
        output.write(LINE)
    assert path.read_bytes() == (b"" if mode == "wb" else b"before\n") + 2 * LINE


def test_behind_a_torn_line_that_stays_the_next_one_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, output = tmp_path / "out.jsonl", make_output()
    with stdout_to(path, monkeypatch):
        monkeypatch.setattr(line_writer, "_is_undone", lambda *_: False)
        for _ in range(2):  # the second time, not even the newline fits
            with monkeypatch.context() as patch:
                fill(patch, 9 if not path.stat().st_size else 0)
                with pytest.raises(FullDiskError, match="No space left"):
                    output.write(LINE)
        output.write(LINE)
        output.write(LINE)
    assert path.read_bytes() == LINE[:9] + b"\n" + 2 * LINE


def test_what_another_program_wrote_behind_a_torn_line_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, output = tmp_path / "out.jsonl", make_output()
    with stdout_to(path, monkeypatch, "ab"):
        write = os.write

        def write_half(descriptor: int, data: memoryview) -> int:
            if path.stat().st_size:
                with path.open("ab") as other:
                    other.write(b"theirs")
                raise OSError(28, "No space left on device")
            return write(descriptor, data[:9])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write_half)
            with pytest.raises(FullDiskError, match="No space left"):
                output.write(LINE)
        output.write(LINE)
    assert path.read_bytes() == LINE[:9] + b"theirs\n" + LINE


def test_a_pipe_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    line = b"x" * 200_000 + b"\n"
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(iter(lambda: os.read(reading, 1 << 16), b"")))
    with os.fdopen(writing, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", stdout)
        reader.start()
        make_output().write(line)
    reader.join()
    os.close(reading)
    assert b"".join(received) == line


def test_a_stdout_without_a_descriptor_is_written_to(capsys: pytest.CaptureFixture[str]) -> None:
    make_output().write(LINE)
    assert capsys.readouterr().out == LINE.decode()
