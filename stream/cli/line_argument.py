"""Turns what you typed into a pipeline: a launch string, a YAML file, or the name of a line that ships.

A line's properties can be overridden: ``location=clip.mp4``, or ``jsonsink.location=poses.jsonl`` where several
elements have the property.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stream.capture.regular_file import describe_kind
from stream.errors import LaunchError

if TYPE_CHECKING:
    from stream.element import Element
    from stream.pipeline.pipeline import Pipeline

_YAML = (".yaml", ".yml")


def read_line(words: Sequence[str]) -> Pipeline:
    """The line that ``words`` spell: one YAML file, or a launch string, quoted or not."""
    text = " ".join(words)
    return load_line(text) if text.endswith(_YAML) and "!" not in text else parse_line(text)


def parse_line(text: str) -> Pipeline:
    """The line of a launch string. Raises :class:`LaunchError`, also for what ``posestream run`` takes instead."""
    from stream.pipeline.launch import parse_launch

    if text in shipped_lines() or (text.endswith(_YAML) and Path(text).is_file()):
        raise LaunchError(f"{text!r} is a whole line, not an element; type 'posestream run {shlex.quote(text)}'")
    return parse_launch(text)


def load_line(name: str, overrides: Sequence[str] = ()) -> Pipeline:
    """The line in a YAML file, or the one that ships under ``name``, with ``[ELEMENT.]PROPERTY=VALUE`` overridden."""
    from stream.pipeline.launch import load_yaml

    pipeline = load_yaml(find_line(name))
    return override(pipeline, overrides) if overrides else pipeline


def find_line(name: str) -> Path:
    """The YAML file at the path ``name``, or the one that ships under it. Raises :class:`LaunchError`."""
    given = Path(name)
    shipped = _folder() / f"{given.stem}.yaml"
    if given.is_file():
        return given
    if given.exists():
        kind = "a folder" if given.is_dir() else describe_kind(given)
        raise LaunchError(f"'{given}' is {kind}, not a file; save the line in a YAML file, and give its path")
    if len(given.parts) > 1:
        raise LaunchError(f"no file '{given}'; give the path of a YAML file that holds 'line:'")
    if shipped.exists() and given.suffix in ("", *_YAML):
        return shipped
    from stream.registry import advise

    names = shipped_lines()
    raise LaunchError(
        f"no file {name!r}, and no line of that name ships"
        + advise(given.stem, names, f"there are: {', '.join(names)}")
    )


def shipped_lines() -> tuple[str, ...]:
    """The names of the lines that ship."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def _folder() -> Path:
    import configs

    return configs.folder() / "pipelines"


# -- overrides --------------------------------------------------------------------------------------------------------


def override(pipeline: Pipeline, overrides: Iterable[str]) -> Pipeline:
    """The same line with other values of some properties, each written as ``[ELEMENT.]PROPERTY=VALUE``.

    A property without an element is that of the source, else of the only element that has it. Raises
    :class:`LaunchError` for an element or a property that the line lacks, or that is not the only one of its name.
    """
    from stream.registry import change

    elements = [element for line in pipeline.lines for element in line.elements]
    changes: dict[int, dict[str, str]] = {}
    for text in overrides:
        element, key, value = _find_property(text, elements)
        changes.setdefault(id(element), {})[key] = value
    return pipeline.with_elements(
        lambda element: change(element, **changes[id(element)]) if id(element) in changes else element
    )


def _find_property(text: str, elements: Sequence[Element]) -> tuple[Element, str, str]:
    """The element, the property and the value that an override names."""
    target, equals, value = text.partition("=")
    if not equals or not target:
        raise LaunchError(f"{text!r} overrides nothing; write PROPERTY=VALUE or ELEMENT.PROPERTY=VALUE")
    owner, _, key = target.rpartition(".")
    named = _elements_called(owner, elements) if owner else list(elements)
    return _only_owner(text, key, named), key, value


def _elements_called(name: str, elements: Sequence[Element]) -> list[Element]:
    from stream.registry import advise, label

    found = [element for element in elements if label(element) == name]
    if not found:
        labels = list(dict.fromkeys(map(label, elements)))
        raise LaunchError(f"this line has no element {name!r}" + advise(name, labels, f"it has: {', '.join(labels)}"))
    return found


def _only_owner(text: str, key: str, elements: Sequence[Element]) -> Element:
    from stream.element import Source
    from stream.registry import element_name, label, property_names, suggest

    owners = [element for element in elements if key in property_names(type(element))]
    sources = [element for element in owners if isinstance(element, Source)]
    if len(owners) == 1 or len(sources) == 1:
        return (sources or owners)[0]
    if owners:
        labels = list(dict.fromkeys(map(label, owners)))
        if len(labels) == 1:
            raise LaunchError(
                f"{text}: {len(owners)} elements of this line are called {labels[0]!r}; "
                "print the line with --print and edit that"
            )
        raise LaunchError(f"{text}: several elements have {key}; write {' or '.join(f'{x}.{key}=' for x in labels)}")
    known = [name for element in elements for name in property_names(type(element))]
    where = element_name(elements[0]) if len(elements) == 1 else "no element of this line"
    verb = "has no property" if len(elements) == 1 else "has a property"
    remedy = suggest(key, known) or "; see 'posestream inspect ELEMENT'"
    raise LaunchError(f"{text}: {where} {verb} {key!r}{remedy}")
