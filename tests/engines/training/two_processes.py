"""The program that ``test_distributed.py`` runs in two processes; each writes its findings to a file."""

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
from engines.training.distributed import ProcessGroup, RemoteRankError
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


def trainer(folder: Path, group: ProcessGroup, recipe: Recipe = RECIPE) -> Trainer:
    torch.manual_seed(group.rank)  # DistributedDataParallel must start from rank 0's weights
    return Trainer(recipe, HRNet(MICRO), samples(), folder, group)


def quiet(step: int, terms: dict[str, float]) -> None:
    assert np.isfinite(terms["total"])


def is_in_sync(one: Trainer) -> bool:
    """Whether both ranks hold the same parameters and optimiser state."""
    state = one.optimiser.state_dict()["state"]
    own = [*one.model.parameters(), *(value for values in state.values() for value in values.values())]
    flat = torch.cat([value.detach().reshape(-1).double() for value in own])
    both = [torch.empty_like(flat) for _ in range(2)]
    distributed.all_gather(both, flat)
    return torch.equal(both[0], both[1])


def interrupt_one_rank(folder: Path, group: ProcessGroup) -> int | None:
    """The step after which both ranks stop when only rank 1 receives Ctrl-C, during the second step."""

    def report(step: int, _: dict[str, float]) -> None:
        if step == 1 and group.rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    one = trainer(folder, group)
    try:
        one.run(report)
    except KeyboardInterrupt:
        return one.saved_step
    return None


def diverge(folder: Path, group: ProcessGroup) -> str:
    """The error that each rank raises for a loss that is not finite."""
    wild = msgspec.structs.replace(RECIPE, optimisation=Optimisation(rate=1e30))
    try:
        trainer(folder, group, wild).run(lambda *_: None)
    except (EngineError, RemoteRankError) as error:
        return type(error).__name__
    return "none"


def fail_on_one_rank(group: ProcessGroup) -> str:
    """The error that each rank raises when only rank 1 fails before training."""
    try:
        with group.fail_together():
            if group.rank == 1:
                raise EngineError("no file for 1")
    except (EngineError, RemoteRankError) as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def exit_on_one_rank(folder: Path, group: ProcessGroup) -> str:
    """The error of rank 0 when rank 1 exits during training."""

    def report(step: int, _: dict[str, float]) -> None:
        if group.rank == 1:
            sys.exit("rank 1 exits")

    try:
        trainer(folder, group).run(report)
    except EngineError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def same(one: Trainer, other: Trainer) -> bool:
    theirs = other.model.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.model.state_dict().items())


def main(folder: Path) -> None:
    group = ProcessGroup.from_environment()
    whole = trainer(folder / "whole", group)
    whole.run(quiet)
    findings: dict[str, Any] = {
        "in sync": is_in_sync(whole),
        "stopped after": interrupt_one_rank(folder / "parts", group),
    }
    distributed.barrier()
    later = trainer(folder / "parts", group)
    later.resume()
    later.run(quiet)
    findings["resumed exactly"] = same(whole, later) and is_in_sync(later)
    findings["missing file"] = fail_on_one_rank(group)
    findings["loss not finite"] = diverge(folder / "wild", group)
    findings["wrote"] = (folder / "whole/last/model.safetensors").is_file() and not (folder / "wild").exists()
    written = folder / f"findings{group.rank}.json"
    written.write_text(json.dumps(findings))
    findings["other rank exited"] = exit_on_one_rank(folder / "gone", group)
    written.write_text(json.dumps(findings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
