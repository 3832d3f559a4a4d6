"""Notices: bytes and back, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.runtime import bus

NOTICES: list[bus.AnyNotice] = [
    bus.Error(part="detect", element="detect", text="boom", camera="hall", seq=7, fatal=True),
    bus.Warning_(part="detect", text="hot", logger="stream.elements.detect"),
    bus.Eos(part="sink", camera="hall"),
    bus.Qos(part="detect", camera="hall", reason="leaky", dropped=2),
    bus.StateChanged(part="detect", old="READY", new="PAUSED"),
    bus.Stats(part="detect", state="PLAYING", fps=29.97, items=12, finished=True),
    bus.Restarted(part="detect", why="killed by SIGKILL", count=2, delay_ms=500),
    bus.Target(state="PLAYING", ending=True),
]


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: type(notice).__name__)
def test_a_notice_comes_back_as_it_went(notice: bus.AnyNotice) -> None:
    assert bus.decode(bus.encode(notice)) == notice


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: type(notice).__name__)
def test_a_truncated_notice_is_none(notice: bus.AnyNotice) -> None:
    data = bus.encode(notice)
    assert all(bus.decode(data[:length]) is None for length in range(len(data)))


@given(st.binary(max_size=200))
def test_random_bytes_are_no_notice(data: bytes) -> None:
    assert bus.decode(data) is None


@given(st.sampled_from(NOTICES), st.data())
def test_a_notice_with_a_wrong_byte_is_none_or_another_notice(notice: bus.AnyNotice, data: st.DataObject) -> None:
    damaged = bytearray(bus.encode(notice))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    decoded = bus.decode(bytes(damaged))
    assert decoded is None or isinstance(decoded, bus.Notice)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81" * 50_000,  # maps within maps
        b"\x91" * 50_000,
        b"\x00" * (bus.MAX_NOTICE_BYTES + 1),
        bus.encode(NOTICES[0]) + b"\x00",
        b"\x82\xa6notice\xa3qos\xa5extra\x01",
    ],
    ids=["deep maps", "deep arrays", "too long", "something behind it", "unknown field"],
)
def test_hostile_bytes_are_no_notice(data: bytes) -> None:
    assert bus.decode(data) is None


def test_a_password_never_reaches_the_bus() -> None:
    sent = bus.encode(bus.Error(part="rtspsrc", text="cannot open rtsp://admin:s3cret@10.0.0.7/main: refused"))
    assert b"s3cret" not in sent
    assert b"10.0.0.7/main: refused" in sent


def test_a_text_cannot_steer_the_terminal_it_is_shown_on() -> None:
    decoded = bus.decode(bus.encode(bus.Warning_(text="\x1b[2Jgone \u202eback\nnext line")))
    assert isinstance(decoded, bus.Warning_)
    assert decoded.text == "�[2Jgone �back\nnext line"


def test_what_elements_say_of_themselves_can_neither() -> None:
    decoded = bus.decode(bus.encode(bus.Stats(part="pose", status="rtsp://me:secret@door \x1b[2J")))
    assert isinstance(decoded, bus.Stats)
    assert "secret" not in decoded.status
    assert "\x1b" not in decoded.status


def test_of_a_long_text_the_end_is_kept_where_the_reason_stands() -> None:
    decoded = bus.decode(bus.encode(bus.Error(text="x" * 10_000 + "ValueError: 7")))
    assert isinstance(decoded, bus.Error)
    assert len(decoded.text) == 4000
    assert decoded.text.endswith("ValueError: 7")
