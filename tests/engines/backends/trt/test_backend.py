"""The backend ``tensorrt`` upon a simulation: what it promises, how it waits, and what it says when it cannot."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from engines.backends.base import Backend
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.spec.tensors import Array
from engines.testing.backends import check_backend
from tests.engines.backends.trt import drawn
from tests.engines.backends.trt.simulated import Simulation
from tests.engines.exports import write_export

MODES = ("tensorrt", "tensorrt:nograph")


@pytest.fixture
def fused(tmp_path: Path) -> Path:
    return write_export(tmp_path / "export", parts=["fused"]) / "fused.onnx"


def crops(batch: int) -> dict[str, Array]:
    return {"crops": np.random.default_rng(batch).integers(0, 255, (batch, 5, 64, 48, 3), np.uint8)}


def opened(path: Path, mode: str = "tensorrt") -> Backend:
    backend = make_backend(path, mode)
    backend.open()
    return backend


def said(call: Callable[[], object]) -> str:
    with pytest.raises(EngineError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_it_keeps_what_every_backend_promises(simulated: Simulation, fused: Path, mode: str) -> None:
    check_backend(lambda: make_backend(fused, mode))


@pytest.mark.parametrize("mode", MODES)
def test_it_gives_what_onnx_runtime_gives_also_where_a_batch_takes_several_runs(
    simulated: Simulation, fused: Path, mode: str
) -> None:
    backend, reference = opened(fused, mode), opened(fused, "onnxrt:cpu")
    for batch in (1, 3, 4, 9, 3, 9):
        feeds = crops(batch)
        # The simulation runs ONNX Runtime too, in parts of 4: batching changes the order of sums, nothing more.
        np.testing.assert_allclose(backend.run(feeds)["points"], reference.run(feeds)["points"], atol=1e-4)
    backend.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_run_waits_once(simulated: Simulation, fused: Path, mode: str) -> None:
    backend = opened(fused, mode)
    for _ in range(4):
        before = simulated.gpu.counts["waits"]
        backend.run(crops(2))
        assert simulated.gpu.counts["waits"] == before + 1
    backend.close()


def test_a_batch_size_is_captured_when_it_comes_again_and_replayed_from_then_on(
    simulated: Simulation, fused: Path
) -> None:
    backend = opened(fused)
    counts = simulated.gpu.counts
    seen = []
    for batch in (2, 2, 2, 1, 2, 1):
        backend.run(crops(batch))
        seen.append((counts["captures"], counts["launches"]))
    assert seen == [(0, 0), (1, 1), (1, 2), (1, 2), (1, 3), (2, 4)]
    assert counts["executions"] == 6
    backend.close()


def test_nograph_captures_nothing(simulated: Simulation, fused: Path) -> None:
    backend = opened(fused, "tensorrt:nograph")
    for _ in range(3):
        backend.run(crops(2))
    assert simulated.gpu.counts["captures"] == 0
    backend.close()


def test_an_engine_that_cannot_be_captured_runs_all_the_same_and_says_so_once(
    simulated: Simulation, fused: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = opened(fused)
    backend._session.loaded.engine.capturable = False  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING):
        results = [backend.run(crops(2))["points"] for _ in range(4)]
    assert all(np.array_equal(result, results[0]) for result in results)
    outcome = [record.message for record in caplog.records if "without CUDA graphs" in record.message]
    assert len(outcome) == 1
    assert outcome[0].startswith(
        "fused.onnx: it runs without CUDA graphs: fused.onnx: execute_async_v3 failed; TensorRT"
    )
    backend.close()


def test_a_graph_is_captured_anew_when_an_address_changes(simulated: Simulation, fused: Path) -> None:
    backend = opened(fused)
    for _ in range(2):
        backend.run(crops(1))
    memory = simulated.module("memory")
    session = backend._session  # type: ignore[attr-defined]
    with memory.primary_context():
        other = memory.DeviceBuffer(1 << 16)
        moved = {**session._addresses, "points": other.address}
        for _ in range(2):
            session._executor.queue(1, moved)
        session._stream.synchronize()
        points = simulated.gpu.memory(other.address, 17 * 3 * 4).view(np.float32).reshape(1, 17, 3).copy()
        other.close()
    assert simulated.gpu.counts["captures"] == 2
    assert session._executor.graphs, "the second capture came after a plain run, or TensorRT would have refused it"
    np.testing.assert_array_equal(points, backend.run(crops(1))["points"])
    backend.close()


def test_of_many_batch_sizes_only_the_last_are_kept(
    simulated: Simulation, fused: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated.module("executor"), "MAX_CONTEXTS", 2)
    backend, reference = opened(fused), opened(fused, "onnxrt:cpu")
    for batch in (1, 2, 2, 3, 3, 1, 2, 2):
        np.testing.assert_allclose(
            backend.run(crops(batch))["points"], reference.run(crops(batch))["points"], atol=1e-4
        )
        assert simulated.gpu.alive["contexts"] <= 2
        assert simulated.gpu.alive["executables"] <= 2
    backend.close()


def test_it_may_be_opened_used_and_closed_by_different_threads(simulated: Simulation, fused: Path) -> None:
    backend = make_backend(fused, "tensorrt")
    results: list[Array] = []
    steps = (
        backend.open,
        *(lambda: results.append(backend.run(crops(2))["points"]) for _ in range(3)),
        backend.close,
    )
    for step in steps:
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert len(results) == 3
    assert np.array_equal(results[0], results[2])


def test_an_engine_of_one_batch_size_says_so(simulated: Simulation, tmp_path: Path) -> None:
    path = write_export(tmp_path / "export", parts=["fused"], batch=2) / "fused.onnx"
    backend = opened(path)
    assert backend.describe().batch == 2
    assert backend.describe().outputs[0].shape == (2, 17, 3)
    check_backend(lambda: make_backend(path, "tensorrt"))
    backend.close()


def test_it_says_where_it_runs_and_for_how_many_it_was_built(simulated: Simulation, fused: Path) -> None:
    backend = opened(fused)
    assert backend.describe().device == "Simulated GPU, TensorRT 11.4.0.106"
    assert backend.describe().max_batch == 4
    backend.close()


def test_inputs_of_different_batches_are_refused(simulated: Simulation, fused: Path) -> None:
    interface = simulated.module("engine").Interface((), (), 2, 4)
    message = said(lambda: interface.check("toy.onnx", [2, 3]))
    assert message == "toy.onnx: its inputs were fed [2, 3] rows; feed all of them the same number"
    assert interface.check("toy.onnx", [6, 6]) == 6


@pytest.mark.parametrize("batch", [1, 5])
def test_a_batch_whose_last_part_is_too_small_is_refused(simulated: Simulation, batch: int) -> None:
    interface = simulated.module("engine").Interface((), (), 2, 4)
    message = said(lambda: interface.check("toy.onnx", [batch]))
    assert message.startswith(f"toy.onnx: its engine takes batches of 2 to 4, but was fed {batch}; ")


def test_it_is_built_once_and_found_from_then_on(
    simulated: Simulation, fused: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        opened(fused).close()
    assert simulated.built == ["fused.onnx"]
    (outcome,) = (record.message for record in caplog.records)
    assert outcome.startswith("TensorRT 11.4.0.106 builds fused.onnx for Simulated GPU (9.0), once: ")


def test_nobuild_refuses_to_build_and_runs_what_is_there(simulated: Simulation, fused: Path) -> None:
    message = said(lambda: opened(fused, "tensorrt:nobuild"))
    assert message.endswith("tensorrt:nobuild builds nothing: choose backend=tensorrt, or export --to tensorrt")
    opened(fused).close()
    opened(fused, "tensorrt:nobuild+nograph").close()
    assert simulated.built == ["fused.onnx"]


def test_an_unknown_mode_is_refused_with_those_that_exist(simulated: Simulation, fused: Path) -> None:
    message = said(lambda: make_backend(fused, "tensorrt:nograph+fast"))
    assert message == (
        "backend 'tensorrt:nograph+fast': there is no mode 'fast'; choose tensorrt, tensorrt:nograph, tensorrt:nobuild"
    )


@pytest.mark.parametrize("capacity", [100, 30_000, 188_000])
def test_too_little_memory_is_reported_and_nothing_is_left_behind(
    simulated: Simulation, fused: Path, capacity: int
) -> None:
    """For the plan's weights, which TensorRT takes; for the first buffer; for a later one."""
    simulated.gpu.capacity = capacity
    message = said(lambda: opened(fused))
    assert "memory" in message.lower()
    assert message.endswith(
        "free GPU memory (nvidia-smi lists who uses it), keep fewer slots, or build with a smaller max_batch or "
        "workspace_mib"
    )
    assert simulated.gpu.leftovers == {}


def test_a_gpu_that_fails_is_reported_and_can_still_be_closed(simulated: Simulation, fused: Path) -> None:
    backend = opened(fused)
    backend.run(crops(1))
    simulated.gpu.sabotage.append("unspecified launch failure")
    wanted = (
        "fused.onnx: it failed on a batch of 2: CUDA says 'cuEventSynchronize failed: unspecified launch failure'; "
        "this process cannot use the GPU any more: restart it, and look at dmesg (Xid) if it happens again"
    )
    assert said(lambda: backend.run(crops(2))) == wanted
    assert "unspecified launch failure" in said(lambda: backend.run(crops(1)))
    backend.close()


def test_a_machine_without_a_gpu_is_reported(simulated: Simulation, fused: Path) -> None:
    simulated.gpu.missing = "no CUDA-capable device is detected"
    message = said(lambda: opened(fused))
    assert message.startswith(
        "no GPU: CUDA says 'cuInit failed: no CUDA-capable device is detected'; look at nvidia-smi"
    )


def test_a_plan_that_tensorrt_does_not_load_is_reported_with_its_words(simulated: Simulation, fused: Path) -> None:
    simulated.version = "10.13.3.9"
    message = said(lambda: opened(fused))
    assert message.startswith("TensorRT does not load ")
    assert "the plan was built by another version of TensorRT" in message


def test_a_plan_that_was_damaged_is_refused_before_it_is_loaded(simulated: Simulation, fused: Path) -> None:
    opened(fused).close()
    (plan,) = (fused.parent / "tensorrt").glob("*.engine")
    plan.write_bytes(plan.read_bytes()[:-9])
    message = said(lambda: opened(fused))
    assert message.startswith(f"engine {plan} is damaged")


def test_a_type_that_numpy_has_not_is_refused(simulated: Simulation, tmp_path: Path) -> None:
    path = drawn.write_identity(tmp_path / "brain.onnx", TensorProto.BFLOAT16, ["n", 4])
    assert said(lambda: opened(path)) == (
        "brain.onnx: its tensor 'x' is BF16, which numpy does not have; "
        "export it with inputs and outputs of fp32 or fp16"
    )


def test_a_size_beside_the_batch_that_varies_is_refused(simulated: Simulation, tmp_path: Path) -> None:
    path = drawn.write_identity(tmp_path / "any.onnx", TensorProto.FLOAT, ["n", "m"])
    message = said(lambda: opened(path))
    assert message.startswith("any.onnx: its tensor 'x' is (any, any) float32; only the batch may vary")


@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.FLOAT16, TensorProto.INT64])
def test_types_that_numpy_has_arrive_as_they_are(simulated: Simulation, tmp_path: Path, dtype: int) -> None:
    path = drawn.write_identity(tmp_path / "same.onnx", dtype, ["n", 3])
    backend = opened(path)
    array = np.arange(6).reshape(2, 3).astype(backend.describe().inputs[0].dtype)
    (result,) = backend.run({"x": array}).values()
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array)
    backend.close()


def test_the_simulation_notices_a_result_that_is_read_without_a_wait(
    simulated: Simulation, fused: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated.module("memory").Stream, "synchronize", lambda self: None)
    backend, reference = opened(fused), opened(fused, "onnxrt:cpu")
    assert not np.allclose(backend.run(crops(1))["points"], reference.run(crops(1))["points"], atol=1)
    backend.close()


def test_without_its_packages_it_says_which_extra_to_install(fused: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules is how Python itself marks a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    message = said(lambda: make_backend(fused, "tensorrt"))
    assert message.startswith(
        "TensorRT is not installed (no Python package 'tensorrt'); in a clone of posestream: pip install '.[tensorrt]'"
    )
