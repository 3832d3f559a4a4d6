"""A file of results that is removed while it is written, and a disk behind stdout that is full."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest

from stream.element import Context
from stream.elements.jsonsink import JsonSink
from stream.errors import StartError, TransportError
from stream.testing import make_poses

_REMOVED = "jsonsink cannot write %s: it was removed while the line ran; choose another location="


@pytest.mark.parametrize("form", ["lines", "coco"])
def test_a_file_that_was_removed_meanwhile_is_an_error_at_the_end(
    tmp_path: Path, form: Literal["lines", "coco"]
) -> None:
    path = tmp_path / "poses.json"
    written = path if form == "lines" else tmp_path / "poses.json.part"
    with suppress(TransportError), JsonSink(location=str(path), format=form) as sink:
        sink.consume(make_poses(0, "hall"))
        written.unlink()
        with pytest.raises(TransportError) as caught:
            sink.flush()
    assert str(caught.value) == _REMOVED % written


def test_lines_go_on_behind_a_file_that_another_program_shortens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As logrotate does with copytruncate; written where it ended before, the file would begin with zeros."""
    path = tmp_path / "poses.jsonl"
    path.write_text("of an earlier run\n")
    with JsonSink(location=str(path)) as sink:
        sink.consume(make_poses(0))
        size = path.stat().st_size
        path.write_bytes(b"")
        sink.consume(make_poses(1))
        sink.consume(make_poses(2))
    assert caplog.messages == [f"jsonsink: another program took {size} bytes from {path}, which goes on where it ends"]
    assert [json.loads(line)["frame_seq"] for line in path.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("form", ["coco", "posetrack", "csv"])
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes() + b"more\n"),
        lambda path: path.write_bytes(b"x" * path.stat().st_size),
    ],
    ids=["shortened", "lengthened", "overwritten"],
)
def test_a_document_whose_frames_another_program_changed_is_an_error(
    tmp_path: Path, form: Literal["coco", "posetrack", "csv"], change: Callable[[Path], object]
) -> None:
    path, part = tmp_path / f"out.{form}", tmp_path / f"out.{form}.part"
    sink = JsonSink(location=str(path), format=form)
    sink.__enter__()
    sink.consume(make_poses(0))
    change(part)
    sink.consume(make_poses(1))
    for finish in (sink.flush, lambda: sink.__exit__(None, None, None)):
        with pytest.raises(TransportError) as caught:
            finish()
        assert str(caught.value) == (
            f"jsonsink cannot write {path}: {part} was changed by another program while the line ran; "
            "choose another location="
        )
    assert not path.exists()


def test_a_file_that_was_removed_before_a_restart_is_an_error(tmp_path: Path) -> None:
    memory: dict[str, int] = {}
    path = tmp_path / "poses.jsonl"
    for incarnation in (0, 1):
        with JsonSink(location=f"{tmp_path}/{{camera}}.jsonl") as sink:
            sink.context = Context(memory=memory, incarnation=incarnation)
            sink.consume(make_poses(incarnation, "poses"))
    path.unlink()
    with JsonSink(location=f"{tmp_path}/{{camera}}.jsonl") as sink:
        sink.context = Context(memory=memory, incarnation=2)
        sink.consume(make_poses(2, "another"))
        with pytest.raises(TransportError) as caught:
            sink.consume(make_poses(2, "poses"))
    assert str(caught.value) == _REMOVED % path
    assert (tmp_path / "another.jsonl").exists()


@pytest.mark.parametrize("line", [b"{", b'{"camera":"\xff"}'])
def test_a_line_that_another_program_wrote_is_named_where_a_restarted_sink_reads_it(
    line: bytes, tmp_path: Path
) -> None:
    path, memory = tmp_path / "out.jsonl", dict[str, int]()
    with JsonSink(location=str(path)) as sink:
        sink.context = Context(memory=memory)
        sink.consume(make_poses(0))
    with path.open("ab") as file:
        file.write(line + b"\n")
    again = JsonSink(location=str(path))
    again.context = Context(memory=memory, incarnation=1)
    with pytest.raises(TransportError, match=r"is not a line it wrote; remove the file$"), again:
        again.consume(make_poses(1))


@pytest.mark.parametrize("form", ["lines", "coco", "posetrack", "csv"])
@pytest.mark.parametrize("count", [0, 2], ids=["emptied", "replaced by a shorter copy"])
def test_a_file_that_was_shortened_before_a_restart_is_said_or_refused(
    count: int, form: Literal["lines", "coco", "posetrack", "csv"], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, memory = tmp_path / f"out.{form}", dict[str, int]()
    written = path if form == "lines" else tmp_path / f"out.{form}.part"
    sink = JsonSink(location=str(path), format=form)
    sink.context = Context(memory=memory)
    sink.__enter__()
    for seq in range(4):
        sink.consume(make_poses(seq))
    for lines in sink._files.values():
        lines.close()  # as by a kill
    whole = written.read_bytes()
    written.unlink()
    written.write_bytes(b"".join(whole.splitlines(keepends=True)[:count]))
    again = JsonSink(location=str(path), format=form)
    again.context = Context(memory=memory, incarnation=1)
    if form != "lines":
        with pytest.raises(StartError, match=f"{written} was changed by another program while the line ran"):
            again.__enter__()
        return
    missing = len(whole) - written.stat().st_size
    with again:
        again.consume(make_poses(4))
        again.consume(make_poses(5))
    assert caplog.messages == [
        f"jsonsink: another program took {missing} bytes from {path}, which goes on where it ends"
    ]
    assert len(path.read_bytes().splitlines()) == count + 2


class _FullDisk(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_behind_stdout_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", _FullDisk())
    with JsonSink() as sink, pytest.raises(TransportError) as caught:
        sink.consume(make_poses(3, "hall"))
    assert str(caught.value) == (
        "jsonsink cannot write to stdout: No space left on device; make room, or choose another location="
    )
