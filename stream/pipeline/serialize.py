"""Pipelines written as launch strings and as YAML, without properties that have their default.

Credentials are redacted, unless ``reveal`` asks for them, as the YAML for the process of a part does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from engines.redaction import redact
from engines.url import Url
from stream.element import Element
from stream.errors import LaunchError
from stream.pipeline.wiring import Line
from stream.registry import element_class, element_name, get_properties

_BARE = re.compile(r"[^\s!;'\"\\]+")


def to_launch_string(lines: Sequence[Line]) -> str:
    """``testsrc camera=hall ! queue ! fakesink``; several lines are joined by ``;``."""
    return " ; ".join(_launch_line(line) for line in lines)


def to_yaml(lines: Sequence[Line], options: Mapping[str, int], *, reveal: bool = False) -> str:
    """The YAML of a pipeline: its ``options``, then ``line:`` or, for more than one line, ``lines:``."""
    document: dict[str, Any] = dict(options)
    entries = [_yaml_line(line, reveal=reveal) for line in lines]
    document |= {"line": entries[0]} if len(entries) == 1 else {"lines": entries}
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def are_equal(ones: Sequence[Line], others: Sequence[Line]) -> bool:
    """Whether both have the same elements with equal properties in the same order."""
    return _facts(ones) == _facts(others)


def _facts(lines: Sequence[Line]) -> list[Any]:
    return [
        (line.from_queue, [(type(item), get_properties(item, defaults=True)) for item in line.elements])
        for line in lines
    ]


def _name(element: Element) -> str:
    name = element_name(element)
    if element_class(name) is not type(element):
        raise LaunchError(
            f"{type(element).__name__} cannot be written by name: {name} is {element_class(name).__name__}"
        )
    return name


def _plain(element: Element, *, reveal: bool = False) -> dict[str, Any]:
    write = _reveal if reveal else str
    values = {name: msgspec.to_builtins(value, enc_hook=write) for name, value in get_properties(element).items()}
    return values if reveal else {name: _redact(value) for name, value in values.items()}


def _reveal(value: Any) -> str:
    return value.reveal(expand=False) if isinstance(value, Url) else str(value)


def _redact(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_redact(part) for part in value]
    return redact(value) if isinstance(value, str) else value


def _launch_line(line: Line) -> str:
    begin = [f"from {line.from_queue}"] if line.from_queue else []
    return " ! ".join(begin + [_launch_element(element) for element in line.elements])


def _launch_element(element: Element) -> str:
    return " ".join([_name(element), *(f"{name}={_launch_value(value)}" for name, value in _plain(element).items())])


def _launch_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return _quoted(",".join(_text(part) for part in value))
    return _quoted(_text(value))


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


class _Properties(dict[str, Any]):
    """Properties, written on one line in braces."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002  # PyYAML's name
        """Indent lists below their key, which PyYAML does not."""
        super().increase_indent(flow, False)


_Dumper.add_representer(
    _Properties, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)
)


def _yaml_line(line: Line, *, reveal: bool) -> list[Any]:
    begin: list[Any] = [{"from": line.from_queue}] if line.from_queue else []
    return begin + [_yaml_element(element, reveal=reveal) for element in line.elements]


def _yaml_element(element: Element, *, reveal: bool) -> Any:
    properties = _plain(element, reveal=reveal)
    return {_name(element): _Properties(properties)} if properties else _name(element)
