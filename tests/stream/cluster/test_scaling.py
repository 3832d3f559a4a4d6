"""When a site gets one more lane, or one less."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.cluster.scaling import Observation, choose_lanes
from stream.cluster.settings import Settings, count_most_cameras, parse_settings, read_settings
from stream.errors import LaunchError

SETTINGS = Settings(min_lanes=2, max_lanes=4, age_limit_ms=500, late_s=10, quiet_min=5)


def observe(seconds: int, age_ms: float | None, dropped: int = 0, since_s: int = 0) -> list[Observation]:
    return [Observation(since_s + second, age_ms, dropped) for second in range(seconds + 1)]


@pytest.mark.parametrize(
    ("history", "lanes", "chosen"),
    [
        ([], 2, 2),
        (observe(9, 900.0), 2, 2),  # not for long enough
        (observe(10, 900.0), 2, 3),
        (observe(10, 100.0, dropped=1), 2, 3),
        (observe(10, None, dropped=1), 2, 3),
        (observe(10, 900.0), 4, 4),  # no more are allowed
        (observe(5, 900.0) + observe(4, 100.0, since_s=6) + observe(5, 900.0, since_s=11), 2, 2),
        (observe(60, 100.0) + observe(10, 900.0, since_s=61), 3, 4),
        (observe(299, 100.0), 3, 2 + 1),  # not quiet for long enough
        (observe(300, 100.0), 3, 2),
        (observe(300, 100.0), 2, 2),  # no fewer are allowed
        (observe(300, 400.0), 3, 3),  # within the limit, and a lane less might not be
        (observe(300, None), 3, 3),  # nothing is known
        (observe(100, 900.0) + observe(300, 100.0, since_s=101), 3, 2),
    ],
)
def test_lanes_follow_what_was_observed(history: list[Observation], lanes: int, chosen: int) -> None:
    assert choose_lanes(lanes, history, SETTINGS) == chosen


@given(
    st.integers(1, 70),
    st.lists(st.tuples(st.integers(1, 60), st.one_of(st.none(), st.floats(0, 2000)), st.integers(0, 2)), max_size=30),
)
def test_it_changes_by_one_at_most_and_never_away_from_the_bounds(
    lanes: int, steps: list[tuple[int, float | None, int]]
) -> None:
    at_s, history = 0.0, []
    for seconds, age_ms, dropped in steps:
        at_s += seconds
        history.append(Observation(at_s, age_ms, dropped))
    chosen = choose_lanes(lanes, history, SETTINGS)
    assert abs(chosen - lanes) <= 1
    assert chosen <= lanes or chosen <= SETTINGS.max_lanes
    assert chosen >= lanes or chosen >= SETTINGS.min_lanes


@pytest.mark.parametrize(
    ("cameras", "asked", "lanes"), [(0, 0, 2), (20, 0, 3), (20, 4, 4), (20, 9, 4), (100, 0, 4), (1, 4, 2)]
)
def test_a_site_has_enough_lanes_for_its_cameras_within_its_bounds(cameras: int, asked: int, lanes: int) -> None:
    assert Settings(min_lanes=2, max_lanes=4, cameras_per_lane=8).count_lanes(cameras, asked) == lanes


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_site_without_the_key_has_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("line:\n  - testsrc\n  - fakesink\n")
    assert read_settings(file) == Settings()


def test_settings_are_read_from_the_file_of_the_site(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("line: [testsrc, fakesink]\ncluster: {cameras_per_lane: 4, gpus: 0.25, labels: {zone: north}}\n")
    assert read_settings(file) == Settings(cameras_per_lane=4, gpus=0.25, labels={"zone": "north"})


def test_a_site_for_a_cluster_can_have_more_cameras_than_one_host(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("line: [testsrc, fakesink]\n")
    assert count_most_cameras(file) == 64
    file.write_text("line: [testsrc, fakesink]\ncluster: {cameras_per_lane: 10, max_lanes: 9}\n")
    assert count_most_cameras(file) == 90


@pytest.mark.parametrize(
    ("given_settings", "words"),
    [
        ({"camera_per_lane": 4}, "camera_per_lane"),
        ({"cameras_per_lane": 0}, "cameras_per_lane"),
        ({"min_lanes": 5, "max_lanes": 4}, "min_lanes=5 is above max_lanes=4; lower the first"),
        ({"gpus": 1.5}, "gpus=1.5 is no part of one GPU; give at most 1, or whole ones"),
        ({"clients": "/keys"}, "clients=/keys has no effect without keys"),
        ({"relay": "tcp://192.168.1.10:5571"}, "relay"),
        ({"relay_key": "relay.key"}, "relay_key=relay.key has no effect without relay"),
        ([], "Expected `object`"),
    ],
)
def test_settings_that_cannot_be_name_the_key_and_the_remedy(given_settings: object, words: str) -> None:
    with pytest.raises(LaunchError, match=r"site\.yaml: cluster: ") as caught:
        parse_settings({"cluster": given_settings}, "site.yaml")
    assert words in str(caught.value)
