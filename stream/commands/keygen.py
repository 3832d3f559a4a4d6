"""``posestream keygen``: keys for publishing to other hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def keygen(
    folder: Annotated[Path, typer.Argument(help="Where to write them; made if it is not there.")] = Path("keys"),
) -> None:
    """Make CURVE keys, without which nothing leaves this host: one pair for the publisher, one for its subscribers.

    The publisher keeps server.key_secret. A subscriber gets server.key, and client.key_secret.

    Example:

        posestream keygen keys
    """
    from stream.transports.certificates import generate_keys

    for secret in generate_keys(folder):
        print(f"{secret}  (keep it secret)\n{secret.with_suffix('.key')}")
