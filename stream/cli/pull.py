"""``posestream pull``: downloads a network of the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.completion import complete_models


def pull(
    name: Annotated[
        str,
        typer.Argument(
            help="A name that 'posestream models' lists.", show_default=False, autocompletion=complete_models
        ),
    ],
) -> None:
    """Download the weights of a network into your cache; no other command downloads anything.

    Example:

        posestream pull yolox-nano
    """
    from engines.hub.download import pull as fetch

    print(f"{name}: {fetch(name)}")
