"""``tee``: every item goes to every branch."""

from __future__ import annotations

from stream.pipeline.launch import parse_launch
from stream.testing import Harness, check_element, make_frame

BRANCHES = """
tests.toys.src num_frames=3 ! tee name=t
from t ! queue ! tests.toys.find
from t ! queue leaky=downstream ! tests.toys.find count=1
"""


def test_the_tee_keeps_the_contract_of_an_element() -> None:
    check_element("tee name=t")


def test_items_pass_unchanged() -> None:
    frame = make_frame(0)
    assert Harness("tee").push_all([frame])[0] is frame


def test_every_branch_receives_every_item() -> None:
    results = list(parse_launch(BRANCHES).run())
    assert [people.key[1] for people in results if len(people.ids) == 2] == [0, 1, 2]
    assert [people.key[1] for people in results if len(people.ids) == 1] == [0, 1, 2]


def test_each_branch_has_its_own_queue() -> None:
    queues = parse_launch(BRANCHES).queues
    assert [(queue.leaky, queue.producers, queue.consumers) for queue in queues.values()] == [
        ("no", ("src",), ("find",)),
        ("downstream", ("src",), ("find2",)),
    ]
