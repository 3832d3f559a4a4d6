"""The command as a user meets it: every wrong command, the one line it gets, and the exit code."""

# A table is read by its rows.
# ruff: noqa: E501

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from typer.main import get_command

from stream.__main__ import execute, make_app
from stream.cli.demo import free_port
from stream.errors import PosestreamError

COMMANDS: dict[str, Any] = get_command(make_app(None)).commands  # type: ignore[attr-defined]

Capture = pytest.CaptureFixture[str]
LINE = "testsrc num_frames=2 ! detect model=truth"

# What is typed, what the one line must contain, the exit code.
WRONG: dict[str, tuple[list[str], list[str], int]] = {
    "unknown command": (["lunch"], ["lunch", "Did you mean", "launch"], 2),
    "unknown option": (["validate", "--fast", LINE], ["--fast"], 2),
    "missing argument": (["launch"], ["Missing argument 'line'"], 2),
    "unknown element": (["launch", "testscr ! fakesink"], ["column 1", "'testscr'", "did you mean 'testsrc'"], 1),
    "unknown property": (["launch", "testsrc widht=9 ! fakesink"], ["'widht'", "did you mean 'width'"], 1),
    "value out of range": (["launch", "testsrc ! detect min_score=3 ! fakesink"], ["min_score=3", "at most 1"], 1),
    "value of another type": (["launch", "testsrc width=wide ! fakesink"], ["width=wide", "int"], 1),
    "caps that clash": (["launch", "testsrc ! window ! fakesink"], ["testsrc", "window", "video/raw", "people/boxes"], 1),
    "two links in a row": (["launch", "testsrc ! ! fakesink"], ["column 11", "!"], 1),
    "quote left open": (["launch", "testsrc camera='hall ! fakesink"], ["column 16", "'"], 1),
    "nothing at all": (["launch", ""], ["empty"], 1),
    "no source": (["launch", "detect ! fakesink"], ["detect"], 1),
    "two cameras of one name": (["launch", "testsrc ! queue name=q; testsrc ! queue name=q; from q ! fakesink"], ["testsrc"], 1),
    "from nowhere": (["launch", "from peple ! fakesink; testsrc ! queue name=people"], ["'peple'", "people"], 1),
    "missing video": (["launch", "filesrc location=nowhere.mp4 ! fakesink"], ["nowhere.mp4"], 1),
    "no video at all": (["launch", "filesrc location={folder}/notes.mp4 ! fakesink"], ["notes.mp4"], 1),
    "camera not there": (["launch", "camerasrc device=/dev/video97 ! fakesink"], ["/dev/video97"], 1),
    "no such network": (["launch", f"{LINE} ! track ! window ! pose model=rtmpose-q ! fakesink"], ["'rtmpose-q'"], 1),
    "network file missing": (["launch", "testsrc ! detect model=gone.onnx ! fakesink"], ["gone.onnx"], 1),
    "network no network": (["launch", "testsrc num_frames=1 ! detect model={folder}/bad.onnx ! fakesink"], ["bad.onnx"], 1),
    "sink nowhere to write": (["launch", f"{LINE} ! track ! window ! pose ! jsonsink location={{folder}}/notes.mp4/x"], ["notes.mp4"], 1),
    "address beyond this host": (["validate", f"{LINE} ! track ! window ! pose ! keypointsink bind=tcp://*:5570"], ["tcp://*:5570", "keys"], 1),
    "YAML that is none": (["run", "{folder}/bad.yaml"], ["bad.yaml", "line 3, column 1"], 1),
    "YAML of something else": (["run", "{folder}/other.yaml"], ["other.yaml", "colour"], 1),
    "YAML with a wrong property": (["run", "{folder}/wrong.yaml"], ["wrong.yaml", "widht", "width"], 1),
    "YAML missing": (["run", "nowhere.yaml"], ["nowhere.yaml", "demo"], 1),
    "part unknown": (["run", "{folder}/good.yaml", "--part", "detekt", "--run-dir", "{folder}/run"], ["'detekt'", "testsrc"], 1),
    "part without a place": (["run", "{folder}/good.yaml", "--part", "detect"], ["--part", "--run-dir"], 1),
    "inspect nothing": (["inspect", "detekt"], ["'detekt'", "did you mean 'detect'"], 1),
    "schema of nothing": (["inspect", "--json-schema"], ["--json-schema", "inspect detect"], 1),
    "top of nothing": (["top", "--run-dir", "{folder}"], ["{folder}", "launch"], 1),
    "pull the unknown": (["pull", "yolox-nanu"], ["yolox-nanu", "yolox-nano"], 1),
    "a time that is no number": (["top", "--seconds", "nan"], ["--seconds"], 2),
    "a port that is none": (["subscribe", "tcp://127.0.0.1:99999"], ["no port from 1 to 65535"], 1),
    "a port of a queue that is none": (["validate", f"{LINE} ! queue address=tcp://127.0.0.1:0 ! fakesink"], ["no port from 1"], 1),
    "keys twice": (["keygen", "{folder}/keys"], ["server.key_secret", "exists"], 1),
    "demo into nowhere": (["demo", "--output", "{folder}/not/there.mp4"], ["there.mp4"], 1),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files that are not what they should be."""
    (tmp_path / "notes.mp4").write_text("no video")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    (tmp_path / "bad.yaml").write_text("line:\n  - [testsrc\n")
    (tmp_path / "other.yaml").write_text("colour: red\n")
    (tmp_path / "wrong.yaml").write_text("line:\n  - testsrc: {widht: 9}\n  - fakesink\n")
    (tmp_path / "good.yaml").write_text(
        "line: [{testsrc: {num_frames: 1}}, queue, {detect: {model: truth}}, fakesink]\n"
    )
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "server.key_secret").write_text("taken")
    return tmp_path


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_command_gets_one_line_that_says_what_and_an_exit_code(
    case: str, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words, expected, code = WRONG[case]
    assert execute([word.replace("{folder}", str(folder)) for word in words]) == code
    result = capsys.readouterr()
    assert result.err.startswith("posestream: ")
    assert result.err.count("\n") == 1, result.err
    assert "Traceback" not in result.err + result.out
    for part in expected:
        assert part.replace("{folder}", str(folder)) in result.err


def test_a_port_in_use_is_named(capsys: Capture, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        line = f"{LINE} ! track ! window ! pose ! keypointsink bind={address}"
        assert execute(["launch", line]) == 1
    result = capsys.readouterr().err
    assert address in result
    assert result.count("\n") == 1


def test_debug_shows_where_an_error_came_from_wherever_it_stands(capsys: Capture) -> None:
    for words in (["--debug", "inspect", "detekt"], ["inspect", "detekt", "--debug"]):
        assert execute(words) == 1
        result = capsys.readouterr().err
        assert "Traceback" in result
        assert result.rstrip().splitlines()[-1].startswith("posestream: no element 'detekt'")


def test_the_environment_may_ask_for_debug_too(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSESTREAM_DEBUG", "1")
    assert execute(["inspect", "detekt"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_our_own_says_so(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str) -> str:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("stream.pipeline.inspection.inspect_element", broken)
    assert execute(["inspect", "detect"]) == 1
    result = capsys.readouterr().err
    assert (
        result
        == "posestream: ZeroDivisionError: by zero (a fault of posestream; add --debug for the traceback, and please report it)\n"
    )


def test_an_exception_of_your_own_element_is_shown_with_its_traceback_and_is_no_fault_of_ours(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "halving.py").write_text(
        "from stream import Caps, Transform\n"
        "class Halving(Transform):\n"
        '    """Fails."""\n'
        '    sink = src = Caps("video/raw")\n'
        "    def process(self, item):\n"
        "        yield item.seq / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert execute(["launch", "testsrc num_frames=1 ! mine.halving ! fakesink"]) == 1
    printed = capsys.readouterr().err
    begin, frame, code, *_, last = printed.splitlines()
    assert begin == "Traceback (most recent call last):"
    assert (frame.strip(), code.strip()) == (
        f'File "{tmp_path / "mine" / "halving.py"}", line 6, in process',
        "yield item.seq / 0",
    )
    assert last == "posestream: ZeroDivisionError: division by zero, in element 'halving' (mine.halving)"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("import os\nos.environ['HALVING']\n", "KeyError: 'HALVING', in element 'mine.halving'"),
        (
            "from stream import Source\nclass Halving(Source):\n def __init__(self):\n  raise OSError('no licence')\n",
            "OSError: no licence, in element 'mine.halving'",
        ),
    ],
)
def test_an_element_of_your_own_that_cannot_be_made_is_named(
    body: str, line: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "halving.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("mine", "mine.halving"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert execute(["launch", "mine.halving ! fakesink"]) == 1
    printed = capsys.readouterr().err
    assert f'File "{tmp_path / "mine" / "halving.py"}"' in printed.splitlines()[1]
    assert printed.splitlines()[-1] == f"posestream: {line}"


def test_common_options_may_stand_anywhere(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def log(_name: str) -> str:
        for level in ("debug", "info", "warning", "error"):
            getattr(logging.getLogger("stream"), level)(level)
        raise PosestreamError("enough")

    monkeypatch.setattr("stream.pipeline.inspection.inspect_element", log)
    for words, count in ((["-q"], 1), ([], 2), (["-v"], 3), (["-vv"], 4), (["--verbose", "-v"], 4)):
        for placed in ([*words, "inspect", "detect"], ["inspect", *words, "detect"], ["inspect", "detect", *words]):
            assert execute(placed) == 1
            assert len(capsys.readouterr().err.splitlines()) == count + 1, placed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, capsys: Capture) -> None:
    assert execute([command, "--help"]) == 0
    result = capsys.readouterr().out
    assert f"posestream {command}" in result.split("Usage:")[1].split("\n", 1)[1], "no example"
    assert "Options" in result


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_parameter_has_no_brackets_that_rich_takes_for_markup(command: str) -> None:
    for one in (COMMANDS[command], *getattr(COMMANDS[command], "commands", {}).values()):
        for parameter in one.params:
            text = getattr(parameter, "help", None) or ""
            assert Text.from_markup(text).plain == text, parameter.name


def test_the_version_is_that_of_the_distribution(capsys: Capture) -> None:
    assert execute(["--version"]) == 0
    assert capsys.readouterr().out == "posestream 0.1.0\n"


# -- as a process ---------------------------------------------------------------------------------------------------------


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(no_leaks: None) -> Iterator[Start]:
    """Starts ``posestream`` with these words; whatever still runs is ended."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "stream", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("line", ["detect model=truth", "queue ! detect model=truth"], ids=["one process", "two"])
def test_ctrl_c_ends_a_line_without_noise(line: str, start: Start) -> None:
    process = start("launch", f"testsrc realtime=true fps=20 width=64 height=64 ! {line}")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("testsrc")
    process.send_signal(signal.SIGINT)
    _, result = process.communicate(timeout=60)
    assert process.returncode == 130
    assert result == ""


@pytest.mark.parametrize("queue", ["", "! queue"], ids=["one process", "two"])
def test_a_reader_that_leaves_early_is_no_fault(queue: str, start: Start) -> None:
    process = start("launch", f"testsrc num_frames=2000 width=64 height=64 {queue} ! detect model=truth")
    assert process.stdout is not None
    assert process.stderr is not None
    assert "0 people" in process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0


def test_both_ways_to_run_a_line_print_the_same(start: Start) -> None:
    line = "testsrc num_frames=8 width=64 height=64 ! queue ! detect model=truth ! queue ! track"
    here, apart = start("launch", line, "--in-process"), start("launch", line)
    result = [process.communicate(timeout=90) for process in (here, apart)]
    assert result[0] == result[1]
    assert [text.split()[1] for text in result[0][0].splitlines()] == [str(seq) for seq in range(8)]


def test_one_part_of_a_line_can_be_started_by_hand(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "line.yaml"
    file.write_text("line: [{testsrc: {num_frames: 5}}, queue, {detect: {model: truth}}, {fakesink: {dump: true}}]\n")
    place = ["--run-dir", str(tmp_path / "run")]
    begin, end = (start("run", str(file), "--part", part, *place) for part in ("testsrc", "detect"))
    result, fault = end.communicate(timeout=90)
    assert fault == ""
    assert [text.split()[1] for text in result.splitlines()] == ["0", "1", "2", "3", "4"]
    assert begin.wait(90) == end.returncode == 0


def test_parts_on_two_hosts_meet_at_an_address_with_one_key(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    key, file = tmp_path / "line.key", tmp_path / "line.yaml"
    assert execute(["keygen", "--line", str(key)]) == 0
    assert f"POSESTREAM_CURVE={key}" in capsys.readouterr().out
    monkeypatch.setenv("POSESTREAM_CURVE", str(key))
    queue = f"{{queue: {{address: 'tcp://127.0.0.1:{free_port(0)}'}}}}"
    file.write_text(
        f"line: [{{testsrc: {{num_frames: 5}}}}, {queue}, {{detect: {{model: truth}}}}, {{fakesink: {{dump: true}}}}]\n"
    )
    begin, end = (
        start("run", str(file), "--part", part, "--run-dir", str(tmp_path / part)) for part in ("testsrc", "detect")
    )
    result, fault = end.communicate(timeout=90)
    assert fault == ""
    assert [text.split()[1] for text in result.splitlines()] == ["0", "1", "2", "3", "4"]
    assert begin.wait(90) == end.returncode == 0


def test_subscribe_shows_what_a_line_publishes(start: Start, tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port(0)}"
    start(
        "launch", f"testsrc realtime=true fps=10 ! detect ! track ! queue ! window ! pose ! keypointsink bind={address}"
    )
    result, fault = start("subscribe", address, "--count", "2", "--timeout", "60").communicate(timeout=90)
    # A busy machine may take more than 5 s to start the line.
    assert [line for line in fault.splitlines() if not line.endswith("; still trying")] == []
    assert [line.startswith("testsrc ") for line in result.splitlines()] == [True, True]


def test_models_lists_the_network_that_ships_and_what_can_be_pulled(capsys: Capture) -> None:
    assert execute(["models"]) == 0
    result = capsys.readouterr().out
    assert "fami-small" in result
    assert "rtmpose-s" in result
    assert "yolox-nano" in result


@pytest.mark.parametrize("words", [[], ["eval"]])
def test_without_a_command_they_are_listed_and_no_error_is_shown(words: list[str], capsys: Capture) -> None:
    assert execute(words) == 2
    result = capsys.readouterr()
    assert "Usage: posestream" in result.out
    assert result.err == ""
