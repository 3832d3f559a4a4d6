"""The loop of one process: receive, drop what is late, through the elements, send, acknowledge, time, report.

``run_part`` runs one part of a pipeline until its streams have ended or it is told to quit. How items survive what may
befall a process is in :mod:`stream.runtime.acks`; what one item goes through is in :mod:`stream.runtime.part_runner`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stream.element import Context, Element, Transform
from stream.errors import PosestreamError, StartError
from stream.messages import Key
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.wiring import Part
from stream.registry import label
from stream.runtime import bus
from stream.runtime.endpoints import Links, open_links
from stream.runtime.heartbeat import BusHandler, Reporter
from stream.runtime.inputs import Deliveries, Frames, Input
from stream.runtime.meter import resident_bytes
from stream.runtime.part_runner import PartRunner
from stream.runtime.state import Draft, PersistentMemory, Section

_TURN_MS = 100
"""How long a loop that has nothing to do sleeps at most: how soon it obeys, and less than a ping."""

_LEAVE_S = 2.0
"""How long a finished part that nobody supervises still answers receivers and senders that were restarted."""


@dataclass(frozen=True)
class Options:
    """How a part is run. ``lateness_ms``: items older than this are dropped before any element sees them; None: none.

    ``is_alone``: nobody supervises this part, so it plays at once and leaves once its receivers have had time to hear.
    """

    lateness_ms: float | None = None
    is_alone: bool = False


class Told(Protocol):
    """What a runner needs of its reporter."""

    @property
    def target(self) -> bus.Target: ...

    def post(self, notice: bus.AnyNotice) -> None: ...

    def turned(self) -> None: ...


class Stops:
    """How often the user asked this process to stop: once ends its streams, twice ends the process at once."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_signal: object) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt


class Runner:
    """One part at its links; :meth:`run` returns when it has finished or was told to quit."""

    def __init__(
        self,
        part: Part,
        links: Links,
        memory: MutableMapping[str, int],
        reporter: Told,
        in_flight: int,
        options: Options,
    ) -> None:
        self.state: bus.State = "NULL"
        self._finished_s = 0.0
        self._part, self._reporter, self._options = part, reporter, options
        self.part_runner = PartRunner(part.name, part.elements, part.cameras, links, memory, reporter.post, self._done)
        self._links = links
        self._incarnation = memory["incarnation"] = memory.get("incarnation", -1) + 1
        self._stops = Stops()
        self._input: Input = (
            Frames(part.source, self.part_runner, memory, in_flight, is_again=self._incarnation > 0)
            if part.source is not None
            else Deliveries(self.part_runner, options.lateness_ms)
        )
        for index, element in enumerate(part.elements):
            self._lend(element, Section(memory, f"{index} {label(element)} "))

    def _lend(self, element: Element, memory: MutableMapping[str, int]) -> None:
        ring = self._links.ring
        if isinstance(element, Transform):  # what a source or a sink remembers is in step with the world outside
            memory = Draft(memory)
            self.part_runner.drafts.append(memory)
        context = Context(name=label(element), memory=memory, incarnation=self._incarnation)
        element.context = context if ring is None else replace(context, allocate=ring.allocate)

    @property
    def has_begun(self) -> bool:
        """True once an item went through."""
        return self.part_runner.meter.items > 0

    # -- states -------------------------------------------------------------------------------------------------------

    def run(self, stops: Stops | None = None) -> None:
        """NULL to PLAYING as the target says, the loop, and back to NULL. Raises what ends the part."""
        self._stops = stops or self._stops
        with ExitStack() as opened:
            opened.callback(self._become, "NULL")
            self._input.open(opened)
            self._become("READY")
            self._turn_until_done()
        if self._links.ring is not None:
            self._links.ring.close()

    def _turn_until_done(self) -> None:
        while not self._may_leave():
            self._reporter.turned()
            self._obey()
            self._turn()

    def _may_leave(self) -> bool:
        """True when told to quit, or finished with nobody to say so."""
        if self._reporter.target.state == "NULL":
            return True
        if not self.part_runner.is_finished:
            return self._stops.count > 0 and self._part.source is None
        self._finished_s = self._finished_s or time.monotonic()
        return self._options.is_alone and time.monotonic() - self._finished_s > _LEAVE_S

    def _turn(self) -> None:
        self.part_runner.listen()
        if self.part_runner.is_finished:
            self._input.answer()
            self._links.idle(_TURN_MS)
        elif not self._input.advance(self.state):
            self._links.idle(_TURN_MS) if self._input.may_take else self._links.idle_for_news(_TURN_MS)

    def _obey(self) -> None:
        target = self._reporter.target
        if target.state != "NULL":
            self._step_to(target.state)
        if target.ending or self._stops.count:
            self._input.end()

    def _step_to(self, target: bus.State) -> None:
        """As in GStreamer, one state after the other."""
        goal = bus.STATES.index(target)
        while (at := bus.STATES.index(self.state)) != goal:
            self._become(bus.STATES[at + (1 if goal > at else -1)])

    def _become(self, new: bus.State) -> None:
        if new != self.state:
            old, self.state = self.state, new
            self._reporter.post(bus.StateChanged(part=self._part.name, old=old, new=new))

    def _done(self, key: Key) -> None:
        if self._links.ring is not None:
            self._links.ring.release(key)
        if self._links.inbox is not None:
            self._links.inbox.done(key)

    # -- books --------------------------------------------------------------------------------------------------------

    def statistics(self) -> bus.Stats:
        """The part's heartbeat; called from the reporter's thread."""
        reading = self.part_runner.meter.read()
        received, sent = self._links.statistics()
        return bus.Stats(
            part=self._part.name,
            state=self.state,
            pid=os.getpid(),
            incarnation=self._incarnation,
            fps=reading.fps,
            process_p50_ms=reading.process_p50_ms,
            process_p95_ms=reading.process_p95_ms,
            age_p50_ms=reading.age_p50_ms,
            age_p95_ms=reading.age_p95_ms,
            items=reading.items,
            waiting=received.waiting,
            unfinished=self.part_runner.in_work,
            dropped=self.part_runner.tally.dropped,
            errors=self.part_runner.tally.errors,
            resent=sent.resent,
            malformed=received.malformed + sent.malformed,
            rss_bytes=resident_bytes(),
            finished=self.part_runner.is_finished,
            account="; ".join(filter(None, map(_account, self._part.elements))),
        )


# -- a process --------------------------------------------------------------------------------------------------------


def run_part(
    pipeline: Pipeline, name: str, run_dir: Path, options: Options | None = None, stops: Stops | None = None
) -> None:
    """Run the part called ``name`` in this process, until it has finished or is told to quit.

    Raises what ended it, once the bus has heard of it; :class:`StartError` where starting again would not help.
    """
    options = options or Options()
    part = pipeline.part(name)
    with ExitStack() as opened:
        reporter = Reporter(name, run_dir, bus.Target(state="PLAYING" if options.is_alone else "PAUSED"))
        opened.callback(reporter.close)
        opened.enter_context(_forwarded_log(name, reporter))
        try:
            _run_reported(pipeline, part, run_dir, reporter, options, stops)
        except Exception as error:
            is_mendable = isinstance(error, StartError)
            reporter.post(bus.Error(part=name, text=_words(error), fatal=True, mendable=is_mendable))
            raise


def _run_reported(
    pipeline: Pipeline, part: Part, run_dir: Path, reporter: Reporter, options: Options, stops: Stops | None
) -> None:
    memory = PersistentMemory(run_dir / f"{part.name}.memory")
    is_first = "incarnation" not in memory
    runner: Runner | None = None
    try:
        with closing(open_links(pipeline, part, run_dir)) as links:
            runner = Runner(part, links, memory, reporter, pipeline.in_flight, options)
            with reporter.measuring(runner.statistics, runner.part_runner.tally.take):
                runner.run(stops)
    except Exception as error:
        had_begun = runner is not None and runner.has_begun
        if is_first and not had_begun:
            raise StartError(_words(error)) from error
        raise
    else:
        if options.is_alone and runner.part_runner.is_finished:
            (run_dir / f"{part.name}.memory").unlink(missing_ok=True)  # another start by hand is a new run
    finally:
        memory.close()


@contextmanager
def _forwarded_log(name: str, reporter: Reporter) -> Iterator[None]:
    handler = BusHandler(name, reporter.post)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _account(element: Element) -> str:
    try:
        return element.account()
    except Exception as error:  # noqa: BLE001 - a heart may not stop because an element cannot say how it is
        return f"{label(element)} cannot say how it is: {_words(error)}"


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, PosestreamError) else f"{type(error).__name__}: {error}"
