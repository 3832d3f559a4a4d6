"""Print ``docs/reference/elements.md``, the ``posestream inspect`` page of every element; ``make pages`` writes it."""

from __future__ import annotations

from collections.abc import Iterator

from stream.cli.inspect import KINDS, all_pages

HEAD = """# Elements

What `posestream inspect ELEMENT` prints, for every element that ships. `make pages` writes this page; a test holds it
to what the elements say of themselves.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield HEAD
    pages = all_pages()
    for kind, title in KINDS.items():
        yield f"## {title}\n"
        for element in (element for element in pages if element.kind == kind):
            yield f"### {element.name}\n\n```text\n{element.text().strip()}\n```\n"


if __name__ == "__main__":
    print(page(), end="")
