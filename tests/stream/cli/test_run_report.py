"""What a run says at its start and at its end."""

from __future__ import annotations

import os
import time
from pathlib import Path

from stream.cli.run_report import introduce, summarise, written_files
from stream.pipeline.launch import parse_launch

POSES = "testsrc ! detect model=truth ! track ! window ! pose model=hrnet-small"


def test_the_start_says_what_goes_where_and_how_to_watch_it() -> None:
    line = parse_launch(
        f"{POSES} ! tee name=t; from t ! queue ! keypointsink; from t ! queue ! jsonsink location=p.jsonl"
    )
    assert list(introduce(line, has_processes=True)) == [
        "keypointsink: publishing keypoints on tcp://127.0.0.1:5570; watch with 'posestream subscribe'",
        "jsonsink: writing p.jsonl",
        "3 processes; 'posestream top' shows how each is doing",
        "Ctrl-C ends it.",
    ]


def test_another_address_is_part_of_the_command_that_watches_it() -> None:
    line = parse_launch(f"{POSES} ! keypointsink bind=tcp://127.0.0.1:6001")
    assert "'posestream subscribe tcp://127.0.0.1:6001'" in next(introduce(line, has_processes=False))


def test_the_end_says_how_many_how_fast_and_what_was_lost() -> None:
    assert list(summarise(1, 0.0, {}, [])) == ["1 frame in 0.0 s; none dropped"]
    assert list(summarise(90, 3.0, {"leaky": 2}, [])) == ["90 frames in 3.0 s, 30.0 fps; 2 dropped (2 leaky)"]


def test_only_files_of_this_run_are_listed(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl", "old.jsonl", "draw.mp4", "draw.2.mp4"):
        (tmp_path / name).write_text("")
    os.utime(tmp_path / "old.jsonl", (1, 1))
    line = parse_launch(
        f"{POSES} ! tee name=t; from t ! queue ! jsonsink location='{tmp_path}/{{camera}}.jsonl';"
        f" from t ! queue ! overlaysink location={tmp_path}/draw.mp4"
    )
    names = [path.name for path in written_files(line, time.time() - 60)]
    assert names == ["a.jsonl", "b.jsonl", "draw.mp4", "draw.2.mp4"]
