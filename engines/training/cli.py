"""``posestream train``: a recipe in, weights out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engines.errors import EngineError

if TYPE_CHECKING:
    from engines.training.session import Session


_NEEDED = ("torch", "safetensors")


def _check_installed() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise EngineError(f"posestream train needs {', '.join(missing)}: pip install 'posestream[torch]'")


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe: a YAML file as in configs/training.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Where it is kept; 'runs/NAME' when left out. What is there goes on.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="As many instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the recipe's.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Where the data set lies, instead of where the recipe says.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that draw people, threads that read.")
    ] = 2,
    tensorboard: Annotated[
        bool | None,
        typer.Option(
            "--tensorboard/--no-tensorboard",
            help="Curves, and pictures of what it finds, for 'tensorboard --logdir runs'.",
            show_default="where it is installed",
        ),
    ] = None,
) -> None:
    """Train a network by a recipe; run the same command again and an interrupted training goes on.

    On several GPUs: torchrun --nproc-per-node 4 -m stream train RECIPE.

    Examples:

        posestream train configs/training/hrnet-small-synthetic.yaml

        posestream train configs/training/fami-small-synthetic.yaml --out runs/second --seed 1

        posestream train configs/training/fami-posetrack17.yaml --data ~/posetrack17 --workers 8
    """
    from engines.training.distributed import ToldElsewhereError

    _check_installed()
    from engines.training.session import begin

    folder = out or Path("runs") / recipe.stem
    try:
        session: Session = begin(
            recipe, folder, epochs=epochs, seed=seed, data=data, workers=workers, tensorboard=tensorboard
        )
        session.run()
    except ToldElsewhereError:
        # Were this a fault, torchrun might end the process that tells of it before it does.
        raise typer.Exit(0) from None
