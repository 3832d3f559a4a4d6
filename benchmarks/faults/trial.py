"""Runs one trial: the line in processes of its own, the faults at their moments, and the judgement."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults import held as files
from benchmarks.faults.drawing import FOLDER, Scenario
from benchmarks.faults.held import Content, Held, read_held
from benchmarks.faults.judge import Outcome, gave_up, judge
from benchmarks.faults.kinds import KINDS, Fault, Missed
from benchmarks.faults.place import Place, build_clock, find_free_ports, find_reasons
from benchmarks.faults.progress import Progress
from stream.pipeline.launch import parse_launch
from stream.protocol.subscriber import Subscriber
from stream.transports.shm_segment import folder

ROOT = Path(__file__).resolve().parents[2]
_MARK = "POSESTREAM_FAULTS"
_DEADLINE_S, _MOST_SLOWDOWN = 150.0, 4.0
_CLEAN_S = 12.0
_TURN_S = 0.004
_RETRY_S = 5.0


@dataclass
class Injected:
    """A fault that happened: when, in seconds since the start; what was done; and how long after it the first frame
    captured after it came out, in seconds, where that is known."""

    fault: Fault
    at_s: float
    what: str
    recovery_s: float | None = None


@dataclass
class Report:
    """What a trial found; ``faults`` that had nothing to happen to are left out."""

    scenario: Scenario
    text: str
    faults: list[Injected] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    code: int | None = None
    seconds: float = 0.0
    stderr: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Trial:
    """A line under test; a :class:`benchmarks.faults.kinds.Victim`."""

    def __init__(self, scenario: Scenario, place: Place) -> None:
        self.scenario, self._place = scenario, place
        self._ports = find_free_ports(20)
        self._text = self._fill_in(scenario.text)
        self._mark = uuid.uuid4().hex
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._ended: dict[str, int] = {}
        self._is_ending = False
        self.report = Report(scenario, self._text)
        self._progress = Progress(scenario, place.disk)
        self._published = [Held(sink) for sink in scenario.sinks if sink.kind == "subscriber"]

    def _fill_in(self, text: str) -> str:
        for number, port in enumerate(self._ports):
            text = text.replace(f"@PORT{number}@", str(port))
        return text.replace(FOLDER, str(self._place.disk))

    # -- as faults see it ---------------------------------------------------------------------------------------------

    @property
    def supervisor(self) -> int:
        if self._process.poll() is not None:
            raise Missed
        return self._process.pid

    @property
    def disk(self) -> Path:
        return self._place.disk

    @property
    def clock(self) -> Path:
        return self._place.clock

    def parts(self) -> dict[str, int]:
        found = {}
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.supervisor).children():
                with contextlib.suppress(psutil.Error, ValueError):
                    command = child.cmdline()
                    if child.status() != psutil.STATUS_ZOMBIE:
                        found[command[command.index("--part") + 1]] = child.pid
        if not found:
            raise Missed
        return found

    def run_dir(self) -> Path:
        found = [path for path in self._place.runs.iterdir() if path.is_dir()]
        if not found:
            raise Missed
        return found[0]

    def segments(self) -> list[Path]:
        found = self._find_segments()
        if not found:
            raise Missed
        return found

    def ports(self) -> list[int]:
        return [port for port in self._ports if f":{port}" in self._text]

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        self._later.append((time.monotonic() + seconds, action))

    def note_end_of(self, part: str) -> None:
        self._ended[part] = self._ended.get(part, 0) + 1

    # -- the trial ----------------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Run the line to its end, do to it what the scenario says, and judge it."""
        reference = self._make_reference()
        command = [sys.executable, "-m", "stream", "launch", "-q", self._text]
        self._started_s = time.monotonic()
        with self._stderr.open("wb") as stderr, self._listening():
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
            code = self._follow()
            for _, action in self._later:
                action()
            left = self._find_left()
        self._kill_left()
        self.report.seconds = time.monotonic() - self._started_s
        self.report.code = code
        self.report.stderr = self._stderr.read_text(errors="replace")
        held = [read_held(sink, self.disk, self.scenario) for sink in self.scenario.sinks if sink.kind != "subscriber"]
        self.report.held = {each.sink.name: _summarise(each) for each in [*held, *self._published]}
        kinds = [KINDS[one.fault.kind] for one in self.report.faults]
        killed = any(one.fault.kind == "kill the supervisor" for one in self.report.faults)
        was_ended = self._is_ending or any(kind.is_last for kind in kinds)
        outcome = Outcome(
            code,
            self.report.stderr,
            [*held, *self._published],
            left,
            all(kind.survives for kind in kinds) and not gave_up(self._ended) and not self._may_lose(),
            was_ended,
            killed,
            self._ended,
        )
        found = judge(self.scenario, outcome, reference)
        self.report.violations = [text.replace(str(self._place.root), "TRIAL") for text in found]  # which has gone
        return self.report

    def _may_lose(self) -> bool:
        """True when a part is killed that writes a video: what the encoder held is lost, and the run says so."""
        return any(sink.kind == "video" for sink in self.scenario.sinks) and bool(self._ended)

    @property
    def _stderr(self) -> Path:
        return self._place.root / "stderr"

    def _environment(self) -> dict[str, str]:
        environment = os.environ | {
            _MARK: self._mark,
            "POSESTREAM_RUN_DIR": str(self._place.runs),
            "OMP_NUM_THREADS": "1",
        }
        library = build_clock() if self.scenario.needs_clock else None
        if library is not None:
            environment |= {"LD_PRELOAD": str(library), "FAULTS_CLOCK": str(self.clock)}
        return environment

    def _make_reference(self) -> Content:
        """What the sinks are to hold: the output of each camera's line alone, in this process, without faults."""
        content: Content = {}
        for camera, text in self.scenario.single.items():
            path = self._place.reference / f"{camera}.jsonl"
            for _ in parse_launch(f"{text} ! jsonsink location={path}").run():
                raise AssertionError("a line that ends in a sink yields nothing")
            records = [record for _, record in files.read_lines(path) if record is not None]
            content[camera] = {record["frame_seq"]: files.strip_times(record) for record in records}
            expected = len(records) if self.scenario.is_live else self.scenario.frames[camera]
            if list(content[camera]) != list(range(expected)):
                raise RuntimeError(f"the undisturbed line gave frames {list(content[camera])} of {camera}")
        return content

    def _follow(self) -> int | None:
        waiting = deque(fault for fault in self.scenario.faults if fault.kind not in find_reasons())
        due_s: float | None = None
        deadline_s = self._started_s + _DEADLINE_S * _find_slowdown()
        while (code := self._process.poll()) is None and time.monotonic() < deadline_s:
            now_s = time.monotonic()
            self._progress.update(self.report.faults, now_s - self._started_s)
            if waiting and due_s is None and self._progress.share >= waiting[0].progress:
                due_s = (self._started_s if waiting[0].progress < 0 else now_s) + waiting[0].delay_s
            if due_s is not None and now_s >= due_s and self._inject(waiting[0], is_last_try=now_s > due_s + _RETRY_S):
                waiting.popleft()
                due_s = None
            if self.scenario.is_live and not waiting and self._progress.share >= 1 and not self._is_ending:
                self._is_ending = True
                os.kill(self._process.pid, signal.SIGINT)
            self._do_later(now_s)
            time.sleep(_TURN_S)
        self._progress.update(self.report.faults, time.monotonic() - self._started_s)
        return code

    def _inject(self, fault: Fault, *, is_last_try: bool) -> bool:
        """Let a fault happen; False when it may find what it needs later, as before parts have started."""
        at_s = time.monotonic() - self._started_s
        try:
            self.report.faults.append(Injected(fault, at_s, KINDS[fault.kind].apply(self, fault)))
        except Missed:
            return is_last_try
        if fault.kind == "clock set":
            self._progress.has_clock = False
        return True

    def _do_later(self, now_s: float) -> None:
        due = [entry for entry in self._later if entry[0] <= now_s]
        self._later = [entry for entry in self._later if entry not in due]
        for _, action in due:
            action()

    # -- what it leaves -----------------------------------------------------------------------------------------------

    def _find_left(self) -> list[str]:
        """What is still there when there was time enough to end."""
        deadline_s = time.monotonic() + _CLEAN_S
        while (left := self._look()) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        return left

    def _look(self) -> list[str]:
        processes = [f"process {_describe(process)}" for process in self._own_processes()]
        segments = [str(path) for path in self._find_segments()]
        # Not rglob, which fails where a folder is removed meanwhile.
        found = [Path(at) / name for at, folders, files in os.walk(self._place.runs) for name in (*folders, *files)]
        runs = [str(path) for path in found if not path.name.startswith(".fill")]
        return [*processes, *segments, *runs]

    def _find_segments(self) -> list[Path]:
        found = sorted(folder().glob("posestream-*"))
        if not self._place.is_private:  # those of other lines are here too
            names = [path.name for path in self._place.runs.iterdir()]
            found = [path for path in found if any(path.name.startswith(f"posestream-{name}.") for name in names)]
        return found

    def _own_processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _kill_left(self) -> None:
        for process in self._own_processes():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        self._process.wait()

    # -- subscribers --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _listening(self) -> Any:
        """While the line runs, note what a subscriber to each publisher receives."""
        done = threading.Event()
        threads = [threading.Thread(target=self._listen, args=(held, done), daemon=True) for held in self._published]
        for thread in threads:
            thread.start()
        yield
        done.set()
        for thread in threads:
            thread.join()

    def _listen(self, held: Held, done: threading.Event) -> None:
        with Subscriber(f"tcp://127.0.0.1:{self._fill_in(held.sink.name)}") as subscriber:
            last: dict[tuple[str, str], int] = {}
            while not done.is_set():
                message = subscriber.poll(0.05)
                if message is None:
                    continue
                topic = message.session, message.camera
                if message.seq <= last.get(topic, -1):
                    held.faults.append(f"{message.camera}: message {message.seq} came after {last[topic]}")
                last[topic] = message.seq
                held.add(message.camera, message.frame_seq)


def _find_slowdown() -> float:
    """How many processes want to run on each core: a line is not hung on a machine that is busy with others."""
    return min(max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), _MOST_SLOWDOWN)


def _describe(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())[-80:]
    return f"{process.pid}, which just ended"


def _summarise(held: Held) -> str:
    counts = ", ".join(f"{camera} {len(seqs)}" for camera, seqs in sorted(held.frames.items()))
    return f"{held.sink.kind}: {counts or 'nothing'}{', torn' if held.is_torn else ''}"
