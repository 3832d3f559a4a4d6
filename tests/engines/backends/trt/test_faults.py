"""What CUDA and TensorRT say, in one line with its remedy."""

from __future__ import annotations

import logging

import pytest

from engines.errors import EngineError
from tests.engines.backends.trt.simulated import Simulation
from tests.engines.backends.trt.simulated_tensorrt import Severity

# As cuGetErrorString words them (CUDA 13.0), behind what PyCUDA puts before; and TensorRT's own.
SAID = {
    "cuMemAlloc failed: out of memory": "free GPU memory",
    "[memory.cpp::allocate::74] Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.)": "free GPU memory",
    "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (cudaErrorMemoryAllocation)": "free GPU memory",
    "cuEventSynchronize failed: unspecified launch failure": "start it again",
    "cuEventSynchronize failed: an illegal memory access was encountered": "start it again",
    "cuEventSynchronize failed: uncorrectable ECC error encountered": "start it again",
    "cuEventSynchronize failed: the launch timed out and was terminated": "start it again",
    "cuEventSynchronize failed: unknown error": "start it again",
    "cuInit failed: no CUDA-capable device is detected": "look at nvidia-smi",
    "cuDevicePrimaryCtxRetain failed: CUDA-capable device(s) is/are busy or unavailable": "look at nvidia-smi",
    "cuInit failed: CUDA driver version is insufficient for CUDA runtime version": "update the NVIDIA driver",
    "something that nobody has met": "run posestream doctor --gpu",
}


@pytest.mark.parametrize("said", SAID)
def test_what_cuda_says_is_told_with_what_to_do(simulated: Simulation, said: str) -> None:
    faults = simulated.module("faults")
    with pytest.raises(EngineError) as caught, faults.translated("fused.onnx: it failed"):
        raise faults.cuda.Error(said)
    message = str(caught.value)
    assert message.startswith(f"fused.onnx: it failed: CUDA says {said!r}; ")
    assert SAID[said] in message.split("; ", 1)[1]
    assert "\n" not in message


def test_a_function_of_the_driver_that_fails_is_told_alike(simulated: Simulation) -> None:
    faults, graphs = simulated.module("faults"), simulated.module("graphs")
    with pytest.raises(EngineError) as caught, faults.translated("fused.onnx"):
        raise graphs.DriverError("cuGraphLaunch failed: out of memory")
    assert str(caught.value).startswith("fused.onnx: CUDA says 'cuGraphLaunch failed: out of memory'; free GPU memory")


def test_what_tensorrt_said_before_is_told_too_and_once(simulated: Simulation) -> None:
    faults = simulated.module("faults")
    log = faults.TrtLog()
    log.log(Severity.ERROR, "the first\n  of two lines")
    log.log(Severity.WARNING, "no error")
    log.log(Severity.INTERNAL_ERROR, "the second")
    with pytest.raises(EngineError) as caught, faults.translated("fused.onnx", log):
        raise faults.cuda.Error("unspecified launch failure")
    assert "TensorRT says 'the first of two lines; the second'; the GPU serves" in str(caught.value)
    assert log.taken() == ""


def test_a_call_of_tensorrt_that_gave_nothing_is_told_with_its_log(simulated: Simulation) -> None:
    faults = simulated.module("faults")
    log = faults.TrtLog()
    with pytest.raises(EngineError, match=r"^fused.onnx: execute_async_v3 failed; TensorRT says nothing; run posest"):
        faults.refuse("fused.onnx", "execute_async_v3", log)
    log.log(Severity.ERROR, "OutOfMemory, nothing more")
    with pytest.raises(EngineError, match="says 'OutOfMemory, nothing more'; free GPU memory"):
        faults.refuse("fused.onnx", "create_execution_context", log)


def test_other_mistakes_are_not_dressed_as_the_gpus(simulated: Simulation) -> None:
    with pytest.raises(KeyError), simulated.module("faults").translated("fused.onnx"):
        raise KeyError("ours")


def test_tensorrts_log_goes_to_logging(simulated: Simulation, caplog: pytest.LogCaptureFixture) -> None:
    log = simulated.module("faults").TrtLog()
    with caplog.at_level(logging.DEBUG):
        for severity in Severity:
            log.log(severity, f"at {severity.name}")
    told = {record.message: record.levelno for record in caplog.records}
    assert told == {
        "at INTERNAL_ERROR": logging.ERROR,
        "at ERROR": logging.ERROR,
        "at WARNING": logging.WARNING,
        "at INFO": logging.DEBUG,
    }


def test_only_the_last_errors_are_remembered(simulated: Simulation) -> None:
    faults = simulated.module("faults")
    log = faults.TrtLog()
    for number in range(10):
        log.log(Severity.ERROR, str(number))
    assert log.taken() == "6; 7; 8; 9"
