"""Live evaluation: readings of runs made by hand, then real lines of processes.

The lines estimate nothing: ``tests.toys.oracle`` says the truth, so that what is missing from 100 is the line's doing.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pycocotools")

from engines.datasets.synthetic.scene import Scene
from stream.cli.demo import free_port
from stream.cli.line_argument import parse_line
from stream.errors import EngineError, PosestreamError, SourceError
from stream.evaluation import live as module
from stream.evaluation.alignment import Joined, join
from stream.evaluation.ground_truth import judge_of
from stream.evaluation.line_variants import Asked, live_line, offline_line
from stream.evaluation.live import Evaluation, frames_judged, report_of
from stream.evaluation.report import Report
from stream.evaluation.runs import Span, listen, write_down
from stream.pipeline.launch import parse_launch, parse_yaml
from stream.testing.drawn_clip import write_drawn
from tests.stream.evaluation.messages import LINE, live_run, offline_run

AP, PCK = "AP", "PCK@0.2"
ALL = Span(seconds=100, warmup_s=0)
DRAWN = Asked(parse_launch(LINE))


def scores(report: Report, measure: str = AP) -> dict[str, float]:
    return {name: reading.scores[measure] for name, reading in report.readings.items()}


# -- runs made by hand ------------------------------------------------------------------------------------------------


def joined(late_ms: dict[int, float], frames: int = 20) -> Joined:
    return join(DRAWN, live_run(late_ms), offline_run(frames), None)


def report(late_ms: dict[int, float], span: Span = ALL, frames: int = 20) -> Report:
    return report_of(DRAWN, joined(late_ms, frames), judge_of(DRAWN), span, "by hand")


def test_the_truth_in_no_time_loses_nothing() -> None:
    told = report(dict.fromkeys(range(15), 0.0))
    assert scores(told) == pytest.approx(dict.fromkeys(("offline", "answered", "held", "streaming"), 100.0))
    assert scores(told, PCK) == dict.fromkeys(("offline", "answered", "held", "streaming"), 100.0)
    assert (told.frames, told.dropped, told.age_p95_ms) == (15, 0, 0.0)


def test_lateness_costs_the_streaming_reading_alone() -> None:
    told = report(dict.fromkeys(range(15), 150.0))
    assert (told.dropped, told.age_p50_ms) == (0, 150.0)
    assert scores(told)["held"] == pytest.approx(100.0)
    assert scores(told)["streaming"] < 60


def test_the_later_the_worse() -> None:
    in_ms = [scores(report(dict.fromkeys(range(15), late)), PCK)["streaming"] for late in (0.0, 90.0, 290.0, 590.0)]
    assert in_ms == sorted(in_ms, reverse=True)
    assert len(set(in_ms)) == 4


def test_dropped_frames_cost_what_their_last_answer_lacks() -> None:
    told = report(dict.fromkeys(range(0, 15, 5), 0.0))
    assert (told.frames, told.dropped) == (11, 8)  # nobody knows what the source gave after frame 10
    assert told.readings["answered"].frames == 3
    assert scores(told)["answered"] == pytest.approx(100.0)
    assert scores(told)["held"] == scores(told)["streaming"] < 60


def test_the_first_second_after_the_first_answer_is_left_out_and_what_lies_behind_the_span() -> None:
    run = joined(dict.fromkeys(range(3, 18), 0.0))
    assert frames_judged(run, Span(seconds=0.3, warmup_s=1.0)) == [13, 14, 15]
    assert frames_judged(run, Span(seconds=9, warmup_s=1.2)) == [15, 16, 17]


def test_a_run_that_ends_too_early_is_told() -> None:
    with pytest.raises(SourceError, match=r"answered no frame after its first 5 s; let it run longer"):
        report(dict.fromkeys(range(8), 0.0), Span(seconds=1, warmup_s=5))


def test_a_source_that_lags_behind_its_own_clock_is_noted() -> None:
    assert report(dict.fromkeys(range(15), 0.0)).notes == ()
    slow = joined(dict.fromkeys(range(15), 0.0))
    stretched = tuple(
        type(answer)(answer.frame, answer.captured_ns + answer.frame * 100_000_000, answer.arrived_ns, answer.content)
        for answer in slow.answers
    )
    told = report_of(DRAWN, Joined(slow.loop, stretched, slow.offline), judge_of(DRAWN), ALL, "")
    assert len(told.notes) == 1
    assert "testsrc ran at 50 % of its pace" in told.notes[0]


def test_the_table_says_all_of_it() -> None:
    rows = str(report(dict.fromkeys(range(15), 150.0))).splitlines()
    assert rows[0] == "1.5 s of testsrc at 10 fps, model by hand"
    assert rows[1] == "15 frames, 0 dropped (0.0 %); age of keypoints p50 150 ms, p95 150 ms"
    assert rows[3].split()[-5:] == ["frames", "AP", "AP50", "AP75", "PCK@0.2"]
    assert [row.split("  ")[0] for row in rows[4:]] == [
        "offline, nothing dropped",
        "live, the frames that were answered",
        "live, dropped frames by what had come",
        "streaming, every frame by what had come",
    ]
    assert rows[4].split()[-5:] == ["15", "100.00", "100.00", "100.00", "100.00"]


def test_programs_get_json_also_where_there_is_no_number() -> None:
    nobody = Asked(parse_launch(LINE.replace("people=2", "people=0")))
    told = report_of(nobody, joined(dict.fromkeys(range(5), 0.0)), judge_of(nobody), ALL, "m").map()
    assert json.loads(json.dumps(told, allow_nan=False))["readings"]["held"] == {
        "frames": 5, AP: None, "AP50": None, "AP75": None, PCK: None,
    }  # fmt: skip


def test_keypoints_that_no_measure_knows_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = [message.__class__(**{**_fields(message), "skeleton": "horse9"}) for message in live_run({0: 0.0})]
    monkeypatch.setattr(module, "listen", lambda *_: strange)
    with pytest.raises(EngineError, match="skeleton 'horse9', which no measure knows"):
        Evaluation("tcp://127.0.0.1:1").of(DRAWN)


def _fields(message: object) -> dict[str, object]:
    return {name: getattr(message, name) for name in message.__slots__}  # type: ignore[attr-defined]


# -- real lines -------------------------------------------------------------------------------------------------------


def evaluated(asked: Asked, seconds: float = 1.5, warmup_s: float = 0.3) -> Report:
    return Evaluation(f"tcp://127.0.0.1:{free_port(0)}", Span(seconds, warmup_s)).of(asked)


SOURCE = "{width: 320, height: 240, fps: 10, seed: 39, people: 2}"


@pytest.mark.slow
def test_live_is_offline_where_nothing_is_dropped(no_leaks: None) -> None:
    # Queues that keep, and credit for far more than the line is ever behind: nothing can be dropped.
    text = f"in_flight: 100\nline: [testsrc: {SOURCE}, queue: {{leaky: no}}, tests.toys.oracle, keypointsink]"
    told = evaluated(Asked(parse_yaml(text)))
    assert (told.frames, told.dropped) == (15, 0)
    assert scores(told)["offline"] == pytest.approx(100.0)
    assert scores(told)["answered"] == scores(told)["held"] == scores(told)["offline"]
    assert scores(told, PCK)["offline"] == 100.0
    # An answer that takes any time at all is too late for its own frame.
    assert scores(told)["streaming"] < 100.0
    assert 0 < told.age_p50_ms <= told.age_p95_ms


@pytest.mark.slow
def test_a_slow_line_drops_frames_and_loses_what_they_were_worth(no_leaks: None) -> None:
    text = f"line: [testsrc: {SOURCE}, queue, tests.toys.oracle: {{step_ms: 180}}, keypointsink]"
    told = evaluated(Asked(parse_yaml(text)))
    assert told.dropped > told.frames / 3  # it answers less than six a second, of ten
    assert told.age_p50_ms >= 180
    assert scores(told)["offline"] == scores(told)["answered"] == pytest.approx(100.0)
    assert scores(told)["streaming"] < scores(told)["held"] < 100.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two seconds of drawn people in H.264, and their truth."""
    folder = tmp_path_factory.mktemp("clip")
    video, truth = folder / "clip.mp4", folder / "truth.json"
    write_drawn(video, truth, Scene(39, 2, 320, 240), 30, 15)
    return video, truth


def line_of(source: str, truth: Path) -> str:
    return f"{source} ! queue ! stream.testing.numbered truth={truth} ! tests.toys.diagonal ! keypointsink"


@pytest.mark.slow
def test_a_clip_that_is_looped_is_judged_by_its_annotations(clip: tuple[Path, Path], no_leaks: None) -> None:
    video, truth = clip
    told = evaluated(Asked(parse_line(line_of(f"filesrc location={video} loop=true", truth)), truth), seconds=2.5)
    assert told.frames in (37, 38)
    assert told.readings["offline"].frames == told.frames
    # A diagonal is no pose, but some of its joints lie where they should.
    assert 0 < scores(told, PCK)["offline"] < 100
    if told.dropped == 0:
        assert scores(told, PCK)["answered"] == scores(told, PCK)["offline"]


# -- a stream ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def url(shared: Path, clip: tuple[Path, Path]) -> Iterator[str]:
    """Where a real RTSP server, which the system's Python runs, loops the clip."""
    python = Path("/usr/bin/python3")
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not python.exists() or subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("no RTSP server: the system's Python lacks GStreamer's (gir1.2-gst-rtsp-server-1.0, python3-gi)")
    port = free_port()
    command = [python, str(shared / "tools" / "rtsp_server.py"), str(clip[0]), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert "access units" in server.stdout.readline()
        yield f"rtsp://127.0.0.1:{port}/test"
        server.kill()


@pytest.mark.slow
def test_frames_of_a_stream_are_those_of_the_clip_whose_number_they_bear(
    url: str, clip: tuple[Path, Path], tmp_path: Path, no_leaks: None
) -> None:
    """The join goes by time. The boxes were looked up by the number that each picture bears: they check it."""
    video, truth = clip
    asked = Asked(parse_line(line_of(f"rtspsrc url={url}", truth)), truth, video)
    address = f"tcp://127.0.0.1:{free_port(0)}"
    messages = listen(live_line(asked, address), address, Span(seconds=4, warmup_s=0), lambda *_: None)
    results = tmp_path / "offline.jsonl"
    run = join(asked, messages, write_down(offline_line(asked, results, 0), results, lambda *_: None), None)
    assert len(run.loop.times_ns) == 30
    assert len({answer.frame // 30 for answer in run.answers}) >= 3  # turns
    borne = boxes_by_number(truth)
    for answer in run.answers:
        boxes = [person.box for person in answer.content.people]
        assert boxes == [pytest.approx(box, abs=1e-3) for box in borne[run.loop.number(answer.frame)]]
    told = report_of(asked, run, judge_of(asked), Span(seconds=4, warmup_s=0), "")
    assert scores(told, PCK)["offline"] > 0
    assert "the stream began at frame" in told.notes[0]


def boxes_by_number(truth: Path) -> list[list[tuple[float, ...]]]:
    told = json.loads(truth.read_text())
    by_number: list[list[tuple[float, ...]]] = [[] for _ in told["images"]]
    for person in told["annotations"]:
        x, y, width, height = person["bbox"]
        by_number[person["image_id"]].append((x, y, x + width, y + height))
    return by_number


def test_an_address_where_nobody_is_ends_it_with_a_line(clip: tuple[Path, Path], no_leaks: None) -> None:
    video, truth = clip
    asked = Asked(parse_line(line_of(f"rtspsrc url=rtsp://127.0.0.1:{free_port(0)}/x", truth)), truth, video)
    with pytest.raises(PosestreamError, match="cannot reach"):
        evaluated(asked)
