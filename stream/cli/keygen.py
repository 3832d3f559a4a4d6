"""``posestream keygen``: makes the keys that publishing beyond this host requires."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def keygen(
    folder: Annotated[Path, typer.Argument(help="Folder to write them to; created if missing.")] = Path("keys"),
    line: Annotated[
        Path | None, typer.Option("--line", help="Write this file instead: a key that all parts of one line share.")
    ] = None,
) -> None:
    """Make CURVE keys: for a publisher and its subscribers, or for a line whose parts run on several hosts.

    The publisher keeps server.key_secret. A subscriber needs server.key and client.key_secret. A line's key is needed
    on each of its hosts, where POSESTREAM_CURVE holds its path.

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
