"""The loop: batches in, weights out. On one device, or on several by ``torchrun``, each with its share of every batch.

What happens in step n follows from the recipe and n, so a training goes on after an interruption as it would have.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engines.training import state
from engines.training.ahead import Ahead
from engines.training.objective import Objective
from engines.training.recipe import Optimisation, Recipe
from engines.training.samples import Batch, Samples

Report = Callable[[int, dict[str, float]], None]
"""Called after every step with its number and its loss terms."""
Judge = Callable[[nn.Module], float]
"""How right a network is; higher is better."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Place:
    """This process among those that train together, and its device."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def from_environment(cls) -> Place:
        """As torchrun sets it; the first GPU where there is one, else the CPU, without torchrun."""
        rank, world, local = (int(os.environ.get(name, default)) for name, default in _TORCHRUN.items())
        cuda = torch.cuda.is_available()
        if world > 1:
            torch.distributed.init_process_group("nccl" if cuda else "gloo")
        return cls(rank, world, torch.device("cuda", local) if cuda else torch.device("cpu"))


_TORCHRUN = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


class Trainer:
    """One training of ``recipe``; its files are in ``folder``: ``last`` to go on from, ``best.safetensors``."""

    def __init__(
        self, recipe: Recipe, model: nn.Module, samples: Samples, folder: Path, place: Place | None = None
    ) -> None:
        self.recipe, self.samples, self.folder = recipe, samples, folder
        self.place = place or Place()
        self.model = model.to(self.place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(self.model, recipe.frozen)
        self.objective = Objective(recipe.network, self.model, recipe.sigma, recipe.loss, dict(recipe.terms))
        self._step_module: nn.Module = self._distributed(self.objective)
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = make_optimiser(recipe.optimisation, learning)
        self.ema = averaged(self.model, recipe.optimisation.ema)
        self.scaler = torch.amp.GradScaler(self.place.device.type, enabled=recipe.precision == "fp16")
        self.counters = state.Counters(recipe=state.recipe_as_told(recipe))

    @property
    def steps_an_epoch(self) -> int:
        """Batches of each epoch; the last may be smaller."""
        return math.ceil(len(self.samples) / self.recipe.batch)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.recipe.epochs * self.steps_an_epoch

    def resume(self) -> bool:
        """Go on from ``folder/last`` where that is; False where there is nothing. Raises :class:`EngineError`."""
        last = self.folder / "last"
        if not last.exists():
            return False
        counters = state.load(last, self.model, self.ema, self.optimiser)
        state.check_same(last, state.with_defaults(counters.recipe, Recipe), self.counters.recipe)
        self.scaler.load_state_dict(counters.scaler)
        self.counters = counters
        return True

    def run(self, report: Report, judge: Judge | None = None, until: int | None = None) -> None:
        """Train to the end, or to step ``until``; after each epoch judge and save."""
        end = min(self.steps, until if until is not None else self.steps)
        with Ahead(self._batch, end) as batches:
            while self.counters.step < end:
                self._train_mode()
                report(self.counters.step + 1, self._step(self.counters.step, batches(self.counters.step)))
                self.counters.step += 1
                if self.counters.step % self.steps_an_epoch == 0:
                    self._end_epoch(judge)
        self.save()

    def save(self) -> None:
        """Write where it stands; of several processes the first does."""
        if self.place.rank == 0:
            self.counters.scaler = self.scaler.state_dict()
            state.save(self.folder / "last", self.counters, self.model, self.ema, self.optimiser)

    @property
    def result(self) -> nn.Module:
        """The network that is judged and exported: the mean over steps where there is one."""
        return self.ema.module if self.ema is not None else self.model

    # -- one step -----------------------------------------------------------------------------------------------------

    def _step(self, step: int, batch: Batch) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.recipe.optimisation, step, self.steps_an_epoch, self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        terms = self._terms(batch.to(self.place.device))
        self.scaler.scale(terms["total"]).backward()  # type: ignore[no-untyped-call]
        self._clip()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        return {name: float(value.detach()) for name, value in terms.items()}

    def _batch(self, step: int) -> Batch:
        epoch, number = divmod(step, self.steps_an_epoch)
        rng = np.random.default_rng([self.recipe.seed, step, self.place.rank, 0xA06])
        return self.samples.batch(self._rows(epoch, number), self.recipe.augmentation, rng)

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        with self._autocast():
            terms: dict[str, Tensor] = self._step_module(batch.crops, batch.joints)
        return terms

    def _rows(self, epoch: int, number: int) -> NDArray[np.intp]:
        order = self.samples.order(self.recipe.seed, epoch)
        rows = order[number * self.recipe.batch : (number + 1) * self.recipe.batch]
        return np.sort(rows[self.place.rank :: self.place.world])

    def _clip(self) -> None:
        if self.recipe.optimisation.clip is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimisation.clip)

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = _DTYPES.get(self.recipe.precision)
        return torch.autocast(self.place.device.type, dtype) if dtype else nullcontext()

    def _train_mode(self) -> None:
        self.objective.train()
        for module in frozen_modules(self.model, self.recipe.frozen):
            # Otherwise batch normalisation goes on learning statistics, as in the released trainings of three papers.
            module.eval()

    def _distributed(self, objective: Objective) -> nn.Module:
        if self.place.world == 1:
            return objective
        ids = [self.place.device.index] if self.place.device.type == "cuda" else None
        # Some networks leave parts of their backbone unused.
        return nn.parallel.DistributedDataParallel(objective, device_ids=ids, find_unused_parameters=True)

    def _end_epoch(self, judge: Judge | None) -> None:
        if judge is not None and self.place.rank == 0:
            score = judge(self.result)
            if self.counters.best is None or score > self.counters.best:
                self.counters.best = score
                state.save_weights(self.result, self.folder / "best.safetensors")
        self.save()


# -- parts ------------------------------------------------------------------------------------------------------------


def frozen_modules(model: nn.Module, names: tuple[str, ...]) -> Iterator[nn.Module]:
    """The submodules of these names."""
    return (model.get_submodule(name) for name in names)


def freeze(model: nn.Module, names: tuple[str, ...]) -> None:
    """No gradient for these submodules."""
    for module in frozen_modules(model, names):
        module.requires_grad_(False)


def averaged(model: nn.Module, decay: float) -> AveragedModel | None:
    """The exponential moving mean of weights and buffers, None for decay 0."""
    if not decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]


def make_optimiser(told: Optimisation, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam, or AdamW, over what learns."""
    kind = torch.optim.AdamW if told.name == "adamw" else torch.optim.Adam
    return kind(parameters, lr=told.rate, weight_decay=told.weight_decay)


def rate_at(told: Optimisation, step: int, steps_an_epoch: int, steps: int) -> float:
    """The learning rate of a step, a function of its number alone.

    ``one-cycle``: up to the rate over the first 15 %, then down to nothing, both along a cosine (Smith and Topin 2018).

    >>> [rate_at(Optimisation(rate=1.0, milestones=(2, 3)), step, 10, 40) for step in (0, 19, 20, 30)]
    [1.0, 1.0, 0.1, 0.010000000000000002]
    """
    if told.schedule == "steps":
        passed = sum(step // steps_an_epoch >= milestone for milestone in told.milestones)
        return told.rate * told.gamma**passed
    top = 0.15 * steps
    part = step / top if step < top else 1 - (step - top) / max(1.0, steps - top)
    return told.rate * max(0.04 if step < top else 1e-4, 0.5 - 0.5 * math.cos(math.pi * part))
