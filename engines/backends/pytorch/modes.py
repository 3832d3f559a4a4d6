"""Modes of the backend ``torch``: how and on which device a network runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from engines.errors import EngineError

Runner = Literal["eager", "compiled", "cudagraphs"]


@dataclass(frozen=True)
class Mode:
    """How a network runs, and on which device."""

    runner: Runner
    device: Literal["cuda", "cpu"]

    def __str__(self) -> str:
        return self.device if self.runner == "eager" else f"{self.device}, {self.runner}"


def parse_mode(text: str) -> Mode:
    """The mode in ``torch:<text>``, words joined by ``+``; see :mod:`engines.backends.pytorch.backend`.

    Raises :class:`EngineError` for an unknown word, for words that exclude each other and for a GPU that is missing.
    """
    words = set(text.split("+")) if text else set()
    if unknown := sorted(words - {"compiled", "cudagraphs", "cuda", "cpu"}):
        raise EngineError(
            f"backend 'torch:{text}': there is no mode {unknown[0]!r}; there are compiled, cudagraphs, cuda and cpu, "
            "joined by '+'"
        )
    if {"cuda", "cpu"} <= words or {"compiled", "cudagraphs"} <= words or {"cudagraphs", "cpu"} <= words:
        raise EngineError(f"backend 'torch:{text}': {' and '.join(sorted(words))} exclude each other; choose one")
    has_cuda = torch.cuda.is_available()
    if words & {"cuda", "cudagraphs"} and not has_cuda:
        raise EngineError(
            f"backend 'torch:{text}': PyTorch {torch.__version__} finds no CUDA GPU on this machine; "
            "'posestream doctor' says what is missing, backend=torch:cpu does without"
        )
    runner: Runner = "compiled" if "compiled" in words else "cudagraphs" if "cudagraphs" in words else "eager"
    return Mode(runner, "cuda" if has_cuda and "cpu" not in words else "cpu")
