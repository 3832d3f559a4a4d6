"""Checkpoints of a training: weights and optimiser as safetensors, counters as JSON.

A checkpoint is written beside the former one and then takes its place. Its counters are written last, so that it is
whole if it has them, and at every moment one of ``last``, ``last.part`` and ``last.old`` is whole. Reading one never
executes code from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engines.errors import EngineError, first_line
from engines.formats.files import FormatError
from engines.formats.json import read_json
from engines.hub.checkpoints import TRAINED_ON
from engines.spec.folders import old_of, replace_folder

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
    """Write every parameter and buffer under its name, and what they were ``trained_on``, in place of ``path``."""
    # safetensors refuses tensors that share memory (tied weights), so each is cloned.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    part = _part_of(path)
    save_file(tensors, part, metadata={TRAINED_ON: trained_on} if trained_on else None)
    _synchronise(part)
    part.replace(path)


def find(folder: Path) -> Path | None:
    """The newest whole checkpoint of ``folder``, which is beside it if a save was killed; None if there is none."""
    if _is_whole(_part_of(folder)):
        return _part_of(folder)
    return next((path for path in (folder, old_of(folder)) if path.exists()), None)


def save(folder: Path, state: State, model: nn.Module, ema: nn.Module | None, optimiser: Any) -> None:
    """Write a checkpoint beside ``folder``, then replace ``folder`` by it."""
    part, found = _part_of(folder), find(folder)
    # After a save that was killed, the newest checkpoint may be the part, which is removed now.
    if found not in (None, folder):
        replace_folder(found, folder)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_weights(model, part / MODEL)
    if ema is not None:
        save_weights(ema, part / EMA)
    tensors, state.optimiser = _split_state(optimiser.state_dict())
    save_file(tensors, part / OPTIMISER)
    _synchronise(part / OPTIMISER)
    _write(part / STATE, msgspec.json.encode(state))
    _synchronise(part)
    replace_folder(part, folder)
    _synchronise(folder.parent)


def load(folder: Path, model: nn.Module, ema: nn.Module | None, optimiser: Any) -> State:
    """Restore what :func:`save` wrote. Raises :class:`EngineError` if it is damaged or of another training."""
    with reading(folder / STATE):
        state = read_json(folder / STATE, State)
    load_weights(model, folder / MODEL)
    if ema is not None:
        load_weights(ema, folder / EMA)
    with reading(folder / OPTIMISER):
        tensors = load_file(folder / OPTIMISER)
        _check_fit(tensors, [one for group in optimiser.param_groups for one in group["params"]])
    with reading(folder / STATE):
        optimiser.load_state_dict(_merge_state(tensors, state.optimiser))
    _match_memory_format(optimiser)
    return state


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill ``module``. Raises :class:`EngineError` if the file is damaged, or names or shapes differ."""
    with reading(path):
        tensors = load_file(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise EngineError(f"{path}: {' '.join(str(error).split())[:300]}; it is not of this network") from None


_FAULTS = (AttributeError, FormatError, LookupError, OSError, RuntimeError, SafetensorError, TypeError, ValueError)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raise what a torn or foreign file lets its reader raise as an :class:`EngineError` that names it."""
    try:
        yield
    except _FAULTS as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else first_line(error, 200)
        raise EngineError(
            f"{file} is damaged or of another training: {why}; this training cannot be resumed: start in another folder"
        ) from None


def _check_fit(tensors: dict[str, Tensor], parameters: list[Tensor]) -> None:
    """Raise ``ValueError`` for the state of an optimiser of other parameters, which PyTorch accepts."""
    names: dict[int, set[str]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        if not number.isdecimal() or int(number) >= len(parameters):
            raise ValueError(f"{key!r} is of no parameter among {len(parameters)}")
        shape = tuple(parameters[int(number)].shape)
        if value.dim() and tuple(value.shape) != shape:
            raise ValueError(f"{key!r} is of shape {tuple(value.shape)}, its parameter of {shape}")
        names.setdefault(int(number), set()).add(name)
    whole = set().union(*names.values())
    for index, own in names.items():
        if own != whole:
            raise ValueError(f"parameter {index} lacks {', '.join(sorted(whole - own))}")


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _is_whole(folder: Path) -> bool:
    try:
        read_json(folder / STATE, State)
    except FormatError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    part = _part_of(path)
    part.write_bytes(content)
    _synchronise(part)
    part.replace(path)


def _synchronise(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
    _write(log, "".join(line for line in lines if _is_until(line, step)).encode())


class _Row(msgspec.Struct):
    step: int


def _is_until(line: str, step: int) -> bool:
    try:
        return msgspec.json.decode(line, type=_Row).step <= step
    except msgspec.DecodeError:  # the last line may be incomplete
        return False


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
