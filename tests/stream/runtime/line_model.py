"""A model of a whole line: real parts, links and memories; only the messages between them and the moments at which
processes die are in the test's hands.

    camera "a" ─┐
    camera "b" ─┼─ middle (batches; remembers, looks back, holds back) ─┬─ sink 0
                                                                        └─ sink 1
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from stream.element import Element
from stream.pipeline.wiring import Part
from stream.runtime import bus
from stream.runtime.endpoints import Links
from stream.runtime.runner import Options, PartLoop
from stream.runtime.state import Changes
from stream.transports.endpoint import PING_MS, HopInbox, HopOutbox
from stream.transports.hop_notes import Parts
from tests.stream.runtime.bench import Memory
from tests.stream.runtime.line_elements import Batches, Gives, Records, Remembers, Windows, chain

_IN_FLIGHT = 6
_CHANCES = (0.05, 0.5, 1.0)


class Killed(BaseException):
    """The process of a part was killed."""


# -- the world --------------------------------------------------------------------------------------------------------


class MortalMemory(Memory):
    """The process may be killed right after each store."""

    on_store: Callable[[], None] = staticmethod(lambda: None)

    def __setitem__(self, name: str, value: int) -> None:
        super().__setitem__(name, value)
        self.on_store()

    def store(self, changes: Changes) -> None:
        kept, self.on_store = self.on_store, lambda: None
        super().store(changes)
        self.on_store = kept
        self.on_store()


class Wire:
    """The messages on their way between two sockets; a dead socket's are lost, but for those that were sent before."""

    def __init__(self) -> None:
        self.to_receiver: deque[Parts] = deque()
        self.to_sender: deque[Parts] = deque()


class SenderSide:
    pollable = None

    def __init__(self, wire: Wire, step: Callable[[], None]) -> None:
        self._wire, self._step, self.incoming = wire, step, deque[Parts]()

    def write(self, parts: Parts) -> bool:
        self._step()
        self._wire.to_receiver.append([bytes(part) for part in parts])
        return True

    def read(self) -> Parts | None:
        return self.incoming.popleft() if self.incoming else None

    def wait(self, timeout_ms: int) -> None:
        return None

    def close(self) -> None:
        return None


class ReceiverSide:
    refused = 0

    pollable = None

    def __init__(self, wires: dict[str, Wire], step: Callable[[], None]) -> None:
        self._wires, self._step, self.incoming = wires, step, deque[tuple[bytes, Parts]]()

    def write(self, sender: bytes, parts: Parts) -> None:
        self._step()
        self._wires[sender.decode()].to_sender.append(list(parts))

    def read(self) -> tuple[bytes, Parts] | None:
        return self.incoming.popleft() if self.incoming else None

    def wait(self, timeout_ms: int) -> None:
        return None

    def close(self) -> None:
        return None


class Reporter:
    target = bus.Target(state="PLAYING")

    def __init__(self) -> None:
        self.errors: list[bus.AnyNotice] = []

    def post(self, notice: bus.AnyNotice) -> None:
        if isinstance(notice, bus.Error | bus.Qos):
            self.errors.append(notice)

    def turned(self) -> None:
        return None

    def progress(self) -> None:
        pass


@dataclass(frozen=True)
class Shape:
    """The line to model: ``frames`` of each of ``cameras`` through batches of ``batch`` to ``branches`` sinks."""

    cameras: int = 2
    frames: int = 5
    batch: int = 4
    branches: int = 2
    past: int = 1
    future: int = 1

    @property
    def names(self) -> list[str]:
        return [chr(ord("a") + number) for number in range(self.cameras)]


class Line:
    """The line of a :class:`Shape`. :meth:`turn`, :meth:`carry` and :meth:`kill` are all that can happen in it."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self.now_s = shape, 0.0
        self.sinks = [Records() for _ in range(shape.branches)]
        self.sink_names = [f"sink{number}" for number in range(shape.branches)]
        self.parts = [*shape.names, "middle", *self.sink_names]
        self.memories = {name: MortalMemory() for name in self.parts}
        self.wires = {(name, "middle"): Wire() for name in shape.names}
        self.wires |= {("middle", sink): Wire() for sink in self.sink_names}
        self.steps = dict.fromkeys(self.parts, 0)
        self.kill_at: dict[str, int] = {}
        self.keep = 0
        self.loops: dict[str, PartLoop] = {}
        self.senders: dict[tuple[str, str], SenderSide] = {}
        self.receivers: dict[str, ReceiverSide] = {}
        self.reporter = Reporter()
        for name in self.parts:
            self._start(name)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _elements(self, name: str) -> list[Element]:
        shape = self.shape
        if name == "middle":
            windows = [Windows(shape.past, shape.future)] if shape.past or shape.future else []
            return [Batches(batch=shape.batch), Remembers(), *windows]
        return [self.sinks[self.sink_names.index(name)]] if name in self.sink_names else [Gives(shape.frames, name)]

    def _start(self, name: str) -> None:
        shape = self.shape

        def step() -> None:
            self.steps[name] += 1
            if self.steps[name] == self.kill_at.get(name):
                raise Killed

        memory = self.memories[name]
        memory.on_store = lambda: None
        inputs = {sender: wire for (sender, receiver), wire in self.wires.items() if receiver == name}
        inbox = None
        if inputs:
            self.receivers[name] = ReceiverSide(inputs, step)
            inbox = HopInbox(self.receivers[name])
        outboxes = []
        for sender, receiver in self.wires:
            if sender == name:
                side = self.senders[sender, receiver] = SenderSide(self.wires[sender, receiver], step)
                outboxes.append(HopOutbox(side, f"link from {sender}", lambda: self.now_s))
        links = Links(inbox, outboxes, [False] * len(outboxes), wait=lambda *_: False)
        cameras = (name,) if name in shape.names else tuple(shape.names)
        part = Part(tuple(self._elements(name)), name if inbox else None, name=name, cameras=cameras)
        loop = PartLoop(part, links, memory, self.reporter, _IN_FLIGHT, Options(), now_s=lambda: self.now_s)
        loop._input.open(ExitStack())  # which nothing closes: a killed process does not either
        memory.on_store = step
        self.loops[name] = loop

    # -- events -------------------------------------------------------------------------------------------------------

    def turn(self, name: str) -> None:
        """One turn of a part's loop, in which it may be killed."""
        try:
            self.loops[name].turn()
        except Killed:
            self.kill(name, self.keep)

    def carry(self, link: tuple[str, str], *, forward: bool, count: int = 1) -> None:
        """Some messages of a link arrive."""
        wire, (sender, receiver) = self.wires[link], link
        for _ in range(count):
            if forward and wire.to_receiver:
                self.receivers[receiver].incoming.append((sender.encode(), wire.to_receiver.popleft()))
            elif not forward and wire.to_sender:
                self.senders[link].incoming.append(wire.to_sender.popleft())

    def kill(self, name: str, keep: int = 0) -> None:
        """Kill a part and start it anew. What it had sent arrives up to some message; what it was sent is lost."""
        for (sender, receiver), wire in self.wires.items():
            if sender == name:
                _cut(wire.to_receiver, keep)
                wire.to_sender.clear()
            if receiver == name:
                _cut(wire.to_sender, keep)
                wire.to_receiver.clear()
        self._start(name)

    def play_random(self, dice: random.Random, events: int, kills: int) -> None:
        """Let things happen in any order; some parts and links are much slower than others, each time other ones."""
        deaths = set(dice.sample(range(events), min(kills, events)))
        forward, back = ({link: dice.choice(_CHANCES) for link in self.wires} for _ in range(2))
        weights = [dice.choice(_CHANCES) for _ in self.parts]
        for _ in range(dice.randrange(4)):  # until every link is in step
            self._play_round(self.parts)
        for event in range(events):
            if event in deaths:
                self._kill_random(dice)
            (name,) = dice.choices(self.parts, weights)
            for link in self._links_of(name):
                if dice.random() < back[link]:
                    self.carry(link, forward=False, count=dice.choice((1, 100)))
            for _ in range(dice.randrange(1, 4)):
                self.turn(name)
            for link in self._links_of(name):
                if dice.random() < forward[link]:
                    self.carry(link, forward=True, count=dice.choice((1, 100)))
            self.now_s += dice.choice((0.0, PING_MS / 1000))
        self.kill_at.clear()

    def _links_of(self, sender: str) -> list[tuple[str, str]]:
        return [link for link in self.wires if link[0] == sender]

    def _kill_random(self, dice: random.Random) -> None:
        """Kill a part now, or in the middle of one of its next turns."""
        victim = dice.choice([*self.parts, "middle", "middle"])
        self.keep = dice.randrange(4)
        if dice.random() < 0.5:
            self.kill(victim, self.keep)
        else:
            self.kill_at[victim] = self.steps[victim] + dice.randrange(1, 12)

    def play_to_end(self, late: Mapping[str, int] | None = None, rounds: int = 400) -> None:
        """Let everything arrive, in turn, until the line has finished; parts in ``late`` join after so many rounds.

        Raises AssertionError if it never finishes.
        """
        for number in range(rounds):
            self._play_round([name for name in self.parts if number >= (late or {}).get(name, 0)])
            if self.is_finished and not any(wire.to_receiver or wire.to_sender for wire in self.wires.values()):
                return
        raise AssertionError(f"it stands still: {self.describe()}")

    def _play_round(self, parts: Sequence[str]) -> None:
        for name in parts:
            self.turn(name)
        for link in self.wires:
            self.carry(link, forward=True, count=1000)
            self.carry(link, forward=False, count=1000)
        self.now_s += PING_MS / 1000

    # -- judgement ----------------------------------------------------------------------------------------------------

    @property
    def is_finished(self) -> bool:
        return all(loop.part_runner.is_finished for loop in self.loops.values())

    def describe(self) -> str:
        return "; ".join(
            f"{name}: {loop.part_runner.unfinished} unfinished, {loop._links.statistics()}"
            for name, loop in self.loops.items()
        )

    def check(self) -> None:
        """Every frame once, in order, with what an unbroken run would have made of it; nothing held, nothing lost."""
        assert self.reporter.errors == []
        for sink in self.sinks:
            for camera in self.shape.names:
                got = [(key[1], ledger) for key, ledger in sink.records if key[0] == camera]
                assert got == list(self._expected()), f"{camera} at sink {self.sinks.index(sink)}"
        for name, loop in self.loops.items():
            received, sent = loop._links.statistics()
            assert (received.waiting, received.unacknowledged, sent.unacknowledged) == (0, 0, 0), name
            drafts = loop.part_runner.drafts.values()
            assert [dict(draft._drafts) for draft in drafts] == [{}] * len(drafts), name
            assert all(loop.part_runner.flow.count_unreleased(camera) == 0 for camera in self.shape.names), name

    def _expected(self) -> Iterator[tuple[int, dict[str, int]]]:
        number = 0
        for seq in range(self.shape.frames):
            number = chain(number, seq)
            ledger = {"chain": number}
            if self.shape.past or self.shape.future:
                ledger["past"] = sum(range(max(0, seq - self.shape.past) + 1, seq + 1))
            yield seq, ledger


def _cut(messages: deque[Parts], keep: int) -> None:
    while len(messages) > keep:
        messages.pop()
