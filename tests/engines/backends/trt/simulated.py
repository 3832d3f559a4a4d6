"""The backend ``tensorrt`` on a simulation of TensorRT and PyCUDA: its own code runs, no GPU does.

What passes here shows that buffers, streams, graphs and slots are handled in the right order. It shows nothing of
TensorRT, of CUDA or of speed, and none of this code has run on a GPU.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.engines.backends.trt import simulated_cuda, simulated_tensorrt
from tests.engines.backends.trt.simulated_cuda import Gpu

PACKAGE = "engines.backends.trt"
BATCHES = (1, 2, 4)
"""What engines are built for: fewer than the judges ask for at once, so that batches are run in parts."""


class Simulation:
    """The simulated GPU, the modules of the backend as imported upon it, and what was built."""

    def __init__(self) -> None:
        self.gpu = Gpu()
        self.batches = BATCHES
        self.built: list[str] = []
        self.version = simulated_tensorrt.VERSION

    def module(self, name: str) -> Any:
        """A module of the backend."""
        return importlib.import_module(f"{PACKAGE}.{name}")

    def build(self, source: Any, *_: object) -> SimpleNamespace:
        """In place of ``builder.build``."""
        self.built.append(source.path.name)
        plan = simulated_tensorrt.plan_of(source.path, self.batches, self.version)
        return SimpleNamespace(plan=plan, timings=b"", layers={})


@contextmanager
def simulation() -> Iterator[Simulation]:
    """Import the backend anew upon simulated libraries, and undo all of it."""
    simulated, before = Simulation(), dict(sys.modules)
    driver = simulated_cuda.pycuda_driver(simulated.gpu)
    builder: Any = ModuleType(f"{PACKAGE}.builder")
    builder.build = simulated.build
    _forget()
    sys.modules |= {
        "tensorrt": simulated_tensorrt.tensorrt(simulated.gpu),
        "pycuda": _package("pycuda", driver=driver),
        "pycuda.driver": driver,
        f"{PACKAGE}.builder": builder,
    }
    try:
        with _graph_driver(simulated.gpu):
            yield simulated
    finally:
        _forget()
        for name in ("tensorrt", "pycuda", "pycuda.driver"):
            sys.modules.pop(name, None)
        sys.modules |= {name: module for name, module in before.items() if name not in sys.modules}
        _restore_package(before)


@contextmanager
def _graph_driver(gpu: Gpu) -> Iterator[None]:
    """``cuda.bindings.driver`` is the simulated one; the package's other modules stay, if it is installed."""
    driver = simulated_cuda.cuda_bindings_driver(gpu)
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("cuda") is None:
            patch.setitem(sys.modules, "cuda", _package("cuda"))
            patch.setitem(sys.modules, "cuda.bindings", _package("cuda.bindings"))
        patch.setattr(importlib.import_module("cuda.bindings"), "driver", driver, raising=False)
        patch.setitem(sys.modules, "cuda.bindings.driver", driver)
        yield


def _forget() -> None:
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]


def _restore_package(before: dict[str, ModuleType]) -> None:
    """``from engines.backends import trt`` looks at the attribute first."""
    parent: Any = importlib.import_module("engines.backends")
    if PACKAGE in before:
        parent.trt = before[PACKAGE]
    elif hasattr(parent, "trt"):
        del parent.trt


def _package(name: str, **members: object) -> ModuleType:
    module: Any = ModuleType(name)
    module.__path__ = []
    vars(module).update(members)
    return module
