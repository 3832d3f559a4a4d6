"""The process that :mod:`export.gpu_selftest.isolation` starts: runs one step and writes its result."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from engines.errors import EngineError
from export.gpu_selftest.chain import Step
from export.gpu_selftest.results import SEND_US, AbsentError, FailedError, Found, Result, State, Work


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The step to run, its work folder and network, and the file for its result."""

    step: Step
    folder: str
    network: str
    result: str


def main(text: str) -> None:
    """Run an :class:`Order`, given as JSON."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    order = msgspec.json.decode(text, type=Order)
    result = run_step(order.step, Work(Path(order.folder), order.network))
    partial = Path(order.result + ".part")
    partial.write_bytes(msgspec.json.encode(result))
    partial.replace(order.result)
    sys.stdout.flush()
    # Skips what PyTorch and TensorRT do when Python exits, which may crash.
    os._exit(0)


def run_step(step: Step, work: Work) -> Result:
    """The result of ``step``, whatever it raises."""
    try:
        found: Found = _load_function(step.call)(work, **step.options)
    except AbsentError as error:
        return _make_result(step, "not run", str(error), error.remedy)
    except FailedError as error:
        return _make_result(step, "failed", str(error), error.remedy, error.figures)
    except EngineError as error:  # its message names the remedy
        return _make_result(step, "failed", str(error))
    except Exception as error:  # noqa: BLE001 - a fault of a step is what the report is for
        traceback.print_exc()
        return _make_result(step, "failed", f"{type(error).__name__}: {error}", SEND_US)
    return _make_result(step, "ok", found.message, figures=found.figures)


def _make_result(
    step: Step, state: State, message: str, remedy: str = "", figures: dict[str, object] | None = None
) -> Result:
    line = " ".join(message.split())
    return Result(step=step.name, title=step.title, state=state, message=line, remedy=remedy, figures=figures or {})


def _load_function(call: str) -> Callable[..., Found]:
    module, _, name = call.partition(":")
    function: Callable[..., Found] = getattr(importlib.import_module(module), name)
    return function


def _exit_with_parent() -> None:
    """Exit when stdin ends: the parent holds its other end and never writes."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
