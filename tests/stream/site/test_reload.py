"""A site whose line was changed while it runs."""

from __future__ import annotations

import pytest

from stream.errors import LaunchError
from stream.site.folder import CameraSettings
from stream.site.reload import plan_reload
from tests.stream.site.bench import LINE, Bench, make_template


def test_a_line_that_changed_is_said_and_starts_only_the_cameras_that_it_concerns_again(bench: Bench) -> None:
    bench.site.add("hall", {})
    bench.site.add("yard", {"fps": "5"})
    bench.site.add("gate", {})
    bench.site.pause("gate", True)
    bench.states()
    bench.folder.write_line(make_template(LINE.replace("fps=25", "fps=10")).text)
    properties = "width: 64, height: 64, fps: {}.0, people: 1, realtime: true, noise: 1.0"
    assert bench.states() == {"gate": "paused", "hall": "draining", "yard": "running"}
    assert bench.printed == [
        f"site.yaml: -   - testsrc: {{{properties.format(25)}}}",
        f"site.yaml: +   - testsrc: {{{properties.format(10)}}}",
        "site.yaml: drains and starts again: hall; does not touch: gate, yard",
    ]
    bench.lines[0].has_ended = True
    bench.states()
    assert bench.states()["hall"] == "running"
    assert bench.lines[-1].pipeline.lines[0].elements[0].fps == 10  # type: ignore[attr-defined]
    assert [line.did for line in bench.lines] == [["play", "stop"], ["play"], ["play"]]
    bench.states()
    assert len(bench.printed) == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LINE.replace("testsrc", "replaysrc location=none.mcap num_frames=1"), "line"),
        ("line: [testsrc, fakesink]", "has 1 sources and 0 keypointsinks"),
        ("line: {", "line 1, column"),
    ],
)
def test_a_line_that_a_camera_cannot_run_changes_nothing(bench: Bench, text: str, why: str) -> None:
    bench.site.add("hall", {"seed": "1"})
    bench.states()
    bench.folder.write_line(text)
    assert bench.states() == {"hall": "running"}
    (printed,) = bench.printed
    assert printed.startswith("site.yaml is not loaded again: ")
    assert why in printed
    assert bench.lines[0].did == ["play"]


def test_a_plan_shows_no_password_and_is_refused_where_a_camera_could_not_run() -> None:
    before, after = (
        make_template(f"rtspsrc url=rtsp://me:{word}@10.0.0.7/1 ! tests.toys.oracle ! keypointsink")
        for word in ("Kiwi7Mango", "Lime8Peach")
    )
    plan = plan_reload(before, after, {"hall": CameraSettings()})
    assert plan.restarted == ("hall",)
    assert not any(word in str(plan) for word in ("Kiwi7Mango", "Lime8Peach"))
    other = make_template()
    with pytest.raises(
        LaunchError, match=r"^camera hall cannot run with the new line, and nothing is changed: testsrc of"
    ):
        plan_reload(before, other, {"hall": CameraSettings((("transport", "udp"),))})
