"""``posestream train``: from a recipe to weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from engines.errors import EngineError, install_hint

_REQUIRED = ("torch", "safetensors")


def _check_installed() -> None:
    missing = [name for name in _REQUIRED if find_spec(name) is None]
    if missing:
        raise EngineError(f"posestream train needs {', '.join(missing)}; {install_hint('torch')}")


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe: a YAML file as in configs/training.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The folder of the training, 'runs/NAME' by default; resumes if it exists."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Overrides the recipe.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Overrides the recipe.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The folder of the data set; overrides the recipe.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that render people, threads that read pictures.")
    ] = 2,
    tensorboard: Annotated[
        bool | None,
        typer.Option(
            "--tensorboard/--no-tensorboard",
            help="Curves and previews for 'tensorboard --logdir runs'.",
            show_default="if it is installed",
        ),
    ] = None,
) -> None:
    """Train a network by a recipe. Run the same command again to resume an interrupted training.

    On several GPUs: torchrun --nproc-per-node 4 -m stream train RECIPE.

    Examples:

        posestream train configs/training/hrnet-small-synthetic.yaml

        posestream train configs/training/fami-small-synthetic.yaml --out runs/second --seed 1

        posestream train configs/training/inspose-small-synthetic.yaml

        posestream train configs/training/fami-posetrack17.yaml --data ~/posetrack17 --workers 8
    """
    _check_installed()
    from engines.training.distributed import RemoteRankError
    from engines.training.session import prepare

    folder = out or Path("runs") / recipe.stem
    try:
        prepare(recipe, folder, epochs=epochs, seed=seed, data=data, workers=workers, tensorboard=tensorboard).run()
    except RemoteRankError:
        # Exit code 0: for another one torchrun might end the process that reports the error before it does.
        raise typer.Exit(0) from None
