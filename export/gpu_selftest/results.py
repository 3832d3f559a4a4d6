"""What a step of the chain is given, and its result: passed, not run or failed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from engines.errors import EngineError

State = Literal["ok", "failed", "not run"]
SEND_US = "attach the report to an issue"


@dataclass(frozen=True)
class Work:
    """The folder that steps share, and the network to export: a name of the catalogue or a .yaml."""

    folder: Path
    network: str


class Found(msgspec.Struct, frozen=True):
    """The result of a step that passed: one line to print, and all figures for the report."""

    message: str
    figures: dict[str, Any] = {}


class AbsentError(EngineError):
    """The step was not run because something it needs is missing. That is not a failure; see ``remedy``."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.remedy = remedy


class FailedError(EngineError):
    """The step found something wrong: why, the ``remedy``, and the ``figures`` that show it."""

    def __init__(self, why: str, remedy: str = SEND_US, figures: dict[str, Any] | None = None) -> None:
        super().__init__(why)
        self.remedy = remedy
        self.figures = figures or {}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report. ``log`` holds the last lines that a failed step printed."""

    step: str
    title: str
    state: State
    message: str
    remedy: str = ""
    seconds: float = 0.0
    figures: dict[str, Any] = {}
    log: str = ""
