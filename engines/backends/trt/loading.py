"""The engine of a graph, put onto the GPU: the one kept for this machine, or one that is built for it now."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NoReturn

import tensorrt as trt

from engines.backends.trt import caching, device, plans
from engines.backends.trt.executions import Loaded
from engines.backends.trt.faults import TrtLog, refuse
from engines.backends.trt.memory import Lane
from engines.backends.trt.modes import Mode
from engines.backends.trt.refitting import refit
from engines.backends.trt.tensors import interface_of
from engines.errors import EngineError

_logger = logging.getLogger(__name__)


def ready_plan(path: Path, mode: Mode) -> plans.Plan:
    """The plan of the graph ``path`` for this machine. Building one takes minutes; that it begins is logged.

    Raises :class:`EngineError` in one line where it cannot be built or is not to be.
    """
    return plans.plan_for(path, say=_logger.warning if mode.builds else _refuse_to_build)


def load(plan: plans.Plan, model: str, lane: Lane) -> Loaded:
    """A plan as an engine, its weights on the GPU whose context is current; ``model`` names it in messages.

    Raises :class:`EngineError` in one line where it does not load and where its tensors are of no use to numpy.
    """
    facts, log = device.facts(), TrtLog()
    _load_plugins(plan, log, facts)
    engine = _deserialized(plan, log)
    if plan.options.refit:
        refit(engine, plan.source, log)
    return Loaded(model, engine, interface_of(engine, model, lane), log, f"{facts.name}, TensorRT {trt.__version__}")


def _refuse_to_build(told: str) -> NoReturn:
    """Called where building would begin."""
    raise EngineError(f"{told}; but tensorrt:nobuild builds nothing: choose backend=tensorrt, or export --to tensorrt")


def _load_plugins(plan: plans.Plan, log: TrtLog, facts: device.DeviceFacts) -> None:
    """TensorRT's own, which a plan names; ours is inside the plan, and needed only where the graph is read again."""
    if plan.options.refit:
        from engines.backends.trt.building import load_plugins

        load_plugins(log, plans.target(plan.options, facts))
    else:
        trt.init_libnvinfer_plugins(log, "")


def _deserialized(plan: plans.Plan, log: TrtLog) -> trt.ICudaEngine:
    runtime = _runtime(plan.path.name, log)
    runtime.engine_host_code_allowed = plan.options.version_compatible
    engine = runtime.deserialize_cuda_engine(caching.read(plan.path))
    if engine is None and log.out_of_memory:
        refuse(plan.path.name, "deserialize_cuda_engine", log)
    if engine is None:
        raise EngineError(f"{caching.why_refused(plan.path, plan.key)} ({log.taken() or 'it says nothing'})")
    return engine


def _runtime(name: str, log: TrtLog) -> trt.Runtime:
    try:
        return trt.Runtime(log)
    except TypeError:
        # The bindings' way to say that the library gave none.
        refuse(name, "trt.Runtime", log)
