"""CUDA graphs by the driver's own functions: declared as ``cuda.h`` declares them, and nothing left on a failure."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.engines.backends.trt.simulated import Simulation

TYPES = {
    "CUstream": ctypes.c_void_p,
    "CUgraph": ctypes.c_void_p,
    "CUgraphExec": ctypes.c_void_p,
    "CUstreamCaptureMode": ctypes.c_int,
    "CUresult": ctypes.c_int,
    "unsigned long long": ctypes.c_ulonglong,
    "const char *": ctypes.c_char_p,
}


@pytest.fixture
def header() -> str:
    """CUDA's ``cuda.h``, where a toolkit is installed."""
    roots = (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda")
    found = [Path(root) / "include" / "cuda.h" for root in roots if root]
    for path in found:
        if path.is_file():
            return path.read_text("utf-8", "replace")
    pytest.skip("no cuda.h on this machine, with which prototypes could be compared")


def declared(header: str, name: str) -> tuple[Any, ...]:
    """The arguments of the function that the library exports as ``name``, as ctypes."""
    macro = re.search(rf"#define\s+(\w+)\s+(?:__CUDA_API_PTSZ\()?{name}\)?\s*$", header, re.MULTILINE)
    called = macro[1] if macro else name
    found = re.search(rf"^CUresult CUDAAPI {called}\(([^)]*)\);", header, re.MULTILINE)
    assert found, called
    return tuple(map(_type, found[1].split(",")))


def _type(argument: str) -> Any:
    """Of ``CUgraph *phGraph``: a pointer to what CUgraph is."""
    words = re.sub(r"\s+", " ", argument.strip())
    kind = re.fullmatch(r"(const char \*|unsigned long long|\w+)\s*(\*?)\s*\w+", words)
    assert kind, words
    return ctypes.POINTER(TYPES[kind[1]]) if kind[2] else TYPES[kind[1]]


def test_prototypes_are_those_of_cuda_h(simulated: Simulation, header: str) -> None:
    prototypes = simulated.module("graphs").PROTOTYPES
    assert {name: declared(header, name) for name in prototypes} == prototypes


def test_the_capture_mode_is_that_of_cuda_h(simulated: Simulation, header: str) -> None:
    found = re.search(r"CU_STREAM_CAPTURE_MODE_THREAD_LOCAL\s*=\s*(\d+)", header)
    assert found is not None
    assert int(found[1]) == simulated.module("graphs").THIS_THREAD_ONLY


def test_the_stream_flag_is_that_of_cuda_h(simulated: Simulation, header: str) -> None:
    found = re.search(r"CU_STREAM_NON_BLOCKING\s*=\s*0x(\d+)", header)
    assert found is not None
    assert int(found[1], 16) == simulated.module("memory").NON_BLOCKING


@contextmanager
def lane(simulated: Simulation) -> Iterator[Any]:
    with simulated.module("contexts").current():
        made = simulated.module("memory").Lane()
        yield made
        made.close()


def test_what_is_captured_runs_when_it_is_launched_and_not_before(simulated: Simulation) -> None:
    graphs, done = simulated.module("graphs"), []
    with lane(simulated) as stream:
        graph = graphs.capture(stream.handle, lambda: simulated.gpu.queue(stream.handle, lambda: done.append(1)))
        stream.wait()
        assert done == []
        for _ in range(3):
            graph.launch(stream.handle)
        stream.wait()
        assert done == [1, 1, 1]
        graph.close()
        graph.close()


def test_a_stream_whose_capture_failed_works_on(simulated: Simulation) -> None:
    def fail() -> None:
        raise ValueError("no")

    done: list[int] = []
    with lane(simulated) as stream:
        with pytest.raises(ValueError, match="no"):
            simulated.module("graphs").capture(stream.handle, fail)
        simulated.gpu.queue(stream.handle, lambda: done.append(1))
        stream.wait()
    assert done == [1]
    assert simulated.gpu.graphs == {}


def test_taking_memory_during_a_capture_fails_in_the_words_of_the_driver(simulated: Simulation) -> None:
    graphs = simulated.module("graphs")

    def take() -> None:
        memory = simulated.module("memory")
        with suppress(memory.cuda.Error):
            memory.DeviceBuffer(1)

    with lane(simulated) as stream, pytest.raises(graphs.DriverError) as caught:
        graphs.capture(stream.handle, take)
    assert str(caught.value) == ("cuStreamEndCapture failed: operation failed due to a previous error during capture")


def test_a_graph_that_was_given_back_is_not_launched(simulated: Simulation) -> None:
    graphs = simulated.module("graphs")
    with lane(simulated) as stream:
        graph = graphs.capture(stream.handle, lambda: None)
        graph.close()
        with pytest.raises(graphs.DriverError, match="cuGraphLaunch failed: invalid argument"):
            graph.launch(stream.handle)
