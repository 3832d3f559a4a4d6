"""``posestream keygen``: keys, without which nothing leaves this host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def keygen(
    folder: Annotated[Path, typer.Argument(help="Where to write them; made if it is not there.")] = Path("keys"),
    line: Annotated[
        Path | None, typer.Option("--line", help="Write this file instead: the key that all parts of one line share.")
    ] = None,
) -> None:
    """Make CURVE keys: for a publisher and its subscribers, or for a line whose parts sit on several hosts.

    The publisher keeps server.key_secret. A subscriber gets server.key, and client.key_secret. A line's key goes to
    each of its hosts, where POSESTREAM_CURVE names it.

    Examples:

        posestream keygen keys

        posestream keygen --line hall.key
    """
    if line is not None:
        from stream.transports.curve import make_line_key

        make_line_key(line)
        return print(f"{line}  (keep it secret; on every host: POSESTREAM_CURVE={line})")
    return _for_subscribers(folder)


def _for_subscribers(folder: Path) -> None:
    from stream.transports.curve import generate_keys

    for secret in generate_keys(folder):
        print(f"{secret}  (keep it secret)\n{secret.with_suffix('.key')}")
