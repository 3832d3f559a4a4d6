"""A stand-in for TensorRT that notes what a build tells it and builds nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

SEVERITY = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)


class StandIn:
    """Records the calls of a build, and answers them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.shapes: dict[str, tuple[int, ...]] = {"maps_0": (-1, 3, 17, 96, 72)}
        self.profiles: dict[str, tuple[tuple[int, ...], ...]] = {}
        self.plugins = True
        self.parser_errors: list[tuple[str, str, str]] = []
        self.plan: bytes | None = b"plan"
        self.loads = True
        self.words = "Half"
        self.errors: list[str] = []
        self.while_building: Callable[[Any], None] = lambda _: None
        self.config: Any = None
        self.missing_weights: list[str] = []

    def note(self, *result: object) -> None:
        self.calls.append(" ".join(map(str, result)))

    def bound(self, kind: type) -> Any:
        """A class of the module, whose calls are recorded here."""
        return type(kind.__name__, (kind,), {"standing": self})


class Recorder:
    """What belongs to one stand-in."""

    standing: StandIn


class ILogger:
    Severity = SEVERITY


class IProgressMonitor:
    pass


class Builder(Recorder):
    def __init__(self, log: Any) -> None:
        self.log = log

    def create_network(self, flags: int) -> Any:
        self.standing.note("network", flags)
        tensors = [SimpleNamespace(name=name, shape=shape) for name, shape in self.standing.shapes.items()]
        return SimpleNamespace(num_inputs=len(tensors), get_input=tensors.__getitem__)

    def create_builder_config(self) -> Any:
        self.standing.config = self.standing.bound(Config)()
        return self.standing.config

    def create_optimization_profile(self) -> Any:
        return SimpleNamespace(set_shape=lambda name, *sizes: self.standing.profiles.update({name: sizes}))

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        self.standing.note("build")
        self.standing.while_building(config.progress_monitor)
        for line in self.standing.errors:
            self.log.log(SEVERITY.ERROR, line)
        return self.standing.plan if config.progress_monitor.step_complete("phase", 0) else None


class Config(Recorder):
    def __init__(self) -> None:
        self.flags: list[str] = []
        self.pools: dict[str, int] = {}

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def add_optimization_profile(self, _profile: Any) -> int:
        return 0

    def create_timing_cache(self, timings: bytes) -> bytes:
        return timings

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.standing.note("timings", cache, ignore_mismatch)
        return True

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: b"new timings")


class OnnxParser(Recorder):
    def __init__(self, network: Any, log: Any) -> None:
        self.num_errors = len(self.standing.parser_errors)

    def set_flag(self, flag: str) -> None:
        self.standing.note("parser", flag)

    def parse_from_file(self, path: str) -> bool:
        self.standing.note("parse", path)
        return not self.standing.parser_errors

    def get_error(self, index: int) -> Any:
        name, operator, said = self.standing.parser_errors[index]
        return SimpleNamespace(node_name=lambda: name, node_operator=lambda: operator, desc=lambda: said)

    def get_used_vc_plugin_libraries(self) -> list[str]:
        return ["libnvinfer_vc_plugin.so"]


class Runtime(Recorder):
    engine_host_code_allowed = False

    def __init__(self, log: Any) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        layer = {"Name": "conv", "Inputs": [{"DataType": self.standing.words}], "Metadata": "[ONNX Layer: conv]"}
        result = json.dumps({"Layers": [layer], "Bindings": []})
        inspector = SimpleNamespace(get_engine_information=lambda form: result)
        return SimpleNamespace(create_engine_inspector=lambda: inspector) if self.standing.loads else None


class Refitter(Recorder):
    def __init__(self, engine: Any, log: Any) -> None:
        pass

    def get_missing_weights(self) -> list[str]:
        return self.standing.missing_weights

    def refit_cuda_engine(self) -> bool:
        self.standing.note("refit")
        return True


class OnnxParserRefitter(Recorder):
    num_errors = 0

    def __init__(self, refitter: Any, log: Any) -> None:
        pass

    def refit_from_file(self, path: str) -> bool:
        self.standing.note("weights of", path)
        return True


def tensorrt(standing: StandIn) -> ModuleType:
    """A module with the names that ``builder`` uses."""
    module: Any = ModuleType("tensorrt")
    flags = ("VERSION_COMPATIBLE", "REFIT", "STRIP_PLAN")
    levels = {"NONE": "NONE", "AMPERE_PLUS": "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY": "SAME"}

    def init_libnvinfer_plugins(_log: Any, namespace: str) -> bool:
        standing.note("plugins", repr(namespace))
        return standing.plugins

    vars(module).update(
        __version__="11.4.0",
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=0),
        OnnxParserFlag=SimpleNamespace(NATIVE_INSTANCENORM="NATIVE_INSTANCENORM"),
        HardwareCompatibilityLevel=SimpleNamespace(**levels),
        MemoryPoolType=SimpleNamespace(WORKSPACE="WORKSPACE"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="DETAILED"),
        LayerInformationFormat=SimpleNamespace(JSON="JSON"),
        BuilderFlag=SimpleNamespace(__members__={name: name for name in flags}),
        ILogger=ILogger,
        IProgressMonitor=IProgressMonitor,
        init_libnvinfer_plugins=init_libnvinfer_plugins,
        **{
            kind.__name__: standing.bound(kind) for kind in (Builder, OnnxParser, Runtime, Refitter, OnnxParserRefitter)
        },
    )
    return module
