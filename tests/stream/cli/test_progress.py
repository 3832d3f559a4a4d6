"""Progress on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from rich.console import Console

from stream.cli.line_runner import _follow, run_here
from stream.cli.progress import LineProgress, is_watched, total_frames
from stream.pipeline.launch import parse_launch
from stream.runtime import bus

SMALL = "testsrc num_frames=6 width=64 height=64 people=1"


def screen() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=80), file


def test_it_shows_frames_done_of_all_and_how_fast() -> None:
    console, shown = screen()
    with LineProgress(6, console) as progress:
        run_here(parse_launch(f"{SMALL} ! fakesink"), progress)
    assert "6/6" in shown.getvalue()
    assert "fps" in shown.getvalue()
    assert progress.frames == 6
    assert progress.seconds > 0


def test_a_camera_shows_how_many_frames_came() -> None:
    console, shown = screen()
    with LineProgress(None, console) as progress:
        progress.begin()
        progress.reach("camerasrc", 41)
    assert "41" in shown.getvalue()
    assert "0:00:0" in shown.getvalue()


def test_frames_of_all_sources_add_up_and_so_do_those_that_a_source_dropped() -> None:
    console, shown = screen()
    with LineProgress(20, console) as progress:
        progress.reach("desk", 6)
        progress.reach("hall", 2)
        progress.drop("no credit", 3, source="hall")
        progress.drop("leaky", 4)
    assert progress.frames == 8
    assert progress.dropped == {"no credit": 3, "leaky": 4}
    assert "11/20" in shown.getvalue()


def test_the_total_is_known_where_every_source_knows_its_own() -> None:
    assert total_frames(parse_launch(f"{SMALL} ! fakesink")) == 6
    assert total_frames(parse_launch(f"{SMALL} ! fakesink; testsrc camera=b ! fakesink")) is None


def test_nothing_is_shown_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_watched()


@dataclass
class Notices:
    """What a supervisor reports, in place of one."""

    notices: list[bus.AnyNotice]

    def pause(self) -> None:
        """Nothing to start."""

    def messages(self) -> Iterator[bus.AnyNotice]:
        return iter(self.notices)


@pytest.mark.parametrize(("lines", "names"), [(1, ["leaky"]), (2, ["leaky of 'hall'", "late of 'roof'"])])
def test_what_was_dropped_is_counted_by_camera_where_there_are_several(lines: int, names: list[str]) -> None:
    texts = ["testsrc camera=hall ! queue name=a", "testsrc camera=roof ! queue name=a"][:lines]
    pipeline = parse_launch("; ".join([*texts, "from a ! fakesink"]))
    drops = [bus.Qos(part="fakesink", camera="hall", reason="leaky", dropped=2)] * 2
    late = [bus.Qos(part="fakesink", camera="roof", reason="late", dropped=1)] * (lines - 1)
    progress = LineProgress(None, None)
    with _follow(Notices([*drops, *late]), pipeline, progress):  # type: ignore[arg-type]
        pass
    assert dict(progress.dropped) == dict(zip(names, (4, 1), strict=False))
