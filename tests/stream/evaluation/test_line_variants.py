"""The live and the offline variant of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import PosestreamError
from stream.evaluation.line_variants import Request, live_line, offline_line
from stream.pipeline.launch import parse_launch

ADDRESS = "tcp://127.0.0.1:5599"
TAIL = "! queue leaky=upstream ! detect ! track ! window ! pose ! keypointsink bind=tcp://127.0.0.1:1 prefix=site/"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """An annotation file and a clip, which are not read here."""
    truth, clip = tmp_path / "truth.json", tmp_path / "clip.mp4"
    truth.touch()
    clip.touch()
    return truth, clip


def offline(request_: Request, last: int = 99) -> str:
    return str(offline_line(request_, Path("out.jsonl"), last))


def test_the_live_line_has_a_realtime_source_and_publishes_at_the_address() -> None:
    request_ = Request(parse_launch(f"testsrc fps=15 {TAIL}"))
    live = str(live_line(request_, ADDRESS))
    assert "testsrc fps=15" in live
    assert "realtime=true" in live
    assert "queue leaky=upstream" in live
    assert live.endswith(f"keypointsink bind={ADDRESS}")


def test_the_offline_line_waits_drops_nothing_and_writes_poses() -> None:
    line = offline(Request(parse_launch(f"testsrc realtime=true fps=15 {TAIL}")))
    assert "realtime" not in line
    assert "num_frames=108" in line  # frames 0 to 99, and 8 into which a window may look
    assert "queue leaky=no" in line
    assert line.endswith("jsonsink location=out.jsonl")


def test_a_source_that_ends_earlier_is_not_extended() -> None:
    assert "num_frames=60" in offline(Request(parse_launch(f"testsrc num_frames=60 {TAIL}")))


def test_other_sinks_write_in_the_live_run_only() -> None:
    text = "testsrc ! detect ! track ! window ! pose ! tee name=t\nfrom t ! queue ! keypointsink\nfrom t ! queue ! jsonsink location=mine.jsonl"  # fmt: skip # noqa: E501
    request_ = Request(parse_launch(text))
    assert "location=mine.jsonl" in str(live_line(request_, ADDRESS))
    assert "mine.jsonl" not in offline(request_)
    assert "fakesink" in offline(request_)


def test_a_looped_file_is_read_once_offline(files: tuple[Path, Path]) -> None:
    truth, clip = files
    request_ = Request(parse_launch(f"filesrc location={clip} loop=true num_frames=900 start=4 {TAIL}"), truth)
    assert f"filesrc location={clip} start=4 !" in offline(request_)


def test_a_stream_is_replaced_by_its_clip_offline(files: tuple[Path, Path]) -> None:
    truth, clip = files
    request_ = Request(parse_launch(f"rtspsrc url=rtsp://127.0.0.1/x {TAIL}"), truth, clip)
    assert str(live_line(request_, ADDRESS)).startswith("rtspsrc url=rtsp://127.0.0.1/x")
    assert offline(request_).startswith(f"filesrc location={clip} camera=rtspsrc !")


@pytest.mark.parametrize(
    ("line", "truth", "clip", "words"),
    [
        ("testsrc ! detect ! track ! window ! pose", False, False, "this line has none; end it with '! keypointsink'"),
        (f"testsrc {TAIL}", True, False, "testsrc has its own ground truth; remove --truth"),
        (f"testsrc {TAIL}", False, True, "is for a stream that loops it, and testsrc is not one; remove it"),
        (f"filesrc location=a.mp4 {TAIL}", False, False, "the frames of filesrc have no ground truth; give --truth"),
        (f"rtspsrc url=rtsp://h/x {TAIL}", True, False, "give its file as --clip"),
        (f"camerasrc {TAIL}", False, False, "cannot repeat the frames of camerasrc"),
        (
            "testsrc ! queue name=q\ntestsrc camera=b ! queue name=q\nfrom q ! detect ! track ! window ! pose ! keypointsink",  # noqa: E501
            False,
            False,
            "a line with one source, and this one has 2 (testsrc, testsrc)",
        ),
    ],
)
def test_a_line_that_cannot_be_evaluated_raises(
    files: tuple[Path, Path], line: str, truth: bool, clip: bool, words: str
) -> None:
    with pytest.raises(PosestreamError) as caught:
        Request(parse_launch(line), files[0] if truth else None, files[1] if clip else None)
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_named(files: tuple[Path, Path]) -> None:
    with pytest.raises(PosestreamError, match=r"there is no file 'gone\.json'"):
        Request(parse_launch(f"filesrc location=a.mp4 {TAIL}"), Path("gone.json"))
