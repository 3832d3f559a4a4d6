"""A handful of trials of ``benchmarks.faults``, and that its judge finds what is to be found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.__main__ import run_apart
from benchmarks.faults.drawing import Scenario, Selection, Sink, draw
from benchmarks.faults.held import Content, Held, read_held
from benchmarks.faults.judge import Outcome, judge
from benchmarks.faults.kept import Kept
from benchmarks.faults.place import find_free_ports
from stream.pipeline.launch import parse_launch

LINES, VIDEO = Sink("lines", "main.jsonl"), Sink("video", "video-{camera}.mp4")
FRAMES = {"hall": 4, "yard": 4}

HANDFUL = (
    "kill one part",
    "kill several parts",
    "kill all parts",
    "crash a part",
    "stop a part for a while",
    "stop the supervisor for a while",
    "segment's name removed",
    "disk of the sinks full",
    "garbage messages of a stranger",
    "text of the line spoiled",
    "end the line",
    "kill the supervisor",
)
"""Listed here, so that a new kind of fault leaves these trials as they are."""

TRIALS = [(1, 5), (4, 16), (5, 35)]
"""Seed and index: files of one and of two cameras, and a live one with a video and a subscriber."""


@pytest.mark.survival
@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize(("seed", "index"), TRIALS)
def test_a_line_with_faults_holds_every_frame_or_says_what_it_lost(seed: int, index: int) -> None:
    result = run_apart(seed, index, Selection(HANDFUL))
    assert not result["violations"], result["output"]
    assert result["faults"], "nothing happened to it"


def test_the_trials_draw_every_kind_of_fault() -> None:
    assert {fault.kind for trial in TRIALS for fault in draw(*trial, Selection(HANDFUL)).faults} == set(HANDFUL)


def test_a_trial_depends_on_its_seed_and_index_alone() -> None:
    everything = Selection(recordings=True)
    assert draw(1, 5, everything) == draw(1, 5, everything)
    assert len({draw(1, index, everything).text for index in range(20)}) > 15


def test_a_kept_result_is_taken_again_for_another_selection_only(tmp_path: Path) -> None:
    taken: list[int] = []

    def take() -> dict[str, Any]:
        taken.append(len(taken))
        return {"faults": [], "count": len(taken)}

    other = Selection(("clock set",), recordings=True)
    for selection in (Selection(), Selection(), other):
        Kept(tmp_path / "kept", 7, selection).get(12, take)
    assert Kept(tmp_path / "kept", 7, other).get(12, take) == {"faults": [], "count": 2}
    assert Kept().get(12, take) == {"faults": [], "count": 3}


def test_ports_are_not_among_those_that_systems_give_to_connections() -> None:
    ports = find_free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < 32_768


# -- the judge --------------------------------------------------------------------------------------------------------


def test_what_is_complete_passes() -> None:
    assert not judge(scenario(), outcome(), reference())


@pytest.mark.parametrize(
    ("seqs", "code", "stderr", "expected"),
    [
        ([0, 1, 2], 0, "", "1 of 4 frames of hall are missing (3), and the exit status is 0"),
        (
            [0, 2, 3],
            1,
            "posestream: no reason",
            "missing, with holes (1), and stderr names 0 of hall",
        ),
        ([0, 1], 1, "", "exit status 1 without a reason on stderr"),
        ([0, 1, 1, 2, 3], 0, "", "hall: frame 1 comes after 1"),
        ([0, 2, 1, 3], 0, "", "hall: frame 1 comes after 2"),
        (
            [0, 1, 2, 3],
            1,
            "posestream: gave up",
            "though nothing need have been lost: posestream: gave up",
        ),
        ([0, 1, 2, 3], 130, "", "exit status 130, though no signal ended it"),
        ([0, 1, 2, 3], 0, "Traceback (most recent call last)", "a traceback on stderr"),
        ([0, 1, 2, 3], None, "", "hang: it did not end"),
    ],
)
def test_what_is_wrong_is_found(seqs: list[int], code: int | None, stderr: str, expected: str) -> None:
    found = judge(scenario(), outcome(seqs, code=code, stderr=stderr), reference())
    assert any(expected in text for text in found), found


@pytest.mark.parametrize(
    ("seqs", "code", "stderr"),
    [
        ([0, 2, 3], 1, "posestream: the line …: jsonsink failed on 1 frame of camera 'hall', last on 1: full"),
        ([0, 1], 1, "posestream: read was restarted 5 times within 60 s and failed again"),
    ],
)
def test_what_is_lost_and_named_passes(seqs: list[int], code: int, stderr: str) -> None:
    assert not judge(scenario(), outcome(seqs, code=code, stderr=stderr, must_survive=False), reference())


@pytest.mark.parametrize(
    "stderr",
    [
        "",
        "jsonsink: cannot write /disk/main.jsonl: No space left on device",
        "read: error: frame 1 of camera 'hall' was dropped (stale): shared memory x cannot be read",
    ],
)
def test_of_a_supervisor_that_is_killed_no_count_is_wanted_where_a_part_has_said_what_it_lost(stderr: str) -> None:
    killed = replace(outcome([0, 2, 3], code=-9, stderr=stderr, must_survive=False), is_supervisor_killed=True)
    assert bool(judge(scenario(), killed, reference())) is not bool(stderr)


def test_a_frame_that_holds_something_else_is_found() -> None:
    other = reference()
    other["hall"][2] = {"people": [{"id": 2, "box": [0, 0, 1, 1]}]}
    assert judge(scenario(), outcome(), other) == ["lines sink: hall: frame 2 holds people 0 id 1, not 2"]


def test_a_file_is_read_with_its_torn_lines(tmp_path: Path) -> None:
    row = '{"camera": "hall", "frame_seq": %d}\n'
    (tmp_path / "main.jsonl").write_text(row % 0 + '{"cam\n' + row % 1 + '{"ca')
    held = read_held(LINES, tmp_path, scenario())
    assert held.frames == {"hall": [0, 1]}
    assert held.is_torn
    assert held.faults == ["main.jsonl: line 2 of 4 is torn: b'{\"cam\\n'"]


def test_a_recording_is_read_up_to_where_it_was_cut(tmp_path: Path) -> None:
    sink, path = Sink("recording", "recording-{camera}.mcap"), tmp_path / "recording-hall.mcap"
    source = "benchmarks.faults.marked camera=hall num_frames=4 ! benchmarks.faults.read ! window"
    pipeline = parse_launch(f"{source} ! benchmarks.faults.tally past=0 future=0 ! recordsink location={path}")
    assert list(pipeline.run()) == []
    whole = read_held(sink, tmp_path, scenario())
    assert (whole.frames, whole.faults, whole.is_torn) == ({"hall": [0, 1, 2, 3]}, [], False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = read_held(sink, tmp_path, scenario())
    assert (cut.faults, cut.is_torn) == ([], True)
    assert cut.frames["hall"] == list(range(len(cut.frames["hall"])))


def scenario() -> Scenario:
    return Scenario(1, 0, "", FRAMES, {}, (LINES,), is_live=False, live_s=0.0, has_marks=True, faults=())


def reference() -> Content:
    return {camera: {seq: record() for seq in range(count)} for camera, count in FRAMES.items()}


def record() -> dict[str, Any]:
    return {"people": [{"id": 1, "box": [0, 0, 1, 1]}]}


def outcome(
    seqs: list[int] | None = None, *, code: int | None = 0, stderr: str = "", must_survive: bool = True
) -> Outcome:
    held = Held(LINES)
    for camera, own in {"hall": [0, 1, 2, 3] if seqs is None else seqs, "yard": [0, 1, 2, 3]}.items():
        for seq in own:
            held.add(camera, seq, record())
    return Outcome(code, stderr, [held], [], must_survive, was_ended=False, is_supervisor_killed=False)
