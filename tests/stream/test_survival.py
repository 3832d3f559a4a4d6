"""Lines of real processes that are killed, stopped or broken: what survives, and that nothing is left behind.

The elements are toys (``tests/stream/toys``) whose outputs are known from camera and number alone, so that what comes
out of a disturbed line can be compared, to the last digit, with what one process makes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.restarts import measure
from stream.errors import PartError, StartError
from stream.pipeline.launch import parse_launch
from stream.runtime import bus
from stream.runtime.restart_policy import RestartPolicy
from stream.runtime.run_dir import base_directory, get_run_id
from stream.runtime.supervisor import Supervisor
from stream.transports.shm_segment import unlink_all
from tests.stream.toys.notebook import key_of, lines_in

pytestmark = [pytest.mark.survival, pytest.mark.usefixtures("no_leaks", "own_run_directories")]

TOYS = "tests.stream.toys."
# Nothing here waits so long on a machine that is not broken; a busy one may take many times what a quiet one does.
_LONG_S = 100.0

# Many restarts are wanted here, and a stopped part is to be noticed soon.
STUBBORN = RestartPolicy(silence_s=1.5, restarts=1000)


@pytest.fixture
def own_run_directories(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run directories of these tests alone; none may be left."""
    folder = tmp_path_factory.mktemp("r")  # paths of sockets have to be short
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(folder))
    yield
    assert until(lambda: not list(folder.iterdir())), list(folder.iterdir())


def has_lines(path: Path, count: int) -> bool:
    return len(lines_in(path)) > count


def until(is_so: Callable[[], object]) -> bool:
    """Wait for it."""
    deadline_s = time.monotonic() + _LONG_S
    while not (so := is_so()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return bool(so)


def five(notebook: Path, source: str = "", locate: str = "", gauge: str = "") -> str:
    """A line of five processes."""
    return (
        f"{TOYS}painted {source} ! queue ! {TOYS}locate {locate} ! queue ! window "
        f"! queue ! {TOYS}gauge {gauge} ! queue ! {TOYS}notebook location={notebook}"
    )


def three(notebook: Path, source: str = "", locate: str = "") -> str:
    """A line of three processes, where two links are as good as four: each process costs half a second."""
    return f"{TOYS}painted {source} ! queue ! {TOYS}locate {locate} ! queue ! {TOYS}notebook location={notebook}"


def expected(text: str, notebook: Path) -> list[str]:
    """What the same line writes in one process."""
    for _ in parse_launch(text).run():
        raise AssertionError("a line that ends in a sink yields nothing")
    return seen(notebook)


def seen(notebook: Path) -> list[str]:
    """What was written, without how old it was then."""
    return [" ".join([*line.split()[:2], *line.split()[3:]]) for line in lines_in(notebook)]


def kill(supervisor: Supervisor, part: str) -> None:
    """Kill the process of a part, once it has one."""
    assert until(lambda: part in supervisor.pids)
    os.kill(supervisor.pids[part], signal.SIGKILL)


def disturb(supervisor: Supervisor, seed: int, hits: int, signals: tuple[signal.Signals, ...]) -> list[str]:
    """Hit processes of a line at random moments, until they have been hit so often or it has ended."""
    rng = random.Random(seed)
    log: list[str] = []
    while len(log) < hits and not supervisor.wait(timeout_s=rng.uniform(0.0, 0.4)):
        living = supervisor.pids
        if living:
            part, number = rng.choice(sorted(living)), rng.choice(signals)
            with contextlib.suppress(ProcessLookupError):
                os.kill(living[part], number)
            log.append(f"{part} {number.name}")
    return log


# -- processes that end or hang ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "signals"),
    [
        pytest.param(1, (signal.SIGKILL,), id="killed"),
        pytest.param(
            2, (signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP), id="killed or stopped", marks=pytest.mark.slow
        ),
    ],
)
def test_a_file_line_whose_parts_are_hit_at_random_delivers_every_frame_once_in_order(
    seed: int, signals: tuple[signal.Signals, ...], tmp_path: Path
) -> None:
    text = five(tmp_path / "notes", "num_frames=300", "step_ms=5", "step_ms=5")
    want = expected(text, tmp_path / "notes")
    with Supervisor(parse_launch(text), policy=STUBBORN) as supervisor:
        supervisor.play()
        log = disturb(supervisor, seed, hits=6, signals=signals)
        assert supervisor.wait(_LONG_S), f"the line did not end after {log}"
    assert seen(tmp_path / "notes") == want, f"after {log}"
    assert len(log) == 6, "the line had ended before it was hit often enough"


def test_a_live_line_that_does_not_leak_loses_only_frames_for_which_there_was_no_credit(tmp_path: Path) -> None:
    source = "num_frames=120 interval_ms=20 is_live=true"
    text = five(tmp_path / "notes", source).replace("! queue !", "! queue leaky=no !")
    with Supervisor(parse_launch(text), policy=STUBBORN) as supervisor:
        supervisor.play()
        assert until(lambda: len(lines_in(tmp_path / "notes")) > 20)
        kill(supervisor, "window")
        assert supervisor.wait(_LONG_S)
        dropped = supervisor.statistics["painted"].dropped
    delivered = [key_of(line)[1] for line in lines_in(tmp_path / "notes")]
    assert delivered == sorted(set(delivered))
    # Until the whole line plays a camera is read, but nothing of it taken. What was in flight was sent again.
    assert len(delivered) + dropped == 120 - delivered[0]


def test_a_live_camera_goes_on_counting_where_it_was_killed(tmp_path: Path) -> None:
    notes, began_s = tmp_path / "notes", time.monotonic()
    text = three(notes, "num_frames=1000000 interval_ms=20 is_live=true")
    with Supervisor(parse_launch(text), policy=STUBBORN) as supervisor:
        supervisor.play()
        assert until(partial(has_lines, notes, 10))
        kill(supervisor, "painted")
        assert until(lambda: (stats := supervisor.statistics.get("painted")) and stats.incarnation == 1)
        assert until(partial(has_lines, notes, len(lines_in(notes)) + 10))
        given = (time.monotonic() - began_s) / 0.02  # at most, by both
        supervisor.stop()
        assert supervisor.wait(_LONG_S)
    delivered = [key_of(line)[1] for line in lines_in(notes)]
    assert delivered == sorted(set(delivered))
    assert 20 < delivered[20] < given


def test_a_folder_that_changes_before_its_source_is_killed_ends_the_line_with_an_error_once(tmp_path: Path) -> None:
    folder, notes = tmp_path / "shots", tmp_path / "notes"
    folder.mkdir()
    for number in range(40):
        cv2.imwrite(str(folder / f"p_{number:03}.png"), np.full((48, 64, 3), number, np.uint8))
    text = f"filesrc location={folder} ! queue ! {TOYS}locate step_ms=50 ! {TOYS}notebook location={notes}"
    with Supervisor(parse_launch(text), policy=STUBBORN) as supervisor:
        supervisor.play()
        assert until(partial(has_lines, notes, 5))
        (folder / "p_000.png").unlink()
        kill(supervisor, "filesrc")
        errors = [notice for notice in supervisor.messages() if isinstance(notice, bus.Error)]
    (error,) = [notice for notice in errors if notice.needs_user]
    assert "was changed while the line ran: files were removed from the 40 that it had (now 39)" in error.text
    delivered = [key_of(line)[1] for line in lines_in(notes)]
    assert delivered == list(range(len(delivered)))
    assert len(delivered) < 40


def test_two_cameras_share_a_detector_that_is_killed(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    text = f"""
        {TOYS}painted camera=hall num_frames=150 ! queue name=seen
        {TOYS}painted camera=yard num_frames=200 ! queue name=seen
        from seen ! {TOYS}locate step_ms=3 ! window ! queue ! {TOYS}gauge ! {TOYS}notebook location={notes}
    """
    want = expected(text, notes)
    with Supervisor(parse_launch(text), policy=STUBBORN) as supervisor:
        supervisor.play()
        for count in (40, 120):
            assert until(partial(has_lines, notes, count))
            kill(supervisor, "locate")
        assert supervisor.wait(_LONG_S)
    for camera in ("hall", "yard"):  # the order of items of different cameras is not defined
        assert of(camera, seen(notes)) == of(camera, want)


def of(camera: str, lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(camera)]


def test_a_part_that_is_killed_after_the_shared_memory_lost_its_names_loses_no_frame(tmp_path: Path) -> None:
    text = three(tmp_path / "n", "num_frames=60 interval_ms=20")
    with Supervisor(parse_launch(text), on_stderr=lambda *_: None) as supervisor:
        supervisor.play()
        assert until(lambda: lines_in(tmp_path / "n"))
        assert unlink_all(get_run_id(supervisor.run_dir))
        kill(supervisor, "locate")
        assert supervisor.wait(_LONG_S)
    assert [key_of(line)[1] for line in lines_in(tmp_path / "n")] == list(range(60))


def test_a_part_that_hangs_is_started_again(tmp_path: Path) -> None:
    text = three(tmp_path / "notes", "num_frames=40", "hangs_at=20")
    with Supervisor(parse_launch(text), policy=RestartPolicy(hang_s=1.0)) as supervisor:
        supervisor.play()
        notices = list(supervisor.messages())
        assert supervisor.wait(_LONG_S)
    assert [line.split()[1] for line in seen(tmp_path / "notes")] == [str(seq) for seq in range(40)]
    assert any(isinstance(notice, bus.Restarted) and notice.part == "locate" for notice in notices)
    assert any(isinstance(notice, bus.Warning_) and "hung in one step" in notice.text for notice in notices)


# -- elements that fail -----------------------------------------------------------------------------------------------


def test_an_exception_costs_its_item_and_is_reported_with_element_camera_and_seq(tmp_path: Path) -> None:
    text = three(tmp_path / "n", "num_frames=40", "fails_every=10")
    with Supervisor(parse_launch(text)) as supervisor:
        supervisor.play()
        errors = [notice for notice in supervisor.messages() if isinstance(notice, bus.Error)]
        lost = "its frames: locate failed on 4 frames of camera 'hall', last on 39: ValueError: no luck with 39$"
        with pytest.raises(PartError, match=lost):
            supervisor.wait(_LONG_S)
    assert [key_of(line)[1] for line in lines_in(tmp_path / "n")] == [seq for seq in range(40) if seq % 10 != 9]
    assert [(error.element, error.camera, error.seq, error.text) for error in errors] == [
        ("locate", "hall", seq, f"ValueError: no luck with {seq}") for seq in (9, 19, 29, 39)
    ]


def test_a_part_that_crashes_again_and_again_fails_the_line_with_its_last_error(tmp_path: Path) -> None:
    text = three(tmp_path / "notes", "num_frames=40", "dies_from=20")
    lines: list[str] = []
    policy = RestartPolicy(restarts=2, first_delay_s=0.01)
    with Supervisor(parse_launch(text), policy=policy, on_stderr=lambda _part, line: lines.append(line)) as supervisor:
        supervisor.play()
        restarts = [notice for notice in supervisor.messages() if isinstance(notice, bus.Restarted)]
        with pytest.raises(PartError, match="locate was restarted 2 times within 60 s and failed again") as raised:
            supervisor.wait(_LONG_S)
    assert [notice.count for notice in restarts] == [1, 2]
    assert "; last error: it was killed by SIGSEGV: " in str(raised.value)
    assert any("locate.py" in line for line in lines), "faulthandler prints where it crashed"


def test_a_broken_element_ends_its_part_and_then_the_line(tmp_path: Path) -> None:
    text = three(tmp_path / "notes", "num_frames=100", "fails_from=20")
    with Supervisor(parse_launch(text), policy=RestartPolicy(restarts=1), on_stderr=lambda *_: None) as supervisor:
        supervisor.play()
        with pytest.raises(PartError) as raised:
            supervisor.wait(_LONG_S)
    failure, _, losses = str(raised.value).partition("; frames lost before that: ")
    assert failure == (
        "locate was restarted 1 times within 60 s and failed again; last error: "
        "locate failed on 5 items in a row, last with RuntimeError: broken since 20; fix the element or what feeds it"
    )
    assert re.fullmatch(
        r"locate failed on \d+ frames of camera 'hall', last on \d+: RuntimeError: broken since 20", losses
    )


def test_an_error_that_only_the_user_can_correct_ends_the_line_at_once(tmp_path: Path) -> None:
    text = three(tmp_path / "notes", "is_missing=true")
    with Supervisor(parse_launch(text), on_stderr=lambda *_: None) as supervisor:
        supervisor.play()
        restarts = [notice for notice in supervisor.messages() if isinstance(notice, bus.Restarted)]
        with pytest.raises(StartError, match=r"^painted: hall: no such camera; plug it in$"):
            supervisor.wait(_LONG_S)
    assert not restarts


def test_of_a_damaged_file_every_frame_before_the_damage_is_delivered_and_the_run_fails(tmp_path: Path) -> None:
    text = three(tmp_path / "notes", "num_frames=40 fails_at=30")
    with Supervisor(parse_launch(text)) as supervisor:
        supervisor.play()
        with pytest.raises(
            PartError, match=r"^painted: camera 'hall': hall: damaged at frame 30; copy the file again$"
        ):
            supervisor.wait(_LONG_S)
    assert [key_of(line)[1] for line in lines_in(tmp_path / "notes")] == list(range(30))


# -- what the user does -----------------------------------------------------------------------------------------------


def test_a_paused_line_holds_its_frames_and_goes_on(tmp_path: Path) -> None:
    text = five(tmp_path / "notes", "num_frames=60", "step_ms=10")
    with Supervisor(parse_launch(text)) as supervisor:
        supervisor.set_state("READY")
        assert until(lambda: supervisor.state == "READY")
        supervisor.pause()
        assert until(lambda: supervisor.state == "PAUSED")
        assert not lines_in(tmp_path / "notes")
        supervisor.play()
        assert until(lambda: len(lines_in(tmp_path / "notes")) > 5)
        supervisor.pause()
        assert until(lambda: supervisor.state == "PAUSED")
        time.sleep(1.0)  # what is in flight arrives; 16 frames at 10 ms each, and room for a busy machine
        held = len(lines_in(tmp_path / "notes"))
        time.sleep(0.5)  # time enough for fifty frames
        assert len(lines_in(tmp_path / "notes")) == held < 60
        supervisor.play()
        assert supervisor.wait(_LONG_S)
    assert len(lines_in(tmp_path / "notes")) == 60


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a line without end in a process group of its own, as a shell does, and waits until it is under way."""
    started: list[subprocess.Popen[bytes]] = []

    def start(step_ms: int = 0) -> subprocess.Popen[bytes]:
        text = five(tmp_path / "notes", "num_frames=1000000 interval_ms=10").replace(
            "notes", f"notes step_ms={step_ms}"
        )
        script = (
            "import sys; from stream.pipeline.launch import parse_launch\n"
            "from stream.runtime.supervisor import Supervisor\n"
            "came = Supervisor(parse_launch(sys.argv[1])).run()\n"
            "sys.exit(128 + came if came else 0)"
        )
        process = subprocess.Popen([sys.executable, "-c", script, text], start_new_session=True)
        started.append(process)
        assert until(lambda: len(lines_in(tmp_path / "notes")) > 3)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_first_signal_ends_the_streams_and_everything_in_flight_is_delivered(
    number: signal.Signals, endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = endless()
    os.killpg(process.pid, number)  # as Ctrl-C does, which reaches the whole foreground group
    assert process.wait(_LONG_S) == 128 + number
    text = (tmp_path / "notes").read_text()
    assert text.endswith("end\n")
    assert [key_of(line)[1] for line in lines_in(tmp_path / "notes")] == list(range(text.count("\n") - 1))


def test_the_second_signal_ends_everything_at_once(
    endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = endless(step_ms=500)  # a clean stop would deliver all that is in flight, half a second each
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.wait(_LONG_S)
    assert "end" not in (tmp_path / "notes").read_text()


def test_kill_9_of_the_supervisor_leaves_no_process_no_segment_and_no_directory(
    endless: Callable[..., subprocess.Popen[bytes]],
) -> None:
    process = endless()
    process.kill()
    process.wait()
    assert until(lambda: not list(base_directory().iterdir()))  # processes and segments are the fixture's to look for


def test_kill_9_of_the_supervisor_takes_a_stopped_part_along(
    endless: Callable[..., subprocess.Popen[bytes]],
) -> None:
    process = endless()
    note = next(base_directory().glob("*/*.pid"))
    os.kill(json.loads(note.read_text())["pid"], signal.SIGSTOP)
    process.kill()
    process.wait()
    assert until(lambda: not list(base_directory().iterdir()))


def test_an_exception_beside_the_supervisor_ends_the_line(tmp_path: Path) -> None:
    text = three(tmp_path / "notes", "num_frames=1000000")
    supervisor = Supervisor(parse_launch(text))
    with pytest.raises(ZeroDivisionError):
        _fail_beside(supervisor)
    assert supervisor.state == "NULL"


def _fail_beside(supervisor: Supervisor) -> None:
    with supervisor:
        supervisor.play()
        assert until(lambda: supervisor.state == "PLAYING")
        raise ZeroDivisionError


def test_a_part_started_on_the_command_line_joins_a_supervised_line(tmp_path: Path) -> None:
    text = five(tmp_path / "notes", "num_frames=40")
    want = expected(text, tmp_path / "notes")
    with Supervisor(parse_launch(text), external={"locate"}) as supervisor:
        supervisor.play()
        assert until(lambda: len(supervisor.pids) == 4)
        line = str(supervisor.run_dir / "line.yaml")
        command = ["run", line, "--part", "locate", "--run-dir", str(supervisor.run_dir)]
        external = subprocess.Popen([sys.executable, "-m", "stream", *command])
        assert supervisor.wait(_LONG_S)
        assert external.wait(_LONG_S) == 0
    assert seen(tmp_path / "notes") == want


# -- what it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_restarts_of_a_part_leave_nothing_behind_in_the_others() -> None:
    outcome = measure(restarts=4, warm_up=2)
    for name in outcome.before:
        growth = outcome.growth(name)
        assert (growth.descriptors, growth.threads) == (0, 0), name
        # An allocator takes what it likes, in steps of a few hundred KiB; benchmarks/restarts.py looks at 200 restarts.
        assert growth.rss_kib < 2048, name
    assert outcome.segments_after == outcome.segments_before == 1
