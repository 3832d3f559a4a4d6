"""YAML from outside: every bad document is one error with its line, soon and in little memory."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engines.formats.files import FormatError
from engines.formats.yaml import MAX_YAML_VALUES, compose_yaml, decode_yaml


def _bomb(levels: int, *, fan: int) -> str:
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * fan)}]" for i in range(1, levels))]
    return "\n".join(lines)


BAD: dict[str, tuple[str, str]] = {
    "aliases that multiply": (_bomb(30, fan=10), "line 5, column 5: it has more than 10,000 values, aliases in full"),
    "aliases that nest": (_bomb(100, fan=1), "line 32, column 6: it is nested more than 32 levels deep"),
    "merges that multiply": (
        "a0: &a0 {x: 1}\n" + "\n".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 9)),
        "it has more than 10,000 values",
    ),
    "an alias of itself": ("a: &a [*a]", "line 1, column 4: it contains itself, by an alias"),
    "an alias of nothing": ("a: *b", "line 1, column 4: found undefined alias 'b'"),
    "deep brackets": ("[" * 100_000, "line 1, column 33: it is nested more than 32 levels deep"),
    "deep blocks": ("\n".join(" " * i + "-" for i in range(100)), "line 33, column 33: it is nested"),
    "many values": ("- a\n" * 60_000, "line 10000, column 3: it has more than 10,000 values"),
    "a long text": ("#" * 300_000, "it has more than 256 KiB"),
    "a long number": ("a: " + "1" * 5000, "line 1, column 4: a number of 5,000 digits"),
    "a long number of base 60": ("a: " + "1:" * 5000 + "1", "line 1, column 4: a number of 10,001 digits"),
    "NaN": ("a:\n- .nan", "line 2, column 3: '.nan' is not a finite number"),
    "a number that overflows": ("a: 1.0e+999", "line 1, column 4: '1.0e+999' is not a finite number"),
    "a date of month 13": ("a: 2026-13-01", "line 1, column 4: month must be in 1..12"),
    "a key given twice": ("a: 1\nb: {x: 1,\n  x: 2}", "line 3, column 3: 'x' is given twice, first in line 2"),
    "a key that is a list": ("? [1]\n: 2", "line 1, column 3: while constructing a mapping found unhashable key"),
    "a tab": ("a:\n\t- b", "line 2, column 1: while scanning for the next token found character '\\t'"),
    "a control character": ("a: b\nc: \0", "line 2, column 4: the character '\\x00' is not allowed in YAML"),
    "a tag of Python": ("!!python/object/apply:os.system [ls]", "line 1, column 1: could not determine a constructor"),
    "two documents": ("a: 1\n---\nb: 2", "line 2, column 1: expected a single document"),
    "nothing": ("# nothing\n", "it is empty"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_document_is_one_error_with_its_line(text: str, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        decode_yaml(text)
    assert words in caught.value.within("it")
    assert "\n" not in str(caught.value)


def test_what_is_allowed_is_read() -> None:
    assert decode_yaml("base: &base {rate: 1.5}\nmine: {<<: *base, on: yes}") == {
        "base": {"rate": 1.5},
        "mine": {"rate": 1.5, True: True},
    }
    assert len(decode_yaml("- a\n" * (MAX_YAML_VALUES - 1))) == MAX_YAML_VALUES - 1
    assert compose_yaml("") is None


class _Recipe(msgspec.Struct):
    epochs: int
    steps: list[dict[str, float]] = []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs: many", "line 1, column 9: epochs must be an integer, not text"),
        ("epochs: 1\nsteps:\n- a: 1\n- b: x", "line 4, column 3: steps[1][...] must be a number, not text"),
        ("steps: []", "line 1, column 1: it lacks 'epochs'"),
        ("[1]", "line 1, column 1: it must be a mapping, not a list"),
    ],
)
def test_a_value_that_does_not_fit_has_its_line(text: str, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        decode_yaml(text, _Recipe)
    assert words in caught.value.within("it")


def test_a_kind_is_returned_as_it_is_asked_for() -> None:
    found: Any = decode_yaml("epochs: 3", _Recipe)
    assert found == _Recipe(3)
