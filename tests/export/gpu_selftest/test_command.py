"""The chain itself on this machine: what needs no GPU really runs, the rest says why it was not run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from engines.backends import auto
from engines.backends.auto import why_no_gpu
from engines.spec import network
from export.gpu_selftest import agreement, command, fixtures, kernel, machine, speed
from export.gpu_selftest.agreement import Reference
from export.gpu_selftest.results import AbsentError, FailedError, Work
from export.gpu_selftest.steps import CHAIN, NETWORK
from stream.__main__ import execute
from tests.engines.backends.trt.simulated import Simulation, simulation
from tests.export.gpu_selftest.small import ENTRY, Small

# The exporter itself uses what PyTorch and Python have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

Capture = pytest.CaptureFixture[str]

NARROW = """
kind: network
title: 'as small as it can be cut'
licence: Apache-2.0
network:
  model: fami.FAMIPose
  hrnet: {width: 24, modules: [1, 1, 1], blocks: 1, stem_width: 16, bottlenecks: 1}
  input_size: [64, 96]
  window: [-1, 0]
  skeleton: coco17
  options: {frames: [-1, 0]}
"""


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed is measured, not judged."""
    monkeypatch.setattr(speed, "WARM_UP", 1)
    monkeypatch.setattr(speed, "MIN_CALLS", 2)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """With the smallest network exported in fp32."""
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "small.yaml").write_text(ENTRY)
    made = Work(folder, str(folder / "small.yaml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_import_class", lambda *_: Small)
        found = fixtures.make_export(made, precision="fp32")
        assert re.match(r"fused, backbone, head of small: heatmaps within \d\.\de-\d\d of PyTorch's", found.message)
        yield made


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not why_no_gpu(), reason="there is a GPU here")
def test_without_a_gpu_the_command_says_so_runs_what_needs_none_and_ends_with_1(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kernels and exports take a minute: they have tests of their own, and one of the whole chain that is marked large.
    light = [step for step in CHAIN if not step.name.startswith(("kernel", "export"))]
    light = [step for step in light if {"gpu", "torch", "tensorrt"}.issuperset(step.needs)]
    monkeypatch.setattr(command, "CHAIN", light)
    code = execute(["doctor", "--gpu", "--report", str(tmp_path / "gpu.md")])
    shown = capsys.readouterr().out
    assert code == 1
    assert "not run: no NVIDIA GPU is on this machine" in shown
    assert f"{len(light)} steps: 1 passed, 0 failed, {len(light) - 1} not run" in shown
    text = (tmp_path / "gpu.md").read_text()
    versions = json.loads(text.split("```json\n")[1].split("```")[0])["steps"][0]["figures"]
    assert {"posestream", "torch", "tensorrt", "pycuda", "python"} <= versions.keys()
    assert versions["torch"]


@pytest.mark.large
@pytest.mark.skipif(not why_no_gpu(), reason="there is a GPU here")
@pytest.mark.timeout(900)
def test_the_whole_chain_without_a_gpu_exports_and_compiles(tmp_path: Path) -> None:
    (tmp_path / "narrow.yaml").write_text(NARROW)
    words = ["--network", str(tmp_path / "narrow.yaml"), "--report", str(tmp_path / "gpu.json")]
    assert execute(["doctor", "--gpu", *words]) == 1
    steps = {step["step"]: step for step in json.loads((tmp_path / "gpu.json").read_text())["steps"]}
    assert {name for name, step in steps.items() if step["state"] == "failed"} == set()
    assert {"machine", "export-fp32", "export-fp16"} <= {n for n, step in steps.items() if step["state"] == "ok"}
    assert len(steps) == len(CHAIN)


def test_ctrl_c_tells_and_writes_what_is_known_and_ends_with_130(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def interrupted(step: Any, *_: object) -> Any:
        tried.append(step.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_isolated", interrupted)
    assert execute(["doctor", "--gpu", "--report", str(tmp_path / "gpu.json")]) == 130
    assert tried == ["machine"]
    assert "interrupted" in capsys.readouterr().out
    assert json.loads((tmp_path / "gpu.json").read_text())["interrupted"] is True


WRONG = {
    "report without gpu": (["doctor", "--report", "x.md"], ["--report", "--gpu"], 2),
    "report into nowhere": (["doctor", "--gpu", "--report", "no/where.md"], ["no/where.md", "existing folder"], 1),
    "no time at all": (["doctor", "--gpu", "--limit", "0"], ["--limit"], 2),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_typed_wrongly_is_one_line_before_anything_runs(case: str, capsys: Capture) -> None:
    words, result, code = WRONG[case]
    assert execute(words) == code
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    for each in result:
        assert each in line


def test_the_network_of_the_chain_is_a_temporal_one_of_the_catalogue() -> None:
    from engines.hub import catalogue

    _, spec = catalogue.find_network(NETWORK)
    assert spec.takes == "crop"
    assert len(spec.window) > 1


# -- steps -------------------------------------------------------------------------------------------------------------


def test_a_gpu_that_is_not_here_is_not_run_with_the_reason(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "why_no_gpu", lambda: "no NVIDIA GPU is on this machine")
    with pytest.raises(AbsentError, match="no NVIDIA GPU is on this machine"):
        machine.find_gpus(work)


def test_what_nvidia_smi_says_is_reported_and_what_it_complains_of_is_a_failure(
    work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setattr(machine, "why_no_gpu", lambda: "")
    monkeypatch.setattr("shutil.which", lambda _: str(tool))
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 9.0, 81559 MiB, 580.65.06'\n")
    tool.chmod(0o755)
    assert machine.find_gpus(work).message == "NVIDIA H100 (9.0), 81559 MiB, driver 580.65.06"
    assert machine.find_architecture() == "sm_90"
    tool.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
    with pytest.raises(FailedError, match="Driver/library version mismatch"):
        machine.find_gpus(work)


def test_without_pytorch_an_export_is_not_run_and_says_what_to_install(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AbsentError, match="torch, onnx, onnxscript, safetensors is not installed") as raised:
        fixtures.make_export(work, precision="fp16")
    assert "pip install '.[torch]'" in raised.value.remedy


def test_the_kernel_compiles_without_a_gpu_where_a_compiler_is(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "find_architecture", lambda: "")
    monkeypatch.setattr(kernel, "DEFAULT_TARGETS", ("sm_80",))
    monkeypatch.setattr(kernel, "DTYPES", ("fp32",))
    try:
        found = kernel.compile_kernels(work)
    except AbsentError as error:
        pytest.skip(str(error))
    assert found.message == "1 kernels for sm_80"
    assert all(size > 1000 for size in found.figures["bytes"]["FAMI-Pose fp32 sm_80"].values())


def test_without_a_compiler_the_kernel_is_not_run(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "find_nvrtc_version", lambda: None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(AbsentError, match="neither NVRTC nor nvcc"):
        kernel.compile_kernels(work)


@pytest.mark.parametrize("layer", kernel.LAYERS, ids=lambda layer: layer.name)
def test_what_is_drawn_for_the_kernel_is_what_its_call_takes_and_of_order_one(layer: kernel.Layer) -> None:
    from engines.plugins.deform_conv.torch_cuda import Settings, prepare_call

    for dtype in kernel.DTYPES:
        given = kernel.make_arguments(layer, dtype, 1, (12, 9))
        settings = Settings(1, layer.dilations, layer.dilations, layer.groups)
        offsets, masks, weights, biases = map(tuple, (given.offsets, given.masks, given.weights, given.biases))
        call = prepare_call(given.x, offsets, masks, weights, biases, settings)
        assert call is not None
        # What 'compiled' compiles is what 'exact' launches; paddings may be given or left out.
        made, launched = layer.spec(dtype), call.spec
        assert (made.pads, made.layout, made.dtype, made.mask) == (
            *(launched.pads, launched.layout),
            *(launched.dtype, launched.mask),
        )
        assert 0.3 < float(kernel.run_plain(given.to("cpu")).float().std()) < 3


def test_a_kernel_that_is_three_times_as_wrong_as_plain_fails_and_one_that_is_as_wrong_passes() -> None:
    errors = {"good fp16": {"ours": 1e-3, "plain": 1e-3}, "bad fp16": {"ours": 3e-3, "plain": 1e-3}}
    with pytest.raises(FailedError, match=r"bad fp16: error 3\.0e-03") as raised:
        kernel.judge(errors)
    assert raised.value.figures == {"rms": errors}
    assert "1.00 times" in kernel.judge({"good fp16": errors["good fp16"]}).message


def test_a_kernel_that_gives_no_number_fails() -> None:
    import torch

    bad = kernel.rms_error(torch.tensor([1.0, float("nan")]), torch.ones(2))
    with pytest.raises(FailedError):
        kernel.judge({"bad": {"ours": bad, "plain": 1e-3}})


def test_an_export_agrees_with_itself_on_other_backends_whole_and_cut(work: Work) -> None:
    found = agreement.check_agreement(work, folder="fp32", backends="onnxrt:cpu,torch:cpu")
    assert set(found.figures["differences"]) == {
        f"{b}:cpu {way}" for b in ("onnxrt", "torch") for way in ("whole", "split")
    }
    for apart in found.figures["differences"].values():
        # Rounding of float32 in another order of addition; ties of two cells may go either way.
        assert apart["score"] < 1e-3
        assert apart["place"] < 1e-3


def heatmap(height: float, x: int) -> Any:
    maps = np.zeros((1, 1, 8, 8), np.float32)
    maps[0, 0, 3, 2], maps[0, 0, 3, x] = 1.0, height
    return maps


# The reference's second top is of this height, at cell x=6; the backend says that x=6 is the place, by this score.
@pytest.mark.parametrize(
    ("height", "score", "passes"),
    [(0.95, 1.0, True), (0.5, 1.0, False), (0.95, 0.8, False), (0.95, float("nan"), False)],
    ids=["two tops as high", "a lower top", "another score", "no number"],
)
def test_a_place_is_wrong_only_where_the_reference_is_lower_there_than_rounding_explains(
    height: float, score: float, passes: bool
) -> None:
    reference = np.array([[[8.0, 12.0, 1.0]]])
    wanted = Reference({"whole": reference}, heatmap(height, 6), np.array([4.0, 4.0]), 0.1)
    apart = {"b whole": agreement.compare(np.array([[[[25.0, 11.0, score]]]]), reference, wanted)}
    if passes:
        assert agreement.judge(apart, wanted).figures["differences"] == apart
    else:
        with pytest.raises(FailedError, match="b whole differs from ONNX Runtime"):
            agreement.judge(apart, wanted)


def test_where_nothing_is_above_zero_no_place_is_asked_for() -> None:
    reference = np.array([[[0.0, 0.0, -0.1]]])
    maps = np.full((1, 1, 8, 8), -0.1, np.float32)
    maps[0, 0, 0, 0] = -1.0
    apart = agreement.compare(reference[None], reference, Reference({}, maps, np.array([4.0, 4.0]), 0.1))
    assert (apart["score"], apart["place"]) == (0, 0)


def test_speed_is_reported_for_every_batch_with_and_without_kept_maps(work: Work) -> None:
    found = speed.measure_speed(work, folder="fp32", backends="onnxrt:cpu", seconds="0")
    rows = {(row["way"], row["batch"]): row for row in found.figures["rows"]}
    assert rows.keys() == {(way, batch) for way in ("whole windows", "feature cache") for batch in (1, 8)}
    for (_, batch), row in rows.items():
        # Both are rounded for people.
        assert row["people_s"] == pytest.approx(1e3 * batch / row["latency_ms"], rel=0.05)


# -- TensorRT's steps, on the simulation -------------------------------------------------------------------------------


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """TensorRT and PyCUDA simulated, a GPU's files feigned."""
    monkeypatch.setattr(auto, "_has_driver", lambda: True)
    monkeypatch.setattr(machine, "why_no_tensorrt", lambda: "")
    # It holds modules of the backend, which the simulation puts others in place of.
    monkeypatch.delitem(sys.modules, "export.to_tensorrt", raising=False)
    with simulation() as made:
        yield made
        assert made.gpu.leftovers == {}
    sys.modules.pop("export.to_tensorrt", None)


def test_on_the_simulation_engines_are_built_agree_and_are_timed(simulated: Simulation, work: Work) -> None:
    """TensorRT's own route only: the simulation runs graphs in ONNX Runtime, which knows nothing of our plugin."""
    assert machine.check_tensorrt(work).message.startswith("TensorRT 11.4")
    built = fixtures.make_engines(work, precision="fp32", plugin="nvidia")
    assert built.figures["layers"].keys() == {"fused", "backbone", "head"}
    assert simulated.built == ["fused.trt.onnx", "backbone.trt.onnx", "head.trt.onnx"]
    backends = "tensorrt:nobuild,tensorrt:nobuild+nograph"
    found = agreement.check_agreement(work, folder="fp32-nvidia", backends=backends)
    assert len(found.figures["differences"]) == 4
    # The simulation computes by the same ONNX Runtime.
    assert all(apart["score"] < 1e-3 for apart in found.figures["differences"].values())
    assert len(speed.measure_speed(work, folder="fp32-nvidia", backends=backends, seconds="0").figures["rows"]) == 8
