"""Draws a trial from its seed: a line of one, two or four cameras, and the faults that happen to it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.faults.kinds import KINDS, Fault

SinkKind = Literal["lines", "coco", "folder", "video", "subscriber", "recording"]

FOLDER = "@FOLDER@"
"""Stands for the folder of the sinks' files in the text of a line; ``@PORT0@`` and so on for free TCP ports."""

_CAMERAS = ("hall", "yard", "gate", "dock")
_FPS = 25
_ELEMENTS = "benchmarks.faults."
_ENDLESS = " num_frames=1000000"
"""How many frames a live line may give: it is ended before."""


@dataclass(frozen=True)
class Sink:
    """A sink of a line, and the name of its files, which has ``{camera}`` in it where each camera has its own."""

    kind: SinkKind
    name: str

    @property
    def text(self) -> str:
        """The element as in a launch string."""
        match self.kind:
            case "lines":
                return f"jsonsink location={FOLDER}/{self.name}"
            case "coco":
                return f"jsonsink format=coco location={FOLDER}/{self.name}"
            case "subscriber":
                return f"keypointsink bind=tcp://127.0.0.1:{self.name}"
            case "recording":
                return f"recordsink location={FOLDER}/{self.name}"
            case _:
                return f"overlaysink caption=false location={FOLDER}/{self.name}"


@dataclass(frozen=True)
class Scenario:
    """A line and its faults. ``frames`` maps cameras to how many frames they have; ``single`` to a line of this camera
    alone, whose output is what the sinks must hold. The first of ``sinks`` writes JSON lines. A live line is ended
    ``live_s`` after its first output."""

    seed: int
    index: int
    text: str
    frames: dict[str, int]
    single: dict[str, str]
    sinks: tuple[Sink, ...]
    is_live: bool
    live_s: float
    has_marks: bool
    faults: tuple[Fault, ...]

    @property
    def needs_clock(self) -> bool:
        """True when the clock of the line is stepped."""
        return any(KINDS[fault.kind].needs == "clock" for fault in self.faults)


@dataclass(frozen=True)
class Selection:
    """What a campaign draws: faults of these kinds, of all where there is none; ``recordings`` if every line records
    its frames, too. Its trials are others then."""

    kinds: tuple[str, ...] = ()
    recordings: bool = False

    @property
    def words(self) -> list[str]:
        """The options of the command line that select the same."""
        return [*(["--recordings"] if self.recordings else []), *(["--kinds", *self.kinds] if self.kinds else [])]


class _Drawing:
    """One trial being drawn; its random numbers depend on seed and index alone."""

    def __init__(self, seed: int, index: int) -> None:
        self.rng = random.Random(f"{seed}:{index}")
        self.seed, self.index = seed, index
        self._ports, self._sink_ms = 0, 0.0
        self.is_live = self.rng.random() < 0.3
        self.live_s = self.rng.uniform(2.5, 5.0)
        self.style = self.rng.choices(["cheap", "drawn", "network"], [74, 23, 3])[0]
        count = self.rng.choices([1, 2, 4], [40, 42, 18])[0]
        few = 20 if self.style == "network" else 30
        self.frames = {camera: self.rng.randint(few, 2 * few + 10) for camera in _CAMERAS[:count]}
        self.window = f"past={self.rng.choice([0, 0, 1, 3])} future={self.rng.choice([0, 0, 1, 2])}"
        self.back, self.batch = self.rng.choice([0, 0, 1, 4]), self.rng.choice([1, 4, 8])
        self.has_hold = self.rng.random() < 0.5
        self.has_track = self.style != "cheap"  # where boxes are those of people who move

    def port(self) -> str:
        self._ports += 1
        return f"@PORT{self._ports - 1}@"

    def queue(self, *, name: str = "", is_fork: bool = False) -> str:
        """A queue, one in four over TCP; one with several readers has no address."""
        words = ["queue"]
        if name:
            words.append(f"name={name}")
        if not is_fork and self.rng.random() < 0.25:
            words.append(f"address=tcp://127.0.0.1:{self.port()}")
        return " ".join(words)

    def source(self, camera: str) -> str:
        common = f"camera={camera} num_frames={self.frames[camera]} fps={_FPS}"
        if self.is_live:
            common = f"camera={camera} fps={_FPS} realtime=true{_ENDLESS}"
        if self.style == "cheap":
            return f"{_ELEMENTS}marked {common}"
        side = 128 if self.style == "network" else 64
        seed = self.seed % 1000 + _CAMERAS.index(camera)
        return f"testsrc {common} people=2 width={side} height={side} seed={seed}"

    def find(self) -> str:
        found = f"{_ELEMENTS}read" if self.style == "cheap" else "detect"
        return f"{found} ! track" if self.has_track else found

    def estimate(self, step_ms: float) -> str:
        if self.style == "network":
            return "window ! pose model=fami-small crop=exact"
        tally = f"{_ELEMENTS}tally {self.window} back={self.back} batch={self.batch}"
        return f"window ! {tally} step_ms={step_ms:.1f}" if step_ms else f"window ! {tally}"

    def sinks(self) -> tuple[Sink, ...]:
        main = Sink("lines", self.rng.choice(["main.jsonl", "main.jsonl", "main-{camera}.jsonl"]))
        others = [
            Sink("lines", "second.jsonl"),
            Sink("coco", "coco-{camera}.json"),
            Sink("folder", "pictures-{camera}"),
            Sink("video", self.rng.choice(["video-{camera}.mp4", "video-{camera}.mkv"])),
            Sink("subscriber", self.port()),
        ]
        return (main, *self.rng.sample(others, self.rng.choices([0, 1, 2, 3], [35, 35, 20, 10])[0]))

    def lines(self, sinks: tuple[Sink, ...]) -> list[str]:
        """The text of the line, one launch string for each of its lines."""
        total = sum(self.frames.values())
        # A live line keeps pace with its cameras; a file line takes about a second and a half.
        step_ms = 300 / _FPS / len(self.frames) if self.is_live else self.rng.uniform(800, 1800) / total
        if self.has_hold:  # both are slow: items wait before either, so that batches are large and much is in flight
            self._sink_ms, step_ms = step_ms, step_ms / 2
        middle = f"{self.find()} ! {self.queue()} ! " if self.rng.random() < 0.5 else f"{self.find()} ! "
        middle += self.estimate(step_ms)
        if len(self.frames) == 1:
            (camera,) = self.frames
            begin = [f"{self.source(camera)} ! {self.queue()} ! {middle}"]
        elif self.rng.random() < 0.7:
            seen = self.queue(name="seen")
            begin = [f"{self.source(camera)} ! {seen}" for camera in self.frames]
            begin.append(f"from seen ! {middle}")
        else:
            seen = self.queue(name="seen")
            begin = [f"{self.source(camera)} ! {self.queue()} ! {self.find()} ! {seen}" for camera in self.frames]
            begin.append(f"from seen ! {self.estimate(step_ms)}")
        return begin[:-1] + self._end(begin[-1], sinks)

    def _end(self, line: str, sinks: tuple[Sink, ...]) -> list[str]:
        if len(sinks) == 1:
            joint = f"! {self.queue()} !" if self.rng.random() < 0.7 else "!"
            return [f"{line} {joint} {self._hold()}{sinks[0].text}"]
        if self.rng.random() < 0.5:
            return [
                f"{line} ! tee name=fork",
                *(f"from fork ! {self.queue()} ! {self._hold()}{sink.text}" for sink in sinks),
            ]
        return [
            f"{line} ! {self.queue(name='out', is_fork=True)}",
            *(f"from out ! {self._hold()}{sink.text}" for sink in sinks),
        ]

    def _hold(self) -> str:
        """Half of the sinks are slow, where sinks are what is slow."""
        if not self.has_hold:
            return ""
        return f"{_ELEMENTS}hold step_ms={self.rng.choice([0.0, self._sink_ms]):.1f} ! "

    def single(self) -> dict[str, str]:
        """A line of one process for each camera."""
        end = f" ! {_ELEMENTS}hold" if self.has_hold else ""
        lines = {camera: f"{self.source(camera)} ! {self.find()} ! {self.estimate(0)}{end}" for camera in self.frames}
        known = 40 if self.style == "network" else 300
        live = f" realtime=true{_ENDLESS}"
        return {camera: line.replace(live, f" num_frames={known}") for camera, line in lines.items()}

    def faults(self, kinds: list[str]) -> tuple[Fault, ...]:
        """One to eight faults, and in one of four trials another one that ends the line."""
        ends = [kind for kind in kinds if KINDS[kind].is_last]
        others = [kind for kind in kinds if kind not in ends]
        count = self.rng.choices([1, 2, 3, 4, 5, 6, 8], [6, 10, 14, 20, 22, 16, 12])[0] if others else 0
        drawn = [self._fault(kind) for kind in self._draw_kinds(others, count)]
        drawn.sort(key=lambda fault: (fault.progress, fault.delay_s))
        if ends and (not others or self.rng.random() < 0.25):
            last = self._fault(*self._draw_kinds(ends, 1))
            if drawn and drawn[-1].progress > last.progress:
                last = replace(last, progress=drawn[-1].progress)
            drawn.append(last)
        return tuple(drawn)

    def _draw_kinds(self, kinds: list[str], count: int) -> list[str]:
        return self.rng.choices(kinds, [KINDS[kind].weight for kind in kinds], k=count)

    def _fault(self, kind: str) -> Fault:
        moment = self.rng.choices(["start", "middle", "flush", "end"], [18, 47, 20, 15])[0]
        progress, delay_s = {
            "start": (-1.0, self.rng.uniform(0.0, 2.5)),
            "middle": (self.rng.uniform(0.0, 0.85), self.rng.uniform(0.0, 0.05)),
            "flush": (self.rng.uniform(0.85, 0.99), self.rng.uniform(0.0, 0.03)),
            "end": (1.0, self.rng.uniform(0.0, 0.4)),
        }[moment]
        hold_s = self.rng.choice([self.rng.uniform(0.02, 0.5), self.rng.uniform(0.2, 2.5)])
        return Fault(kind, progress, delay_s, hold_s, self.rng.getrandbits(32))


def draw(seed: int, index: int, selection: Selection) -> Scenario:
    """Draw trial ``index`` of a campaign."""
    drawing = _Drawing(seed, index)
    sinks = drawing.sinks()
    if selection.recordings:
        sinks += (Sink("recording", "recording-{camera}.mcap"),)
    lines = drawing.lines(sinks)
    return Scenario(
        seed,
        index,
        "\n".join(lines),
        drawing.frames,
        drawing.single(),
        sinks,
        drawing.is_live,
        drawing.live_s,
        drawing.style == "cheap" and not drawing.is_live,
        drawing.faults(list(selection.kinds) or sorted(KINDS)),
    )
