"""``posestream pull``: downloads networks of the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.completion import complete_models


def pull(
    name: Annotated[
        str,
        typer.Argument(
            help="A name that 'posestream models' lists, or 'people'.",
            show_default=False,
            autocompletion=complete_models,
        ),
    ],
    again: Annotated[bool, typer.Option("--again", help="Download it even if it is here.")] = False,
) -> None:
    """Download a network into your cache; 'people' is the pair that runs on real people if none is named.

    That pair, and all networks whose bytes are known, are also downloaded when a line needs them first, unless you
    say --offline or set POSESTREAM_OFFLINE=1. An interrupted download resumes.

    Examples:

        posestream pull people

        posestream pull rtmpose-s
    """
    from engines.hub import catalogue
    from engines.hub.fetching import pull_and_show
    from stream.logs import is_quiet

    for each in catalogue.SETS.get(name, (name,)):
        print(f"{each}: {pull_and_show(each, quiet=is_quiet(), again=again)}", flush=True)
