"""The order of a build, on a stand-in for TensorRT that records calls and builds nothing.

That the names and arguments are TensorRT's own is held by ``test_api.py``; what TensorRT makes of them is not seen.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engines.backends.trt.artifacts import Source
from engines.backends.trt.options import BuildOptions
from engines.errors import EngineError
from tests.engines.backends.trt.stand_in import StandIn, tensorrt

PACKAGE = "engines.backends.trt"
ON_TENSORRT = ("builder", "logger")
SOURCE = Source("head", Path("head.trt.onnx"), "0" * 64, "", "fp16", types={"conv": "fp16"})


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn()


@pytest.fixture
def building(standing: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``building`` upon the stand-in, our plugins noted and not registered."""
    plugin: Any = ModuleType("engines.plugins.deform_conv.plugin")
    plugin.register = lambda architecture: standing.note("our plugins for", architecture)
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt(standing))
    for name in ON_TENSORRT:
        monkeypatch.delitem(sys.modules, f"{PACKAGE}.{name}", raising=False)
    yield importlib.import_module(f"{PACKAGE}.builder")
    for name in ON_TENSORRT:
        sys.modules.pop(f"{PACKAGE}.{name}", None)


def build(building: Any, options: BuildOptions | None = None) -> Any:
    return building.build(SOURCE, options or BuildOptions(), "sm_90", b"old timings")


def test_plugins_come_before_the_graph_and_the_graph_before_the_build(building: Any, standing: StandIn) -> None:
    built = build(building)
    assert (built.plan, built.timings, built.layers) == (b"plan", b"new timings", {"fp16": 1})
    assert standing.calls == [
        "plugins ''",
        "our plugins for sm_90",
        "network 1",  # strongly typed, as a bit
        "parser NATIVE_INSTANCENORM",
        "parse head.trt.onnx",
        "timings b'old timings' False",
        "build",
    ]


def test_only_the_batch_of_the_profile_varies(building: Any, standing: StandIn) -> None:
    standing.shapes["fixed"] = (2, 5)
    build(building, BuildOptions(max_batch=24))
    rest = (3, 17, 96, 72)
    assert standing.profiles == {"maps_0": ((1, *rest), (12, *rest), (24, *rest)), "fixed": ((2, 5),) * 3}


def test_an_input_that_varies_in_more_than_the_batch_is_refused(building: Any, standing: StandIn) -> None:
    standing.shapes["image"] = (-1, 3, -1, 640)
    with pytest.raises(EngineError, match=r"input 'image' of 'head' is \(-1, 3, -1, 640\): only the batch may vary"):
        build(building)


def test_options_reach_the_configuration(building: Any, standing: StandIn) -> None:
    build(building, BuildOptions(workspace_mib=512, optimization_level=5, version_compatible=True, hardware="ampere+"))
    config = standing.config
    assert config.pools == {"WORKSPACE": 512 << 20}
    assert config.flags == ["VERSION_COMPATIBLE"]
    assert (config.builder_optimization_level, config.hardware_compatibility_level) == (5, "AMPERE_PLUS")
    assert config.plugins_to_serialize == ["libnvinfer_vc_plugin.so"]
    assert config.profiling_verbosity == "DETAILED"


def test_an_engine_without_weights_gets_them_before_it_is_looked_into(building: Any, standing: StandIn) -> None:
    build(building, BuildOptions(refit=True))
    assert standing.config.flags == ["REFIT", "STRIP_PLAN"]
    assert standing.calls[-2:] == ["weights of head.trt.onnx", "refit"]


def test_weights_that_have_no_place_are_reported(building: Any, standing: StandIn) -> None:
    standing.missing_weights = ["conv.weight"]
    with pytest.raises(EngineError, match=r"lacks 1 weights that the graph does not name, the first is 'conv.weight'"):
        build(building, BuildOptions(refit=True))


def test_an_engine_in_another_precision_is_refused(building: Any, standing: StandIn) -> None:
    standing.words = "Float"
    with pytest.raises(EngineError, match=r"does not run in the requested precision: conv in fp32, not fp16"):
        build(building)


def test_a_missing_plugin_library_has_its_line(building: Any, standing: StandIn) -> None:
    standing.plugins = False
    with pytest.raises(EngineError, match=r"has no plugins: its library libnvinfer_plugin is missing .* reinstall it"):
        build(building)


def test_what_the_parser_cannot_import_is_named(building: Any, standing: StandIn) -> None:
    standing.parser_errors = [("node_7", "DeformConv", "Plugin not found,\n are the name"), ("node_8", "Add", "x")]
    said = (
        r"^TensorRT 11\.4\.0 cannot import node 'node_7' \(DeformConv\) of head\.trt\.onnx: Plugin not found, are the "
        r"name \(and 1 more\); export again with --plugin nvidia, or use backend=onnxrt:cuda$"
    )
    with pytest.raises(EngineError, match=said):
        build(building)


def test_a_build_that_gives_nothing_says_what_tensorrt_logged(building: Any, standing: StandIn) -> None:
    standing.plan, standing.errors = (
        None,
        ["Requested amount of GPU memory (9 bytes) could not be allocated: out of memory"],
    )
    with pytest.raises(
        EngineError, match=r"did not build 'head' for batches of 1 to 16, best at 8: .* out of memory'; free GPU memory"
    ):
        build(building)


def test_a_plan_that_does_not_load_says_what_tensorrt_logged(building: Any, standing: StandIn) -> None:
    standing.loads, standing.errors = False, ["Serialization assertion failed"]
    said = r"did not build 'head': deserialize_cuda_engine failed; TensorRT says 'Serialization assertion failed'; run"
    with pytest.raises(EngineError, match=said):
        build(building)


def test_a_builder_that_does_not_start_has_its_line(building: Any, standing: StandIn) -> None:
    def refuse(log: Any) -> None:
        log.log(1, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    building.trt.Builder = refuse
    with pytest.raises(
        EngineError,
        match=r"did not start: trt\.Builder failed; .* initialization failure with error: 35'; look at nvidia-smi",
    ):
        build(building)


def test_interrupting_ends_the_build_at_its_next_step_and_gives_nothing(
    building: Any, standing: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def until_stopped(monitor: Any) -> None:
        begun.set()
        while monitor.step_complete("phase", 1):
            pass
        ended.set()

    class Interrupted:
        """A future whose waiter is sent Ctrl-C once the build has begun."""

        def __init__(self, real: Any) -> None:
            self.real = real

        def result(self) -> None:
            begun.wait()
            raise KeyboardInterrupt

        def exception(self) -> Any:
            return self.real.exception()

    pool = building.ThreadPoolExecutor

    class Pool(pool):  # type: ignore[misc, valid-type]
        def submit(self, work: Any) -> Any:
            return Interrupted(super().submit(work))

    standing.while_building = until_stopped
    monkeypatch.setattr(building, "ThreadPoolExecutor", Pool)
    with pytest.raises(KeyboardInterrupt):
        build(building)
    assert ended.is_set()


def test_phases_are_shown_while_they_last(building: Any) -> None:
    from rich.progress import Progress

    bar = Progress(disable=True)
    watch = building.ProgressMonitor(bar)
    watch.phase_start("Building Engine", None, 4)
    watch.phase_start("Tactics", "Building Engine", 9)
    assert watch.step_complete("Tactics", 2)
    assert [(task.description, task.completed, task.total) for task in bar.tasks] == [
        ("Building Engine", 0, 4),
        ("  Tactics", 3, 9),
    ]
    watch.phase_finish("Tactics")
    watch.phase_finish("unknown")
    assert [task.description for task in bar.tasks] == ["Building Engine"]
    watch.stop()
    assert not watch.step_complete("Building Engine", 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_batch": 0}, "are impossible; give 1 <= best_batch <= max_batch"),
        ({"max_batch": 8, "best_batch": 9}, "batches of 1 to 8, best at 9"),
        ({"optimization_level": 6}, "level 6 is not one of 0 to 5"),
        ({"workspace_mib": 0}, "workspace_mib=0 is too small"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        BuildOptions(**options)  # type: ignore[arg-type]
