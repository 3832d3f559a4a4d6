"""``posestream inspect``: the list of elements, and the page of each."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.completion import complete_elements
from stream.errors import LaunchError

if TYPE_CHECKING:
    from stream.pipeline.inspection import ElementPage

KINDS = {"source": "Sources", "transform": "Transforms", "sink": "Sinks"}


def inspect(
    element: Annotated[
        str, typer.Argument(help="An element; without it, all are listed.", autocompletion=complete_elements)
    ] = "",
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON Schema of its properties, for editors.")
    ] = False,
) -> None:
    """List the elements, or describe one: its pads, its properties, an example.

    Examples:

        posestream inspect

        posestream inspect detect

        posestream inspect detect --json-schema
    """
    if json_schema:
        return print(json.dumps(_schema(element), indent=2))
    columns = shutil.get_terminal_size((10_000, 0)).columns
    return print(fit(_page(element), columns) if element else list_elements(columns))


def _schema(element: str) -> dict[str, object]:
    from stream.pipeline.inspection import json_schema

    if not element:
        raise LaunchError("--json-schema needs an element, as in 'posestream inspect detect --json-schema'")
    return json_schema(element)


def _page(element: str) -> str:
    from stream.pipeline.inspection import inspect_element

    return inspect_element(element).text()


def list_elements(columns: int = 10_000) -> str:
    """Every element that ships, by kind, with its summary, in lines of at most ``columns``."""
    pages = all_pages()
    indent = max(len(page.name) for page in pages) + 4
    blocks = []
    for kind, title in KINDS.items():
        rows = [
            textwrap.fill(
                strip_code_marks(page.summary),
                columns,
                initial_indent=f"  {page.name}".ljust(indent),
                subsequent_indent=" " * indent,
            )
            for page in pages
            if page.kind == kind
        ]
        blocks.append("\n".join([f"{title}:", *rows]))
    return "\n\n".join(blocks) + "\n\n'posestream inspect ELEMENT' describes one."


def fit(text: str, width: int) -> str:
    """``text`` with no line wider than ``width``: paragraphs are wrapped again, keeping how far they are indented.

    >>> print(fit("a long line that goes on\\n  and an indented one", 12))
    a long line
    that goes on
      and an
      indented
      one
    """
    if all(len(line) <= width for line in text.splitlines()):
        return text
    paragraphs: list[str] = []
    previous = ""
    for line in text.splitlines():
        if len(previous) > _PROSE and _indent(line) == _indent(previous) and line.strip():
            paragraphs[-1] += " " + line.strip()
        else:
            paragraphs.append(line)
        previous = line
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=_indent(line), break_long_words=False, break_on_hyphens=False)
        for line in paragraphs
    )


_PROSE = 80
"""A line that is longer, and followed by one that is indented as far, is part of a wrapped paragraph."""


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def strip_code_marks(text: str) -> str:
    """``text`` without the marks of code, which a terminal does not render.

    >>> strip_code_marks("counts in ``count``")
    'counts in count'
    """
    return text.replace("``", "")


def all_pages() -> list[ElementPage]:
    """The pages of all elements that ship, by name."""
    from stream.pipeline.inspection import inspect_element
    from stream.registry import element_names

    return [inspect_element(name) for name in element_names()]
