"""``posestream inspect``: the elements there are, and the page of each."""

from __future__ import annotations

import json
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
    """List the elements; or say everything about one: what it takes and gives, its properties, an example.

    Examples:

        posestream inspect

        posestream inspect detect

        posestream inspect detect --json-schema
    """
    if json_schema:
        return print(json.dumps(_schema(element), indent=2))
    return print(_page(element) if element else catalogue())


def _schema(element: str) -> dict[str, object]:
    from stream.pipeline.inspection import json_schema

    if not element:
        raise LaunchError("--json-schema needs an element, as in 'posestream inspect detect --json-schema'")
    return json_schema(element)


def _page(element: str) -> str:
    from stream.pipeline.inspection import inspect_element

    return inspect_element(element).text()


def catalogue() -> str:
    """Every element that ships, by kind, with what it does in a line."""
    pages = all_pages()
    width = max(len(page.name) for page in pages)
    blocks = (
        "\n".join(
            [f"{title}:", *(f"  {page.name:<{width}}  {plain(page.summary)}" for page in pages if page.kind == kind)]
        )
        for kind, title in KINDS.items()
    )
    return "\n\n".join(blocks) + "\n\n'posestream inspect ELEMENT' says everything about one."


def plain(text: str) -> str:
    """Without the marks of code, which a terminal does not show.

    >>> plain("counts in ``count``")
    'counts in count'
    """
    return text.replace("``", "")


def all_pages() -> list[ElementPage]:
    """The pages of all elements that ship, by name."""
    from stream.pipeline.inspection import inspect_element
    from stream.registry import element_names

    return [inspect_element(name) for name in element_names()]
