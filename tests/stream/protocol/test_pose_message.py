from __future__ import annotations

import numpy as np
import pytest

from stream.protocol.pose_message import Person


def test_a_person_maps_names_of_joints_to_keypoints() -> None:
    person = Person(3, (0, 0, 4, 4), 0.9, np.arange(6, dtype=np.float32).reshape(2, 3), ("grip", "tip"))
    assert {joint: row.tolist() for joint, row in dict(person).items()} == {"grip": [0, 1, 2], "tip": [3, 4, 5]}
    assert list(person) == ["grip", "tip"]


@pytest.mark.parametrize(
    ("joints", "known"),
    [(("grip", "tip"), "grip, tip"), ((), "none: the publisher has not sent its skeleton")],
)
def test_an_unknown_joint_raises_with_the_known_ones(joints: tuple[str, ...], known: str) -> None:
    person = Person(3, (0, 0, 4, 4), 0.9, np.zeros((2, 3), np.float32), joints)
    with pytest.raises(KeyError) as caught:
        person["hilt"]
    assert caught.value.args == (f"no joint 'hilt'; this skeleton has {known}",)
