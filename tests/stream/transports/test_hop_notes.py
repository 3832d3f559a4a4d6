"""Notes of a hop: what is well-formed and what is not."""

from __future__ import annotations

import pytest

from stream.transports.base import MAX_BUFFERS
from stream.transports.hop_notes import MAX_NOTE_BYTES, Data, Done, decode, encode, receiver_decoder, sender_decoder

DATA = Data(b"epoch..1", b"session1", 0, "hall", 7)


def test_a_note_is_read_as_it_was_written() -> None:
    assert decode(receiver_decoder, [encode(DATA), b"pixels"]) == DATA
    done = Done(b"session1", [("hall", 7)])
    assert decode(sender_decoder, [encode(done)]) == done


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"\xc1"],
        [bytes(MAX_NOTE_BYTES + 1)],
        [encode(DATA), *[b""] * (MAX_BUFFERS + 1)],
        [encode(Data(b"short", b"session1", 0, "hall", 7))],
        [encode(Data(b"epoch..1", b"session1", -1, "hall", 7))],
        [encode(Done(b"session1", []))],
    ],
)
def test_what_is_malformed_or_for_the_other_side_is_none(parts: list[bytes]) -> None:
    assert decode(receiver_decoder, parts) is None
