"""What a training of crops and one of whole pictures do differently; everything else they share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
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
    """A bar with a count and the remaining time; where no terminal shows it, a line for each tenth."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console) if console.is_terminal else _PrintedProgress(console=console)


class _PrintedProgress(Progress):
    """Progress for log files: a line whenever another tenth of a task is done."""

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, disable=True)
        self._tenths: dict[TaskID, int] = {}

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance the task, and print a line if a tenth was completed."""
        super().advance(task_id, advance)
        self._print(task_id)

    def update(self, task_id: TaskID, **fields: Any) -> None:
        """Update the task, and print a line if a tenth was completed."""
        super().update(task_id, **fields)
        self._print(task_id)

    def _print(self, task_id: TaskID) -> None:
        task = self._tasks[task_id]
        tenth = int(10 * task.completed / task.total) if task.total else 0
        if tenth > self._tenths.setdefault(task_id, tenth):
            self._tenths[task_id] = tenth
            left = f", {timedelta(seconds=round(task.time_remaining))} left" if task.time_remaining else ""
            self.console.print(f"{task.description}: {task.completed:g} of {task.total:g}{left}", soft_wrap=True)
