"""The session itself: what happens to the site, and what is then wrong."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from benchmarks.session.programs import (
    Program,
    Programs,
    Site,
    find_program,
    free_port,
    own_run_directories,
    query,
    wait_until,
)
from benchmarks.session.witnesses import Listener, Numbers, Seen, hang, subscribing, viewing
from stream.protocol.subscriber import Subscriber

STAY, COMES = ("hall", "yard"), "comes"
_LINE = """
line:
  - rtspsrc: {{url: "{url}"}}
  - queue
  - benchmarks.empty.find
  - window: {{past: 0}}
  - {pose}
  - keypointsink
"""
_SILENCE_S = 5.0
"""No camera, and no viewer who reads, may be without a frame for so long."""

_FIRST_S = 180.0
"""A line has its first keypoints by then, on a busy machine too."""


@dataclass(frozen=True)
class Options:
    """How long, and with which programs; ``away_s``: how long the broker is dead, ``every_s``: how often it dies."""

    seconds: float
    python: str
    server: Path
    clip: Path
    away_s: float = 10.0
    every_s: float = 60.0
    pose: str = "pose: {model: hrnet-small}"
    """The element that estimates."""


@dataclass
class Report:
    """What happened, and what was received.

    ``faults`` are what should never be, in words; ``troubles`` what may come of a machine that is too busy.
    """

    seconds: float = 0.0
    rounds: int = 0
    """How often a third camera was added and removed."""
    deaths: int = 0
    """How often the broker was killed."""
    hangs: int = 0
    """How many viewers and subscribers hung."""
    scrapes: int = 0
    cameras: dict[str, Numbers] = field(default_factory=dict)
    viewer: Seen = field(default_factory=Seen)
    bridged: dict[str, int] = field(default_factory=dict)
    """How many messages of each camera came through the bridge."""
    bridge_ms: list[float] = field(default_factory=list)
    """How much later each message came from the broker than from the line."""
    undelivered: int = 0
    """Messages that a bridge could not deliver, in its own words."""
    rss_mib: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Resident memory of the site's processes after the first minute, or half of the time, and at the end."""
    alerts: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


def find_missing(options: Options) -> str:
    """Why the session cannot be held here; empty if it can."""
    for program in ("mosquitto", "prometheus"):
        if find_program(program) is None:
            return f"there is no {program}; apt-get install {program}"
    for path in (options.server, options.clip, Path(options.python)):
        if not path.exists():
            return f"there is no {path}"
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if subprocess.run([options.python, "-c", probe], capture_output=True, check=False).returncode:
        return f"{options.python} has no RTSP server; apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi"
    return ""


def hold(options: Options, folder: Path) -> Report:
    """Hold a session in ``folder``, whose path has to be short."""
    report = Report()
    own_run_directories(folder / "r")
    with Programs(folder) as programs:
        urls = [
            programs.rtsp_server(f"rtsp-{name}", options.python, options.server, options.clip)
            for name in (*STAY, COMES)
        ]
        line = folder / "site.yaml"
        line.write_text(_LINE.format(url=urls[0], pose=options.pose))
        target = f"127.0.0.1:{free_port()}"
        metrics = programs.posestream("metrics", "metrics", "--listen", target)
        broker, port = programs.mosquitto(find_program("mosquitto") or "")
        site = Site(programs, line)
        for name, url in zip(STAY, urls, strict=False):
            site.ask("/api/cameras", "POST", {"name": name, "properties": {"url": url}})
        addresses = {name: site.publishes_on(name) for name in STAY}
        bridges = [_bridge(programs, name, address, port) for name, address in addresses.items()]
        listener = Listener(port)
        metrics.wait_for("metrics are on")
        prometheus = programs.prometheus(find_program("prometheus") or "", target)
        for address in addresses.values():
            _await_keypoints(address)
        with ExitStack() as stack:
            report.cameras = {name: stack.enter_context(subscribing(one)) for name, one in addresses.items()}
            report.viewer = stack.enter_context(viewing(site))
            _Events(options, report, programs, site, broker, urls[2], addresses[STAY[0]]).run()
            _read_prometheus(report, prometheus)
        for program in (*bridges, metrics, site.program):
            program.stop()
        _end_bridges(report, bridges, listener)
        listener.close()
        if status := site.program.end():
            report.troubles.append(f"serve ended with {status}: {site.program.output.strip()[-300:]}")
    _judge(report)
    if left := [path.name for path in (folder / "r").iterdir()]:
        report.faults.append(f"left in the folder of run directories: {', '.join(left)}")
    return report


def _await_keypoints(address: str) -> None:
    with Subscriber(address, timeout_s=_FIRST_S) as subscriber:
        next(subscriber)


def _bridge(programs: Programs, name: str, address: str, port: int) -> Program:
    to = f"mqtt://127.0.0.1:{port}/site"
    return programs.posestream(
        f"bridge-{name}", "bridge", to, "--from", address, "--rate", "0", "--max-waiting", "1000"
    )


class _Events:
    """What happens to the site: each kind in a thread of its own, again and again until the time is over."""

    def __init__(
        self,
        options: Options,
        report: Report,
        programs: Programs,
        site: Site,
        broker: Program,
        url: str,
        address: str,
    ) -> None:
        self._options, self._report, self._programs, self._site = options, report, programs, site
        self._broker, self._url, self._address = broker, url, address
        self._stop = threading.Event()

    def run(self) -> None:
        """Let it all happen. Raises what a thread raised."""
        began_s = time.monotonic()
        works: list[Callable[[], None]] = [self._change_cameras, self._kill_broker, self._hang_viewers]
        with ThreadPoolExecutor(len(works)) as pool:
            futures: list[Future[None]] = [pool.submit(self._again, work) for work in works]
            before = self._measure_memory(began_s + min(60.0, self._options.seconds / 2))
            self._stop.wait(max(0.0, began_s + self._options.seconds - time.monotonic()))
            self._stop.set()
            for future in futures:
                future.result()
        self._report.seconds = time.monotonic() - began_s
        after = self._measure_memory(0)
        self._report.rss_mib = {name: (before[name], after[name]) for name in before.keys() & after.keys()}

    def _again(self, work: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                work()
        except BaseException:
            self._stop.set()
            raise

    def _measure_memory(self, at_s: float) -> dict[str, float]:
        """Resident memory of ``serve`` and the parts of the cameras that stay, MiB."""
        self._stop.wait(max(0.0, at_s - time.monotonic()))
        serve = psutil.Process(self._site.program.process.pid)
        found = {"serve": serve.memory_info().rss / 2**20}
        for process in serve.children(recursive=True):
            words = " ".join(process.cmdline())
            name = next((name for name in STAY if f"-{name}" in words), "")
            if name and "--part" in words:
                part = words.split("--part", 1)[1].split()[0]
                found[f"{name}: {part}"] = process.memory_info().rss / 2**20
        return found

    def _change_cameras(self) -> None:
        """Add a camera and remove it; in every other round by a command, and with a pause in between."""
        site, line = self._site, self._programs.folder / "site.yaml"
        is_long = self._report.rounds % 2 == 1
        if is_long:
            words = [sys.executable, "-m", "posestream", "camera", "add", str(line), COMES, f"url={self._url}"]
            subprocess.run(words, check=True, capture_output=True)
        else:
            site.ask("/api/cameras", "POST", {"name": COMES, "properties": {"url": self._url}})
        _await_keypoints(site.publishes_on(COMES))
        if is_long:
            site.ask(f"/api/cameras/{COMES}/pause", "POST")
            wait_until(lambda: site.state(COMES) == "paused", "the camera is paused")
            site.ask(f"/api/cameras/{COMES}/resume", "POST")
            wait_until(lambda: site.state(COMES) == "running", "the camera runs again")
        site.ask(f"/api/cameras/{COMES}", "DELETE")
        wait_until(lambda: not site.state(COMES), "the camera is gone")
        self._report.rounds += 1

    def _kill_broker(self) -> None:
        if self._stop.wait(self._options.every_s - self._options.away_s):
            return
        self._broker.kill()
        self._report.deaths += 1
        self._stop.wait(self._options.away_s)
        self._broker.start()
        time.sleep(2.0)  # what waits is delivered, also at the end of the session

    def _hang_viewers(self) -> None:
        """Let a viewer of the page and a subscriber of a line hang, half of the time."""
        with _hung_viewer(self._site), _hung_subscriber(self._programs, self._address, self._report.hangs):
            self._report.hangs += 2
            self._stop.wait(self._options.every_s / 2)
        self._stop.wait(self._options.every_s / 2)


@contextmanager
def _hung_viewer(site: Site) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(hang(site, stop)), name="hung viewer")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _hung_subscriber(programs: Programs, address: str, number: int) -> Iterator[None]:
    program = programs.posestream(f"subscriber-{number}", "subscribe", address)
    try:
        program.wait_for(r"people|person")
        program.signal(signal.SIGSTOP)
        yield
    finally:
        program.kill()


def _read_prometheus(report: Report, prometheus: str) -> None:
    (scraped,) = query(prometheus, "count_over_time(up[1h])")
    (always,) = query(prometheus, "min_over_time(up[1h])")
    report.scrapes = int(scraped["value"][1])
    if always["value"][1] != "1":
        report.troubles.append("Prometheus could not scrape at times")
    for row in query(prometheus, "max_over_time(posestream_restarts_total[1h]) > 0"):
        report.troubles.append(f"{row['metric']['line']}: {row['metric']['part']} was restarted")
    fired = query(prometheus, 'max_over_time(ALERTS{alertstate="firing"}[1h])')
    report.alerts = sorted({f"{row['metric']['alertname']} {row['metric'].get('line', '')}".strip() for row in fired})


def _end_bridges(report: Report, bridges: list[Program], listener: Listener) -> None:
    for name, bridge in zip(STAY, bridges, strict=True):
        if status := bridge.end():
            report.faults.append(f"the bridge of {name} ended with {status}: {bridge.output.strip()[-300:]}")
        summary = bridge.output.strip().splitlines()[-1]
        report.undelivered += sum(
            int(words.split()[0].replace(",", "")) for words in summary.split("; ") if words.endswith("not delivered")
        )
        arrived, direct = listener.arrived_ns.get(name, {}), report.cameras[name].arrived_ns
        report.bridged[name] = len(arrived.keys() & direct.keys())
        report.bridge_ms += [(arrived[frame] - direct[frame]) / 1e6 for frame in arrived.keys() & direct.keys()]
        if not report.bridged[name]:
            report.faults.append(f"nothing of {name} came through the bridge")


def _judge(report: Report) -> None:
    faults, troubles, viewer = report.faults, report.troubles, report.viewer
    faults += [f"the viewer was cut off: {text}" for text in viewer.faults]
    faults += [] if viewer.frames else ["a viewer who reads got no frame"]
    troubles += [f"a viewer who reads got none for {viewer.longest_s:.1f} s"] if viewer.longest_s > _SILENCE_S else []
    for name, numbers in report.cameras.items():
        faults += [f"{name}: {numbers.fault}"] if numbers.fault else []
        if numbers.gaps or numbers.lost or not numbers.messages:
            faults.append(
                f"{name}: {len(numbers.messages)} messages, {numbers.gaps} missing by seq, {numbers.lost} lost"
            )
        troubles += [f"{name}: its sink was restarted"] if numbers.runs > 1 else []
        if numbers.longest_s > _SILENCE_S:
            troubles.append(f"{name}: no message for {numbers.longest_s:.1f} s")


def describe(report: Report) -> str:
    """The figures for people."""
    happened = (
        f"{report.seconds:.0f} s. A third camera was added and removed {report.rounds} times; the broker was killed "
        f"{report.deaths} times; {report.hangs} viewers and subscribers hung; Prometheus scraped {report.scrapes} "
        f"times; {report.viewer.frames} frames reached a viewer of the page."
    )
    bridged = (
        f"Through the bridge to MQTT came {sum(report.bridged.values())} messages, p50 "
        f"{median(report.bridge_ms or [0]):.1f} ms after the line's own; {report.undelivered} were not delivered."
    )
    rows = [
        happened,
        "",
        "| camera | messages | missing by seq | lost | frames dropped | age p50, ms | longest silence, s |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {len(one.messages)} | {one.gaps} | {one.lost} | {one.dropped} | "
            f"{median(one.ages_ms or [0]):.0f} | {one.longest_s:.1f} |"
            for name, one in report.cameras.items()
        ),
        "",
        bridged,
        "",
        "| process | RSS before, MiB | at the end |",
        "|---|---|---|",
        *(f"| {name} | {before:.0f} | {after:.0f} |" for name, (before, after) in sorted(report.rss_mib.items())),
        "",
        f"Alerts that fired: {', '.join(report.alerts) or 'none'}.",
        "",
        f"What should not be: {'; '.join(report.faults + report.troubles) or 'nothing'}.",
    ]
    return "\n".join(rows)
