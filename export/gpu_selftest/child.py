"""The other side of :mod:`export.gpu_selftest.isolation`: runs one step and writes its answer."""

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
    """Which step, with what, and the file that its answer belongs in."""

    step: Step
    folder: str
    network: str
    answer: str


def main(told: str) -> None:
    """Carry out an order, which is JSON."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    order = msgspec.json.decode(told, type=Order)
    result = carried_out(order.step, Work(Path(order.folder), order.network))
    partial = Path(order.answer + ".part")
    partial.write_bytes(msgspec.json.encode(result))
    partial.replace(order.answer)
    sys.stdout.flush()
    # What PyTorch and TensorRT do when Python ends is no step's business, and may crash.
    os._exit(0)


def carried_out(step: Step, work: Work) -> Result:
    """The result of a step; whatever it raises is one."""
    try:
        found: Found = _function(step.call)(work, **step.options)
    except AbsentError as error:
        return _result(step, "not run", str(error), error.remedy)
    except FailedError as error:
        return _result(step, "failed", str(error), error.remedy, error.figures)
    except EngineError as error:  # its line names the remedy
        return _result(step, "failed", str(error))
    except Exception as error:  # noqa: BLE001 - a fault of a step is what the report is for
        traceback.print_exc()
        return _result(step, "failed", f"{type(error).__name__}: {error}", SEND_US)
    return _result(step, "ok", found.told, figures=found.figures)


def _result(step: Step, state: State, told: str, remedy: str = "", figures: dict[str, object] | None = None) -> Result:
    line = " ".join(told.split())
    return Result(step=step.name, title=step.title, state=state, told=line, remedy=remedy, figures=figures or {})


def _function(call: str) -> Callable[..., Found]:
    module, _, name = call.partition(":")
    function: Callable[..., Found] = getattr(importlib.import_module(module), name)
    return function


def _leave_with_parent() -> None:
    """The parent holds the other end of our stdin, and never writes: it ends when the parent does."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
