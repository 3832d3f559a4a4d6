"""Files of bounded size: what cannot be read is one error that says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.formats.files import FormatError, decode_text, read_bytes


def _refusal(path: Path, limit: int = 8) -> str:
    with pytest.raises(FormatError) as caught:
        read_bytes(path, limit)
    return caught.value.within("it")


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345678")
    (tmp_path / "empty").write_bytes(b"")
    assert read_bytes(tmp_path / "a", 8) == b"12345678"
    assert read_bytes(tmp_path / "empty", 8) == b""


def test_a_larger_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)  # sparse: reading it would take all memory
    assert _refusal(tmp_path / "a", 1024**2) == "it: it has more than 1,024 KiB, the most that is read"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert _refusal(tmp_path) == "it: it is a folder, not a file"
    assert _refusal(Path("/dev/zero")) == "it: it is a device, not a file"
    assert _refusal(tmp_path / "gone") == "it: No such file or directory"


def test_a_pipe_is_read_to_its_limit() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"12345678")
    os.close(writing)
    assert read_bytes(Path(f"/dev/fd/{reading}"), 8) == b"12345678"
    os.close(reading)
    reading, writing = os.pipe()
    os.write(writing, b"123456789")  # its writer stays, and could go on for ever
    assert "more than" in _refusal(Path(f"/dev/fd/{reading}"))
    os.close(reading)
    os.close(writing)


def test_text_may_have_a_byte_order_mark_and_must_be_utf_8() -> None:
    assert decode_text(b"\xef\xbb\xbfa") == "a"
    with pytest.raises(FormatError) as caught:
        decode_text(b"a\nb\n caf\xe9")
    assert caught.value.within("menu.yaml") == "menu.yaml line 3, column 5: it is not UTF-8 text"
