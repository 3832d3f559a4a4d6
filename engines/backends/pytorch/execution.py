"""Ways to run a module: compiled, or as CUDA graphs; without gradients and on a given number of threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Tensors = tuple[Tensor, ...]
Call = Callable[..., Tensors]

WARM_UP = 3
"""Runs before recording, in which libraries choose kernels and allocate workspace."""


def compile_module(module: nn.Module, examples: Tensors) -> Call:
    """``module`` compiled by ``torch.compile`` for any batch; ``examples`` have a batch of 2.

    It is compiled here, for one person and for several, and not when the first people appear. Raises what
    ``torch.compile`` raises.
    """
    call: Any = torch.compile(module)
    for people in (1, 2, 3):
        call(*(torch.cat([example, example])[:people].clone() for example in examples))
    return lambda *inputs: tuple(call(*inputs))


class CudaGraphRunner:
    """A module recorded as a CUDA graph for each batch: one launch instead of a thousand.

    The next call overwrites the outputs of the last.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._graphs: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, Tensors, Tensors]] = {}
        # One memory pool for all: they never run at the same time, and outputs are read before the next starts.
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, *inputs: Tensor) -> Tensors:
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._graphs:
            self._graphs[shapes] = self._record(inputs)
        graph, buffers, outputs = self._graphs[shapes]
        for buffer, tensor in zip(buffers, inputs, strict=True):
            buffer.copy_(tensor)
        graph.replay()
        return outputs

    def _record(self, inputs: Tensors) -> tuple[torch.cuda.CUDAGraph, Tensors, Tensors]:
        buffers = tuple(tensor.clone() for tensor in inputs)
        self._warm_up(buffers)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = self._module(*buffers)
        return graph, buffers, outputs

    def _warm_up(self, buffers: Tensors) -> None:
        """Run on a separate CUDA stream, as recording does."""
        cuda_stream = torch.cuda.Stream()
        cuda_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(cuda_stream):
            for _ in range(WARM_UP):
                self._module(*buffers)
        torch.cuda.current_stream().wait_stream(cuda_stream)


@contextlib.contextmanager
def inference_mode(threads: int) -> Iterator[None]:
    """Run without gradients and on ``threads`` CPU threads.

    PyTorch has one thread count for the whole process, so it is restored afterwards. Setting it is cheap: no thread is
    started or stopped.
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
