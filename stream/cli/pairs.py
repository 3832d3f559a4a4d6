"""Arguments that are a name and a value, as in ``fps=25``."""

from __future__ import annotations

from collections.abc import Iterable

import typer


def split_pairs(texts: Iterable[str], form: str, hint: str) -> dict[str, str]:
    """The value of each name; ``form``, as NAME=VALUE, and ``hint``, the argument, are for the error.

    >>> split_pairs(["url=rtsp://camera/?a=b", "latency="], "NAME=VALUE", "'--option'")
    {'url': 'rtsp://camera/?a=b', 'latency': ''}
    """
    pairs = [text.partition("=") for text in texts]
    for name, mark, value in pairs:
        if not (name and mark):
            raise typer.BadParameter(f"{name + mark + value!r} is not {form}", param_hint=hint)
    return {name: value for name, _, value in pairs}
