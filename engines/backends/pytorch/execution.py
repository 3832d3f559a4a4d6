"""How a module runs: as it is, compiled, or recorded as a CUDA graph; without gradients, by so many threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Tensors = tuple[Tensor, ...]
Call = Callable[..., Tensors]

WARM_UP = 3
"""Runs before one is recorded: libraries choose their kernels and take their workspace in the first ones."""


def compiled(module: nn.Module, examples: Tensors) -> Call:
    """``module`` by ``torch.compile``, for any batch; ``examples`` are of two people.

    Compiled now, for one person and for several: else the first people in the picture would wait for it. Raises
    whatever ``torch.compile`` raises.
    """
    call: Any = torch.compile(module)
    for people in (1, 2, 3):
        call(*(torch.cat([example, example])[:people].clone() for example in examples))
    return lambda *inputs: tuple(call(*inputs))


class Recorded:
    """A module recorded as one CUDA graph for each batch, and replayed: one launch instead of a thousand.

    Its outputs are written again by the next call.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._records: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, Tensors, Tensors]] = {}
        # One pool for all: they never run at the same time, and outputs are read before the next one starts.
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, *inputs: Tensor) -> Tensors:
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._records:
            self._records[shapes] = self._record(inputs)
        graph, places, outputs = self._records[shapes]
        for place, tensor in zip(places, inputs, strict=True):
            place.copy_(tensor)
        graph.replay()
        return outputs

    def _record(self, inputs: Tensors) -> tuple[torch.cuda.CUDAGraph, Tensors, Tensors]:
        places = tuple(tensor.clone() for tensor in inputs)
        self._warm_up(places)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = self._module(*places)
        return graph, places, outputs

    def _warm_up(self, places: Tensors) -> None:
        """On a CUDA stream of its own, as recording will be."""
        cuda_stream = torch.cuda.Stream()
        cuda_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(cuda_stream):
            for _ in range(WARM_UP):
                self._module(*places)
        torch.cuda.current_stream().wait_stream(cuda_stream)


@contextlib.contextmanager
def computing(threads: int) -> Iterator[None]:
    """Without gradients, by ``threads`` threads of the processor.

    PyTorch has one number of threads for the whole process, in which others may compute too; so it is lent and given
    back. That only sets a number: threads are kept.
    """
    before = torch.get_num_threads()
    if before != threads:
        torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        if before != threads:
            torch.set_num_threads(before)
