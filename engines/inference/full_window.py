"""Whole windows through one graph: every key frame's box crops its window anew, as in the papers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend
from engines.inference.batching import Work, pad_batch, plan_batches
from engines.inference.decoding import decode
from engines.inference.image_input import to_dtype
from engines.inference.regions import box_to_region, crop_regions, to_keypoints
from engines.inference.side_by_side import SideBySide
from engines.inference.signature_check import adapt_layout, check_signature
from engines.spec.signature import Signature
from engines.spec.tensors import Tensor
from engines.vision.windows import Keypoints, Person, PersonWindows, list_people

_log = logging.getLogger(__name__)

MAX_BATCH = 16
"""People in one run of a network of any batch, unless fewer are as fast. More take memory."""


class FullWindowRunner:
    """Runs a network of one graph on a backend; ``max_batch`` people share a run if it takes any batch."""

    def __init__(self, signature: Signature, backend: Backend, max_batch: int) -> None:
        self.signature = signature
        self.max_batch = max_batch
        self.work = Work()
        self._backend = backend
        self._threads = SideBySide()
        self._is_warned = False

    def open(self) -> None:
        """Load the network. Raises :class:`EngineError` if it does not fit its Signature."""
        self._backend.open()
        self.signature = adapt_layout(self.signature, self._backend.describe())
        check_signature(self.signature, self._backend.describe())
        self._threads.open(self._backend.describe().side_by_side)

    def close(self) -> None:
        """Release memory and device."""
        self._threads.close()
        self._backend.close()

    def estimate(self, windows: Sequence[PersonWindows]) -> list[Keypoints]:
        """Keypoints (K, 3) of every person, window by window; see :meth:`engines.inference.engine.Engine.estimate`."""
        people = list_people(windows)
        batches = plan_batches(len(people), self._backend.describe(), self.max_batch)
        found = self._threads.map(lambda batch: self._run(people[batch]), batches)
        frames = len(people) * self.signature.frames
        self.work.add(people=len(people), frames=frames, computed=frames)
        return list(chain.from_iterable(found))

    def _run(self, people: Sequence[Person]) -> Keypoints:
        regions = [box_to_region(self.signature, person.box) for person in people]
        order = self.signature.feeding_order
        # Every frame of a window is cropped by the region of the key frame's box.
        frames = [person.window.frames[index] for person in people for index in order]
        crops = crop_regions(self.signature, frames, [region for region in regions for _ in order])
        inputs = crops.reshape(len(people), *self.signature.input_shape)
        fed = to_dtype(pad_batch(inputs, self._backend.describe()), self._input.dtype)
        outputs = self._backend.run({self._input.name: fed})
        points, scores = decode(self.signature, [outputs[name] for name in self._output_names])
        self._check_numbers(points)
        count = len(people)  # without the rows that pad the batch
        return to_keypoints(self.signature, points[:count], scores[:count], regions)

    def _check_numbers(self, points: NDArray[np.float64]) -> None:
        """Warn once of keypoints that are not finite, which are returned as 0, 0, 0."""
        if not self._is_warned and not np.isfinite(points).all():
            self._is_warned = True
            _log.warning("model %s: it returns keypoints that are not finite; export it again", self.signature.name)

    @property
    def _input(self) -> Tensor:
        inputs = self._backend.describe().inputs
        return next(tensor for tensor in inputs if tensor.name == (self.signature.inputs or (inputs[0].name,))[0])

    @property
    def _output_names(self) -> tuple[str, ...]:
        return self.signature.outputs or tuple(tensor.name for tensor in self._backend.describe().outputs)
