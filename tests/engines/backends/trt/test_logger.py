"""Errors of CUDA and TensorRT, in one line with a remedy."""

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
    "cuEventSynchronize failed: unspecified launch failure": "restart it",
    "cuEventSynchronize failed: an illegal memory access was encountered": "restart it",
    "cuEventSynchronize failed: uncorrectable ECC error encountered": "restart it",
    "cuEventSynchronize failed: the launch timed out and was terminated": "restart it",
    "cuEventSynchronize failed: unknown error": "restart it",
    "cuInit failed: no CUDA-capable device is detected": "look at nvidia-smi",
    "cuDevicePrimaryCtxRetain failed: CUDA-capable device(s) is/are busy or unavailable": "look at nvidia-smi",
    "CUDA initialization failure with error: 35": "look at nvidia-smi",
    "getPluginCreator could not find plugin": "use the plugin library libnvinfer_plugin of this TensorRT",
    "cuModuleLoadDataEx: ptxas fatal": "update the driver, or export with --plugin nvidia",
    "Could not find any implementation for node conv_1.": "build with a larger workspace_mib",
    "Cuda failure: out of memory; Could not find any implementation for node conv_1.": "free GPU memory",
    "cuInit failed: CUDA driver version is insufficient for CUDA runtime version": "update the NVIDIA driver",
    "some other error": "run posestream doctor --gpu",
}


@pytest.mark.parametrize("said", SAID)
def test_what_cuda_says_is_reported_with_what_to_do(simulated: Simulation, said: str) -> None:
    memory = simulated.module("memory")
    with pytest.raises(EngineError) as caught, memory.on_gpu("fused.onnx: it failed"):
        raise memory.cuda.Error(said)
    message = str(caught.value)
    assert message.startswith(f"fused.onnx: it failed: CUDA says {said!r}; ")
    assert SAID[said] in message.split("; ", 1)[1]
    assert "\n" not in message


def test_a_function_of_the_driver_that_fails_is_reported_alike(simulated: Simulation) -> None:
    memory = simulated.module("memory")
    with pytest.raises(EngineError) as caught, memory.on_gpu("fused.onnx"):
        raise memory.DriverError("cuGraphLaunch failed: out of memory")
    assert str(caught.value).startswith("fused.onnx: CUDA says 'cuGraphLaunch failed: out of memory'; free GPU memory")


def test_what_tensorrt_said_before_is_reported_too_and_once(simulated: Simulation) -> None:
    memory = simulated.module("memory")
    log = simulated.module("logger").Logger()
    log.log(Severity.ERROR, "the first\n  of two lines")
    log.log(Severity.WARNING, "no error")
    log.log(Severity.INTERNAL_ERROR, "the second")
    with pytest.raises(EngineError) as caught, memory.on_gpu("fused.onnx", log):
        raise memory.cuda.Error("unspecified launch failure")
    assert "TensorRT says 'the first of two lines; the second'; this process" in str(caught.value)
    assert log.take_errors() == []


def test_a_call_of_tensorrt_that_returns_nothing_is_an_error_with_its_log(simulated: Simulation) -> None:
    raise_failure = simulated.module("logger").raise_failure
    log = simulated.module("logger").Logger()
    with pytest.raises(
        EngineError, match=r"^fused.onnx: execute_async_v3 failed; TensorRT gives no reason; run posest"
    ):
        raise_failure("fused.onnx", "execute_async_v3", log)
    log.log(Severity.ERROR, "OutOfMemory, nothing more")
    with pytest.raises(EngineError, match="says 'OutOfMemory, nothing more'; free GPU memory"):
        raise_failure("fused.onnx", "create_execution_context", log)


def test_other_mistakes_are_not_dressed_as_the_gpus(simulated: Simulation) -> None:
    with pytest.raises(KeyError), simulated.module("memory").on_gpu("fused.onnx"):
        raise KeyError("ours")


def test_tensorrts_log_goes_to_logging(simulated: Simulation, caplog: pytest.LogCaptureFixture) -> None:
    log = simulated.module("logger").Logger()
    with caplog.at_level(logging.DEBUG):
        for severity in Severity:
            log.log(severity, f"at {severity.name}")
    result = {record.message: record.levelno for record in caplog.records}
    assert result == {
        "at INTERNAL_ERROR": logging.ERROR,
        "at ERROR": logging.ERROR,
        "at WARNING": logging.WARNING,
        "at INFO": logging.DEBUG,
    }


def test_a_quiet_log_keeps_errors_and_passes_nothing_on(
    simulated: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    log = simulated.module("logger").Logger(quiet=True)
    for severity in Severity:
        log.log(severity, f"at {severity.name}")
    assert caplog.records == []
    assert log.take_errors() == ["at INTERNAL_ERROR", "at ERROR"]


def test_a_message_shows_the_last_errors_and_the_remedy_counts_all(simulated: Simulation) -> None:
    logger = simulated.module("logger")
    log = logger.Logger()
    for text in ("out of memory", "1", "2", "3", "4"):
        log.log(Severity.ERROR, text)
    with pytest.raises(EngineError, match=r"TensorRT says '1; 2; 3; 4'; free GPU memory"):
        logger.raise_failure("fused.onnx", "trt.Runtime", log)
