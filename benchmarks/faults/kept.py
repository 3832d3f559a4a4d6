"""Results of trials that are kept in a folder, so that a campaign may be ended and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.drawing import Selection


class Kept:
    """The results of one campaign, a file for each trial; without a ``folder`` nothing is kept. They are named by seed
    and index: results of another ``selection`` belong in a folder of their own."""

    def __init__(self, folder: Path | None = None, seed: int = 0, selection: Selection | None = None) -> None:
        self._folder, self._seed = folder, seed
        self._words = selection.words if selection is not None else []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, index: int, take: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The kept result of a trial; else ``take`` it and keep it."""
        if self._folder is None:
            return take()
        path = self._folder / f"{self._seed}-{index}.json"
        if path.exists():
            kept: dict[str, Any] = json.loads(path.read_text())
            known: dict[str, Any] = kept["result"]
            if kept["options"] == self._words:
                return known
        result = take()
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps({"options": self._words, "result": result}))
        beside.replace(path)
        return result
