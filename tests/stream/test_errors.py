"""Errors are one line, whatever they quote."""

from __future__ import annotations

import inspect
import re

import pytest

from stream import errors
from stream.errors import PosestreamError

KINDS = [item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_can_be_caught_as_ours(kind: type[Exception]) -> None:
    assert issubclass(kind, PosestreamError)
    assert inspect.getdoc(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_of_the_tree_shows_every_error(kind: type[Exception]) -> None:
    assert re.search(rf"\b{kind.__name__}\b", str(errors.__doc__))


def test_what_an_error_quotes_cannot_break_its_line_or_steer_a_terminal() -> None:
    said = str(PosestreamError("queue: name=a\nb\x1b[2J\r is not valid: ä ✓"))
    assert said == r"queue: name=a\nb\x1b[2J\r is not valid: ä ✓"
