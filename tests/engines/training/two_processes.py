"""What ``test_torchrun.py`` has two processes do; each writes down what it saw."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import distributed

from engines.errors import EngineError
from engines.models.hrnet import HRNet, HRNetConfig
from engines.training.batches import WindowSamples
from engines.training.distributed import Place, ToldElsewhereError
from engines.training.recipe import Optimisation, Recipe, Synthetic
from engines.training.synthetic_samples import Tracks
from engines.training.trainer import Trainer

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)
RECIPE = Recipe(
    network="micro", data=Synthetic(), epochs=2, batch=4, optimisation=Optimisation(rate=1e-3, ema=0.9, clip=1.0)
)


def samples() -> WindowSamples:
    rng = np.random.default_rng(0)
    joints = np.full((10, 5, 17, 3), 2, np.float32)
    joints[..., :2] = rng.uniform(4, 60, (10, 5, 17, 2))
    return WindowSamples(Tracks(rng.integers(0, 255, (10, 5, 64, 64, 3), np.uint8), joints, np.full(10, 40.0)), (0,))


def trainer(folder: Path, place: Place, recipe: Recipe = RECIPE) -> Trainer:
    torch.manual_seed(place.rank)  # DistributedDataParallel is to begin from the first process's weights
    return Trainer(recipe, HRNet(MICRO), samples(), folder, place)


def quiet(step: int, terms: dict[str, float]) -> None:
    assert np.isfinite(terms["total"])


def alike(one: Trainer) -> bool:
    """Whether both processes hold the same parameters and optimiser."""
    state = one.optimiser.state_dict()["state"]
    own = [*one.model.parameters(), *(value for values in state.values() for value in values.values())]
    flat = torch.cat([value.detach().reshape(-1).double() for value in own])
    both = [torch.empty_like(flat) for _ in range(2)]
    distributed.all_gather(both, flat)
    return torch.equal(both[0], both[1])


def interrupted(folder: Path, place: Place) -> int | None:
    """The step after which all stop when one alone hears Ctrl-C, during the second."""

    def report(step: int, _: dict[str, float]) -> None:
        if step == 1 and place.rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    one = trainer(folder, place)
    try:
        one.run(report)
    except KeyboardInterrupt:
        return one.saved
    return None


def fault(folder: Path, place: Place) -> str:
    """What a loss that is no number ends in."""
    wild = msgspec.structs.replace(RECIPE, optimisation=Optimisation(rate=1e30))
    try:
        trainer(folder, place, wild).run(lambda *_: None)
    except (EngineError, ToldElsewhereError) as error:
        return type(error).__name__
    return "none"


def missing(place: Place) -> str:
    """What a fault of the second process alone, before training, is to each."""
    try:
        with place.together():
            if place.rank == 1:
                raise EngineError("no file for 1")
    except (EngineError, ToldElsewhereError) as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def gone(folder: Path, place: Place) -> str:
    """What the first process hears when the second one ends amid a training."""

    def report(step: int, _: dict[str, float]) -> None:
        if place.rank == 1:
            sys.exit("the second process ends")

    try:
        trainer(folder, place).run(report)
    except EngineError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def same(one: Trainer, other: Trainer) -> bool:
    theirs = other.model.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.model.state_dict().items())


def main(folder: Path) -> None:
    place = Place.from_environment()
    whole = trainer(folder / "whole", place)
    whole.run(quiet)
    told: dict[str, Any] = {"alike": alike(whole), "stopped after": interrupted(folder / "parts", place)}
    distributed.barrier()
    later = trainer(folder / "parts", place)
    later.resume()
    later.run(quiet)
    told["went on exactly"] = same(whole, later) and alike(later)
    told["missing file"] = missing(place)
    told["loss that is no number"] = fault(folder / "wild", place)
    told["wrote"] = (folder / "whole/last/model.safetensors").is_file() and not (folder / "wild").exists()
    written = folder / f"told{place.rank}.json"
    written.write_text(json.dumps(told))
    told["other gone"] = gone(folder / "gone", place)
    written.write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
