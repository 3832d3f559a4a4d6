"""YAML of bounded depth and number of values, aliases counted in full, with the line of every error.

>>> decode_yaml("epochs: 3\\nbatch: &a [*a]")
Traceback (most recent call last):
...
engines.formats.files.FormatError: it contains itself, by an alias
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec
import yaml

from engines.formats.files import FormatError, decode_text, line_of, read_bytes
from engines.formats.mismatch import describe_mismatch
from engines.redaction import mask_credentials
from engines.url import decode_url

T = TypeVar("T")

MAX_YAML_BYTES = 256 * 1024
MAX_YAML_VALUES = 10_000
"""Values in a YAML file, keys included; those of an alias count wherever it stands."""
MAX_DEPTH = 32
MAX_DIGITS = 100
"""Characters of a number."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, whose recursion is bounded, with the line of every error."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth, self._count = self._depth + 1, self._count + 1
        if self._depth > MAX_DEPTH or self._count > MAX_YAML_VALUES:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _too_deep(mark) if self._depth > MAX_DEPTH else _too_many(mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError) as error:  # a date of month 13, a key that is a list
            raise FormatError(" ".join(str(error).split()), *_mark(node.start_mark)) from error
        if isinstance(made, float) and not math.isfinite(made):
            raise FormatError(f"{node.value!r} is not a finite number", *_mark(node.start_mark))
        return made


def read_yaml(path: Path, kind: type[T]) -> T:
    """The content of a YAML file as a ``kind``. Raises :class:`FormatError`, with the line if a value does not fit."""
    return decode_yaml(decode_text(read_bytes(path, MAX_YAML_BYTES)), kind)


@overload
def decode_yaml(text: str) -> Any: ...
@overload
def decode_yaml(text: str, kind: type[T]) -> T: ...
def decode_yaml(text: str, kind: Any = Any) -> Any:
    """What YAML ``text`` holds, as a ``kind``; otherwise as :func:`read_yaml`."""
    root = compose_yaml(text)
    if root is None:
        raise FormatError("it is empty")
    loader = _Loader("")
    try:
        return msgspec.convert(loader.construct_document(root), kind, dec_hook=decode_url)
    except yaml.MarkedYAMLError as error:
        raise _translate(error) from None  # it quotes the text, and so a password
    except msgspec.ValidationError as error:
        raise FormatError(describe_mismatch(error), *_mark(_find(root, str(error)).start_mark)) from None
    finally:
        loader.dispose()


def compose_yaml(text: str) -> yaml.Node | None:
    """The nodes of YAML ``text``, None if it is empty; no key is given twice, and no node contains itself.

    Raises :class:`FormatError`, with the line.
    """
    mask_credentials(text[:MAX_YAML_BYTES])
    if len(text) > MAX_YAML_BYTES:
        raise FormatError(f"it has more than {MAX_YAML_BYTES // 1024} KiB, the most that is read")
    try:
        loader = _Loader(text)
        root: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _translate(error) from None  # it quotes the text, and so a password
    except yaml.reader.ReaderError as error:
        before = text[: error.position].encode()
        why = f"the character {chr(int(error.character))!r} is not allowed in YAML"
        raise FormatError(why, *line_of(before, len(before))) from error
    if root is not None:
        _measure(root, {})
    return root


def _measure(node: yaml.Node, sizes: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Depth and number of values of ``node`` with all aliases in full. An alias follows what it stands for, which has
    been measured then, or contains it."""
    if (known := sizes.get(id(node))) is not None:
        if not known[0]:
            raise FormatError("it contains itself, by an alias", *_mark(node.start_mark))
        return known
    sizes[id(node)] = (0, 0)
    children = _children(node)
    depth, count = 1, 1
    for child in children:
        below, inside = _measure(child, sizes)
        depth, count = max(depth, below + 1), count + inside
    if depth > MAX_DEPTH:
        raise _too_deep(node.start_mark)
    if count > MAX_YAML_VALUES:
        raise _too_many(node.start_mark)
    sizes[id(node)] = depth, count
    return depth, count


def _children(node: yaml.Node) -> list[yaml.Node]:
    """The nodes below ``node``. Raises :class:`FormatError` for a key given twice and for a number without end."""
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        if len(node.value) > MAX_DIGITS and node.tag.endswith((":int", ":float")):
            raise FormatError(f"a number of {len(node.value):,} digits", *_mark(node.start_mark))
        return []
    lines = dict[str, int]()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in lines:
            raise FormatError(f"{key.value!r} is given twice, first in line {lines[key.value]}", *_mark(key.start_mark))
        lines[str(key.value)] = key.start_mark.line + 1
    return [one for pair in node.value for one in pair]


def _too_deep(mark: yaml.Mark) -> FormatError:
    return FormatError(f"it is nested more than {MAX_DEPTH} levels deep", *_mark(mark))


def _too_many(mark: yaml.Mark) -> FormatError:
    return FormatError(f"it has more than {MAX_YAML_VALUES:,} values, aliases in full", *_mark(mark))


def _mark(mark: yaml.Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _translate(error: yaml.MarkedYAMLError) -> FormatError:
    mark = error.problem_mark or error.context_mark
    why = " ".join(filter(None, [error.context, error.problem]))
    return FormatError(" ".join(why.split()), *(_mark(mark) if mark else (0, 0)))


_STEP = re.compile(r"\.(?P<key>[\w-]+)|\[(?P<index>\d+)\]")


def _find(root: yaml.Node, message: str) -> yaml.Node:
    """The node at the path in a message of msgspec (``… - at `$.data.moments[2]```), as far as it leads."""
    node = root
    for step in _STEP.finditer(message.partition(" - at `$")[2]):
        if isinstance(node, yaml.SequenceNode) and step["index"] and int(step["index"]) < len(node.value):
            node = node.value[int(step["index"])]
        elif isinstance(node, yaml.MappingNode) and step["key"]:
            node = next((value for key, value in node.value if key.value == step["key"]), node)
    return node
