"""The training loop, on one device or on several with ``torchrun``, each process with its share of every batch.

A step follows from the recipe, its number and the number of processes, so training resumes bit for bit. As in the
papers' trainings, batch normalisation uses the statistics of each process's own share; rank 0's running statistics are
saved.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engines.errors import EngineError
from engines.spec.training_data import DRAWN, REAL
from engines.training import checkpoint, gradients
from engines.training.batches import Prefetcher, Samples, StepInput, shuffle
from engines.training.distributed import ProcessGroup, RemoteRankError
from engines.training.objective import Objective
from engines.training.recipe import Optimisation, Recipe, Synthetic

Reporter = Callable[[int, dict[str, float]], None]
"""Called after every step with its number, its loss terms (over the whole batch, on every rank), ``gradient_norm``
before clipping, ``rate`` and ``samples_per_second``; every :data:`gradients.INTERVAL` steps also with
``gradient/TERM``, the norm of each weighted term's gradient on this rank."""
Validate = Callable[[nn.Module], float]
"""The score of a network; higher is better."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_STOP = "stop"


class Trainer:
    """One training of ``recipe``; ``folder`` holds ``last``, to resume from, and ``best.safetensors``.

    ``objective``, a module that calls ``model``, computes the loss terms; by default the heatmap loss of the network.
    ``memory_format`` of weights and feature maps is chosen by :func:`default_memory_format` if it is None.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        samples: Samples[StepInput],
        folder: Path,
        group: ProcessGroup | None = None,
        *,
        objective: nn.Module | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> None:
        self.recipe, self.samples, self.folder = recipe, samples, folder
        self.group = group or ProcessGroup()
        memory_format = memory_format or default_memory_format(self.group.device, recipe.precision)
        self.model: nn.Module = model.to(self.group.device, memory_format=memory_format)  # type: ignore[call-overload]
        freeze(self.model, recipe.frozen)
        self.objective = Objective.from_recipe(recipe, self.model) if objective is None else objective
        self._step_module: nn.Module = self._distribute(self.objective)
        self.optimiser = build_optimiser(recipe.optimisation, self.model)
        self.ema = build_ema(self.model, recipe.optimisation.ema)
        self.scaler = torch.amp.GradScaler(self.group.device.type, enabled=recipe.precision == "fp16")
        self.state = checkpoint.State(recipe=checkpoint.recipe_to_dict(recipe))
        self.saved_step: int | None = None
        """The step that ``last`` holds; None if there is no checkpoint."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in each epoch; the last one may be smaller."""
        return math.ceil(len(self.samples) / self.recipe.batch)

    @property
    def steps(self) -> int:
        """Steps in the whole training."""
        return self.recipe.epochs * self.steps_per_epoch

    def resume(self) -> Path | None:
        """Load ``folder/last``, or the newest whole checkpoint beside it if a save was killed; return which.

        None if there is none. Raises :class:`EngineError`.
        """
        found = checkpoint.find(self.folder / "last")
        if found is None:
            return None
        state = checkpoint.load(found, self.model, self.ema, self.optimiser)
        checkpoint.check_same_recipe(found, checkpoint.add_defaults(state.recipe, Recipe), self.state.recipe)
        with checkpoint.reading(found / checkpoint.STATE):
            self.scaler.load_state_dict(state.scaler)
        self.state, self.saved_step = state, state.step
        return found

    def run(self, report: Reporter, validate: Validate | None = None, until: int | None = None) -> None:
        """Train to the end, or to step ``until``; validate and save after each epoch.

        On Ctrl-C, finishes and saves the current step, then raises ``KeyboardInterrupt``. Raises :class:`EngineError`
        for a loss that is not finite; ``last`` then remains unchanged.
        """
        end = min(self.steps, until if until is not None else self.steps)
        with Interrupt(is_shared=self.group.world_size > 1) as interrupt, Prefetcher(self._batch, end) as batches:
            while self.state.step < end:
                stop = self._run_step(batches, report, interrupted=interrupt.requested)
                if self.state.step % self.steps_per_epoch == 0:
                    self._end_epoch(validate)
                if stop:
                    self.save()
                    raise KeyboardInterrupt
        self.save()

    def save(self) -> None:
        """Write ``last``; only the main process does."""
        if self.group.is_main_process:
            self.state.scaler = self.scaler.state_dict()
            checkpoint.save(self.folder / "last", self.state, self.model, self.ema, self.optimiser)
        self.saved_step = self.state.step

    @property
    def result(self) -> nn.Module:
        """The network to validate and export: the moving average if there is one."""
        return self.ema.module if self.ema is not None else self.model

    # -- one step -----------------------------------------------------------------------------------------------------

    def _run_step(self, batches: Prefetcher[StepInput], report: Reporter, *, interrupted: bool) -> bool:
        """Run and report one step; True if any rank was interrupted."""
        started, step = time.perf_counter(), self.state.step
        self._set_train_mode()
        values = self._step(step, batches(step), interrupted=interrupted)
        stop = values.pop(_STOP) > 0
        values["samples_per_second"] = self._sample_indices(step).size / (time.perf_counter() - started)
        report(step + 1, values)
        self.state.step += 1
        return stop

    def _step(self, step: int, batch: StepInput, *, interrupted: bool) -> dict[str, float]:
        rate = learning_rate(self.recipe.optimisation, step, self.steps_per_epoch, self.steps)
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = rate * parameters.get("factor", 1.0)  # states from before factors have none
        self.optimiser.zero_grad(set_to_none=True)
        _, share = self.group.share(self._sample_indices(step).size)
        try:
            batch = batch.to(self.group.device)
            terms = self._compute_terms(batch)
            # DistributedDataParallel averages over ranks, whose shares of an epoch's last batch differ.
            self.scaler.scale(terms["total"] * (share * self.group.world_size)).backward()  # type: ignore[no-untyped-call]
            values = self._reduce(terms, share, interrupted=interrupted)
        except RuntimeError as error:
            if not self._is_connection_error(error):
                raise
            raise EngineError(
                f"rank {self.group.rank} of {self.group.world_size}: another rank of this training has ended, see its "
                "own message; run the same command to resume"
            ) from error
        values |= {"gradient_norm": self._clip_gradients(), "rate": rate}
        self._check_finite(step, values)
        if step % gradients.INTERVAL == 0:
            values |= self._term_norms(batch, terms, values["gradient_norm"])
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        return values

    def _compute_terms(self, batch: StepInput) -> dict[str, Tensor]:
        with autocast(self.group.device.type, self.recipe.precision):
            terms: dict[str, Tensor] = self._step_module(*batch.inputs)
        return terms

    def _term_norms(self, batch: StepInput, terms: dict[str, Tensor], whole: float) -> dict[str, float]:
        """The gradient's norm of every term, of this process's share; ``whole`` is that of the total."""
        names = [name for name in terms if name != "total"]
        if len(names) == 1:
            return {gradients.PREFIX + names[0]: whole}
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        scale = self.scaler.get_scale() if self.scaler.is_enabled() else 1.0
        with autocast(self.group.device.type, self.recipe.precision):
            # Not the distributed module, whose backward pass waits for the other ranks.
            norms = gradients.measure_term_norms(self.objective, batch.inputs, learning, scale)
        return {gradients.PREFIX + name: norm for name, norm in norms.items()}

    def _reduce(self, terms: dict[str, Tensor], share: float, *, interrupted: bool) -> dict[str, float]:
        """The terms over the whole batch, and under ``stop`` how many ranks were interrupted."""
        own = torch.stack([value.detach().double() for value in terms.values()]) * share
        sums = self.group.all_reduce(torch.cat([own, own.new_tensor([float(interrupted)])]))
        return dict(zip([*terms, _STOP], sums.tolist(), strict=True))

    def _is_connection_error(self, error: RuntimeError) -> bool:
        """Whether a collective operation failed because another rank has ended."""
        return self.group.world_size > 1 and ("gloo" in str(error) or isinstance(error, torch.distributed.DistError))

    def _check_finite(self, step: int, values: dict[str, float]) -> None:
        # GradScaler skips a step whose gradients overflow float16 and lowers its scale.
        allowed = "gradient_norm" if self.scaler.is_enabled() else ""
        wrong = next((name for name, value in values.items() if name != allowed and not math.isfinite(value)), None)
        if wrong is None:
            return
        if not self.group.is_main_process:
            raise RemoteRankError
        saved = f"{self.folder / 'last'} holds step {self.saved_step}, the last one saved"
        what = "the norm of the gradient" if wrong == "gradient_norm" else f"the loss term {wrong!r}"
        precision = self.recipe.precision
        half = "" if precision == "fp32" else f", or with precision: fp32 instead of {precision}"
        rate, clip = self.recipe.optimisation.rate, self.recipe.optimisation.clip
        clipping = "an optimisation.clip" if clip is None else f"a lower optimisation.clip than {clip}"
        raise EngineError(
            f"step {step + 1} of {self.recipe.network}: {what} is {values[wrong]}; start in another folder with a "
            f"lower optimisation.rate than {rate} or {clipping}{half} "
            f"({'nothing was saved yet' if self.saved_step is None else saved})"
        )

    def _batch(self, step: int) -> StepInput:
        rng = np.random.default_rng([self.recipe.seed, step, self.group.rank, 0xA06])
        indices = self._sample_indices(step)
        own, _ = self.group.share(indices.size)
        # A rank without a share of the last, small batch computes one sample, weighted by 0.
        mine = indices[self.group.rank :: self.group.world_size] if own else indices[:1]
        return self.samples.batch(np.sort(mine), self.recipe.augmentation, rng)

    def _sample_indices(self, step: int) -> NDArray[np.intp]:
        """The samples of a step, of all ranks."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order = shuffle(len(self.samples), self.recipe.seed, epoch)
        return order[number * self.recipe.batch : (number + 1) * self.recipe.batch]

    def _clip_gradients(self) -> float:
        """Clip the gradient to ``optimisation.clip`` if it is set; return its norm before."""
        self.scaler.unscale_(self.optimiser)
        learning = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in learning if parameter.grad is not None])
        if self.recipe.optimisation.clip is not None:
            nn.utils.clip_grads_with_norm_(learning, self.recipe.optimisation.clip, norm)
        return float(norm)

    def _set_train_mode(self) -> None:
        self.objective.train()
        for module in get_submodules(self.model, self.recipe.frozen):
            # In training mode batch normalisation would update its statistics, as in three papers' released trainings.
            module.eval()

    def _distribute(self, objective: nn.Module) -> nn.Module:
        if self.group.world_size == 1:
            return objective
        ids = [self.group.device.index] if self.group.device.type == "cuda" else None
        # Some networks leave parts of their backbone unused, the same ones in every step.
        return nn.parallel.DistributedDataParallel(objective, device_ids=ids, static_graph=True)

    def _end_epoch(self, validate: Validate | None) -> None:
        if validate is not None and self.group.is_main_process:
            score = validate(self.result)
            if self.state.best is None or score > self.state.best:
                self.state.best = score
                trained_on = DRAWN if isinstance(self.recipe.data, Synthetic) else REAL
                checkpoint.save_weights(self.result, self.folder / "best.safetensors", trained_on)
        self.save()


class Interrupt:
    """A context manager that turns the first Ctrl-C into ``requested``, so that a step in progress is finished.

    The second Ctrl-C raises ``KeyboardInterrupt``, unless the signal ``is_shared``: torchrun sends each one twice.
    """

    def __init__(self, *, is_shared: bool = False) -> None:
        self.requested = False
        self._is_shared = is_shared
        self._previous: Any = None
        # Python handles signals in the main thread only.
        self._is_installed = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Interrupt:
        if self._is_installed:
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_installed:
            signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python passes them
        if self.requested and not self._is_shared:
            raise KeyboardInterrupt
        self.requested = True


# -- parts of a trainer -----------------------------------------------------------------------------------------------


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """The autocast region of a recipe's precision."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device, dtype) if dtype else nullcontext()


def default_memory_format(device: torch.device, precision: str) -> torch.memory_format:
    """Channels last on a CPU, where a step takes a tenth to a third less time, and on GPUs in half precision, whose
    tensor cores use that layout."""
    last = device.type == "cpu" or precision != "fp32"
    return torch.channels_last if last else torch.contiguous_format


def get_submodules(model: nn.Module, names: Iterable[str]) -> list[nn.Module]:
    """The submodules with these names. Raises :class:`EngineError` for one that the network does not have."""
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules:
            parts = ", ".join(part for part, _ in model.named_children())
            raise EngineError(
                f"the recipe names the submodule {name!r}, which {type(model).__name__} does not have: it has {parts}"
            )
    return [modules[name] for name in names]


def freeze(model: nn.Module, names: tuple[str, ...]) -> None:
    """Disable gradients of these submodules."""
    for module in get_submodules(model, names):
        module.requires_grad_(False)


def build_ema(model: nn.Module, decay: float) -> AveragedModel | None:
    """The exponential moving average of weights and buffers; None for decay 0."""
    if not decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]


def build_optimiser(settings: Optimisation, model: nn.Module) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD with momentum, over what has gradients; a group of parameters for each factor of the rate."""
    groups = group_by_factor(model, settings.factors)
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.rate, momentum=settings.momentum, weight_decay=settings.weight_decay)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.rate, weight_decay=settings.weight_decay)


def group_by_factor(model: nn.Module, factors: dict[str, float]) -> list[dict[str, Any]]:
    """The parameters that have gradients, by the factor of the longest of the names that begins theirs; 1 without."""
    get_submodules(model, factors)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inner = [module for module in factors if name.startswith(f"{module}.")]
            groups.setdefault(factors[max(inner, key=len)] if inner else 1.0, []).append(parameter)
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


def learning_rate(settings: Optimisation, step: int, steps_per_epoch: int, steps: int) -> float:
    """The learning rate of a step, a function of its number alone.

    ``one-cycle`` rises to the rate over the first 15 % of the steps and falls to almost 0, both along a cosine (Smith
    and Topin 2018).

    >>> [learning_rate(Optimisation(rate=1.0, milestones=(2, 3)), step, 10, 40) for step in (0, 19, 20, 30)]
    [1.0, 1.0, 0.1, 0.010000000000000002]
    >>> [round(learning_rate(Optimisation(rate=1.0, warmup=10), step, 10, 40), 4) for step in (0, 5, 10)]
    [0.001, 0.5005, 1.0]
    """
    warm = min(1.0, 1e-3 + (1 - 1e-3) * step / settings.warmup) if settings.warmup else 1.0
    return warm * _scheduled_rate(settings, step, steps_per_epoch, steps)


def _scheduled_rate(settings: Optimisation, step: int, steps_per_epoch: int, steps: int) -> float:
    if settings.schedule == "steps":
        passed = sum(step // steps_per_epoch >= milestone for milestone in settings.milestones)
        return settings.rate * settings.gamma**passed
    top = 0.15 * steps
    part = step / top if step < top else 1 - (step - top) / max(1.0, steps - top)
    return settings.rate * max(0.04 if step < top else 1e-4, 0.5 - 0.5 * math.cos(math.pi * part))
