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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from engines import catalogue, networks
from engines.metrics import HIDDEN, VISIBLE
from engines.networks import NetworkSpec
from engines.people.conditions import Kind
from engines.training import state
from engines.training.fitting import check_memory
from engines.training.judging import Score, film_tests, judge, mean_pck, objective_of
from engines.training.recipe import Recipe, read_recipe
from engines.training.samples import WindowSamples
from engines.training.tracks import Filming, Tracks, film, joined
from engines.training.trainer import Place, Trainer

WEIGHTS = "weights.safetensors"
"""What comes of it: the best network by the judge, under this project's names; 'posestream export' takes it."""


@dataclass
class Session:
    """A training that is ready to run."""

    recipe: Recipe
    spec: NetworkSpec
    trainer: Trainer
    tests: dict[Kind, Tracks]
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def run(self) -> None:
        """To the end; Ctrl-C saves where it stands."""
        with _progress(self.console) as bar:
            task = bar.add_task("training", total=self.trainer.steps, completed=self.trainer.counters.step)

            def report(step: int, terms: dict[str, float]) -> None:
                bar.update(task, completed=step, description=f"training, loss {terms['total']:.4g}")
                self._log({"step": step, **terms})

            try:
                self.trainer.run(report, self.judge)
            except KeyboardInterrupt:
                self.trainer.save()
                self.console.print(f"stopped after step {self.trainer.counters.step}; the same command goes on")
                raise
        self._finish()

    def judge(self, model: nn.Module) -> float:
        """The mean PCK at 0.1; told as a row for each kind."""
        scores = judge(objective_of(self.recipe, model), self.spec.window, self.tests)
        self._tell(scores)
        return mean_pck(scores)

    def _tell(self, scores: dict[Kind, Score]) -> None:
        epoch = -(-self.trainer.counters.step // self.trainer.steps_an_epoch)
        told = "  ".join(
            f"{kind} {100 * score.pck(0.1):.1f} ({100 * score.pck(0.1, HIDDEN):.1f})" for kind, score in scores.items()
        )
        self.console.print(f"epoch {epoch}: PCK@0.1 of visible (hidden) joints: {told}")
        self._log({"step": self.trainer.counters.step, "pck": {kind: _row(score) for kind, score in scores.items()}})

    def _log(self, row: dict[str, Any]) -> None:
        if self.trainer.place.rank == 0:
            with (self.trainer.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

    def _finish(self) -> None:
        if self.trainer.place.rank:
            return
        weights, best = self.trainer.folder / WEIGHTS, self.trainer.counters.best or 0.0
        (self.trainer.folder / "best.safetensors").replace(weights)
        self.console.print(f"{weights}: mean PCK@0.1 {100 * best:.1f} %; export it with")
        self.console.print(f"posestream export {self.recipe.network} --weights {weights}", soft_wrap=True)


def _row(score: Score) -> dict[str, float]:
    names = {HIDDEN: "hidden", VISIBLE: "visible"}
    return {f"{names[seen]}@{alpha}": score.pck(alpha, seen) for alpha, seen in score.counts}


def begin(path: Path, out: Path, *, epochs: int | None = None, seed: int | None = None, workers: int = 2) -> Session:
    """Everything that comes before the first step. Raises :class:`EngineError` for what cannot be trained."""
    recipe = _changed(read_recipe(path), epochs, seed)
    _, spec = catalogue.network(recipe.network)
    place = Place.from_environment()
    torch.manual_seed(recipe.seed)
    model = networks.build(recipe.network, spec)
    _load(model, recipe)
    frames = 2 * max(spec.past, spec.future) + 1
    check_memory(recipe, spec, model, place)
    console = Console(stderr=True, highlight=False)
    tracks = _draw(recipe, spec, frames, workers, console)
    tests = film_tests(recipe, spec.input_size, frames, workers)
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, model, WindowSamples(tracks, spec.window), out, place)
    if trainer.resume():
        console.print(f"{out}: goes on after step {trainer.counters.step} of {trainer.steps}")
    return Session(recipe, spec, trainer, tests, console)


def _changed(recipe: Recipe, epochs: int | None, seed: int | None) -> Recipe:
    changes = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    return msgspec.structs.replace(recipe, **changes) if changes else recipe


def _load(model: nn.Module, recipe: Recipe) -> None:
    for beginning in recipe.begin:
        target = model.get_submodule(beginning.into) if beginning.into else model
        state.load_weights(target, Path(beginning.file))


def _draw(recipe: Recipe, spec: NetworkSpec, frames: int, workers: int, console: Console) -> Tracks:
    data = recipe.data
    filming = Filming(size=spec.input_size, frames=frames, moments=data.moments, fps=data.fps)
    seeds = np.arange(data.first_scene, data.first_scene + data.scenes).tolist()
    with _progress(console) as bar:
        task = bar.add_task("drawing people", total=len(seeds))
        parts = []
        for part in film(seeds, filming, workers):
            parts.append(part)
            bar.advance(task)
    return joined(parts)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)
