"""What a training of crops and one of whole pictures do differently; everything else they share."""

from __future__ import annotations

from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from engines.training.batches import Samples, StepInput
from engines.training.tensorboard import Picture
from engines.training.validation import Validator


class Task(Protocol):
    """The objective, the data and the preview of one recipe's network.

    An objective is a module that calls the network: ``objective(*batch.inputs)`` gives the loss terms by name, scalars,
    with their weighted sum as ``total``; ``term_weights``, if it has them, are the weights by name.
    """

    def make_objective(self, model: nn.Module) -> nn.Module:
        """The objective for ``model``. Raises :class:`EngineError` for a recipe that does not fit the network."""
        ...

    def make_example(self, count: int) -> StepInput:
        """``count`` samples of the usual size without content, to measure what a step needs."""
        ...

    def load_data(self, workers: int, console: Console) -> tuple[Samples[StepInput], Validator]:
        """The samples and the validator. Raises :class:`EngineError` naming what is missing or broken."""
        ...

    def draw_preview(self, objective: Any, validator: Validator) -> Picture:
        """(H, W, 3) BGR: a few validation samples with the truth and the prediction."""
        ...


def progress_bar(console: Console) -> Progress:
    """A bar with a count and the remaining time."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)
