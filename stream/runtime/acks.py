"""Which inputs of a part may be acknowledged: pure bookkeeping, so that any process can die and no frame is lost.

An input is *finished* when it was processed, no element holds it back as pending, and every output made of it is
acknowledged by every receiver. It is *released*, that is acknowledged upstream, only when a restart of this part could
do without it: an unfinished output is computed again from the ``reach`` inputs before its own up to the one at which it
was made, so all of these stay unreleased, and so do the newest ``reach`` inputs, which those to come will look back on.

A part that is restarted starts from what it had *finished* before. It takes those inputs in again when they come again,
since elements build their state from them, but sends nothing twice. What it had *released* may come again too, where
the acknowledgement was lost with the part upstream. It must not be taken in again: the elements' memory holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stream.messages import EOS_SEQ, Key


@dataclass(slots=True)
class _Output:
    """An unacknowledged output: the ``seq`` of the input at which it was made, and the branches it waits for."""

    made_at: int
    waiting_for: set[int]


@dataclass(slots=True)
class _Camera:
    """The unreleased inputs of one camera; ``inputs`` maps seq to whether it was processed, in order of arrival."""

    finished: int
    released: int
    last_taken: int = -1
    last_sent: int = -1
    inputs: dict[int, bool] = field(default_factory=dict)
    pending: frozenset[int] = frozenset()
    outputs: dict[int, _Output] = field(default_factory=dict)
    ready: bool = False

    def is_finished(self, seq: int) -> bool:
        return self.inputs[seq] and seq not in self.pending and seq not in self.outputs


class Flow:
    """The inputs and outputs of one part with ``branches`` receivers.

    ``reach`` is how many earlier inputs its elements look back on, all together. ``finished`` and ``released`` map a
    camera to the last input that this part had finished, and released, before it was restarted.
    """

    def __init__(
        self,
        branches: int,
        reach: int = 0,
        finished: Mapping[str, int] | None = None,
        released: Mapping[str, int] | None = None,
    ) -> None:
        self._branches = frozenset(range(branches))
        self._reach = reach
        self._before = dict(finished or {})
        self._released_before = dict(released or {})
        self._cameras: dict[str, _Camera] = {}

    # -- events -----------------------------------------------------------------------------------------------------

    def take(self, key: Key) -> None:
        """Take an input in. Those of a camera come in order; one that comes again is not counted again."""
        camera, seq = self._camera(key[0]), key[1]
        if seq > camera.last_taken:
            camera.last_taken = seq
            camera.inputs[seq] = False

    def is_new(self, key: Key) -> bool:
        """False for what this part had finished before it was restarted, and must not send again."""
        return key[1] > self._before.get(key[0], -1)

    def was_released(self, key: Key) -> bool:
        """True for what this part had released before it was restarted, and must not take in again."""
        return key[1] <= self._released_before.get(key[0], -1)

    def send(self, key: Key) -> bool:
        """Take note of an output of input ``key``, made of the inputs of its camera taken so far; True when to be sent.

        False for what was sent before this part was restarted, and for a second output of one input or one out of
        order, which no receiver would take.
        """
        camera, seq = self._camera(key[0]), key[1]
        if not self.is_new(key) or seq <= camera.last_sent:
            return False
        camera.last_sent = seq
        if self._branches:
            camera.outputs[seq] = _Output(camera.last_taken, set(self._branches))
        return True

    def mark_processed(self, keys: Iterable[Key], pending: Iterable[Key] = ()) -> None:
        """These inputs have been through all elements, which now hold back the ``pending`` ones."""
        held: dict[str, set[int]] = {}
        for name, seq in pending:
            held.setdefault(name, set()).add(seq)
        for key in keys:
            camera = self._camera(key[0])
            if key[1] in camera.inputs:
                camera.inputs[key[1]] = True
        for name, camera in self._cameras.items():
            camera.pending = frozenset(held.get(name, ()))
            camera.ready = True

    def acknowledge(self, branch: int, key: Key) -> None:
        """The receiver at the end of ``branch`` is done with an output; outputs from before a restart are ignored."""
        camera = self._camera(key[0])
        output = camera.outputs.get(key[1])
        if output is None:
            return
        output.waiting_for.discard(branch)
        if not output.waiting_for:
            del camera.outputs[key[1]]
            camera.ready = True

    # -- consequences -------------------------------------------------------------------------------------------------

    def release(self) -> list[Key]:
        """The inputs that may be acknowledged upstream now; each is returned once."""
        return [(name, seq) for name, camera in self._cameras.items() if camera.ready for seq in self._release(camera)]

    def _release(self, camera: _Camera) -> list[int]:
        camera.ready = False
        order = list(camera.inputs)
        held = self._find_held(camera, order)
        free = [seq for seq, is_held in zip(order, held, strict=True) if not is_held]
        camera.finished = max(camera.finished, self._finished_before(camera, order))
        for seq in free:
            del camera.inputs[seq]
        camera.released = max(camera.released, next(iter(camera.inputs), camera.last_taken + 1) - 1)
        return free

    def _find_held(self, camera: _Camera, order: list[int]) -> list[bool]:
        """For every unreleased input, whether a restart would need it."""
        held = [False] * len(order)
        for index, seq in enumerate(order):
            if not camera.is_finished(seq):
                last = self._find_last_needed(camera, seq, order, index)
                held[max(0, index - self._reach) : last + 1] = [True] * (last + 1 - max(0, index - self._reach))
        if self._reach and camera.last_taken != EOS_SEQ:
            held[-self._reach :] = [True] * len(held[-self._reach :])
        return held

    def _find_last_needed(self, camera: _Camera, seq: int, order: list[int], index: int) -> int:
        """The index of the last input that an unfinished output depends on; the very last while it is not yet made."""
        output = camera.outputs.get(seq)
        if output is None or seq in camera.pending:
            return len(order) - 1
        return max((at for at, other in enumerate(order) if other <= output.made_at), default=index)

    def _finished_before(self, camera: _Camera, order: list[int]) -> int:
        """The last input such that it and all before it are finished."""
        finished = camera.finished
        for seq in order:
            if not camera.is_finished(seq):
                return finished
            finished = seq
        return max(finished, camera.last_taken)

    def finished_seqs(self) -> dict[str, int]:
        """By camera, the last input such that it and all before are finished, and must not be sent again."""
        return self._before | {name: camera.finished for name, camera in self._cameras.items() if camera.finished >= 0}

    def released_seqs(self) -> dict[str, int]:
        """By camera, the last input such that it and all before are released, and must not be taken in again."""
        return {name: camera.released for name, camera in self._cameras.items() if camera.released >= 0}

    def has_ended(self, camera: str) -> bool:
        """True when the camera's end of stream, and so everything before it, is finished."""
        seen = self._cameras.get(camera)
        return (self._before.get(camera) if seen is None else seen.finished) == EOS_SEQ

    def count_unfinished(self, camera: str | None = None) -> int:
        """How many inputs are not finished, ends of streams not counted; of all cameras when None."""
        cameras = list(self._cameras.values()) if camera is None else [self._camera(camera)]
        return sum(not one.is_finished(seq) for one in cameras for seq in one.inputs if seq != EOS_SEQ)

    def count_unreleased(self, camera: str) -> int:
        """How many inputs of a camera are not released, its end of stream not counted: a source's frames in flight."""
        inputs = self._camera(camera).inputs
        return len(inputs) - (EOS_SEQ in inputs)

    def _camera(self, name: str) -> _Camera:
        if name not in self._cameras:
            self._cameras[name] = _Camera(self._before.get(name, -1), self._released_before.get(name, -1))
        return self._cameras[name]
