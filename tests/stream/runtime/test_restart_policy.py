"""When a part is started again, and when it is given up."""

from __future__ import annotations

from stream.runtime.restart_policy import RestartPolicy, Restarts


def test_the_delay_doubles_up_to_the_longest() -> None:
    restarts = Restarts(RestartPolicy(restarts=10, first_delay_s=1, longest_delay_s=5))
    assert [restarts.delay_s(now_s=0) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_the_sixth_end_within_a_minute_is_the_last() -> None:
    restarts = Restarts(RestartPolicy())
    assert None not in [restarts.delay_s(now_s) for now_s in range(5)]
    assert restarts.delay_s(now_s=59) is None
    assert restarts.count == 5


def test_what_is_longer_ago_is_forgiven() -> None:
    restarts = Restarts(RestartPolicy())
    for now_s in range(0, 600, 13):  # never six within 60 s
        assert restarts.delay_s(now_s) is not None
