"""CUDA graphs through cuda-bindings: its own names and arguments, and nothing left after a failure."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from engines.errors import EngineError
from tests.engines.backends.trt import simulated_cuda
from tests.engines.backends.trt.simulated import Simulation


@pytest.fixture(scope="module")
def real_driver() -> Any:
    """Imported before any simulation stands in its place."""
    return pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")


FUNCTIONS = [name for name in vars(simulated_cuda.GraphDriver) if name.startswith(("cuS", "cuG"))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_the_arguments_of_cuda_bindings(real_driver: Any, name: str) -> None:
    ours = list(inspect.signature(getattr(simulated_cuda.GraphDriver, name)).parameters)[1:]
    assert ours == list(inspect.signature(getattr(real_driver, name)).parameters)


@pytest.mark.parametrize("kind", [simulated_cuda.CUresult, simulated_cuda.CUstreamCaptureMode])
def test_values_are_those_of_cuda_bindings(real_driver: Any, kind: Any) -> None:
    real = getattr(real_driver, kind.__name__)
    assert {member.name: member.value for member in kind} == {
        member.name: getattr(real, member.name).value for member in kind
    }


def test_the_stream_flag_is_that_of_cuda_bindings(simulated: Simulation, real_driver: Any) -> None:
    assert real_driver.CUstream_flags.CU_STREAM_NON_BLOCKING.value == simulated.module("memory").NON_BLOCKING


def test_without_cuda_bindings_the_remedy_is_named(simulated: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with new_stream(simulated) as stream, pytest.raises(EngineError) as caught:
        simulated.module("executor").capture_graph(stream, lambda: None)
    assert str(caught.value).startswith("CUDA graphs need the Python package cuda-bindings (")
    assert str(caught.value).endswith("); in a clone of posestream: pip install '.[tensorrt]'")


@contextmanager
def new_stream(simulated: Simulation) -> Iterator[Any]:
    memory = simulated.module("memory")
    with memory.primary_context():
        stream = memory.Stream()
        yield stream
        stream.close()


def test_what_is_captured_runs_when_it_is_launched_and_not_before(simulated: Simulation) -> None:
    executor, done = simulated.module("executor"), []
    with new_stream(simulated) as stream:
        graph = executor.capture_graph(stream, lambda: simulated.gpu.queue(stream.handle, lambda: done.append(1)))
        stream.synchronize()
        assert done == []
        for _ in range(3):
            graph.launch(stream)
        stream.synchronize()
        assert done == [1, 1, 1]
        graph.close()
        graph.close()


def test_a_stream_whose_capture_failed_works_on(simulated: Simulation) -> None:
    def fail() -> None:
        raise ValueError("no")

    done: list[int] = []
    with new_stream(simulated) as stream:
        with pytest.raises(ValueError, match="no"):
            simulated.module("executor").capture_graph(stream, fail)
        simulated.gpu.queue(stream.handle, lambda: done.append(1))
        stream.synchronize()
    assert done == [1]
    assert simulated.gpu.graphs == {}


def test_taking_memory_during_a_capture_fails_in_the_words_of_the_driver(simulated: Simulation) -> None:
    executor = simulated.module("executor")

    def take() -> None:
        memory = simulated.module("memory")
        with suppress(memory.cuda.Error):
            memory.DeviceBuffer(1)

    with new_stream(simulated) as stream, pytest.raises(executor.DriverError) as caught:
        executor.capture_graph(stream, take)
    assert str(caught.value) == ("cuStreamEndCapture failed: operation failed due to a previous error during capture")


def test_a_graph_that_was_given_back_is_not_launched(simulated: Simulation) -> None:
    executor = simulated.module("executor")
    with new_stream(simulated) as stream:
        graph = executor.capture_graph(stream, lambda: None)
        graph.close()
        with pytest.raises(executor.DriverError, match="cuGraphLaunch failed: invalid argument"):
            graph.launch(stream)
