"""No password is printed, logged or written, whatever characters it has and wherever an address is mistyped.

Every check puts a password of two halves around one awkward character into an address, gives that to an entry point,
and reads all that leaves the process. Neither half may be in it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

import posestream
from stream.__main__ import execute
from stream.errors import PosestreamError
from stream.logs import logging_to_stderr
from stream.pipeline.launch import parse_launch, parse_yaml
from stream.pipeline.pipeline import Pipeline
from stream.registry import make
from stream.runtime import bus
from stream.runtime.supervisor import Supervisor

HALVES = ("Kiwi7", "Mango3")

CHARACTERS = {
    "quote": "'", "double quote": '"', "hash": "#", "slash": "/", "backslash": "\\", "pipe": "|", "less": "<",
    "at": "@", "colon": ":", "question mark": "?", "ampersand": "&", "percent": "%", "plus": "+", "blank": " ",
    "umlaut": "ü", "bang": "!", "semicolon": ";", "equals": "=", "dollar": "$", "star": "*", "brace": "{",
    "comma": ",", "tab": "\t", "at and slash": "@x/", "quotes": "'\"", "none": "",
}  # fmt: skip

HOST = "127.0.0.1:1/ch1"
"""Nothing listens there, so that a connection is refused at once."""

Place = Callable[[str, Path], object]


def _run(*arguments: str) -> Place:
    """The command line, with ``{pw}`` replaced by the password."""
    return lambda password, _: execute([word.replace("{pw}", password) for word in arguments])


def _launch(line: str, *options: str) -> Place:
    return _run(*options, "launch", line.replace("HOST", HOST))


def _run_file(text: str) -> Place:
    def run(password: str, folder: Path) -> object:
        (folder / "mine.yaml").write_text(text.replace("{pw}", password).replace("HOST", HOST))
        return execute(["run", str(folder / "mine.yaml"), "--in-process"])

    return run


def _shown(look: Callable[[str], object]) -> Place:
    """What ``look`` returns or raises is shown, as an uncaught exception would be."""

    def show(password: str, _: Path) -> None:
        try:
            print(look(password))
        except PosestreamError as error:
            print(error, repr(error), error.args, "".join(traceback.format_exception(error)))

    return show


def _source(password: str) -> object:
    return make("rtspsrc", url=f"rtsp://adm:{password}@{HOST}")


def _pipeline(password: str) -> posestream.Pipeline:
    return posestream.Pipeline(_source(password), make("fakesink"))  # type: ignore[arg-type]


def _log(password: str, _: Path) -> None:
    _source(password)  # known from here on
    with logging_to_stderr(logging.INFO):
        logging.getLogger("libav.rtsp").warning("method DESCRIBE failed for adm:%s", password)
        try:
            raise OSError(f"no route to rtsp://adm:{password}@{HOST}")
        except OSError:
            logging.getLogger("stream.x").exception("lost %r", f"rtsp://adm:{password}@{HOST}")


def _notices(password: str) -> Iterator[bytes | None]:
    _source(password)
    url = f"rtsp://adm:{password}@{HOST}"
    for notice in (
        bus.Error(part=url, element=url, camera=url, text=f"lost {url}"),
        bus.Warning_(part=password, logger=url, text=repr(url)),
        bus.Stats(part="rtspsrc", status=json.dumps(url)),
        bus.Restarted(part="rtspsrc", why=url, count=1),
    ):
        yield bus.encode(notice)


PLACES: dict[str, Place] = {
    "launch": _launch("rtspsrc url=rtsp://adm:{pw}@HOST ! fakesink"),
    "launch in quotes": _launch("rtspsrc url='rtsp://adm:{pw}@HOST' ! fakesink"),
    "launch, words": _run("launch", "rtspsrc", f"url=rtsp://adm:{{pw}}@{HOST}", "!", "fakesink"),
    "debug": _launch("rtspsrc url=rtsp://adm:{pw}@HOST ! fakesink", "--debug"),
    "debug in double quotes": _launch('rtspsrc url="rtsp://adm:{pw}@HOST" ! fakesink', "--debug"),
    "snapshot": _launch("snapshotsrc url=http://adm:{pw}@HOST/a.jpg?token={pw} ! fakesink"),
    "forgotten url=": _launch("rtspsrc rtsp://adm:{pw}@HOST ! fakesink"),
    "no scheme": _launch("rtspsrc url=adm:{pw}@HOST ! fakesink"),
    "one slash": _launch("rtspsrc url=rtsp:/adm:{pw}@HOST ! fakesink"),
    "no host": _launch("rtspsrc url=rtsp://adm:{pw} ! fakesink"),
    "unknown scheme": _launch("rtspsrc url=rstp://adm:{pw}@HOST ! fakesink"),
    "digits first": _launch("rtspsrc url=rtsp://adm:4711{pw}@HOST ! fakesink"),
    "domain and user": _launch("rtspsrc url=http://corp\\\\adm:{pw}@HOST ! fakesink"),
    "token": _launch("rtspsrc url=http://HOST?token={pw}&password={pw}&x=1 ! fakesink"),
    "credentials in the path": _launch("rtspsrc url=http://HOST/user=adm&password={pw} ! fakesink"),
    "unknown property": _launch("rtspsrc ulr=rtsp://adm:{pw}@HOST ! fakesink"),
    "property as a value": _launch("rtspsrc url=rtsp://adm:{pw}@HOST max_items=rtsp://adm:{pw}@HOST ! fakesink"),
    "not of a choice": _launch("rtspsrc url=rtsp://x transport=rtsp://adm:{pw}@HOST ! fakesink", "--debug"),
    "unknown element": _launch("rtsp://adm:{pw}@HOST ! fakesink"),
    "twice": _launch("rtspsrc url=rtsp://adm:{pw}@HOST rtsp://adm:{pw}@HOST=3 ! fakesink"),
    "camera": _launch("testsrc num_frames=1 camera=rtsp://adm:{pw}@HOST ! fakesink dump=true"),
    "name": _launch("testsrc num_frames=1 name=adm:{pw}@HOST ! fakesink dump=true"),
    "queue address": _launch("testsrc num_frames=1 ! queue address=tcp://adm:{pw}@HOST ! fakesink", "--debug"),
    "bind": _launch(
        "testsrc num_frames=1 ! detect model=truth ! window ! pose ! keypointsink bind=tcp://adm:{pw}@HOST"
    ),
    "file": _launch("filesrc location=rtsp://adm:{pw}@HOST ! fakesink"),
    "file to write": _launch("testsrc num_frames=1 ! overlaysink location=rtsp://adm:{pw}@HOST.mp4", "--debug"),
    "validate": _run("validate", f"rtspsrc url=rtsp://adm:{{pw}}@{HOST} ! queue ! fakesink"),
    "validate, two lines": _run("validate", f"rtspsrc url=rtsp://adm:{{pw}}@{HOST} ! from x"),
    "run": _run_file('line:\n - rtspsrc: {url: "rtsp://adm:{pw}@HOST"}\n - fakesink\n'),
    "run, plain": _run_file("line:\n - rtspsrc:\n    url: rtsp://adm:{pw}@HOST\n - fakesink\n"),
    "run, no space": _run_file("line:\n - rtspsrc:\n    url:rtsp://adm:{pw}@HOST\n - fakesink\n"),
    "run, unknown key": _run_file("line:\n - rtspsrc: {rtsp://adm:{pw}@HOST: 1}\n - fakesink\n"),
    "run, unknown top key": _run_file("line: [testsrc]\nrtsp://adm:{pw}@HOST: 1\n"),
    "run, wrong level": _run_file("line:\n - rtsp://adm:{pw}@HOST\n - fakesink\n"),
    "override": _run("run", "rtsp", f"url=rtsp://adm:{{pw}}@{HOST}", "--in-process"),
    "override, unknown": _run("run", "rtsp", f"rtsp://adm:{{pw}}@{HOST}", "--in-process"),
    "override, wrong element": _run("run", "rtsp", f"cam.url=rtsp://adm:{{pw}}@{HOST}", "--in-process"),
    "print": _run("run", "rtsp", "--print", f"url=rtsp://adm:{{pw}}@{HOST}"),
    "run an address": _run("run", f"rtsp://adm:{{pw}}@{HOST}"),
    "estimate": _run("estimate", f"rtsp://adm:{{pw}}@{HOST}"),
    "estimate, no scheme": _run("estimate", f"adm:{{pw}}@{HOST}"),
    "estimate, model": _run("estimate", "x.jpg", "--model", f"https://adm:{{pw}}@{HOST}/x.onnx"),
    "subscribe": _run("subscribe", f"tcp://adm:{{pw}}@{HOST}", "--timeout", "0.1"),
    "inspect": _run("inspect", f"rtsp://adm:{{pw}}@{HOST}"),
    "compare": _run("compare", "hrnet-small", "hrnet-small", "--frames", f"rtsp://adm:{{pw}}@{HOST}"),
    "compare, model": _run("--debug", "compare", f"https://adm:{{pw}}@{HOST}", "hrnet-small"),
    "pull": _run("pull", f"https://adm:{{pw}}@{HOST}"),
    "unknown command": _run(f"rtsp://adm:{{pw}}@{HOST}"),
    "unknown option": _run("launch", f"--url=rtsp://adm:{{pw}}@{HOST}", "testsrc"),
    "not a number": _run("subscribe", "--count", f"rtsp://adm:{{pw}}@{HOST}"),
    "repr of an element": _shown(_source),
    "fields of an element": _shown(lambda pw: dataclasses.asdict(_source(pw))),  # type: ignore[call-overload]
    "a pipeline": _shown(lambda pw: (repr(_pipeline(pw)), str(_pipeline(pw)), _pipeline(pw).lines)),
    "YAML of a pipeline": _shown(lambda pw: _pipeline(pw).to_yaml()),
    "estimate in Python": _shown(lambda pw: list(posestream.estimate(f"http://adm:{pw}@{HOST}"))),
    "estimate in Python, RTSP": _shown(lambda pw: list(posestream.estimate(f"rtsp://adm:{pw}@{HOST}"))),
    "estimate in Python, a file": _shown(lambda pw: list(posestream.estimate(f"adm:{pw}@{HOST}"))),
    "parse_launch": _shown(lambda pw: parse_launch(f"rtspsrc rtsp://adm:{pw}@{HOST}")),
    "parse_yaml": _shown(lambda pw: parse_yaml(f"line:\n - rtspsrc: {{url: rtsp://adm:{pw}@{HOST}}}\n - x")),
    "make": _shown(lambda pw: make("rtspsrc", max_items=f"rtsp://adm:{pw}@{HOST}")),
    "an error": _shown(lambda pw: PosestreamError(f"lost {_source(pw)} rtsp://adm:{pw}@{HOST}")),
    "notices": _shown(lambda pw: list(_notices(pw))),
    "log": _log,
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path / "runs"))


_SPREAD = 7
"""Each place is tried with every seventh character, the next place with the next ones."""

SOME = [(place, list(CHARACTERS)[index % _SPREAD :: _SPREAD]) for index, place in enumerate(PLACES)]
_LARGE = [pytest.mark.large, pytest.mark.timeout(600)]
ALL = [pytest.param(place, list(CHARACTERS), marks=_LARGE) for place in PLACES]


@pytest.mark.parametrize(("place", "names"), [*SOME, *ALL])
def test_no_half_of_a_password_leaves_the_process(
    place: str, names: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    leaks = {}
    for name in names:
        password = HALVES[0] + CHARACTERS[name] + HALVES[1]
        for twin, text in {"": password, ", encoded": quote(password, safe="")}.items():
            PLACES[place](text, tmp_path)
            left = "".join(capfd.readouterr())
            if any(half in left for half in HALVES):
                leaks[name + twin] = left
    assert not leaks, f"{len(leaks)} of {2 * len(names)}: {leaks}"


@pytest.mark.parametrize("url", ["rtsp://adm:${CAM_PW}@HOST", "${CAM_URL}", "http://HOST?token=${CAM_PW}"])
def test_no_half_of_a_variable_leaves_the_process(
    url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaks = {}
    for name, character in CHARACTERS.items():
        password = HALVES[0] + character + HALVES[1]
        monkeypatch.setenv("CAM_PW", password)
        monkeypatch.setenv("CAM_URL", f"rtsp://adm:{password}@{HOST}")
        execute(["--debug", "launch", f"rtspsrc url={url.replace('HOST', HOST)} ! fakesink"])
        left = "".join(capfd.readouterr())
        if any(half in left for half in HALVES) or "Traceback" not in left:
            leaks[name] = left
    assert not leaks, f"{len(leaks)} of {len(CHARACTERS)}: {leaks}"


def test_a_line_in_processes_keeps_a_password_out_of_files_and_processes(tmp_path: Path) -> None:
    """Also where the part that connects is killed, and its next process connects with the same password."""
    heard: list[str] = []
    url = f"rtsp://adm:{HALVES[0]}'#/ {HALVES[1]}@{HOST}"
    line = Pipeline(make("rtspsrc", url=url, retry="always", backoff_s=0.1), make("queue"), make("fakesink"))
    with Supervisor(line, tmp_path / "run", on_stderr=lambda _, text: heard.append(text)) as supervisor:
        supervisor.play()
        _wait_for(heard)
        found = _list_files(tmp_path / "run") | _read_processes()
        os.kill(supervisor.pids["rtspsrc"], signal.SIGKILL)
        _wait_for(heard, begin=len(heard))
        found |= _list_files(tmp_path / "run") | _read_processes()
        notices = repr([supervisor.statistics, heard, supervisor, line])
    assert "line.yaml" in found
    leaks = [name for name, text in {**found, "notices": notices}.items() if any(half in text for half in HALVES)]
    assert not leaks


def _wait_for(heard: list[str], begin: int = 0) -> None:
    """Until the camera has been tried."""
    until_s = time.monotonic() + 60
    while not any("is unavailable" in text for text in heard[begin:]) and time.monotonic() < until_s:
        time.sleep(0.05)


def _list_files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_bytes().decode(errors="replace") for path in folder.iterdir() if path.is_file()}


def _read_processes() -> dict[str, str]:
    """The arguments and environments of all children."""
    children = psutil.Process().children(recursive=True)
    return {f"process {child.pid}": f"{child.cmdline()} {child.environ()} {child.name()}" for child in children}
