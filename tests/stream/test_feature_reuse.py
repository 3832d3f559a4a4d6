"""Kept features in lines: the keypoints are those of whole windows, whatever frames, people and processes do.

The reference is the fused graph on whole windows, one person at a time, in the crops that a lock of its own holds; so
it shares neither the batching nor the bookkeeping with what it judges.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.vision.windows import PersonWindows
from stream.elements.pose import Pose
from stream.errors import EngineError
from stream.messages import Frame, Poses, Window
from stream.pipeline.executor import through
from stream.pipeline.launch import parse_launch
from stream.registry import make
from stream.runtime.restart_policy import RestartPolicy
from stream.runtime.supervisor import Supervisor
from stream.testing import Harness, check_element
from stream.testing.items import make_window
from tests.engines import exports

PAST, FUTURE = 2, 2
CAMERA = "testsrc width=160 height=120 people=3"
FOLLOWED = "detect ! track ! window"
# As exports.ATOL_PX; and jsonsink writes four decimals.
ATOL_PX = 2e-3


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exports.write_export(tmp_path_factory.mktemp("exports") / "drawn-fp32", past=PAST, future=FUTURE)


def frames_of(text: str) -> list[Frame]:
    """What a source gives."""
    name, *properties = text.split()
    return list(through(make(name, **dict(result.split("=") for result in properties)), ()))


def windows_of(items: Sequence[Frame], past: int = PAST, future: int = FUTURE) -> list[Window]:
    """What reaches ``pose`` of these frames."""
    return Harness(FOLLOWED, src=f"people/window, past={past}, future={future}").push_all(items)


def asked(windows: Sequence[Window]) -> list[PersonWindows]:
    return [
        PersonWindows(
            tuple(frame.pixels for frame in window.frames),
            tuple(frame.key for frame in window.frames),
            window.people.boxes,
            window.people.ids,
        )
        for window in windows
    ]


def posed(items: Sequence[Frame], pose: str) -> list[Poses]:
    return Harness(f"{FOLLOWED} ! {pose}").push_all(items)


def assert_close(found: Sequence[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=ATOL_PX)


@pytest.mark.parametrize("crop", ["auto", "lock", "exact"])
def test_it_keeps_the_contract_of_an_element(export: Path, crop: str) -> None:
    check_element(f"pose model={export} crop={crop}")


def test_a_line_with_kept_features_gives_the_keypoints_of_whole_windows(export: Path) -> None:
    frames = frames_of(f"{CAMERA} num_frames=40")
    found = posed(frames, f"pose model={export} crop=lock")
    wanted = exports.reference(export, asked(windows_of(frames)))
    assert sum(len(poses.ids) for poses in found) > 100
    assert_close([poses.keypoints for poses in found], wanted)


def test_frames_that_are_dropped_and_cameras_that_take_turns_change_nothing(export: Path) -> None:
    hall = [frame for frame in frames_of(f"{CAMERA} num_frames=50 camera=hall") if frame.seq % 7 not in (2, 3)]
    yard = [frame for frame in frames_of(f"{CAMERA} num_frames=40 camera=yard seed=5") if frame.seq not in range(9, 30)]
    items = sorted([*hall, *yard], key=lambda frame: (frame.seq, frame.camera))
    found = {poses.key: poses for poses in posed(items, f"pose model={export}")}
    windows = windows_of(items)
    assert {state for window in windows for state in window.states} == {"real", "repeated", "padded"}
    assert found.keys() == {window.key for window in windows}
    assert_close([found[window.key].keypoints for window in windows], exports.reference(export, asked(windows)))


def test_a_camera_that_changes_its_resolution_or_counts_anew_begins_anew(export: Path) -> None:
    small = frames_of(f"{CAMERA} num_frames=12 camera=hall")
    large = frames_of("testsrc width=200 height=150 people=3 num_frames=24 camera=hall")[12:]
    again = frames_of(f"{CAMERA} num_frames=12 camera=hall seed=9")
    items = [*small, *large, *again]
    found = posed(items, f"pose model={export}")
    assert_close([poses.keypoints for poses in found], exports.reference(export, asked(windows_of(items))))


def test_people_without_ids_get_the_papers_crops(export: Path) -> None:
    frames = frames_of(f"{CAMERA} num_frames=10")
    locked, exact = (
        Harness(f"detect ! window ! pose model={export} crop={crop}").push_all(frames) for crop in ("lock", "exact")
    )
    assert_close([poses.keypoints for poses in locked], [poses.keypoints for poses in exact])


def test_windows_that_wait_together_give_what_they_give_one_by_one(export: Path) -> None:
    windows = windows_of(frames_of(f"{CAMERA} num_frames=12"))
    with Pose(model=str(export)) as element:
        alone = [poses.keypoints for window in windows for poses in element.process(window)]
    with Pose(model=str(export)) as element:
        together = [poses.keypoints for poses in element.process_many(windows)]
    assert_close(together, alone)


def test_poses_carry_the_fingerprint_of_the_manifest(export: Path) -> None:
    from engines.spec.manifest import read_manifest

    (poses,) = Harness(f"pose model={export}").push(make_window(5, past=PAST, future=FUTURE))
    assert (poses.model, poses.fingerprint) == ("drawn", read_manifest(export).fingerprint)


def test_what_the_folder_cannot_do_is_said_when_the_line_is_linked(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn", parts=["fused"])
    with pytest.raises(EngineError) as caught:
        Harness(f"{FOLLOWED} ! pose model={folder} crop=lock")
    assert str(caught.value).startswith("pose: model drawn: crop=lock needs an export with 'backbone' and 'head'")


def test_a_damaged_folder_is_refused_when_the_element_is_opened(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn")
    (folder / "head.onnx").unlink()
    with pytest.raises(EngineError) as caught:
        Harness(f"{FOLLOWED} ! pose model={folder}").open()
    assert str(caught.value) == (
        f"pose: export {folder}: its file head.onnx is missing; copy the whole folder, or export again"
    )


# -- processes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_run_directories(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path_factory.mktemp("r")))  # paths of sockets have to be short


def line_of(folder: Path, notes: Path, num_frames: int) -> str:
    return (
        f"{CAMERA} num_frames={num_frames} camera=hall ! {FOLLOWED.replace('! window', '! queue ! window')} "
        f"! pose model={folder} ! queue ! jsonsink location={notes}"
    )


def written(notes: Path) -> list[NDArray[np.float32]]:
    """The keypoints of every frame, in the order in which they were written; numbers have no gap."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [line["frame_seq"] for line in lines] == list(range(len(lines)))
    people = ([person["keypoints"] for person in line["people"]] for line in lines)
    return [np.array(found, np.float32).reshape(-1, exports.JOINTS, 3) for found in people]


@pytest.mark.survival
@pytest.mark.usefixtures("no_leaks", "own_run_directories")
def test_across_processes_the_keypoints_are_the_same(export: Path, tmp_path: Path) -> None:
    with Supervisor(parse_launch(line_of(export, tmp_path / "notes", 30))) as supervisor:
        supervisor.play()
        assert supervisor.wait(100)
        assert supervisor.statistics["window"].status.endswith("% of frames reused")
    wanted = exports.reference(export, asked(windows_of(frames_of(f"{CAMERA} num_frames=30 camera=hall"))))
    assert_close(written(tmp_path / "notes"), wanted)


@pytest.mark.slow
@pytest.mark.survival
@pytest.mark.usefixtures("no_leaks", "own_run_directories")
def test_a_stage_that_is_killed_anchors_its_crops_anew_and_is_right_again(export: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Supervisor(parse_launch(line_of(export, notes, 80)), policy=RestartPolicy(silence_s=1.5)) as supervisor:
        supervisor.play()
        deadline_s = time.monotonic() + 100
        while time.monotonic() < deadline_s and not (notes.is_file() and notes.read_text().count("\n") > 5):
            time.sleep(0.01)
        os.kill(supervisor.pids["window"], signal.SIGKILL)
        assert supervisor.wait(100)
        restarts = supervisor.statistics["window"].incarnation
    assert restarts == 1
    windows = asked(windows_of(frames_of(f"{CAMERA} num_frames=80 camera=hall")))
    assert_right_before_and_after_a_restart(written(notes), export, windows)


def assert_right_before_and_after_a_restart(
    found: list[NDArray[np.float32]], export: Path, windows: list[PersonWindows]
) -> None:
    """Up to some frame crops go on from the first; from there on they are those of a lock that began at, or a window
    before, that frame."""
    assert len(found) == len(windows)
    whole = exports.reference(export, windows)
    first = next((at for at, pair in enumerate(zip(found, whole, strict=True)) if not _is_close(*pair)), None)
    if first is None:  # crops were to be anchored anew at that very frame
        return
    for begin in range(max(0, first - 3 * len(windows[0].frames)), first + 1):
        again = exports.reference(export, windows[begin:])[first - begin :]
        if all(map(_is_close, found[first:], again)):
            return
    raise AssertionError(f"from frame {first} on the keypoints are of no crops that a restart explains")


def _is_close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return one.shape == other.shape and np.allclose(one, other, atol=ATOL_PX)
