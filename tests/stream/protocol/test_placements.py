"""Placements that outlive a relay."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import TransportError
from stream.protocol.placements import Placements


def test_the_highest_placement_of_each_camera_is_kept_beyond_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "placements.json"
    placements = Placements(file)
    for camera, placement in (("hall", 3), ("hall", 2), ("yard", 1), ("attic", 0)):
        placements.store(camera, placement)
    again = Placements(file)
    assert [again.find(camera) for camera in ("hall", "yard", "attic")] == [3, 1, 0]
    assert file.read_text() == '{"hall":3,"yard":1}\n'


@pytest.mark.parametrize("content", ["", "[]", '{"hall": "x"}', '{"hall": -1}', '{"hall": 1', "\0"])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    file = tmp_path / "placements.json"
    file.write_text(content)
    with pytest.raises(
        TransportError, match=r"placements.json is no file of placements: .*; choose another, or remove"
    ):
        Placements(file)
    assert file.read_text() == content


def test_a_file_that_cannot_be_written_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    placements = Placements(tmp_path / "missing/placements.json")
    placements.store("hall", 1)
    placements.store("hall", 2)
    assert placements.find("hall") == 2
    [said] = caplog.messages
    assert said.startswith("relay: placements are not kept, since ")


def test_a_link_that_lies_where_the_file_is_written_is_not_followed(tmp_path: Path) -> None:
    file, precious = tmp_path / "placements.json", tmp_path / "precious.txt"
    precious.write_text("mine")
    (tmp_path / ".placements.json.part").symlink_to(precious)
    placements = Placements(file)
    placements.store("hall", 1)
    placements.store("hall", 2)
    assert precious.read_text() == "mine"
    assert file.read_text() == '{"hall":2}\n'
