"""A JSON file of a data set, or one line that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engines.errors import EngineError


def read_json(path: Path) -> Any:
    """What ``path`` holds. Raises :class:`EngineError` naming it when it is missing or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise EngineError(f"{path}: it is no JSON ({error}); get the file again") from error
