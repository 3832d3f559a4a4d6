"""What people see of a stream of messages."""

from __future__ import annotations

import dataclasses

from rich.console import Console

from stream.cli.live_table import LiveTable, line
from stream.protocol import schema
from stream.protocol.schema import PoseMessage
from stream.protocol.sequence import Counts, Statistics
from stream.testing import make_poses


def received(seq: int, camera: str = "hall", *, count: int = 2, age_ms: float = 12.0) -> PoseMessage:
    """A message as it came in, thirty a second."""
    message = schema.decode(schema.encode_poses(make_poses(seq, camera, count=count), session="0" * 16, seq=seq))
    assert isinstance(message, PoseMessage)
    return dataclasses.replace(message, received_ns=message.wall_ns + round(age_ms * 1e6))


def rendered(table: LiveTable, statistics: Statistics, now_ns: int) -> list[str]:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table.render("tcp://127.0.0.1:5570: publishing", statistics, now_ns))
    return capture.get().splitlines()


def test_a_row_tells_camera_speed_age_losses_and_each_person() -> None:
    table = LiveTable()
    for seq in range(61):
        table.observe(received(seq, "hall"))
    table.observe(received(3, "yard", count=0))
    now_ns = received(60).received_ns
    statistics = Statistics(Counts(62, 5, 2, 0), {"hall": Counts(61, 5, 2, 0)}, malformed=1, sessions=2)
    rows = [
        [cell.strip() for cell in row.strip("│").split("│")]
        for row in rendered(table, statistics, now_ns)
        if "│" in row
    ]
    assert rows[0][:7] == ["hall", "60", "30.0", "12", "5", "1", "0.90"]
    assert rows[0][7] == "0.80"
    assert rows[1][:7] == ["", "", "", "", "", "2", "0.90"]
    assert rows[2][0] == "yard"
    assert rows[2][5] == "–"
    text = "\n".join(rendered(table, statistics, now_ns))
    assert "tcp://127.0.0.1:5570: publishing" in text
    assert "62 messages, 5 lost in 2 gaps, 1 malformed, publisher started again 1 times" in text


def test_a_camera_that_fell_silent_shows_its_age_grow_and_no_speed() -> None:
    table = LiveTable()
    for seq in range(10):
        table.observe(received(seq))
    now_ns = received(9).received_ns + 5_000_000_000
    row = next(row for row in rendered(table, Statistics(), now_ns) if "hall" in row)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[2:4] == ["–", "5012"]


def test_a_line_tells_the_same_where_nobody_watches() -> None:
    assert line(received(12, count=1)) == "hall 12: 1 person, 12.0 ms old; #1 0.90 keypoints 0.80"
    assert line(received(12, count=0)) == "hall 12: 0 people, 12.0 ms old"


def test_markup_in_a_cameras_name_is_shown_as_it_is() -> None:
    table = LiveTable()
    table.observe(received(0, "[red]hall"))
    assert any("[red]hall" in row for row in rendered(table, Statistics(), 0))
