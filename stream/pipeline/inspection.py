"""The reference page of an element, as ``posestream inspect`` prints it, and its JSON schema."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from engines.url import schema_of_url
from stream.caps import ANY, MEDIA, OR
from stream.element import Element, Sink, Source
from stream.registry import element_class, element_name, schema_struct

_ROLE = re.compile(r":\w+:`~?([^`]+)`")
"""A cross-reference of Sphinx; pages are plain text, which shows its name only."""

_SAMPLES = {"location": "video.mp4", "url": "rtsp://camera/stream"}
"""Example values of properties that have no default, or an empty one."""
_UPSTREAM = ("testsrc", "detect ! track", "window", "pose")
_NUMBERS = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}


@dataclass(frozen=True)
class PropertyPage:
    """One property: its name, type, default (None where it is required), range in words, and description."""

    name: str
    type: str
    default: str | None
    range: str
    description: str


@dataclass(frozen=True)
class ElementPage:
    """The page of an element; ``sink`` and ``src`` are caps, empty where there is no pad."""

    name: str
    kind: str
    summary: str
    details: str
    sink: str
    src: str
    properties: tuple[PropertyPage, ...]
    example: str

    def text(self) -> str:
        """The page as plain text."""
        return "\n".join(_text(self)).replace("``", "")


def inspect_element(name: str) -> ElementPage:
    """The page of the element called ``name``. Raises :class:`LaunchError` where there is none."""
    return inspect_class(element_class(name))


def inspect_class(cls: type[Element]) -> ElementPage:
    """The page of an element class."""
    summary, _, details = _docstring(cls).partition("\n\n")
    return ElementPage(
        name=element_name(cls),
        kind="source" if issubclass(cls, Source) else "sink" if issubclass(cls, Sink) else "transform",
        summary=" ".join(summary.split()),
        details=details.strip(),
        sink=str(cls.sink or ""),
        src=str(cls.src or ""),
        properties=tuple(_properties(cls)),
        example=_example(cls),
    )


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of an element's properties, for editors that check YAML."""
    cls = element_class(name)
    schema = msgspec.json.schema(schema_struct(cls), schema_hook=schema_of_url)
    definitions = schema.pop("$defs")
    own = definitions.pop(cls.__name__)
    head = {"title": name, "description": inspect_class(cls).summary, "additionalProperties": False}
    shared = {"$defs": definitions} if definitions else {}
    return {**own, **head, **shared}


def _docstring(cls: type[Element]) -> str:
    """The class's own docstring, not that of its base and not the signature that a dataclass adds."""
    own = cls.__dict__.get("__doc__") or ""
    return "" if own.startswith(f"{cls.__name__}(") else _ROLE.sub(r"\1", inspect.cleandoc(own)).replace("::\n", ":\n")


def _properties(cls: type[Element]) -> Iterator[PropertyPage]:
    schema = msgspec.json.schema(schema_struct(cls), schema_hook=schema_of_url)["$defs"][cls.__name__]
    for field in msgspec.structs.fields(schema_struct(cls)):
        spec = schema["properties"][field.name]
        default = None if field.required else _default(spec.get("default"))
        types = _branches(spec)
        limits = "; ".join(filter(None, map(_range, types)))
        yield PropertyPage(field.name, " or ".join(map(_type, types)), default, limits, _find_description(spec))


def _find_description(spec: dict[str, Any]) -> str:
    """The description, which for an optional type may be at one of its alternatives."""
    return next((branch["description"] for branch in (spec, *_branches(spec)) if "description" in branch), "")


def _branches(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return list(spec.get("anyOf", [spec]))


def _type(branch: dict[str, Any]) -> str:
    if "enum" in branch:
        return "|".join(map(str, branch["enum"]))
    names = {"integer": "int", "number": "float", "string": "text", "boolean": "true|false", "null": "null"}
    if branch.get("type") == "array":
        return f"list of {_type(branch.get('items') or {'type': 'value'})}"
    return names.get(str(branch.get("type")), str(branch.get("type", "value")))


def _range(branch: dict[str, Any]) -> str:
    keys = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
    limits = [_NUMBERS[keys[key]].format(branch[key]) for key in keys if key in branch]
    return ", ".join(limits)


def _default(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return msgspec.json.encode(value).decode() if value is None or isinstance(value, bool) else str(value)


def _example(cls: type[Element]) -> str:
    """The class's own example, or the shortest line around it: what must come before it, and a sink if it needs one."""
    if cls.example:
        return cls.example
    name = element_name(cls)
    needed = [field.name for field in msgspec.structs.fields(schema_struct(cls)) if _needs_value(field)]
    chain = [" ".join([name, *(f"{key}={_SAMPLES.get(key, '…')}" for key in needed)])]
    if cls.sink is not None:
        media = cls.sink.choices[0] if cls.sink.choices[0] in MEDIA else MEDIA[0]
        before = " ! ".join(_UPSTREAM[: MEDIA.index(media) + 1])
        chain = [before.removesuffix(f" ! {name}"), *chain]
    if cls.src is not None:
        chain.append("fakesink")
    return " ! ".join(chain)


def _needs_value(field: msgspec.structs.FieldInfo) -> bool:
    """Whether it has no default, or an empty one that is not useful."""
    return field.required or (field.name in _SAMPLES and field.default == "")


def _text(page: ElementPage) -> Iterator[str]:
    yield f"{page.name} ({page.kind}): {page.summary}"
    if page.details:
        yield from ("", *page.details.splitlines())
    yield ""
    for pad, caps in (("sink", page.sink), ("src", page.src)):
        if caps:
            yield f"{pad}: {'anything' if caps == ANY else caps.replace(OR, ' or ')}"
    for item in page.properties:
        yield from ("", *_property_text(item))
    yield from ("", f"example: posestream launch '{page.example}'")


def _property_text(item: PropertyPage) -> Iterator[str]:
    default = "required" if item.default is None else f"default {item.default or 'empty'}"
    yield f"  {item.name}: {', '.join(filter(None, [item.type, item.range, default]))}"
    yield f"      {item.description}"
