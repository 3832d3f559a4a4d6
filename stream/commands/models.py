"""``posestream models``: the networks this machine has, or knows where to get."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from engines.catalogue import Kind


def models() -> None:
    """List the networks known by name, whether each is on this machine, and under which licence.

    'pose model=NAME' and 'detect model=NAME' use them; both also take the path of any .onnx.

        posestream models
    """
    from rich.console import Console

    Console(highlight=False).print(_table())


def _table() -> Table:
    from rich.table import Table

    from engines import catalogue

    table = Table("name", "for", "here", "licence", "what it is", box=None, pad_edge=False)
    table.add_row(catalogue.EMBEDDED, "pose", "yes", "Apache-2.0", "the network that ships; for testsrc's people")
    kinds: tuple[Kind, ...] = ("pose", "detector")
    for kind in kinds:
        for name in catalogue.names(kind):
            table.add_row(*_row(name, kind))
    return table


def _row(name: str, kind: Kind) -> tuple[str, ...]:
    from engines import catalogue

    model = catalogue.find(name, kind)
    here = "yes" if model.path.is_file() else f"no: posestream pull {name}"
    licence, title = (model.entry.licence, model.entry.title) if model.entry else ("", "")
    return name, "pose" if kind == "pose" else "detect", here, licence, title
