"""Where a training stands, on disk: weights and optimiser as safetensors, counters as JSON; whole or not at all.

Nothing in these files is ever run when they are read.
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

MODEL, EMA, OPTIMISER, COUNTERS = "model.safetensors", "ema.safetensors", "optimiser.safetensors", "state.json"


class Counters(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How far it is: ``step`` steps in all; the best score so far; the recipe's own words, so that none other goes on.

    ``optimiser`` is the optimiser's state without its tensors, ``scaler`` that of half precision.
    """

    recipe: dict[str, Any]
    step: int = 0
    best: float | None = None
    optimiser: dict[str, Any] = {}
    scaler: dict[str, Any] = {}


def save_weights(module: nn.Module, path: Path) -> None:
    """Every parameter and buffer under its name."""
    # Tensors that share memory (tied weights) are written each for itself.
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}, path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill ``module``. Raises :class:`EngineError` where names or shapes differ."""
    try:
        module.load_state_dict(load_file(path))
    except (OSError, RuntimeError) as error:
        raise EngineError(f"{path}: {' '.join(str(error).split())[:300]}; it is not of this network") from None


def save(folder: Path, counters: Counters, model: nn.Module, ema: nn.Module | None, optimiser: Any) -> None:
    """Replace ``folder`` by what is now."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_weights(model, part / MODEL)
    if ema is not None:
        save_weights(ema, part / EMA)
    tensors, rest = _parted(optimiser.state_dict())
    save_file(tensors, part / OPTIMISER)
    counters.optimiser = rest
    (part / COUNTERS).write_bytes(msgspec.json.encode(counters))
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, model: nn.Module, ema: nn.Module | None, optimiser: Any) -> Counters:
    """Go back to what :func:`save` wrote. Raises :class:`EngineError` where it is damaged or of another network."""
    try:
        counters = msgspec.json.decode((folder / COUNTERS).read_bytes(), type=Counters)
        tensors = load_file(folder / OPTIMISER)
    except (OSError, msgspec.DecodeError, ValueError) as error:
        raise EngineError(f"{folder}: this training cannot go on ({error}); begin anew in another folder") from None
    load_weights(model, folder / MODEL)
    if ema is not None:
        load_weights(ema, folder / EMA)
    optimiser.load_state_dict(_joined(tensors, counters.optimiser))
    _lay_out(optimiser)
    return counters


def _lay_out(optimiser: Any) -> None:
    """Every tensor in memory as its parameter: PyTorch takes another way, with other roundings, where they differ."""
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def forget_after(log: Path, step: int) -> None:
    """Leave out of a log of JSON lines what was told of later steps, which a training that was killed makes again."""
    if not log.exists():
        return
    kept = [line for line in log.read_text("utf-8").splitlines(keepends=True) if _is_of(line, step)]
    log.write_text("".join(kept), "utf-8")


def _is_of(line: str, step: int) -> bool:
    try:
        told: int = msgspec.json.decode(line)["step"]
    except msgspec.DecodeError:  # cut off amid the line
        return False
    return told <= step


def _parted(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as tensors by ``<parameter>.<name>``, and the rest, which JSON holds."""
    tensors = {
        f"{place}.{name}": value.detach().cpu().contiguous().clone()
        for place, values in state["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    return tensors, {"groups": state["param_groups"]}


def _joined(tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = value
    return {"state": state, "param_groups": rest["groups"]}


def recipe_as_told(recipe: Any) -> dict[str, Any]:
    """A recipe as plain values, to be compared with the one that a training was begun by."""
    told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(recipe))
    return told


def with_defaults(told: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """The same words with the defaults of fields that ``kind`` did not have yet when they were written down."""
    try:
        return recipe_as_told(msgspec.convert(told, kind))
    except msgspec.ValidationError:
        return told


def check_same(folder: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise :class:`EngineError` naming the first field that differs. ``epochs`` may grow."""
    for name in sorted(begun.keys() | now.keys()):
        if name != "epochs" and begun.get(name) != now.get(name):
            raise EngineError(
                f"{folder}: its training was begun with {name}={begun.get(name)}, the recipe now says {now.get(name)}; "
                "begin anew in another folder"
            )
