"""What may follow ``tensorrt:`` in the name of a backend."""

from __future__ import annotations

from dataclasses import dataclass

from engines.errors import EngineError

SWITCHES = {"nograph": "graphs", "nobuild": "builds"}


@dataclass(frozen=True)
class Mode:
    """How an engine is run: ``graphs``, by CUDA graphs; ``builds``, built when there is none for this machine yet."""

    graphs: bool = True
    builds: bool = True


def parse_mode(told: str) -> Mode:
    """``nograph``, ``nobuild``, both with a ``+`` between, or nothing. Raises :class:`EngineError` for another word.

    >>> parse_mode("nograph+nobuild")
    Mode(graphs=False, builds=False)
    """
    words = [word for word in told.split("+") if word]
    unknown = [word for word in words if word not in SWITCHES]
    if unknown:
        known = ", ".join(f"tensorrt:{word}" for word in SWITCHES)
        raise EngineError(f"backend 'tensorrt:{told}': there is no mode {unknown[0]!r}; choose tensorrt, {known}")
    return Mode(**{SWITCHES[word]: False for word in words})
