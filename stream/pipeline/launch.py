"""Launch strings and YAML: parsers of the two text formats of a :class:`~stream.pipeline.pipeline.Pipeline`.

A launch string is as in GStreamer: elements joined by ``!``, properties as ``name=value``, quotes as in a shell. Lines
are separated by ``;`` or by line breaks; a line may begin with ``from NAME``, the name of another line's queue or tee.
A line break after or before ``!`` does not end the line.

>>> parse_launch('queue name=people max_items=2 ! fakesink').to_yaml()
'line:\\n  - queue: {name: people, max_items: 2}\\n  - fakesink\\n'
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from engines.formats.files import FormatError, decode_text, read_bytes
from engines.formats.yaml import MAX_YAML_BYTES, compose_yaml
from engines.redaction import mask_credentials
from stream.element import Element
from stream.errors import LaunchError, PosestreamError
from stream.pipeline.lexer import Word, split_words
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.wiring import Line
from stream.registry import advise, element_class, make, property_names


def parse_launch(text: str, *, in_flight: int | None = None) -> Pipeline:
    """Parse a launch string into a pipeline.

    Raises :class:`LaunchError` or :class:`PropertyError` that begins with the place ("column 9"; "line 2, column 9").
    """
    mask_credentials(text)
    lines = parse_lines(text)
    if not lines:
        raise LaunchError("the launch string is empty; write something like 'testsrc ! detect ! fakesink'")
    return Pipeline(*lines, in_flight=in_flight)


def parse_lines(text: str) -> list[Line]:
    """Parse a launch string into lines, which need not begin with a source."""
    return [_line(chain) for chain in _chains(text)]


def _chains(text: str) -> Iterator[list[list[Word]]]:
    """For each line, the words between its ``!``. Raises :class:`LaunchError` where there are none."""
    chain: list[list[Word]] = [[]]
    last: Word | None = None
    for word in split_words(text):
        if word.kind == "word":
            chain[-1].append(word)
        elif word.kind == "link":
            _check_not_empty(chain[-1], word, "before")
            chain.append([])
        elif chain != [[]]:
            _check_not_empty(chain[-1], last, "after")
            yield chain
            chain = [[]]
        last = word


def _check_not_empty(clause: list[Word], link: Word | None, side: str) -> None:
    if not clause and link is not None:
        raise LaunchError(f"{link.place}: no element {side} this '!'")


def _line(chain: list[list[Word]]) -> Line:
    start, *rest = chain
    if start[0].text == "from":
        return Line(*map(_element, rest), from_queue=_start(start))
    return Line(*map(_element, chain))


def _start(clause: list[Word]) -> str:
    if len(clause) != 2 or "=" in clause[1].text:
        raise LaunchError(f"{clause[0].place}: write 'from NAME !', with the name of one queue")
    return clause[1].text


def _element(clause: list[Word]) -> Element:
    name, *rest = clause
    if name.text == "from":
        raise LaunchError(f"{name.place}: 'from' can only begin a line; separate lines with ';'")
    if "=" in name.text:
        raise LaunchError(f"{name.place}: {name.text!r} is a property, but there is no element before it")
    properties = dict[str, Any]()
    for word in rest:
        key, value = _property(name.text, word)
        if key in properties:
            raise LaunchError(f"{word.place}: {name.text} has {key}= twice")
        properties[key] = value
    return _make_at(name.place, name.text, properties)


def _property(element: str, word: Word) -> tuple[str, str]:
    key, equals, value = word.text.partition("=")
    if not equals:
        raise LaunchError(
            f"{word.place}: {word.text!r} is not a property of {element}; write name=value, or '!' before an element"
        )
    if not key or (not value and not word.quoted):
        raise LaunchError(f"{word.place}: {word.text!r} is incomplete; write name=value without spaces around '='")
    return key, value


def _make_at(place: str, name: str, properties: dict[str, Any]) -> Element:
    """Make an element; errors begin with the place."""
    try:
        return make(name, **properties)
    except PosestreamError as error:
        raise type(error)(f"{place}: {error}") from error


# -- YAML -------------------------------------------------------------------------------------------------------------

_COUNTS = {"in_flight": "frames", "sources_per_process": "sources"}
"""What each of the options of a pipeline is a number of."""

_KEYS = ("line", "lines", *_COUNTS)
_CLUSTER = "cluster"
"""What the line's copies ask of a cluster of hosts, in the same file; it concerns 'posestream deploy' alone."""


def load_yaml(path: str | Path) -> Pipeline:
    """Load a pipeline from a YAML file. Raises :class:`LaunchError`, which begins with the file and the line."""
    try:
        text = decode_text(read_bytes(Path(path), MAX_YAML_BYTES))
    except FormatError as error:
        raise LaunchError(error.within(str(path))) from error
    return parse_yaml(text, place=str(path))


def parse_yaml(text: str, *, place: str = "YAML") -> Pipeline:
    """Parse YAML into a pipeline: a list under ``line:``, or lists under ``lines:``.

    ``in_flight:`` and ``sources_per_process:`` may stand beside it. Each entry is an element's name, or a name with
    properties; plain values are read as in a launch string.
    """
    document = _mapping(_composed(text, place), place, "a pipeline is a mapping with 'line:' or 'lines:'")
    for key, (node, _) in document.items():
        if key not in (*_KEYS, _CLUSTER):
            raise LaunchError(f"{_at(place, node)}: no key {key!r} here{advise(key, _KEYS, _ONE_OF)}")
    if ("line" in document) == ("lines" in document):
        raise LaunchError(f"{place}: {_ONE_OF}")
    chains = [document["line"][1]] if "line" in document else _sequence(document["lines"][1], place, "'lines:'")
    lines = [_yaml_line(chain, place) for chain in chains]
    return Pipeline(*lines, **{key: _count(document[key][1], place, key) for key in _COUNTS if key in document})


_ONE_OF = (
    "give one of 'line:' (a list of elements) and 'lines:' (a list of such lists), and optionally 'in_flight:' and "
    "'sources_per_process:'"
)


def _composed(text: str, place: str) -> yaml.Node | None:
    try:
        return compose_yaml(text)
    except FormatError as error:
        raise LaunchError(error.within(place)) from None  # it may quote a password


def _yaml_line(node: yaml.Node, place: str) -> Line:
    entries = [_entry(item, place) for item in _sequence(node, place, "a line")]
    start = ""
    if entries and entries[0][1] == "from":
        start = _queue_name(*entries.pop(0), place)
    return Line(*(_yaml_element(*entry, place) for entry in entries), from_queue=start)


def _entry(node: yaml.Node, place: str) -> tuple[yaml.Node, str, yaml.Node | None]:
    """An entry of a line: where it is, its name, and what follows the colon."""
    if isinstance(node, yaml.ScalarNode):
        return node, str(node.value), None
    pairs = list(_mapping(node, place, _AN_ENTRY).items())
    if not pairs:
        raise LaunchError(f"{_at(place, node)}: {_AN_ENTRY}")
    if len(pairs) > 1:
        names = ", ".join(name for name, _ in pairs)
        raise LaunchError(
            f"{_at(place, node)}: one element for each '-', not {len(pairs)} ({names}); indent properties"
        )
    name, (key, value) = pairs[0]
    return key, name, value


_AN_ENTRY = "an entry is a name, or a name and its properties: 'detect: {min_score: 0.4}'"


def _yaml_element(node: yaml.Node, name: str, value: yaml.Node | None, place: str) -> Element:
    if name == "from":
        raise LaunchError(f"{_at(place, node)}: 'from' can only begin a line; give it a list of its own under 'lines:'")
    if len(name.split()) > 1:
        raise LaunchError(f"{_at(place, node)}: {name!r} is not the name of an element; {_AN_ENTRY}")
    given: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    if isinstance(value, yaml.MappingNode):
        given = _mapping(value, place, "")
    elif value is not None and not _is_null(value):
        raise LaunchError(_describe_value(_at(place, node), name))
    return _make_at(_at(place, node), name, {key: _value(item, place) for key, (_, item) in given.items()})


def _describe_value(place: str, name: str) -> str:
    """The error of an element that is followed by a value instead of a mapping, or is none."""
    try:
        first = next(iter(property_names(element_class(name))), "property")
    except PosestreamError as error:
        return f"{place}: {error}"
    return f"{place}: the properties of {name} are a mapping: '{name}: {{{first}: …}}'"


def _value(node: yaml.Node, place: str) -> object:
    """Plain scalars stay text, as in a launch string; the element's types decide what they mean."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, place) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {key: _value(item, place) for key, (_, item) in _mapping(node, place, "").items()}
    return None if _is_null(node) else node.value


def _mapping(node: yaml.Node | None, place: str, expected: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Keys to (key node, value node)."""
    if not isinstance(node, yaml.MappingNode):
        raise LaunchError(f"{_at(place, node) if node else place}: {expected}")
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise LaunchError(f"{_at(place, key)}: a key is a word, not a list or a mapping")
    return {str(key.value): (key, value) for key, value in node.value}


def _sequence(node: yaml.Node, place: str, what: str) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise LaunchError(f"{_at(place, node)}: {what} is a list with at least one entry, each after a '-'")
    return list(node.value)


def _queue_name(key: yaml.Node, _from: str, node: yaml.Node | None, place: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value:
        raise LaunchError(f"{_at(place, key)}: 'from:' needs the name of one queue, as in 'from: people'")
    return str(node.value)


def _count(node: yaml.Node, place: str, key: str) -> int:
    text = str(node.value) if isinstance(node, yaml.ScalarNode) else "…"
    if not text.isdecimal() or int(text) < 1:
        raise LaunchError(f"{_at(place, node)}: {key}={text} is not a number of {_COUNTS[key]}; give at least 1")
    return int(text)


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _at(place: str, node: yaml.Node) -> str:
    return f"{place} line {node.start_mark.line + 1}"
