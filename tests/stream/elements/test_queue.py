"""``queue`` in one process, where it passes items on; the tests of the transports cover the rest."""

from __future__ import annotations

import pytest

from stream.caps import Caps
from stream.errors import PropertyError
from stream.registry import make
from stream.testing import Harness, check_element, make_frame


def test_the_queue_keeps_the_contract_of_an_element() -> None:
    check_element("queue name=people leaky=downstream max_items=3")


def test_items_pass_unchanged() -> None:
    frames = [make_frame(seq) for seq in range(3)]
    assert all(one is other for one, other in zip(Harness("queue").push_all(frames), frames, strict=True))


def test_a_queue_negotiates_the_caps_of_its_neighbours() -> None:
    harness = Harness("queue", sink="people/window, past=2", src="people/window, future=1")
    assert harness.caps == (Caps("people/window", past=2, future=1),) * 2


def test_a_name_with_spaces_raises() -> None:
    with pytest.raises(PropertyError) as refused:
        make("queue", name="two words")
    assert str(refused.value).startswith("queue: name=two words is not valid: it must match")
