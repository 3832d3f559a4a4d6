"""What counts as lost in a line over files and in a live one, and how it is reported."""

from __future__ import annotations

import pytest

from stream.messages import EOS_SEQ
from stream.pipeline.launch import parse_launch
from stream.runtime import bus
from stream.runtime.losses import Losses

FILE = "testsrc num_frames=9 name=clip ! queue ! detect model=truth ! fakesink"
LIVE = "testsrc realtime=true name=door ! queue ! detect model=truth ! fakesink"


def failure(element: str, camera: str, seq: int, text: str = "OSError: disk full") -> bus.Error:
    return bus.Error(part="detect", element=element, camera=camera, seq=seq, text=text)


def test_failures_and_bad_items_of_a_file_are_named_by_element_camera_and_number() -> None:
    losses = Losses(parse_launch(FILE))
    for seq in (3, 4):
        losses.take(failure("fakesink", "clip", seq))
    losses.take(failure("detect", "clip", 7, "ValueError: odd"))
    losses.take(bus.Qos(part="detect", camera="clip", reason="stale", dropped=2, total=2))
    losses.take(bus.Qos(part="detect", camera="clip", reason="stale", dropped=3, total=5))
    losses.take(failure("fakesink", "", -1))
    assert losses.describe() == (
        "fakesink failed on 2 frames of camera 'clip', last on 4: OSError: disk full; "
        "detect failed on 1 frame of camera 'clip', last on 7: ValueError: odd; "
        "fakesink failed at the end of the stream: OSError: disk full; "
        "detect dropped 5 frames of camera 'clip' (stale)"
    )


def test_losses_whose_notices_were_lost_with_a_process_are_in_the_totals_of_its_successor() -> None:
    losses = Losses(parse_launch(FILE))
    losses.take(failure("detect", "clip", 3, "ValueError: odd"))
    losses.take(bus.Qos(part="detect", camera="clip", reason="failed", dropped=0, total=3))
    losses.take(bus.Qos(part="detect", camera="clip", reason="stale", dropped=0, total=8))
    losses.take(bus.Qos(part="detect", camera="clip", reason="stale", dropped=0, total=8))
    assert losses.describe() == (
        "detect failed on 1 frame of camera 'clip', last on 3: ValueError: odd; "
        "detect dropped 2 frames of camera 'clip' (failed); detect dropped 8 frames of camera 'clip' (stale)"
    )


def test_failures_at_the_end_are_named_camera_by_camera() -> None:
    text = "testsrc num_frames=9 name=hall ! queue name=out\ntestsrc num_frames=9 name=yard ! queue name=out\n"
    losses = Losses(parse_launch(f"{text}from out ! fakesink"))
    for camera in ("hall", "yard"):
        error = f"OSError: 3 frames of {camera} are missing"
        losses.take(bus.Error(part="fakesink", element="fakesink", camera=camera, seq=EOS_SEQ, text=error))
    assert losses.describe() == (
        "fakesink failed at the end of camera 'hall': OSError: 3 frames of hall are missing; "
        "fakesink failed at the end of camera 'yard': OSError: 3 frames of yard are missing"
    )


def test_an_item_that_a_restarted_part_takes_again_counts_once() -> None:
    losses = Losses(parse_launch(FILE))
    for seq in (3, 4, 4):
        losses.take(failure("fakesink", "clip", seq))
    assert losses.describe().startswith("fakesink failed on 2 frames")


def test_two_sinks_of_one_name_are_counted_and_named_each_for_itself() -> None:
    text = "testsrc num_frames=9 name=clip ! queue name=out\nfrom out ! fakesink\nfrom out ! fakesink"
    losses = Losses(parse_launch(text))
    for part in ("fakesink", "fakesink2"):
        losses.take(bus.Error(part=part, element="fakesink", camera="clip", seq=3, text="OSError: disk full"))
    assert losses.describe() == (
        "fakesink failed on 1 frame of camera 'clip', last on 3: OSError: disk full; "
        "fakesink of part fakesink2 failed on 1 frame of camera 'clip', last on 3: OSError: disk full"
    )


@pytest.mark.parametrize("reason", ["leaky", "no credit", "late"])
def test_drops_that_were_asked_for_are_no_losses(reason: bus.DropReason) -> None:
    losses = Losses(parse_launch(FILE))
    losses.take(bus.Qos(part="detect", camera="clip", reason=reason, dropped=2))
    losses.take(failure("my.logger", "", -1))
    losses.take(bus.Error(part="detect", element="detect", text="failed 5 times", fatal=True))
    assert losses.describe() == ""


def test_a_live_line_loses_only_what_its_sink_cannot_write() -> None:
    losses = Losses(parse_launch(LIVE))
    losses.take(failure("detect", "door", 3))
    losses.take(bus.Qos(part="detect", camera="door", reason="stale", dropped=2))
    assert losses.describe() == ""
    losses.take(failure("fakesink", "door", 4))
    assert losses.describe() == "fakesink failed on 1 frame of camera 'door', last on 4: OSError: disk full"
