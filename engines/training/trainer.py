"""The loop: batches in, weights out. On one device, or on several by ``torchrun``, each with its share of every batch.

What happens in step n follows from the recipe, n and the number of processes, so a training goes on after an
interruption as it would have. Batch normalisation takes the statistics of each process's own share, as in the papers'
trainings; running ones are the first process's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engines.errors import EngineError
from engines.training import checkpoint
from engines.training.batches import Batch, Samples
from engines.training.distributed import Place, ToldElsewhereError
from engines.training.interrupt import Interrupt
from engines.training.objective import Objective
from engines.training.prefetch import Ahead
from engines.training.recipe import Optimisation, Recipe

Report = Callable[[int, dict[str, float]], None]
"""Called after every step with its number, its loss terms (of the whole batch, whatever share a process has of it),
``gradient_norm`` before clipping, ``rate`` and ``samples_a_second``."""
Judge = Callable[[nn.Module], float]
"""How right a network is; higher is better."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_STOPS = "stops"


class Trainer:
    """One training of ``recipe``; its files are in ``folder``: ``last`` to go on from, ``best.safetensors``.

    ``layout`` of weights and maps in memory; :func:`layout_for` says which is taken without it.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        samples: Samples,
        folder: Path,
        place: Place | None = None,
        *,
        layout: torch.memory_format | None = None,
    ) -> None:
        self.recipe, self.samples, self.folder = recipe, samples, folder
        self.place = place or Place()
        layout = layout or layout_for(self.place.device, recipe.precision)
        self.model: nn.Module = model.to(self.place.device, memory_format=layout)  # type: ignore[call-overload]
        freeze(self.model, recipe.frozen)
        self.objective = Objective(recipe.network, self.model, recipe.sigma, recipe.loss, dict(recipe.terms))
        self._step_module: nn.Module = self._distributed(self.objective)
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = make_optimiser(recipe.optimisation, learning)
        self.ema = averaged(self.model, recipe.optimisation.ema)
        self.scaler = torch.amp.GradScaler(self.place.device.type, enabled=recipe.precision == "fp16")
        self.counters = checkpoint.Counters(recipe=checkpoint.recipe_as_told(recipe))
        self.saved: int | None = None
        """The step that ``last`` holds, None where there is nothing."""

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
        counters = checkpoint.load(last, self.model, self.ema, self.optimiser)
        checkpoint.check_same(last, checkpoint.with_defaults(counters.recipe, Recipe), self.counters.recipe)
        self.scaler.load_state_dict(counters.scaler)
        self.counters, self.saved = counters, counters.step
        return True

    def run(self, report: Report, judge: Judge | None = None, until: int | None = None) -> None:
        """Train to the end, or to step ``until``; after each epoch judge and save.

        Raises ``KeyboardInterrupt`` when the step is done and saved in which Ctrl-C came, :class:`EngineError` for a
        loss that is no number: ``last`` then stays as it was.
        """
        end = min(self.steps, until if until is not None else self.steps)
        with Interrupt(others=self.place.world > 1) as interrupt, Ahead(self._batch, end) as batches:
            while self.counters.step < end:
                stops = self._report_step(batches, report, asked=interrupt.asked)
                if self.counters.step % self.steps_an_epoch == 0:
                    self._end_epoch(judge)
                if stops:
                    self.save()
                    raise KeyboardInterrupt
        self.save()

    def save(self) -> None:
        """Write where it stands; of several processes the first does."""
        if self.place.speaks:
            self.counters.scaler = self.scaler.state_dict()
            checkpoint.save(self.folder / "last", self.counters, self.model, self.ema, self.optimiser)
        self.saved = self.counters.step

    @property
    def result(self) -> nn.Module:
        """The network that is judged and exported: the mean over steps where there is one."""
        return self.ema.module if self.ema is not None else self.model

    # -- one step -----------------------------------------------------------------------------------------------------

    def _report_step(self, batches: Ahead, report: Report, *, asked: bool) -> bool:
        """One step; whether any process was ``asked`` to stop after it."""
        begun, step = time.perf_counter(), self.counters.step
        self._train_mode()
        told = self._step(step, batches(step), asked=asked)
        stops = told.pop(_STOPS) > 0
        told["samples_a_second"] = self._rows_of(step).size / (time.perf_counter() - begun)
        report(step + 1, told)
        self.counters.step += 1
        return stops

    def _step(self, step: int, batch: Batch, *, asked: bool) -> dict[str, float]:
        rate = rate_at(self.recipe.optimisation, step, self.steps_an_epoch, self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        _, share = self.place.share(self._rows_of(step).size)
        try:
            terms = self._terms(batch.to(self.place.device))
            # DistributedDataParallel takes the mean over processes, whose shares of an epoch's last batch differ.
            self.scaler.scale(terms["total"] * (share * self.place.world)).backward()  # type: ignore[no-untyped-call]
            told = self._of_all(terms, share, asked=asked)
        except RuntimeError as error:
            if not self._is_of_others(error):
                raise
            raise EngineError(
                f"process {self.place.rank} of {self.place.world}: another process of this training has gone, which "
                "its own line explains; the same command goes on"
            ) from error
        told |= {"gradient_norm": self._clip(), "rate": rate}
        self._check_finite(step, told)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        return told

    def _of_all(self, terms: dict[str, Tensor], share: float, *, asked: bool) -> dict[str, float]:
        """The terms of the whole batch, and whether anybody was asked to stop."""
        own = torch.stack([value.detach().double() for value in terms.values()]) * share
        sums = self.place.total(torch.cat([own, own.new_tensor([float(asked)])]))
        return dict(zip([*terms, _STOPS], sums.tolist(), strict=True))

    def _is_of_others(self, error: RuntimeError) -> bool:
        """Whoever waits for a process that has gone hears of it from the network."""
        return self.place.world > 1 and ("gloo" in str(error) or isinstance(error, torch.distributed.DistError))

    def _check_finite(self, step: int, told: dict[str, float]) -> None:
        # GradScaler leaves out a step whose gradients overflow a float16, and scales less from then on.
        spared = "gradient_norm" if self.scaler.is_enabled() else ""
        wrong = next((name for name, value in told.items() if name != spared and not math.isfinite(value)), None)
        if wrong is None:
            return
        if not self.place.speaks:
            raise ToldElsewhereError
        last = self.folder / "last"
        kept = "nothing was saved yet" if self.saved is None else f"{last} holds step {self.saved}, the last one saved"
        what = "the norm of the gradient" if wrong == "gradient_norm" else f"the loss term {wrong!r}"
        precision = self.recipe.precision
        half = "" if precision == "fp32" else f", or with precision: fp32 instead of {precision}"
        rate, clip = self.recipe.optimisation.rate, self.recipe.optimisation.clip
        cut = "an optimisation.clip" if clip is None else f"a lower optimisation.clip than {clip}"
        raise EngineError(
            f"step {step + 1} of {self.recipe.network}: {what} is {told[wrong]}; begin anew in another folder with a "
            f"lower optimisation.rate than {rate} or {cut}{half} ({kept})"
        )

    def _batch(self, step: int) -> Batch:
        rng = np.random.default_rng([self.recipe.seed, step, self.place.rank, 0xA06])
        rows = self._rows_of(step)
        own, _ = self.place.share(rows.size)
        # Whoever has no share of the last, small batch computes along with a part of nothing.
        mine = rows[self.place.rank :: self.place.world] if own else rows[:1]
        return self.samples.batch(np.sort(mine), self.recipe.augmentation, rng)

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        with autocast(self.place.device.type, self.recipe.precision):
            terms: dict[str, Tensor] = self._step_module(batch.crops, batch.joints)
        return terms

    def _rows_of(self, step: int) -> NDArray[np.intp]:
        """The samples of a step, of all processes."""
        epoch, number = divmod(step, self.steps_an_epoch)
        order = self.samples.order(self.recipe.seed, epoch)
        return order[number * self.recipe.batch : (number + 1) * self.recipe.batch]

    def _clip(self) -> float:
        """The norm of the whole gradient, before it is cut to the longest that is allowed."""
        self.scaler.unscale_(self.optimiser)
        learning = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in learning if parameter.grad is not None])
        if self.recipe.optimisation.clip is not None:
            nn.utils.clip_grads_with_norm_(learning, self.recipe.optimisation.clip, norm)
        return float(norm)

    def _train_mode(self) -> None:
        self.objective.train()
        for module in frozen_modules(self.model, self.recipe.frozen):
            # Otherwise batch normalisation goes on learning statistics, as in the released trainings of three papers.
            module.eval()

    def _distributed(self, objective: Objective) -> nn.Module:
        if self.place.world == 1:
            return objective
        ids = [self.place.device.index] if self.place.device.type == "cuda" else None
        # Some networks leave parts of their backbone unused, the same ones in every step.
        return nn.parallel.DistributedDataParallel(objective, device_ids=ids, static_graph=True)

    def _end_epoch(self, judge: Judge | None) -> None:
        if judge is not None and self.place.speaks:
            score = judge(self.result)
            if self.counters.best is None or score > self.counters.best:
                self.counters.best = score
                checkpoint.save_weights(self.result, self.folder / "best.safetensors")
        self.save()


# -- parts ------------------------------------------------------------------------------------------------------------


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """The region in which a recipe's network computes."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device, dtype) if dtype else nullcontext()


def layout_for(device: torch.device, precision: str) -> torch.memory_format:
    """Channels last on a CPU, where a step is faster by a tenth to a third, and on GPUs in half precision, whose tensor
    cores read maps so."""
    last = device.type == "cpu" or precision != "fp32"
    return torch.channels_last if last else torch.contiguous_format


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
