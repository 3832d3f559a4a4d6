"""Live evaluation: readings of runs made by hand, then real lines of processes.

The lines estimate nothing: ``tests.toys.oracle`` says the truth, so that what is missing from 100 is the line's doing.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pycocotools")

from engines.datasets.synthetic.scene import Scene
from engines.skeletons import SKELETONS
from stream.cli.demo import free_port
from stream.cli.line_argument import parse_line
from stream.errors import EngineError, PosestreamError, SourceError
from stream.evaluation import live as module
from stream.evaluation.alignment import Alignment, align
from stream.evaluation.ground_truth import annotate, load_judge
from stream.evaluation.line_variants import Request, live_line, offline_line
from stream.evaluation.live import Evaluation, make_report, select_frames
from stream.evaluation.report import Report
from stream.evaluation.runs import Span, run_live, run_offline
from stream.pipeline.launch import parse_launch, parse_yaml
from stream.testing.drawn_clip import write_drawn
from tests.stream.evaluation.messages import FPS, LINE, SCENE, SIZE, forecast_run, live_run, offline_run

AP, PCK = "AP", "PCK@0.2"
ALL = Span(seconds=100, warmup_s=0)
DRAWN = Request(parse_launch(LINE))


def scores(report: Report, measure: str = AP) -> dict[str, float]:
    return {name: reading.scores[measure] for name, reading in report.readings.items()}


# -- runs made by hand ------------------------------------------------------------------------------------------------


def make_alignment(late_ms: dict[int, float], frames: int = 20) -> Alignment:
    return align(DRAWN, live_run(late_ms), offline_run(frames), None)


def report(late_ms: dict[int, float], span: Span = ALL, frames: int = 20) -> Report:
    return make_report(DRAWN, make_alignment(late_ms, frames), load_judge(DRAWN), span, "by hand")


def test_exact_keypoints_without_delay_lose_nothing() -> None:
    result = report(dict.fromkeys(range(15), 0.0))
    assert scores(result) == pytest.approx(dict.fromkeys(("offline", "answered", "held", "streaming"), 100.0))
    assert scores(result, PCK) == dict.fromkeys(("offline", "answered", "held", "streaming"), 100.0)
    assert (result.frames, result.dropped, result.age_p95_ms) == (15, 0, 0.0)


def test_delay_lowers_the_streaming_score_only() -> None:
    result = report(dict.fromkeys(range(15), 150.0))
    assert (result.dropped, result.age_p50_ms) == (0, 150.0)
    assert scores(result)["held"] == pytest.approx(100.0)
    assert scores(result)["streaming"] < 60


def test_forecasts_are_read_at_the_moment_of_the_frame() -> None:
    """Each answer arrives in time for the next frame, and forecasts it exactly; the first frame has no answer."""
    run = align(DRAWN, forecast_run(dict.fromkeys(range(15), 50.0)), offline_run(20), None)
    result = make_report(DRAWN, run, load_judge(DRAWN), Span(seconds=9, warmup_s=0.1), "by hand")
    assert scores(result)["streaming"] < 60
    assert scores(result)["now"] == pytest.approx(100.0)
    assert str(result).splitlines()[-1].startswith("streaming, by the forecasts of the last answer")


def test_a_longer_delay_lowers_the_score_more() -> None:
    in_ms = [scores(report(dict.fromkeys(range(15), late)), PCK)["streaming"] for late in (0.0, 90.0, 290.0, 590.0)]
    assert in_ms == sorted(in_ms, reverse=True)
    assert len(set(in_ms)) == 4


def test_dropped_frames_are_scored_by_the_last_answer() -> None:
    result = report(dict.fromkeys(range(0, 15, 5), 0.0))
    assert (result.frames, result.dropped) == (11, 8)  # the frames after frame 10 are unknown
    assert result.readings["answered"].frames == 3
    assert scores(result)["answered"] == pytest.approx(100.0)
    assert scores(result)["held"] == scores(result)["streaming"] < 60


def test_only_frames_within_the_span_are_scored() -> None:
    run = make_alignment(dict.fromkeys(range(3, 18), 0.0))
    assert select_frames(run, Span(seconds=0.3, warmup_s=1.0)) == [13, 14, 15]
    assert select_frames(run, Span(seconds=9, warmup_s=1.2)) == [15, 16, 17]


def test_a_run_that_ends_too_early_raises() -> None:
    with pytest.raises(SourceError, match=r"answered no frame after its first 5 s; run it longer"):
        report(dict.fromkeys(range(8), 0.0), Span(seconds=1, warmup_s=5))


@pytest.mark.parametrize(
    ("first", "size", "words"),
    [
        (
            0,
            (640, 480),
            "annotates pictures of 640x480, and frame 0 of filesrc is 320x240; give the annotations of this",
        ),
        (1, SIZE, "seems to number frames from 1, and must number them from 0"),
    ],
    ids=["size", "numbers"],
)
def test_annotations_of_other_pictures_are_refused_and_of_other_numbers_noted(
    tmp_path: Path, first: int, size: tuple[int, int], words: str
) -> None:
    numbers = range(first, first + 20)
    people = [
        {**annotation, "image_id": number}
        for number in numbers
        for annotation in annotate(SCENE.truth_at((number - first) / FPS))
    ]
    content = {
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "width": size[0], "height": size[1]} for number in numbers
        ],
        "annotations": [{**annotation, "id": row} for row, annotation in enumerate(people)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(SKELETONS["coco17"].joints)}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    line = f"filesrc location={tmp_path}/clip.mp4 ! tests.toys.oracle ! keypointsink"
    given = Request(parse_launch(line), tmp_path / "truth.json")
    late = make_alignment(dict.fromkeys(range(2, 17), 50.0))

    def evaluate() -> Report:
        return make_report(given, late, load_judge(given), Span(seconds=9, warmup_s=0.1), "by hand")

    if first == 0:
        with pytest.raises(SourceError, match=words):
            evaluate()
    else:
        assert words in evaluate().notes[0]


def test_a_source_that_lags_behind_its_own_clock_is_noted() -> None:
    assert report(dict.fromkeys(range(15), 0.0)).notes == ()
    slow = make_alignment(dict.fromkeys(range(15), 0.0))
    stretched = tuple(
        type(answer)(answer.frame, answer.captured_ns + answer.frame * 100_000_000, answer.arrived_ns, answer.content)
        for answer in slow.answers
    )
    result = make_report(DRAWN, Alignment(slow.loop, stretched, slow.offline), load_judge(DRAWN), ALL, "")
    assert len(result.notes) == 1
    assert "testsrc ran at 50 % of its pace" in result.notes[0]


def test_the_table_has_the_figures_and_the_four_readings() -> None:
    rows = str(report(dict.fromkeys(range(15), 150.0))).splitlines()
    assert rows[0] == "1.5 s of testsrc at 10 fps, model by hand"
    assert rows[1] == "15 frames, 0 dropped (0.0 %); age of keypoints p50 150 ms, p95 150 ms"
    assert rows[3].split()[-5:] == ["frames", "AP", "AP50", "AP75", "PCK@0.2"]
    assert [row.split("  ")[0] for row in rows[4:]] == [
        "offline, nothing dropped",
        "live, answered frames only",
        "live, dropped frames by the last answer",
        "streaming, every frame by the last answer",
    ]
    assert rows[4].split()[-5:] == ["15", "100.00", "100.00", "100.00", "100.00"]


def test_the_map_is_json_also_without_scores() -> None:
    empty = Request(parse_launch(LINE.replace("people=2", "people=0")))
    result = make_report(empty, make_alignment(dict.fromkeys(range(5), 0.0)), load_judge(empty), ALL, "m").map()
    assert json.loads(json.dumps(result, allow_nan=False))["readings"]["held"] == {
        "frames": 5, AP: None, "AP50": None, "AP75": None, PCK: None,
    }  # fmt: skip


def test_keypoints_of_an_unsupported_skeleton_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = [message.__class__(**{**_fields(message), "skeleton": "horse9"}) for message in live_run({0: 0.0})]
    monkeypatch.setattr(module, "run_live", lambda *_: strange)
    with pytest.raises(EngineError, match="skeleton 'horse9', which no metric supports"):
        Evaluation("tcp://127.0.0.1:1").run(DRAWN)


def _fields(message: object) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__slots__}  # type: ignore[attr-defined]


# -- real lines -------------------------------------------------------------------------------------------------------


def evaluate(request_: Request, seconds: float = 1.5, warmup_s: float = 0.3) -> Report:
    return Evaluation(f"tcp://127.0.0.1:{free_port(0)}", Span(seconds, warmup_s)).run(request_)


SOURCE = "{width: 320, height: 240, fps: 10, seed: 39, people: 2}"


@pytest.mark.slow
def test_without_drops_the_live_score_equals_the_offline_score(no_leaks: None) -> None:
    # Queues that keep, and credit for far more than the line is ever behind: nothing can be dropped.
    text = f"in_flight: 100\nline: [testsrc: {SOURCE}, queue: {{leaky: no}}, tests.toys.oracle, keypointsink]"
    result = evaluate(Request(parse_yaml(text)))
    assert (result.frames, result.dropped) == (15, 0)
    assert scores(result)["offline"] == pytest.approx(100.0)
    assert scores(result)["answered"] == scores(result)["held"] == scores(result)["offline"]
    assert scores(result, PCK)["offline"] == 100.0
    # An answer that takes any time at all is too late for its own frame.
    assert scores(result)["streaming"] < 100.0
    assert 0 < result.age_p50_ms <= result.age_p95_ms


@pytest.mark.slow
def test_a_slow_line_drops_frames_and_scores_lower(no_leaks: None) -> None:
    text = f"line: [testsrc: {SOURCE}, queue, tests.toys.oracle: {{step_ms: 180}}, keypointsink]"
    result = evaluate(Request(parse_yaml(text)))
    assert result.dropped > result.frames / 3  # it answers less than six a second, of ten
    assert result.age_p50_ms >= 180
    assert scores(result)["offline"] == scores(result)["answered"] == pytest.approx(100.0)
    assert scores(result)["streaming"] < scores(result)["held"] < 100.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two seconds of drawn people in H.264, and their truth."""
    folder = tmp_path_factory.mktemp("clip")
    video, truth = folder / "clip.mp4", folder / "truth.json"
    write_drawn(video, truth, Scene(39, 2, 320, 240), 30, 15)
    return video, truth


def make_line(source: str, truth: Path) -> str:
    return f"{source} ! queue ! stream.testing.numbered truth={truth} ! tests.toys.diagonal ! keypointsink"


@pytest.mark.slow
def test_a_looped_clip_is_scored_by_its_annotations(clip: tuple[Path, Path], no_leaks: None) -> None:
    video, truth = clip
    result = evaluate(Request(parse_line(make_line(f"filesrc location={video} loop=true", truth)), truth), seconds=2.5)
    assert result.frames in (37, 38)
    assert result.readings["offline"].frames == result.frames
    # A diagonal is no pose, but some of its joints lie where they should.
    assert 0 < scores(result, PCK)["offline"] < 100
    if result.dropped == 0:
        assert scores(result, PCK)["answered"] == scores(result, PCK)["offline"]


# -- a stream ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def url(shared: Path, clip: tuple[Path, Path]) -> Iterator[str]:
    """Where a real RTSP server, which the system's Python runs, loops the clip."""
    python = Path("/usr/bin/python3")
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not python.exists() or subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("no RTSP server: the system's Python lacks GStreamer's (gir1.2-gst-rtsp-server-1.0, python3-gi)")
    port = free_port()
    command = [str(python), str(shared / "tools" / "rtsp_server.py"), str(clip[0]), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert "access units" in server.stdout.readline()
        yield f"rtsp://127.0.0.1:{port}/test"
        server.kill()


@pytest.mark.slow
def test_the_frames_of_a_stream_are_aligned_with_their_numbers_in_the_clip(
    url: str, clip: tuple[Path, Path], tmp_path: Path, no_leaks: None
) -> None:
    """Frames are aligned by time; the boxes were looked up by the number in each picture, which checks the result."""
    video, truth = clip
    request_ = Request(parse_line(make_line(f"rtspsrc url={url}", truth)), truth, video)
    address = f"tcp://127.0.0.1:{free_port(0)}"
    messages = run_live(live_line(request_, address), address, Span(seconds=4, warmup_s=0), lambda *_: None)
    results = tmp_path / "offline.jsonl"
    run = align(request_, messages, run_offline(offline_line(request_, results, 0), results, lambda *_: None), None)
    assert len(run.loop.times_ns) == 30
    assert len({answer.frame // 30 for answer in run.answers}) >= 3  # turns
    borne = boxes_by_number(truth)
    for answer in run.answers:
        boxes = [person.box for person in answer.content.people]
        assert boxes == [pytest.approx(box, abs=1e-3) for box in borne[run.loop.number(answer.frame)]]
    result = make_report(request_, run, load_judge(request_), Span(seconds=4, warmup_s=0), "")
    assert scores(result, PCK)["offline"] > 0
    assert "the stream began at frame" in result.notes[0]


def boxes_by_number(truth: Path) -> list[list[tuple[float, ...]]]:
    result = json.loads(truth.read_text())
    by_number: list[list[tuple[float, ...]]] = [[] for _ in result["images"]]
    for person in result["annotations"]:
        x, y, width, height = person["bbox"]
        by_number[person["image_id"]].append((x, y, x + width, y + height))
    return by_number


def test_an_unreachable_address_raises(clip: tuple[Path, Path], no_leaks: None) -> None:
    video, truth = clip
    request_ = Request(parse_line(make_line(f"rtspsrc url=rtsp://127.0.0.1:{free_port(0)}/x", truth)), truth, video)
    with pytest.raises(PosestreamError, match="cannot reach"):
        evaluate(request_)
