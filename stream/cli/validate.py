"""``posestream validate``: checks a line and shows its links, their caps and its look-ahead."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.completion import complete_launch_words


def validate(
    line: Annotated[
        list[str],
        typer.Argument(
            help="A launch string, or a YAML file.", show_default=False, autocompletion=complete_launch_words
        ),
    ],
) -> None:
    """Check a line without running it: parts, links and their caps, look-ahead in milliseconds.

    Opens no camera, no file and no network, but says which networks are missing or will be fetched; needs no GPU
    and no torch.

    Examples:

        posestream validate 'testsrc ! detect model=truth ! track ! queue ! window ! pose ! fakesink'

        posestream validate demo.yaml
    """
    from engines.hub.fetching import announce
    from engines.redaction import redact
    from stream.cli.line_argument import read_line
    from stream.pipeline.describe import describe

    pipeline = read_line(line)
    print(redact(describe(pipeline)), flush=True)
    pipeline.check()
    for text in announce(pipeline.networks):
        print(text)
