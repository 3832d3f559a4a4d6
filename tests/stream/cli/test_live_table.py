"""Messages as a table and as lines of text."""

from __future__ import annotations

import dataclasses

from rich.console import Console

from stream.cli.live_table import LiveTable, format_line
from stream.protocol import schema
from stream.protocol.pose_message import PoseMessage
from stream.protocol.sequence import Counts, Statistics
from stream.testing import make_poses


def received(seq: int, camera: str = "hall", *, count: int = 2, age_ms: float = 12.0) -> PoseMessage:
    """A message as it came in, thirty a second."""
    message = schema.decode(schema.encode_poses(make_poses(seq, camera, count=count), session="0" * 16, seq=seq))
    assert isinstance(message, PoseMessage)
    return dataclasses.replace(message, received_ns=message.wall_ns + round(age_ms * 1e6))


def rendered(table: LiveTable, statistics: Statistics, now_ns: int) -> list[str]:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(table.render("tcp://127.0.0.1:5570: publishing", statistics, now_ns))
    return capture.get().splitlines()


def test_a_row_shows_camera_rate_age_losses_and_each_person() -> None:
    table = LiveTable()
    for seq in range(61):
        table.observe(received(seq, "hall"))
    table.observe(received(3, "yard", count=0))
    now_ns = received(60).received_ns
    statistics = Statistics(Counts(62, 5, 2, 0), {"hall": Counts(61, 5, 2, 0)}, malformed=1, sessions=2)
    lines = rendered(table, statistics, now_ns)
    first = next(index for index, row in enumerate(lines) if row.startswith("hall"))
    rows = [row.split() for row in lines[first : first + 3]]
    assert rows[0][:9] == ["hall", "60", "30.0", "12", "0.4", "5", "1", "0.90", "0.80"]
    assert rows[1][:2] == ["2", "0.90"]
    assert rows[2][0] == "yard"
    assert "–" in rows[2][4:]
    text = " ".join(" ".join(rendered(table, statistics, now_ns)).split())
    assert "tcp://127.0.0.1:5570: publishing" in text
    assert "62 messages, 5 lost in 2 gaps, 1 malformed, publisher restarts: 1" in text


def test_a_camera_that_fell_silent_shows_its_age_grow_and_no_speed() -> None:
    table = LiveTable()
    for seq in range(10):
        table.observe(received(seq))
    now_ns = received(9).received_ns + 5_000_000_000
    row = next(row for row in rendered(table, Statistics(), now_ns) if "hall" in row)
    assert row.split()[2:4] == ["–", "5012"]


def test_a_line_of_text_holds_the_same() -> None:
    assert format_line(received(12, count=1)) == "hall 12: 1 person, 12.0 ms old; #1 0.90 keypoints 0.80"
    assert format_line(received(12, count=0)) == "hall 12: 0 people, 12.0 ms old"
    assert format_line(received(12, count=0), 2.345) == "hall 12: 0 people, 12.0 ms old, 2.3 px off"


def test_markup_in_a_cameras_name_is_shown_as_it_is() -> None:
    table = LiveTable()
    table.observe(received(0, "[red]hall"))
    assert any("[red]hall" in row for row in rendered(table, Statistics(), 0))


def test_large_pictures_and_long_streams_fit_eighty_columns() -> None:
    table = LiveTable()
    message = received(123456)
    person = dataclasses.replace(message.people[0], id=1234, box=(1800.0, 1000.0, 1919.0, 1079.0))
    table.observe(dataclasses.replace(message, camera="entrance", people=(person,)))
    row = next(row for row in rendered(table, Statistics(), message.received_ns) if row.startswith("entrance"))
    assert row.split()[-3:] == ["1800,1000", "–", "1919,1079"]
    assert len(row.rstrip()) <= 80
