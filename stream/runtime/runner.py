"""Runs one part of a line in this process: the loop around a :class:`stream.runtime.part_runner.PartRunner`.

Supervised or not, every part is run by :func:`run_part`. How items survive the death of a process is in
:mod:`stream.runtime.acks`; what happens to one item is in :mod:`stream.runtime.part_runner`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from engines.hub.fetching import fetch_missing
from stream.element import Context, Element, Transform
from stream.errors import FullDiskError, ShortageError, StartError, describe_error
from stream.logs import is_quiet
from stream.messages import Key
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.wiring import Part
from stream.registry import label
from stream.runtime import bus
from stream.runtime.endpoints import Links, open_links
from stream.runtime.heartbeat import BusHandler, Heartbeat, open_heartbeat
from stream.runtime.inputs import InboxInput, Input, SourceInput
from stream.runtime.meter import resident_bytes
from stream.runtime.part_runner import PartRunner
from stream.runtime.run_dir import claim
from stream.runtime.signals import handle_signals
from stream.runtime.state import Draft, Memory, PersistentMemory, Section

_TURN_MS = 100
"""How long an idle loop waits at most before it looks at its target again; shorter than a link's ping."""

_LINGER_S = 2.0
"""How long a finished part without a supervisor still answers receivers and senders that were restarted."""


_SHARED_THREADS = 1
"""Threads of a decoder where many share a process: more of them are memory, and the cores are shared anyway."""


@dataclass(frozen=True)
class Options:
    """How to run a part.

    Items older than ``lateness_ms`` are dropped before elements see them; None keeps all. Without a supervisor
    (``is_supervised`` False) a part plays at once, and ends two seconds after it has finished. ``is_restart`` when the
    part has worked before in this run, and has a memory of it. ``count_parts`` is how many parts this process runs now;
    None where it runs this one alone. Once ``is_cancelled``, the part ends, and what is in flight is lost.
    """

    lateness_ms: float | None = None
    is_supervised: bool = True
    is_restart: bool = False
    count_parts: Callable[[], int] | None = None
    is_cancelled: Callable[[], bool] = lambda: False


class Reporter(Protocol):
    """What the loop needs of :class:`stream.runtime.heartbeat.Heartbeat`."""

    @property
    def target(self) -> bus.Target: ...

    def post(self, notice: bus.AnyNotice) -> None: ...

    def turned(self) -> None: ...

    def progress(self) -> None: ...


class PartLoop:
    """The loop of one part; :meth:`run` returns when the part has finished, or its target is NULL.

    ``is_stopping`` becomes true when the user asks this process to end its streams; ``now_s`` is the clock, in seconds.
    """

    def __init__(
        self,
        part: Part,
        links: Links,
        memory: Memory,
        reporter: Reporter,
        in_flight: int,
        options: Options,
        *,
        is_stopping: Callable[[], bool] = lambda: False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state: bus.State = "NULL"
        self._is_stopping, self._now_s = is_stopping, now_s
        self._finished_s: float | None = None
        self._part, self._reporter, self._options = part, reporter, options
        self.part_runner = PartRunner(
            part.name, part.elements, part.cameras, links, memory, reporter.post, self._release
        )
        self._links, self._memory = links, memory
        self._incarnation = memory["incarnation"] = memory.get("incarnation", -1) + 1
        self._input: Input = (
            SourceInput(part.source, self.part_runner, memory, in_flight, is_restart=self._incarnation > 0)
            if part.source is not None
            else InboxInput(self.part_runner, options.lateness_ms)
        )
        for index, element in enumerate(part.elements):
            self._set_context(element, memory, f"{index} {label(element)} ")

    def _set_context(self, element: Element, whole: Memory, prefix: str) -> None:
        ring = self._links.ring
        memory: Draft | Section = Section(whole, prefix)
        if isinstance(element, Transform):  # the memory of a source or a sink follows what is outside the line
            memory = self.part_runner.drafts[id(element)] = Draft(whole, prefix)
        context = Context(
            name=label(element),
            memory=memory,
            incarnation=self._incarnation,
            progress=self._reporter.progress,
            is_ending=self._is_ending,
            threads=0 if self._options.count_parts is None else _SHARED_THREADS,
        )
        element.context = context if ring is None else replace(context, allocate=ring.allocate)

    @property
    def has_begun(self) -> bool:
        """True once an item has been through the elements."""
        return self.part_runner.meter.items > 0

    # -- states -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """From NULL to the target state, the loop, and back to NULL. Raises what ends the part."""
        with ExitStack() as opened:
            opened.callback(self._become, "NULL")
            self._input.open(opened)
            self._become("READY")
            while not self._is_done():
                self.turn()
        if self._links.ring is not None:
            self._links.ring.close()

    def turn(self) -> None:
        """One turn of the loop: follow the target, then take, process and send what there is, or wait for it."""
        self._reporter.turned()
        self._follow_target()
        self._memory.restore()
        if self._links.ring is not None:
            self._links.ring.restore()
        self.part_runner.receive_acknowledgements()
        if self.part_runner.is_finished:
            self._input.acknowledge_rest()
            self._links.wait_for_any(_TURN_MS)
        elif not self._input.advance(self.state):
            wait = self._links.wait_for_any if self._input.can_take else self._links.wait_for_acknowledgements
            wait(_TURN_MS)

    def _is_done(self) -> bool:
        """True when the target is NULL, or the part needs no supervisor to end it."""
        if self._reporter.target.state == "NULL":
            return True
        if not self.part_runner.is_finished:
            return self._part.source is None and self._is_stopping()
        if self._finished_s is None:
            self._finished_s = self._now_s()
        return not self._options.is_supervised and self._now_s() - self._finished_s > _LINGER_S

    def _follow_target(self) -> None:
        target = self._reporter.target
        if target.state != "NULL":
            self._step_to(target.state)
        if target.ending or self._is_stopping():
            self._input.end()

    def _is_ending(self) -> bool:
        target = self._reporter.target
        return target.ending or target.state == "NULL" or self._is_stopping()

    def _step_to(self, target: bus.State) -> None:
        """As in GStreamer, one state after another."""
        goal = bus.STATES.index(target)
        while (at := bus.STATES.index(self.state)) != goal:
            self._become(bus.STATES[at + (1 if goal > at else -1)])

    def _become(self, new: bus.State) -> None:
        if new != self.state:
            old, self.state = self.state, new
            self._reporter.post(bus.StateChanged(part=self._part.name, old=old, new=new))

    def _release(self, key: Key) -> None:
        if self._links.ring is not None:
            self._links.ring.release(key)
        if self._links.inbox is not None:
            self._links.inbox.acknowledge(key)

    # -- statistics ---------------------------------------------------------------------------------------------------

    def statistics(self) -> bus.Stats:
        """What the heartbeat sends; called from its thread."""
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
            unfinished=self.part_runner.unfinished,
            dropped=self.part_runner.tally.dropped,
            errors=self.part_runner.tally.errors,
            resent=sent.resent,
            malformed=received.malformed + sent.malformed,
            rss_bytes=resident_bytes() // (1 if self._options.count_parts is None else self._options.count_parts()),
            finished=self.part_runner.is_finished,
            status="; ".join(filter(None, [self._describe_silence(), *map(_get_status, self._part.elements)])),
        )

    def _describe_silence(self) -> str:
        silence = self.part_runner.executor.silence
        return silence.describe() if silence is not None else ""


# -- a process --------------------------------------------------------------------------------------------------------


def run_part(
    pipeline: Pipeline,
    name: str,
    run_dir: Path,
    options: Options | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Run the part called ``name`` in this process, until it has finished or its target is NULL.

    ``run_dir`` is where its neighbours find it and where it keeps its memory: a part that was killed resumes there.
    Raises what ended the part, after posting it; :class:`StartError` where a restart would not help.
    """
    options = options or Options()
    part = pipeline.part(name)
    first = bus.Target(state="PAUSED" if options.is_supervised else "PLAYING")
    with (
        closing(open_heartbeat(name, run_dir, first, options.is_cancelled)) as heartbeat,
        _log_forwarded(name, heartbeat),
    ):
        try:
            _run(pipeline, part, run_dir, heartbeat, options, is_stopping)
        except Exception as error:
            needs_user = isinstance(error, StartError)
            heartbeat.post(bus.Error(part=name, text=describe_error(error), fatal=True, needs_user=needs_user))
            raise


def run_part_alone(pipeline: Pipeline, name: str, run_dir: Path) -> int:
    """Run one part in this process without a supervisor; returns 0, or 128 + the signal that ended its streams.

    ``run_dir`` is made if need be. In the run directory of a supervised line the part follows that line's supervisor
    too. A second signal raises ``KeyboardInterrupt``. For the main thread.
    """
    fetch_missing(pipeline.part(name).networks, quiet=is_quiet())
    with handle_signals(_interrupt) as received:
        run_part(pipeline, name, claim(run_dir), Options(is_supervised=False), lambda: bool(received))
    return 128 + received[0] if received else 0


def _interrupt(count: int) -> None:
    if count > 1:
        raise KeyboardInterrupt


def _run(
    pipeline: Pipeline,
    part: Part,
    run_dir: Path,
    heartbeat: Heartbeat,
    options: Options,
    is_stopping: Callable[[], bool],
) -> None:
    memory = PersistentMemory(run_dir / f"{part.name}.memory")
    is_first = "incarnation" not in memory
    loop: PartLoop | None = None
    try:
        if is_first and options.is_restart:
            raise StartError(
                f"{part.name}.memory in {run_dir} was removed or damaged while the line ran, so that what it had "
                "finished is unknown; run the line again, and leave the files of its run directory alone"
            )
        with closing(open_links(pipeline, part, run_dir)) as links:
            loop = PartLoop(part, links, memory, heartbeat, pipeline.in_flight, options, is_stopping=is_stopping)
            with heartbeat.reporting(loop.statistics, loop.part_runner.tally.take):
                loop.run()
    except Exception as error:
        has_begun = loop is not None and loop.has_begun
        is_lasting = not has_begun and not isinstance(error, ShortageError)
        if (is_first and is_lasting) or _is_disk_full(error, pipeline):
            raise StartError(describe_error(error)) from error
        raise
    else:
        if not options.is_supervised and loop.part_runner.is_finished:
            (run_dir / f"{part.name}.memory").unlink(missing_ok=True)  # the next start is a new run
    finally:
        memory.close()


def _is_disk_full(error: Exception, pipeline: Pipeline) -> bool:
    """True where a line of files cannot be written, and so has failed. A camera goes on: there may be room again."""
    sources = [part.source for part in pipeline.parts if part.source is not None]
    return isinstance(error, FullDiskError) and not any(source.is_live for source in sources)


@contextmanager
def _log_forwarded(name: str, heartbeat: Heartbeat) -> Iterator[None]:
    handler = BusHandler(name, heartbeat.post)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _get_status(element: Element) -> str:
    try:
        return element.status()
    except Exception as error:  # noqa: BLE001 - a faulty status() must not stop the heartbeat
        return f"{label(element)}: status() failed: {describe_error(error)}"
