"""Checkpoints of a training: weights and optimiser as safetensors, counters as JSON, replaced atomically.

Reading one never executes code from it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.json import read_json
from engines.hub.checkpoints import TRAINED_ON

MODEL, EMA, OPTIMISER, STATE = "model.safetensors", "ema.safetensors", "optimiser.safetensors", "state.json"


class State(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``step`` counts finished steps; ``best`` is the best validation score so far; ``recipe`` is compared on resume.

    ``optimiser`` is the optimiser's state without its tensors, ``scaler`` that of the gradient scaler.
    """

    recipe: dict[str, Any]
    step: int = 0
    best: float | None = None
    optimiser: dict[str, Any] = {}
    scaler: dict[str, Any] = {}


def save_weights(module: nn.Module, path: Path, trained_on: str = "") -> None:
    """Write every parameter and buffer under its name, and what they were ``trained_on``."""
    # safetensors refuses tensors that share memory (tied weights), so each is cloned.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    save_file(tensors, path, metadata={TRAINED_ON: trained_on} if trained_on else None)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill ``module``. Raises :class:`EngineError` if names or shapes differ."""
    try:
        module.load_state_dict(load_file(path))
    except (OSError, RuntimeError) as error:
        raise EngineError(f"{path}: {' '.join(str(error).split())[:300]}; it is not of this network") from None


def save(folder: Path, state: State, model: nn.Module, ema: nn.Module | None, optimiser: Any) -> None:
    """Write a checkpoint beside ``folder``, then replace ``folder`` by it."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_weights(model, part / MODEL)
    if ema is not None:
        save_weights(ema, part / EMA)
    tensors, state.optimiser = _split_state(optimiser.state_dict())
    save_file(tensors, part / OPTIMISER)
    (part / STATE).write_bytes(msgspec.json.encode(state))
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, model: nn.Module, ema: nn.Module | None, optimiser: Any) -> State:
    """Restore what :func:`save` wrote. Raises :class:`EngineError` if it is damaged or of another network."""
    try:
        state = read_json(folder / STATE, State)
        tensors = load_file(folder / OPTIMISER)
    except (OSError, FormatError, ValueError) as error:
        raise EngineError(f"{folder}: this training cannot be resumed ({error}); start in another folder") from None
    load_weights(model, folder / MODEL)
    if ema is not None:
        load_weights(ema, folder / EMA)
    optimiser.load_state_dict(_merge_state(tensors, state.optimiser))
    _match_memory_format(optimiser)
    return state


def _match_memory_format(optimiser: Any) -> None:
    """Store tensors in their parameter's memory format: for mixed ones PyTorch's kernels round differently."""
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def truncate_log(log: Path, step: int) -> None:
    """Drop the JSON lines of steps after ``step``, which a resumed training writes again."""
    if not log.exists():
        return
    lines = log.read_text("utf-8").splitlines(keepends=True)
    log.write_text("".join(line for line in lines if _is_until(line, step)), "utf-8")


def _is_until(line: str, step: int) -> bool:
    try:
        logged: int = msgspec.json.decode(line)["step"]
    except msgspec.DecodeError:  # the last line may be incomplete
        return False
    return logged <= step


def _split_state(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as tensors named ``<parameter>.<name>``, and the rest, which fits into JSON."""
    tensors = {
        f"{parameter}.{name}": value.detach().cpu().contiguous().clone()
        for parameter, values in state["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    return tensors, {"groups": state["param_groups"]}


def _merge_state(tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        parameter, _, name = key.partition(".")
        state.setdefault(int(parameter), {})[name] = value
    return {"state": state, "param_groups": rest["groups"]}


def recipe_to_dict(recipe: Any) -> dict[str, Any]:
    """A recipe as plain values, for comparison on resume."""
    values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(recipe))
    return values


def add_defaults(values: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """``values`` with the defaults of fields that were added to ``kind`` after they were saved."""
    try:
        return recipe_to_dict(msgspec.convert(values, kind))
    except msgspec.ValidationError:
        return values


def check_same_recipe(folder: Path, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise :class:`EngineError` naming the first field that differs. ``epochs`` may differ."""
    for name in sorted(saved.keys() | now.keys()):
        if name != "epochs" and saved.get(name) != now.get(name):
            raise EngineError(
                f"{folder}: this training was started with {name}={saved.get(name)}, the recipe now has "
                f"{now.get(name)}; start in another folder"
            )
