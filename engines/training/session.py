"""One training as its user sees it: people are drawn, memory is measured, bars move, scores are told, weights kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from rich.console import Console
from torch import nn

from engines.errors import EngineError
from engines.hub import catalogue, checkpoints
from engines.spec import network
from engines.training import checkpoint
from engines.training.batches import Samples
from engines.training.data import provide
from engines.training.distributed import Place
from engines.training.head_init import begin_as_single_frame
from engines.training.memory_check import check_memory
from engines.training.preview import sheet
from engines.training.progress import progress
from engines.training.recipe import Recipe, Synthetic, read_recipe
from engines.training.synthetic_validation import Exam, Marks, objective_of
from engines.training.tensorboard import HOW, Board, board_of
from engines.training.trainer import Trainer

WEIGHTS = "weights.safetensors"
"""What comes of it: the best network by the judge, under this project's names; 'posestream export' takes it."""

LOG = "log.jsonl"
EXAMPLES = 8
"""Windows of each epoch's picture."""


@dataclass
class Session:
    """A training that is ready to run. ``look`` says what is drawn of the exam: the key frame's place in a window and
    the skeleton."""

    recipe: Recipe
    trainer: Trainer
    exam: Exam
    look: tuple[int, str]
    board: Board | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def run(self) -> None:
        """To the end; Ctrl-C saves where it stands."""
        try:
            self._run()
        finally:
            if self.board is not None:
                self.board.close()
            self.trainer.place.leave()

    def _run(self) -> None:
        with progress(self.console) as bar:
            task = bar.add_task("training", total=self.trainer.steps, completed=self.trainer.counters.step)

            def report(step: int, terms: dict[str, float]) -> None:
                bar.update(task, completed=step, description=f"training, loss {terms['total']:.4g}")
                self._log({"step": step, **terms})
                if self.board is not None:
                    self.board.step(step, terms)

            try:
                self.trainer.run(report, self.judge)
            except KeyboardInterrupt:
                self.console.print(f"stopped after step {self.trainer.saved or 0}; the same command goes on")
                raise
        self._finish()

    def judge(self, model: nn.Module) -> float:
        """The mean of the exam; its marks are told and logged."""
        objective = objective_of(self.recipe, model)
        marks = self.exam(objective)
        self._tell(marks)
        if self.board is not None:
            step = self.trainer.counters.step
            self.board.marks(step, marks.mean, self.exam.measure, marks.row)
            self.board.picture(step, sheet(objective, self.exam.examples(EXAMPLES), *self.look))
        return marks.mean

    def _tell(self, marks: Marks) -> None:
        epoch = -(-self.trainer.counters.step // self.trainer.steps_an_epoch)
        self.console.print(f"epoch {epoch}: {marks.told}", soft_wrap=True)
        self._log({"step": self.trainer.counters.step, **marks.row})

    def _log(self, row: dict[str, Any]) -> None:
        if self.trainer.place.speaks:
            with (self.trainer.folder / LOG).open("a") as file:
                file.write(json.dumps(row) + "\n")

    def _finish(self) -> None:
        if not self.trainer.place.speaks:
            return
        weights, best = self.trainer.folder / WEIGHTS, self.trainer.counters.best or 0.0
        better = self.trainer.folder / "best.safetensors"
        if better.exists():  # not where a training was over, and what was added to it made nothing better
            better.replace(weights)
        self.console.print(f"{weights}: {self.exam.measure} {100 * best:.1f} %; export it with", soft_wrap=True)
        # Targets that stand between cells are what DARK reads places between cells from.
        decode = " --decode dark" if self.recipe.loss == "cross-entropy" else ""
        self.console.print(f"posestream export {self.recipe.network} --weights {weights}{decode}", soft_wrap=True)


def begin(
    path: Path,
    out: Path,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    data: Path | None = None,
    workers: int = 2,
    tensorboard: bool | None = None,
) -> Session:
    """Everything that comes before the first step. Raises :class:`EngineError` for what cannot be trained.

    ``tensorboard``: whether curves and pictures are written; None for where it is installed.
    """
    place = Place.from_environment()
    console = Console(stderr=True, highlight=False, quiet=not place.speaks)
    with place.together():
        recipe = _changed(_rooted(path, read_recipe(path), data), epochs, seed)
        _, spec = catalogue.network(recipe.network)
        torch.manual_seed(recipe.seed)
        model = network.build(recipe.network, spec)
        _load(model, recipe)
        check_memory(recipe, spec, model, place)
        samples, exam = provide(recipe.data, spec, workers, console)
        _warm(model, recipe, samples)
        out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, model, samples, out, place)
    with place.together():
        if trainer.resume():
            console.print(f"{out}: goes on after step {trainer.counters.step} of {trainer.steps}", soft_wrap=True)
        if place.speaks:
            checkpoint.forget_after(out / LOG, trainer.counters.step)
        board = board_of(out, trainer.counters.step, tensorboard) if place.speaks else None
    if board is None and tensorboard is None:
        # Without markup, for square brackets are in it.
        console.print(f"no curves and pictures, for TensorBoard is not installed; {HOW}", soft_wrap=True, markup=False)
    return Session(recipe, trainer, exam, (spec.window.index(0), spec.skeleton), board, console)


def _rooted(path: Path, recipe: Recipe, root: Path | None) -> Recipe:
    """The recipe with its data set where the user says it lies."""
    if root is None:
        return recipe
    if isinstance(recipe.data, Synthetic):
        raise EngineError(f"recipe {path}: it learns from drawn people; leave --data out")
    return msgspec.structs.replace(recipe, data=msgspec.structs.replace(recipe.data, root=str(root)))


def _changed(recipe: Recipe, epochs: int | None, seed: int | None) -> Recipe:
    changes = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    return msgspec.structs.replace(recipe, **changes) if changes else recipe


def _warm(model: nn.Module, recipe: Recipe, samples: Samples) -> None:
    """Begin as the single frame, where that is asked for; measured on as many windows as a batch has."""
    if recipe.start == "single-frame":
        rows = np.arange(min(recipe.batch, len(samples)))
        begin_as_single_frame(recipe.network, model, samples.batch(rows, None, np.random.default_rng(0)).crops)


def _load(model: nn.Module, recipe: Recipe) -> None:
    for beginning in recipe.begin:
        checkpoints.load(model, Path(beginning.file).expanduser(), beginning.layout, beginning.into)
