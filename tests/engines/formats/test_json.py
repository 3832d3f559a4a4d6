"""JSON from outside: every bad document is one error, with its line where it is no JSON."""

from __future__ import annotations

import msgspec
import pytest

from engines.formats import json
from engines.formats.files import FormatError

BAD: dict[str, tuple[bytes, str]] = {
    "deep lists": (b"[" * 1_000_000, "it: it is nested too deep"),
    "deep maps": (b'{"a":' * 1_000_000, "it: it is nested too deep"),
    "the end is missing": (b'{"a": 1,\n "b":', "it line 2, column 6: it ends too early"),
    "text after the end": (b"{} x", "it line 1, column 5: it is no JSON: trailing characters"),
    "NaN": (b"[1,\n NaN]", "it line 2, column 2: NaN and Infinity are no numbers in JSON"),
    "infinity": (b"[-Infinity]", "NaN and Infinity are no numbers in JSON"),
    "a number that overflows": (b"[1e999]", "it: [0] is out of range"),
    "a long number": (b"[1" + b"1" * 5000 + b"]", "it: [0] is out of range"),
    "no UTF-8": (b'["\xff"]', "it: it is not UTF-8 text"),
    "UTF-16": ("[]".encode("utf-16"), "it line 1, column 1: it is no JSON"),
    "half a surrogate pair": (b'"\\ud800"', "it ends too early"),
    "nothing": (b"\n ", "it: it is empty"),
    "another kind": (b'{"a": "x"}', "it: a must be a number, not text"),
}


class _Kind(msgspec.Struct):
    a: float


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_document_is_one_error(content: bytes, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        json.decode_json(content, _Kind) if b'"a": "x"' in content else json.decode_json(content)
    assert words in caught.value.within("it")


def test_the_number_of_lists_and_maps_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "MAX_JSON_CONTAINERS", 3)
    assert json.decode_json(b"[[],{}]") == [[], {}]
    with pytest.raises(FormatError, match="it has more than 3 lists and maps"):
        json.decode_json(b"[[],[],{}]")


def test_a_byte_order_mark_is_allowed() -> None:
    assert json.decode_json(b'\xef\xbb\xbf{"a": 1}', _Kind) == _Kind(1.0)
