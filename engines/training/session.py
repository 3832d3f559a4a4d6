"""A training as its user sees it: preparation, progress bars, scores, and the weights at the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import yaml
from rich.console import Console
from torch import nn

from engines.errors import EngineError
from engines.hub import catalogue
from engines.spec import network
from engines.spec.network import NetworkSpec
from engines.training import checkpoint, gradients
from engines.training.batches import Samples, StepInput
from engines.training.distributed import ProcessGroup
from engines.training.head_init import init_from_single_frame
from engines.training.initial_weights import load_initial_weights
from engines.training.memory_check import check_memory
from engines.training.recipe import Recipe, Synthetic, read_recipe
from engines.training.task import Task, progress_bar
from engines.training.tasks import find_spec, make_task
from engines.training.tensorboard import INSTALL, Board, open_board
from engines.training.trainer import Trainer
from engines.training.validation import Metrics, Validator

WEIGHTS = "weights.safetensors"
"""The result: the network with the best score, under this project's names, as 'posestream export' reads it."""

LOG = "log.jsonl"
ENTRY = "network.yaml"
"""The entry of a network whose recipe has options, joints or a horizon."""


@dataclass
class Session:
    """A training that is ready to run."""

    recipe: Recipe
    trainer: Trainer
    task: Task
    validator: Validator
    board: Board | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def run(self) -> None:
        """Train to the end; Ctrl-C saves the current state and raises ``KeyboardInterrupt``."""
        try:
            self._train()
        finally:
            if self.board is not None:
                self.board.close()
            self.trainer.group.close()

    def _train(self) -> None:
        with progress_bar(self.console) as bar:
            task = bar.add_task("training", total=self.trainer.steps, completed=self.trainer.state.step)

            norms: dict[str, float] = {}

            def report(step: int, values: dict[str, float]) -> None:
                norms.update(gradients.term_norms(values))
                bar.update(task, completed=step, description=_describe(values["total"], norms))
                self._log({"step": step, **values})
                if self.board is not None:
                    self.board.write_step(step, values)
                if step == gradients.DEAD_AFTER:
                    self._warn_of_dead_weights(step)

            try:
                self.trainer.run(report, self.validate)
            except KeyboardInterrupt:
                step = self.trainer.saved_step or 0
                self.console.print(f"stopped after step {step}; run the same command to resume")
                raise
        self._finish()

    def _warn_of_dead_weights(self, step: int) -> None:
        if dead := gradients.find_dead_weights(self.trainer.model, self.trainer.optimiser):
            self.console.print(
                f"warning: {self.recipe.network}: {', '.join(dead)} had no gradient in {step} steps and will not "
                "learn; check what initialises it, or freeze it in the recipe",
                soft_wrap=True,
            )

    def validate(self, model: nn.Module) -> float:
        """Run the validator, print and log its metrics, and return their mean."""
        objective = self.task.make_objective(model)
        metrics = self.validator(objective)
        self._report_metrics(metrics)
        if self.board is not None:
            step = self.trainer.state.step
            self.board.write_metrics(step, metrics.mean, self.validator.metric, metrics.values)
            self.board.write_preview(step, self.task.draw_preview(objective, self.validator))
        return metrics.mean

    def _report_metrics(self, metrics: Metrics) -> None:
        epoch = -(-self.trainer.state.step // self.trainer.steps_per_epoch)
        self.console.print(f"epoch {epoch}: {metrics.summary}", soft_wrap=True)
        self._log({"step": self.trainer.state.step, **metrics.values})

    def _log(self, row: dict[str, Any]) -> None:
        if self.trainer.group.is_main_process:
            with (self.trainer.folder / LOG).open("a") as file:
                file.write(json.dumps(row) + "\n")

    def _finish(self) -> None:
        if not self.trainer.group.is_main_process:
            return
        weights, score = self.trainer.folder / WEIGHTS, self.trainer.state.best or 0.0
        best = self.trainer.folder / "best.safetensors"
        if best.exists():  # it does not if a finished training was extended without a better score
            best.replace(weights)
        summary = f"{weights}: {self.validator.metric} {100 * score:.1f} %"
        if self.recipe.horizon:
            self.console.print(f"{summary}, {self.recipe.horizon} frames ahead", soft_wrap=True)
            return
        self.console.print(f"{summary}; to export it:", soft_wrap=True)
        # DARK decodes sub-cell positions, which targets of cross-entropy have.
        decode = " --decode dark" if self.recipe.loss == "cross-entropy" else ""
        name = self.trainer.folder / ENTRY if _changes(self.recipe) else self.recipe.network
        self.console.print(f"posestream export {name} --weights {weights}{decode}", soft_wrap=True)


def _describe(loss: float, norms: dict[str, float]) -> str:
    """The text of the progress bar: the loss, and the norm of every term's gradient where there are several."""
    terms = ", ".join(f"{name} {norm:.2g}" for name, norm in norms.items())
    return f"training, loss {loss:.4g}" + (f" (gradients: {terms})" if len(norms) > 1 else "")


def prepare(
    path: Path,
    out: Path,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    data: Path | None = None,
    workers: int = 2,
    tensorboard: bool | None = None,
) -> Session:
    """Everything before the first step, resuming from ``out`` if it has a checkpoint.

    ``epochs``, ``seed`` and ``data`` override the recipe. ``tensorboard``: whether to write curves and previews; by
    default if it is installed. Raises :class:`EngineError` for what cannot be trained.
    """
    group = ProcessGroup.from_environment()
    console = Console(stderr=True, highlight=False, quiet=not group.is_main_process)
    with group.fail_together():
        recipe = _override(path, read_recipe(path), data, epochs=epochs, seed=seed)
        spec = find_spec(recipe)
        torch.manual_seed(recipe.seed)
        model = network.build(recipe.network, spec)
        load_initial_weights(model, recipe, spec)
        task = make_task(recipe, spec)
        check_memory(recipe, spec, model, group)
        samples, validator = task.load_data(workers, console)
        _init_head(model, recipe, samples)
        out.mkdir(parents=True, exist_ok=True)
        if _changes(recipe) and group.is_main_process:
            _write_entry(out / ENTRY, recipe, spec)
    trainer = Trainer(recipe, model, samples, out, group, objective=task.make_objective(model))
    with group.fail_together():
        if found := trainer.resume():
            beside = "" if found.name == "last" else f", from {found.name}: the last save was interrupted"
            console.print(f"{out}: resuming after step {trainer.state.step} of {trainer.steps}{beside}", soft_wrap=True)
        if group.is_main_process:
            checkpoint.truncate_log(out / LOG, trainer.state.step)
        board = open_board(out, trainer.state.step, tensorboard) if group.is_main_process else None
    if board is None and tensorboard is None:
        # Without markup, because of its square brackets.
        console.print(f"no TensorBoard curves: it is not installed; {INSTALL}", soft_wrap=True, markup=False)
    return Session(recipe, trainer, task, validator, board, console)


def _changes(recipe: Recipe) -> dict[str, Any]:
    """What the recipe changes of its network's entry."""
    further = {"skeleton": recipe.skeleton, "horizon": recipe.horizon}
    return {**recipe.options, **{name: value for name, value in further.items() if value}}


def _write_entry(path: Path, recipe: Recipe, spec: NetworkSpec) -> None:
    """An entry for 'posestream export', whose own one lacks what the recipe changes."""
    _, entry = catalogue.find_entry(recipe.network)
    options = ", ".join(f"{name}={value}" for name, value in _changes(recipe).items())
    changed = msgspec.structs.replace(entry, title=f"{entry.title}; {options}", network=spec)
    path.write_text(yaml.safe_dump(msgspec.to_builtins(changed, enc_hook=str), sort_keys=False), "utf-8")


def _override(path: Path, recipe: Recipe, root: Path | None, **values: int | None) -> Recipe:
    changes: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    if root is not None:
        if isinstance(recipe.data, Synthetic):
            raise EngineError(f"recipe {path}: it trains on synthetic people, which have no folder; leave --data out")
        changes["data"] = msgspec.structs.replace(recipe.data, root=str(root))
    return msgspec.structs.replace(recipe, **changes)


def _init_head(model: nn.Module, recipe: Recipe, samples: Samples[StepInput]) -> None:
    if recipe.head_init == "single-frame":
        indices = np.arange(min(recipe.batch, len(samples)))
        init_from_single_frame(recipe.network, model, samples.batch(indices, None, np.random.default_rng(0)).inputs[0])
