"""A short session of a site: cameras come and go, the broker dies, viewers hang, Prometheus scrapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.session.session import Options, find_missing, hold


@pytest.mark.slow
@pytest.mark.survival
@pytest.mark.timeout(300)  # on a machine that does ten other things
def test_cameras_that_stay_lose_no_message(
    shared: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    options = Options(
        4.0,
        "/usr/bin/python3",
        shared / "tools" / "rtsp_server.py",
        shared / "data" / "rtsp" / "juggle_barcode_720p24.mp4",
        away_s=1.0,
        every_s=4.0,
        pose="benchmarks.empty.estimate: {past: 0}",
    )
    if why := find_missing(options):
        pytest.skip(f"no session: {why}")
    monkeypatch.setenv("POSESTREAM_RUN_DIR", "")  # which the session sets, and this undoes
    report = hold(options, tmp_path_factory.mktemp("s"))
    assert report.faults == []
    assert report.rounds >= 1
    assert report.deaths >= 1
    assert report.hangs >= 2
    assert all(len(numbers.messages) > 20 for numbers in report.cameras.values())
