"""Pictures on disk: every frame, at its time, one file per camera."""

from __future__ import annotations

import dataclasses
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.element import Context
from stream.elements import overlaysink
from stream.elements.overlaysink import OverlaySink
from stream.errors import PropertyError, TransportError
from stream.messages import Forecast, Poses
from stream.output.overlay import draw
from stream.output.video_writer import CODECS
from stream.testing import check_element, make_poses
from tests.full_disk import room_for

VIDEOS = ".mp4, .mov, .mkv, .webm, .avi"


def poses_at(seq: int, pts_ms: float, level: int = 0, size: tuple[int, int] = (64, 48), camera: str = "hall") -> Poses:
    """Poses without people, in a uniform picture of one grey ``level``."""
    poses = make_poses(seq, camera, count=0)
    pixels = np.full((size[1], size[0], 3), level, np.uint8)
    return dataclasses.replace(poses, frame=dataclasses.replace(poses.frame, pts_ns=round(pts_ms * 1e6), pixels=pixels))


def write(location: Path | str, items: list[Poses], **properties: Any) -> None:
    with OverlaySink(location=str(location), **{"caption": False, **properties}) as sink:
        for item in items:
            sink.consume(item)
        sink.flush()


def read(path: Path) -> list[tuple[float, NDArray[Any]]]:
    """(time in ms from the first frame, picture) of every frame of a video."""
    with av.open(str(path)) as container:
        found = [
            (float((frame.time or 0) * 1000), frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)
        ]
    return [(at - found[0][0], picture) for at, picture in found]


def test_overlaysink_is_an_element(tmp_path: Path) -> None:
    check_element(f"overlaysink location={tmp_path}/{{camera}}.mp4")
    check_element(f"overlaysink location={tmp_path}/pictures/{{camera}}")


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_a_video_holds_every_frame_in_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    write(path, [poses_at(seq, seq * 40, level=20 + seq * 10) for seq in range(20)])
    found = read(path)
    assert len(found) == 20
    assert [at for at, _ in found] == pytest.approx([seq * 40 for seq in range(20)], abs=0.6)  # webm counts whole ms
    # The codecs are lossy, but not by half a step of ten grey levels.
    assert [float(picture.mean()) for _, picture in found] == pytest.approx([20 + seq * 10 for seq in range(20)], abs=4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_frames_of_a_varying_rate_keep_their_times(tmp_path: Path, suffix: str) -> None:
    times_ms = [1000.0, 1033.4, 1100.0, 1500.0, 1516.7, 3000.0]
    write(tmp_path / f"out{suffix}", [poses_at(seq, at) for seq, at in enumerate(times_ms)])
    found = [at for at, _ in read(tmp_path / f"out{suffix}")]
    assert found == pytest.approx([at - 1000 for at in times_ms], abs=0.6)  # webm and mkv count whole ms


def test_an_avi_has_the_rate_of_the_source_and_gaps_for_dropped_frames(tmp_path: Path) -> None:
    seqs = [0, 1, 2, 5, 6]
    write(tmp_path / "out.avi", [poses_at(seq, seq * 100) for seq in seqs])
    with av.open(str(tmp_path / "out.avi")) as container:
        assert container.streams.video[0].average_rate == 10
    assert [at for at, _ in read(tmp_path / "out.avi")] == pytest.approx([seq * 100 for seq in seqs])


def test_a_folder_gets_a_lossless_png_per_frame(tmp_path: Path) -> None:
    items = [make_poses(seq) for seq in (3, 4, 7)]
    write(tmp_path / "pictures", items)
    assert sorted(file.name for file in (tmp_path / "pictures").iterdir()) == ["000003.png", "000004.png", "000007.png"]
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "pictures/000004.png")), draw(items[1]))


def test_each_camera_has_its_own_file_with_camera_in_the_location(tmp_path: Path) -> None:
    items = [poses_at(seq, seq * 40, camera=camera) for seq in range(3) for camera in ("hall", "site/yard")]
    write(tmp_path / "{camera}.mp4", items)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hall.mp4", "site%2Fyard.mp4"]
    assert len(read(tmp_path / "site%2Fyard.mp4")) == 3


def test_two_cameras_in_one_file_raise_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(PropertyError) as caught:
        write(tmp_path / "out.mp4", [poses_at(0, 0), poses_at(0, 0, camera="yard")])
    assert str(caught.value).startswith(f"overlaysink: {tmp_path}/out.mp4 holds camera 'hall' and cannot hold 'yard'")
    assert str(caught.value).endswith("put {camera} into location=")


def test_a_single_frame_makes_a_video_and_none_makes_no_file(tmp_path: Path) -> None:
    write(tmp_path / "one.mp4", [poses_at(0, 0, level=200)])
    write(tmp_path / "none.mp4", [])
    assert len(read(tmp_path / "one.mp4")) == 1
    assert not (tmp_path / "none.mp4").exists()


def test_odd_sizes_lose_a_column_and_a_changed_size_is_fitted_in(tmp_path: Path) -> None:
    items = [poses_at(0, 0, 255, (65, 49)), poses_at(1, 40, 255, (65, 49)), poses_at(2, 80, 255, (32, 48))]
    write(tmp_path / "out.mp4", items)
    *_, (_, last) = read(tmp_path / "out.mp4")
    assert last.shape == (48, 64, 3)
    # A picture of half the width stands in the middle; lossy coding blurs its edges.
    assert last[:, :12].mean() < 10
    assert last[:, 20:44].mean() > 245


def test_scale_makes_the_video_smaller(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", [poses_at(seq, seq * 40) for seq in range(3)], scale=0.5)
    assert read(tmp_path / "out.mp4")[0][1].shape == (24, 32, 3)


def test_a_killed_stage_leaves_a_playable_video_and_a_restart_writes_beside_it(tmp_path: Path) -> None:
    sink = OverlaySink(location=str(tmp_path / "out.mp4"), caption=False)
    sink.__enter__()
    for seq in range(300):
        sink.consume(poses_at(seq, seq * 40, level=seq % 200))
    killed = (tmp_path / "out.mp4").read_bytes()  # as a kill leaves it: without the muxer's trailer
    sink.__exit__(None, None, None)
    (tmp_path / "out.mp4").write_bytes(killed)
    again = OverlaySink(location=str(tmp_path / "out.mp4"), caption=False)
    again.context = Context(incarnation=1)
    with again:
        again.consume(poses_at(300, 12_000))
    # A key frame, and so a fragment, every two seconds of 25 frames; the encoder and the file's buffer hold some more.
    assert len(read(tmp_path / "out.mp4")) >= 300 - 3 * 50
    assert len(read(tmp_path / "out.2.mp4")) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_restarted_stage_says_at_the_end_how_many_frames_its_videos_lack(suffix: str, tmp_path: Path) -> None:
    memory: dict[str, int] = {}
    location = tmp_path / f"out{suffix}"
    sink = OverlaySink(location=str(location), caption=False)
    sink.context = Context(memory=memory)
    sink.__enter__()
    for seq in range(120):
        sink.consume(poses_at(seq, seq * 40, level=seq % 200))
    killed = location.read_bytes()
    sink.__exit__(None, None, None)
    location.write_bytes(killed)
    again = OverlaySink(location=str(location), caption=False)
    again.context = Context(incarnation=1, memory=memory)
    with again:
        for seq in range(120, 123):
            again.consume(poses_at(seq, seq * 40))
        with pytest.raises(TransportError) as raised:
            again.end("hall")
    lost = 123 - len(read(location)) - len(read(location.with_name(f"out.2{suffix}")))
    assert lost > 0
    assert str(raised.value) == (
        f"overlaysink: {location} lacks {lost} frames of camera 'hall', not yet written when this part was killed "
        "or its disk was full; run the line again, or write a folder of PNGs"
    )


def test_a_restarted_stage_whose_videos_lack_nothing_ends_well(tmp_path: Path) -> None:
    memory: dict[str, int] = {}
    for incarnation in range(2):
        sink = OverlaySink(location=str(tmp_path / "out.mp4"), caption=False)
        sink.context = Context(incarnation=incarnation, memory=memory)
        with sink:
            for seq in range(3):
                sink.consume(poses_at(seq + 3 * incarnation, seq * 40))
            sink.end("hall")
    assert len(read(tmp_path / "out.mp4")) + len(read(tmp_path / "out.2.mp4")) == 6


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_a_full_disk_raises_from_then_on_and_a_restart_writes_beside_the_file(tmp_path: Path, suffix: str) -> None:
    location, noise = str(tmp_path / f"out{suffix}"), np.random.default_rng(0)
    refused = r"overlaysink cannot write .*: .*; choose another location="
    sink = OverlaySink(location=location, caption=False)
    sink.__enter__()

    def consume(seqs: range) -> None:
        for seq in seqs:
            poses = poses_at(seq, seq * 40)
            poses.frame.pixels[:] = noise.integers(0, 255, poses.frame.pixels.shape, np.uint8)
            sink.consume(poses)

    with room_for(100_000), pytest.raises(TransportError, match=refused):
        consume(range(300))
    with pytest.raises(TransportError, match=refused):
        consume(range(300, 301))  # there is room again, but part of the video is missing
    with pytest.raises(TransportError, match=refused):
        sink.flush()
    again = OverlaySink(location=location, caption=False)
    again.context = Context(incarnation=1)
    with again:
        again.consume(poses_at(301, 12_000))
    assert len(read(tmp_path / f"out.2{suffix}")) == 1


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_a_disk_that_is_full_from_the_beginning_raises_for_every_frame_and_does_not_crash(
    tmp_path: Path, suffix: str
) -> None:
    sink = OverlaySink(location=str(tmp_path / f"out{suffix}"), caption=False)
    sink.__enter__()
    errors = []
    with room_for(0):
        for seq in range(40):
            try:
                sink.consume(poses_at(seq, seq * 40, level=seq))
            except TransportError as error:
                errors.append(str(error))
    assert len(errors) > 20  # the encoder holds back the first ones
    assert len(set(errors)) == 1, "FFmpeg was called again after a write that failed"
    with pytest.raises(TransportError, match=re.escape(errors[0])):
        sink.flush()


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_a_disk_too_full_for_the_end_of_a_video_raises_when_it_is_finished(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    items = [poses_at(seq, seq * 40, level=seq * 8) for seq in range(20)]
    write(whole, items)
    with room_for(whole.stat().st_size - 10), pytest.raises(TransportError, match=r"cannot write .*choose another"):
        write(tmp_path / f"out{suffix}", items)


def test_a_full_disk_leaves_no_incomplete_png(tmp_path: Path) -> None:
    sink = OverlaySink(location=str(tmp_path / "out"), caption=False)
    with sink:
        with (
            room_for(10),
            pytest.raises(TransportError, match=r"overlaysink cannot write .*000000.png: File too large;"),
        ):
            sink.consume(poses_at(0, 0))
        assert list((tmp_path / "out").iterdir()) == []
        sink.consume(poses_at(1, 40))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["000001.png"]


def test_the_caption_has_the_frame_rate_by_the_clock_of_the_context(tmp_path: Path) -> None:
    now_ns = 0

    def clock() -> int:
        return now_ns

    sink = OverlaySink(location=str(tmp_path))
    sink.context = Context(now_ns=clock)
    captions = []
    for seq in range(100):
        now_ns = seq * 50_000_000
        captions.append(sink._caption(poses_at(seq, seq * 40)))
    assert captions[0] == "hall  0  0.00 s  0.0 fps"
    assert captions[-1] == "hall  99  3.96 s  20.0 fps"


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (
            {},
            f"overlaysink: no output is set; set location=FILE ({VIDEOS}) or a folder, or display=true",
        ),
        (
            {"location": "out.mpg"},
            f"overlaysink: location=out.mpg ends in '.mpg'; write a video ({VIDEOS}) or give a folder",
        ),
        (
            {"location": "/proc/out.mp4"},
            "overlaysink cannot write /proc/out.mp4: No such file or directory; choose another location=",
        ),
        (
            {"display": True},
            (
                "overlaysink: display=true, but this session has no display (DISPLAY is not set); "
                "set location=FILE instead"
            ),
        ),
    ],
)
def test_an_unusable_output_raises_in_one_line(
    monkeypatch: pytest.MonkeyPatch, properties: dict[str, Any], message: str
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises((PropertyError, TransportError)) as caught:
        OverlaySink(**properties).__enter__()
    assert str(caught.value) == message


def test_each_camera_has_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, tuple[int, ...]]] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda name, picture: shown.append((name, picture.shape)))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: -1)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    with OverlaySink(display=True) as sink:
        sink.consume(make_poses(0, "hall"))
    assert shown == [("posestream hall", (48, 64, 3))]


def test_drawing_is_fast_enough(tmp_path: Path) -> None:
    # Not a benchmark: a guard against work that grows with the picture, such as a copy for every joint.
    poses = make_poses(0)
    big = dataclasses.replace(poses.frame, pixels=np.zeros((1080, 1920, 3), np.uint8))
    item = dataclasses.replace(poses, frame=big)
    start_s = time.process_time()
    for _ in range(10):
        draw(item)
    assert (time.process_time() - start_s) / 10 < 0.5


def cut_off(location: Path, memory: dict[str, int], count: int) -> None:
    """Write a video whose sink is killed after ``count`` pictures."""
    sink = OverlaySink(location=str(location), caption=False)
    sink.context = Context(memory=memory)
    sink.__enter__()
    for seq in range(count):
        sink.consume(poses_at(seq, seq * 40, level=seq % 200))
    killed = location.read_bytes()
    sink.__exit__(None, None, None)
    location.write_bytes(killed)


def test_what_a_killed_sink_lost_is_said_at_its_restart_and_where_the_line_fails_before_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory: dict[str, int] = {}
    cut_off(tmp_path / "hall.mkv", memory, 120)
    lost = 120 - len(read(tmp_path / "hall.mkv"))
    said = (
        f"overlaysink: {tmp_path}/hall.mkv lacks {lost} frames of camera 'hall', not yet written when this part was "
        "killed or its disk was full; run the line again, or write a folder of PNGs"
    )
    for large in (False, True):  # a large video is not read before the part starts
        caplog.clear()
        again = OverlaySink(location=f"{tmp_path}/{{camera}}.mkv", caption=False)
        again.context = Context(incarnation=1, memory=dict(memory))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(overlaysink, "_MOST_BYTES_AT_RESTART", 0 if large else 1 << 20)
            again.__enter__()
        assert caplog.messages == ([] if large else [said])
        again.consume(poses_at(120, 4800))
        again.__exit__(None, None, None)
        assert caplog.messages[-1] == said
    assert lost > 0


def test_a_restarted_part_that_counts_what_its_videos_hold_reports_progress(tmp_path: Path) -> None:
    memory: dict[str, int] = {}
    cut_off(tmp_path / "hall.mkv", memory, 120)
    reports: list[int] = []
    again = OverlaySink(location=str(tmp_path / "hall.mkv"), caption=False)
    again.context = Context(incarnation=1, memory=memory, progress=lambda: reports.append(1))
    with again:
        again.consume(poses_at(120, 4800))
        reports.clear()
        with pytest.raises(TransportError, match=r"lacks \d+ frames"):
            again.end("hall")
    assert len(reports) >= len(read(tmp_path / "hall.mkv"))


def test_a_disk_that_was_full_costs_what_the_encoder_held_and_that_is_said(tmp_path: Path) -> None:
    location = tmp_path / "hall.mkv"
    sink = OverlaySink(location=str(location), caption=False)
    sink.__enter__()
    noise, taken = np.random.default_rng(0), 0
    with room_for(100_000):
        for seq in range(120):
            poses = poses_at(seq, seq * 40)
            poses.frame.pixels[:] = noise.integers(0, 255, poses.frame.pixels.shape, np.uint8)
            with suppress(TransportError):
                sink.consume(poses)
                taken += 1
    with pytest.raises(TransportError) as raised:
        sink.end("hall")
    refused, _, loss = str(raised.value).partition("; choose another location=; ")
    assert refused == f"overlaysink cannot write {location}: File too large"
    assert loss.startswith(f"overlaysink: {location} lacks {taken - len(read(location))} frames of camera 'hall', not ")
    assert 0 < len(read(location)) < taken < 120


def test_a_forecast_is_drawn_on_the_frame_of_its_moment(tmp_path: Path) -> None:
    """The frame after 33 ms gets what the first one expected of it, moved by the 3 ms that the moment differs."""
    joints = np.zeros((2, 17, 5), np.float32)
    joints[..., 0], joints[..., 2] = 10.0, 1000.0
    first, second = make_poses(0), make_poses(1)
    forecast = Forecast(second.frame.wall_ns - 3_000_000, second.frame.wall_ns + 10_000_000, joints)
    sink = OverlaySink(location=str(tmp_path / "pictures"), forecasts=True)
    assert sink._expect(dataclasses.replace(first, forecast=forecast)) is None
    expected = sink._expect(second)
    assert expected is not None
    np.testing.assert_allclose(expected[..., 0], 13.0)
    np.testing.assert_array_equal(expected[..., 2], first.keypoints[..., 2])
    assert sink._expect(make_poses(2)) is None  # later than it may be extrapolated to


def test_a_line_that_ends_by_a_full_disk_says_what_the_encoder_held_and_finishes_the_other_videos(
    tmp_path: Path,
) -> None:
    sink = OverlaySink(location=f"{tmp_path}/{{camera}}.mkv", caption=False)
    sink.__enter__()
    noise, taken = np.random.default_rng(0), 0
    sink.consume(poses_at(0, 0, camera="hall"))
    sink.consume(poses_at(0, 0, camera="yard"))
    with room_for(100_000), suppress(TransportError):
        for seq in range(1, 120):
            poses = poses_at(seq, seq * 40)
            poses.frame.pixels[:] = noise.integers(0, 255, poses.frame.pixels.shape, np.uint8)
            sink.consume(poses)
            taken = seq + 1
    with pytest.raises(TransportError) as raised:
        sink.__exit__(RuntimeError, RuntimeError("the part fails"), None)
    refused, _, loss = str(raised.value).partition("; choose another location=; ")
    location = tmp_path / "hall.mkv"
    assert refused == f"overlaysink cannot write {location}: File too large"
    assert loss.startswith(f"overlaysink: {location} lacks {taken - len(read(location))} frames of camera 'hall', not ")
    assert 0 < len(read(location)) < taken
    assert len(read(tmp_path / "yard.mkv")) == 1


def test_a_camera_that_is_called_as_the_video_of_another_after_a_restart_is_refused() -> None:
    with pytest.raises(PropertyError) as caught:
        OverlaySink(location="out/{camera}.mp4").outputs(["x", "x.2"])
    assert str(caught.value) == (
        "overlaysink: out/x.2.mp4 is the file of camera 'x.2' and, after a restart, that of 'x'; "
        "set camera= to another name"
    )
    assert OverlaySink(location="out/{camera}.mp4").outputs(["x.y", "x.2"]) == ["out/x.y.mp4", "out/x.2.mp4"]
    assert OverlaySink(location="out/{camera}").outputs(["x", "x.2"]) == ["out/x", "out/x.2"]


def test_what_an_earlier_run_left_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "new.mp4", [poses_at(0, 0)])
    write(tmp_path / "new", [poses_at(0, 0), poses_at(1, 40)])
    assert not caplog.messages
    (tmp_path / "new.2.mp4").write_bytes(b"")
    (tmp_path / "new.3.mp4").write_bytes(b"")
    write(tmp_path / "new.mp4", [poses_at(0, 0)])
    write(tmp_path / "new", [poses_at(0, 0)])
    assert caplog.messages == [
        (
            f"overlaysink: {tmp_path}/new.2.mp4 is of an earlier run (such files: 2); it stays until a restart of this "
            "run writes over it"
        ),
        f"overlaysink: folder {tmp_path}/new holds pictures already (files: 2), which stay",
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_link_at_the_name_of_a_restart_is_not_followed_and_one_that_was_given_is(suffix: str, tmp_path: Path) -> None:
    victim = tmp_path / f"victim{suffix}"
    victim.write_bytes(b"mine")
    (tmp_path / f"x.2{suffix}").symlink_to(victim)
    sink = OverlaySink(location=str(tmp_path / f"x{suffix}"))
    sink.context = Context(incarnation=1)
    with pytest.raises(TransportError, match="symbolic links are followed only from names that you gave"):
        sink.__enter__()
    assert victim.read_bytes() == b"mine"
    write(tmp_path / f"x{suffix}", [poses_at(0, 0)])
    (tmp_path / f"given{suffix}").symlink_to(victim)
    write(tmp_path / f"given{suffix}", [poses_at(0, 0)])
    assert len(read(victim)) == 1


def test_a_name_that_leads_elsewhere_when_the_encoder_starts_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim.mp4", tmp_path / "x.mp4"
    victim.write_bytes(b"mine")
    sink = OverlaySink(location=str(path)).__enter__()
    path.unlink()
    path.symlink_to(victim)
    sink.consume(poses_at(0, 0))
    with pytest.raises(TransportError, match="it was removed while the line ran"):
        sink.consume(poses_at(1, 40))
    with pytest.raises(TransportError):
        sink.__exit__(None, None, None)
    assert victim.read_bytes() == b"mine"
