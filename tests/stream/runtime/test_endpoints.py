"""The links of a part: addresses, what is sent by reference, and the pixels of a source in shared memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.messages import Eos, Frame
from stream.pipeline.launch import parse_launch
from stream.runtime.endpoints import (
    MAX_PATH_BYTES,
    SPARE_SLOTS,
    Links,
    get_address,
    get_frames,
    get_socket_address,
    is_local,
    open_links,
)
from stream.runtime.run_dir import claim, get_run_id
from stream.testing import make_frame
from stream.testing.items import make_people, make_window
from stream.transports.base import LinkStatistics
from stream.transports.shm_ring import FrameRing
from stream.transports.shm_segment import find_names, unlink_all
from tests.stream.runtime.bench import Bench

TCP = "tcp://127.0.0.1:5999"
LINE = "testsrc num_frames=1 width=64 height=64 ! queue name=near ! detect model=truth ! queue name=far {} ! fakesink"


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    yield claim(tmp_path / "run")
    unlink_all(get_run_id(tmp_path / "run"))


@pytest.mark.parametrize(
    ("properties", "address", "is_in_reach"),
    [("", "ipc:///run/l/far.fakesink.sock", True), (f"address={TCP}", TCP, False)],
)
def test_a_queue_with_a_tcp_address_is_remote_even_on_loopback(
    properties: str, address: str, is_in_reach: bool
) -> None:
    queue = parse_launch(LINE.format(properties)).queues["far"]
    assert (get_address(queue, "fakesink", Path("/run/l")), is_local(queue)) == (address, is_in_reach)


def test_a_socket_whose_path_would_be_too_long_has_a_digest_for_a_name() -> None:
    folder = Path("/run/posestream/0123abcd")
    short, long = (get_socket_address(folder, "q" * length) for length in (20, 90))
    assert short == f"ipc://{folder}/{'q' * 20}.sock"
    path = Path(long.removeprefix("ipc://"))
    assert (path.parent, len(path.name), len(str(path)) <= MAX_PATH_BYTES) == (folder, 17, True)
    assert long != get_socket_address(folder, "q" * 91)


def test_a_message_is_packed_by_reference_for_local_receivers_and_with_its_pixels_for_others(run_dir: Path) -> None:
    with closing(FrameRing(get_run_id(run_dir), "testsrc", 2)) as ring:
        links = Links(None, [], is_local=(True, False, True), ring=ring)
        first, second, third = links.pack(links.store_pixels(make_frame(0)))
        links.reader.close()
    assert first is third
    pixels = make_frame(0).pixels.nbytes
    assert sum(len(bytes(part)) for part in first) < 1000 < pixels < sum(len(bytes(part)) for part in second)


def test_pixels_are_copied_into_the_ring_unless_a_source_wrote_them_there(run_dir: Path) -> None:
    with closing(FrameRing(get_run_id(run_dir), "testsrc", 2)) as ring:
        links = Links(None, [], is_local=(True,), ring=ring)
        frame = make_frame(0)
        stored = links.store_pixels(frame)
        assert np.array_equal(stored.pixels, frame.pixels)
        assert stored.pixels is not frame.pixels
        written = replace(make_frame(1), pixels=ring.allocate((48, 64, 3)))
        assert links.store_pixels(written) is written


def test_without_a_ring_a_frame_keeps_its_pixels() -> None:
    frame = make_frame(0)
    assert Links(None, []).store_pixels(frame) is frame


def test_waiting_for_acknowledgements_leaves_the_inbox_out() -> None:
    calls: list[tuple[int, int, int]] = []
    links = Bench().links("in", "out")

    def wait(inboxes: Any, outboxes: Any, timeout_ms: int) -> bool:
        calls.append((len(inboxes), len(outboxes), timeout_ms))
        return True

    links.wait = wait
    links.wait_for_any(100)
    links.wait_for_acknowledgements(50)
    assert calls == [(1, 1, 100), (0, 1, 50)]


def test_statistics_of_all_outboxes_are_added() -> None:
    bench = Bench()
    outboxes = [bench.exchange.open_outbox(name, "part") for name in ("a", "b")]
    for outbox in outboxes:
        outbox.send(Eos("cam").key, [b"end"])
    received, sent = Links(None, outboxes).statistics()
    assert (received, sent.unacknowledged) == (LinkStatistics(), 2)


def test_only_a_source_with_a_local_receiver_has_a_ring(run_dir: Path) -> None:
    pipeline = parse_launch(LINE.format(""), in_flight=3)
    with closing(open_links(pipeline, pipeline.part("testsrc"), run_dir)) as links:
        assert links.inbox is None
        assert links.is_local == [True]
        assert links.ring is not None
        assert links.ring.slots == 3 + SPARE_SLOTS
        links.ring.close()
    with closing(open_links(pipeline, pipeline.part("detect"), run_dir)) as links:
        assert links.inbox is not None
        assert (len(links.outboxes), links.ring) == (1, None)


def test_a_source_whose_receivers_are_all_remote_shares_no_memory(run_dir: Path) -> None:
    pipeline = parse_launch(f"testsrc num_frames=1 ! queue address={TCP} ! fakesink")
    with closing(open_links(pipeline, pipeline.part("testsrc"), run_dir)) as links:
        assert (links.is_local, links.ring) == ([False], None)
    assert not find_names(f"posestream-{get_run_id(run_dir)}")


@pytest.mark.parametrize(
    ("message", "seqs"),
    [(make_frame(3), [3]), (make_people(3), [3]), (make_window(3, past=1, future=1), [3, 2, 3, 4, 3])],
    ids=["frame", "people", "window"],
)
def test_the_key_frame_of_a_message_comes_first(message: Frame, seqs: list[int]) -> None:
    assert [frame.seq for frame in get_frames(message)] == seqs
