"""One line of the user's becomes two."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import PosestreamError
from stream.evaluation.line_variants import Asked, live_line, offline_line
from stream.pipeline.launch import parse_launch

ADDRESS = "tcp://127.0.0.1:5599"
TAIL = "! queue leaky=upstream ! detect ! track ! window ! pose ! keypointsink bind=tcp://127.0.0.1:1 prefix=site/"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A truth and a clip; nothing looks into them here."""
    truth, clip = tmp_path / "truth.json", tmp_path / "clip.mp4"
    truth.touch()
    clip.touch()
    return truth, clip


def offline(asked: Asked, last: int = 99) -> str:
    return str(offline_line(asked, Path("out.jsonl"), last))


def test_live_the_source_is_in_time_and_published_where_we_listen() -> None:
    asked = Asked(parse_launch(f"testsrc fps=15 {TAIL}"))
    live = str(live_line(asked, ADDRESS))
    assert "testsrc fps=15" in live
    assert "realtime=true" in live
    assert "queue leaky=upstream" in live
    assert live.endswith(f"keypointsink bind={ADDRESS}")


def test_offline_the_source_waits_the_queues_keep_and_poses_are_written() -> None:
    line = offline(Asked(parse_launch(f"testsrc realtime=true fps=15 {TAIL}")))
    assert "realtime" not in line
    assert "num_frames=108" in line  # frames 0 to 99, and 8 into which a window may look
    assert "queue leaky=no" in line
    assert line.endswith("jsonsink location=out.jsonl")


def test_a_source_that_ends_earlier_is_not_asked_for_more() -> None:
    assert "num_frames=60" in offline(Asked(parse_launch(f"testsrc num_frames=60 {TAIL}")))


def test_what_the_line_also_wrote_is_written_by_the_live_run_alone() -> None:
    text = "testsrc ! detect ! track ! window ! pose ! tee name=t\nfrom t ! queue ! keypointsink\nfrom t ! queue ! jsonsink location=mine.jsonl"  # fmt: skip # noqa: E501
    asked = Asked(parse_launch(text))
    assert "location=mine.jsonl" in str(live_line(asked, ADDRESS))
    assert "mine.jsonl" not in offline(asked)
    assert "fakesink" in offline(asked)


def test_a_looped_file_is_gone_through_once(files: tuple[Path, Path]) -> None:
    truth, clip = files
    asked = Asked(parse_launch(f"filesrc location={clip} loop=true num_frames=900 start=4 {TAIL}"), truth)
    assert f"filesrc location={clip} start=4 !" in offline(asked)


def test_a_stream_is_read_from_the_clip_that_it_shows(files: tuple[Path, Path]) -> None:
    truth, clip = files
    asked = Asked(parse_launch(f"rtspsrc url=rtsp://127.0.0.1/x {TAIL}"), truth, clip)
    assert str(live_line(asked, ADDRESS)).startswith("rtspsrc url=rtsp://127.0.0.1/x")
    assert offline(asked).startswith(f"filesrc location={clip} camera=rtspsrc !")


@pytest.mark.parametrize(
    ("line", "truth", "clip", "words"),
    [
        ("testsrc ! detect ! track ! window ! pose", False, False, "this line has none; end it in '! keypointsink'"),
        (f"testsrc {TAIL}", True, False, "testsrc knows its own truth: leave --truth"),
        (f"testsrc {TAIL}", False, True, "is for a stream that loops it; testsrc is none"),
        (f"filesrc location=a.mp4 {TAIL}", False, False, "no truth is known of filesrc's frames; give --truth"),
        (f"rtspsrc url=rtsp://h/x {TAIL}", True, False, "give --clip, the file it loops"),
        (f"camerasrc {TAIL}", False, False, "does not know which frames camerasrc gives"),
        (
            "testsrc ! queue name=q\ntestsrc camera=b ! queue name=q\nfrom q ! detect ! track ! window ! pose ! keypointsink",  # noqa: E501
            False,
            False,
            "a line of one source, and this one has 2 (testsrc, testsrc)",
        ),
    ],
)
def test_a_line_that_cannot_be_evaluated_is_told_why(
    files: tuple[Path, Path], line: str, truth: bool, clip: bool, words: str
) -> None:
    with pytest.raises(PosestreamError) as caught:
        Asked(parse_launch(line), files[0] if truth else None, files[1] if clip else None)
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_named(files: tuple[Path, Path]) -> None:
    with pytest.raises(PosestreamError, match=r"there is no file 'gone\.json'"):
        Asked(parse_launch(f"filesrc location=a.mp4 {TAIL}"), Path("gone.json"))
