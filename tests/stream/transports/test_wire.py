"""Every message survives the wire format, and all other bytes are refused."""

from __future__ import annotations

import dataclasses
import random
import tracemalloc
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engines import skeletons
from stream.errors import StaleFrame, WireError
from stream.messages import EOS_SEQ, Eos, Forecast, Frame, FrameState, People, Poses, Truth, Window, WindowFrame
from stream.transports import wire
from stream.transports.wire_schema import MAX_FRAMES, VERSION, FrameRef

# -- messages of every kind -------------------------------------------------------------------------------------------

INT64 = st.integers(-(2**63), 2**63 - 1)
SEQ = st.integers(0, EOS_SEQ)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
STATES: st.SearchStrategy[FrameState] = st.sampled_from(["real", "repeated", "padded"])
ROUND_TRIPS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def _floats(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return arrays.arrays(np.float32, shape, elements=FLOATS)


def _ids(count: int) -> st.SearchStrategy[np.ndarray]:
    return arrays.arrays(np.int64, (count,), elements=INT64)


@st.composite
def truths(draw: st.DrawFn) -> Truth:
    count, joints = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    return Truth(draw(_floats(count, 4)), draw(_ids(count)), draw(_floats(count, joints, 3)), draw(NAMES))


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 5)), 3)
    pixels = draw(arrays.arrays(np.uint8, shape))
    ledger = draw(st.dictionaries(NAMES, INT64, max_size=4))
    return Frame(draw(NAMES), draw(SEQ), draw(INT64), draw(INT64), pixels, ledger, draw(st.none() | truths()))


@st.composite
def people(draw: st.DrawFn, frame: st.SearchStrategy[Frame] | None = None) -> People:
    count = draw(st.integers(0, 4))
    found = draw(_floats(count, 4)), draw(_floats(count)), draw(_ids(count))
    return People(draw(frame if frame is not None else frames()), *found, draw(st.booleans()))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    different = draw(st.lists(frames(), min_size=1, max_size=3))
    chosen = draw(st.lists(st.sampled_from(different), min_size=1, max_size=5))
    index = draw(st.integers(0, len(chosen) - 1))
    states = tuple(draw(st.lists(STATES, min_size=len(chosen), max_size=len(chosen))))
    return Window(tuple(chosen), states, index, draw(people(st.just(chosen[index]))))


@st.composite
def poses(draw: st.DrawFn) -> Poses:
    count, joints = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    found = draw(_floats(count, 4)), draw(_floats(count)), draw(_ids(count)), draw(_floats(count, joints, 3))
    seen = draw(st.lists(st.builds(WindowFrame, INT64, SEQ, INT64, STATES), max_size=4))
    forecast = draw(st.none() | st.builds(Forecast, INT64, INT64, _floats(count, joints, 5)))
    return Poses(draw(frames()), *found, draw(NAMES), draw(NAMES), draw(NAMES), tuple(seen), forecast)


MESSAGES = frames() | people() | windows() | poses() | st.builds(Eos, NAMES)


def same(a: Any, b: Any) -> bool:
    """Equality that includes arrays: dtype, shape and every bit."""
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def a_frame(seq: int = 0, camera: str = "hall", size: tuple[int, int] = (4, 6)) -> Frame:
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(*size, 3)
    return Frame(camera, seq, seq * 40_000_000, 1, pixels, {"captured": 1})


def some_people(frame: Frame, count: int = 2) -> People:
    boxes = np.arange(count * 4, dtype=np.float32).reshape(count, 4)
    return People(frame, boxes, np.ones(count, np.float32), np.arange(count))


# -- round trips ------------------------------------------------------------------------------------------------------


@ROUND_TRIPS
@given(MESSAGES)
def test_every_message_comes_back_equal(message: Any) -> None:
    assert same(message, wire.unpack(wire.pack(message)))


@ROUND_TRIPS
@given(MESSAGES)
def test_every_message_comes_back_equal_by_reference(message: Any) -> None:
    memory: dict[int, np.ndarray] = {}

    def reference(frame: Frame) -> FrameRef:
        memory[id(frame.pixels)] = frame.pixels
        return FrameRef(f"ring-{id(frame.pixels)}", 0, 2, frame.pixels.shape)

    buffers = wire.pack(message, reference=reference)
    assert len(buffers) == 1
    assert same(message, wire.unpack(buffers, resolve=lambda ref: memory[int(ref.ring.removeprefix("ring-"))]))


def test_a_skeleton_that_does_not_ship_becomes_known_where_poses_are_received(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(skeletons._KNOWN, "antenna2", None)  # forgotten afterwards
    del skeletons._KNOWN["antenna2"]
    sent = skeletons.register("antenna2", ["root", "tip"], [("root", "tip")])
    buffers = wire.pack(dataclasses.replace(POSES, skeleton="antenna2"))
    del skeletons._KNOWN["antenna2"]  # as in another process
    received = wire.unpack(buffers)
    assert isinstance(received, Poses)
    assert received.skeleton == "antenna2"
    assert skeletons.SKELETONS["antenna2"] == sent
    del skeletons._KNOWN["antenna2"]
    skeletons.register("antenna2", ["left", "right"])
    with pytest.raises(WireError, match="skeleton 'antenna2' has 2 other joints"):
        wire.unpack(buffers)


def test_a_frame_that_a_window_repeats_is_sent_once() -> None:
    first, second = a_frame(0), a_frame(1)
    window = Window((first, first, second), ("padded", "real", "real"), 1, some_people(first))
    buffers = wire.pack(window)
    assert len(buffers) == 1 + 2
    back = wire.unpack(buffers)
    assert isinstance(back, Window)
    assert back.frames[0] is back.frames[1] is back.people.frame


def test_frames_that_differ_in_their_ledger_share_their_pixels() -> None:
    frame = a_frame()
    window = Window((frame,), ("real",), 0, some_people(frame.stamp("detected", 5)))
    buffers = wire.pack(window)
    back = wire.unpack(buffers)
    assert isinstance(back, Window)
    assert len(buffers) == 2
    assert back.people.frame.pixels is back.frames[0].pixels
    assert back.people.frame.ledger == {"captured": 1, "detected": 5}


def test_pixels_are_not_copied() -> None:
    frame = a_frame()
    buffers = wire.pack(frame)
    assert np.shares_memory(np.frombuffer(buffers[1], np.uint8), frame.pixels)
    back = wire.unpack(buffers)
    assert isinstance(back, Frame)
    assert np.shares_memory(back.pixels, frame.pixels)
    assert not back.pixels.flags.writeable


def test_a_frame_by_reference_takes_a_few_hundred_bytes() -> None:
    def reference(frame: Frame) -> FrameRef:
        return FrameRef("posestream-run-hall-0123456789abcdef", 3, 18, (1080, 1920, 3))

    assert len(wire.pack(some_people(a_frame(), count=5), reference=reference)[0]) < 400


def test_exceptions_of_resolve_are_not_caught() -> None:
    def gone(ref: FrameRef) -> np.ndarray:
        raise StaleFrame("written again")

    buffers = wire.pack(a_frame(), reference=lambda frame: FrameRef("ring", 0, 2, (4, 6, 3)))
    with pytest.raises(StaleFrame):
        wire.unpack(buffers, resolve=gone)


# -- messages that must not be sent -----------------------------------------------------------------------------------


def _with(**changes: Any) -> People:
    return dataclasses.replace(some_people(a_frame(3)), **changes)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (_with(boxes=np.zeros((2, 4))), "People ('hall', 3): boxes are float64 (2, 4), not float32 (2, 4)"),
        (_with(boxes=np.zeros((3, 4), np.float32)), "boxes are float32 (3, 4), not float32 (2, 4)"),
        (_with(scores=np.zeros((2, 1), np.float32)), "scores are float32 (2, 1), not float32 (2,)"),
        (_with(ids=np.zeros(2, np.int32)), "ids are int32 (2,), not int64 (2,)"),
        (_with(detected=np.True_), "People ('hall', 3) cannot be sent: Encoding objects of type numpy.bool"),
        (dataclasses.replace(a_frame(), seq=-1), "[2][0][1] must be an integer of at least 0"),
        (dataclasses.replace(a_frame(), camera="x" * 300), "must be text of at most 256 characters"),
        (dataclasses.replace(a_frame(), camera="\ud800"), "surrogates not allowed"),
        (dataclasses.replace(a_frame(), pts_ns=2**64), "cannot be sent"),
        (dataclasses.replace(a_frame(), pixels=np.zeros((4, 4), np.uint8)), "pixels are uint8 (4, 4), not uint8 (H, W"),
        (dataclasses.replace(a_frame(), pixels=np.zeros((0, 4, 3), np.uint8)), "pixels are uint8 (0, 4, 3)"),
        (
            Window((a_frame(),), (), 0, some_people(a_frame())),
            "1 frames, 0 states and index 0; give one state per frame",
        ),
        (
            Window((a_frame(),) * 129, ("real",) * 129, 0, some_people(a_frame())),
            "must be a list of at most 128 values",
        ),
        (Window((a_frame(),), ("odd",), 0, some_people(a_frame())), "cannot be 'odd'"),  # type: ignore[arg-type]
        ("hello", "str is not a message; send a Frame, People, Window, Poses or Eos"),
    ],
)
def test_an_invalid_message_is_not_encoded(message: Any, words: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.pack(message)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# -- invalid bytes ----------------------------------------------------------------------------------------------------


def _changed_head(message: Any, path: tuple[int, ...], value: Any) -> list[bytes | memoryview]:
    head, *pictures = wire.pack(message)
    fields = msgspec.msgpack.decode(head)
    place = fields
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return [msgspec.msgpack.encode(fields), *pictures]


PICTURE, FRAME, BODY = (1, 0), (2, 0), (3,)
PEOPLE = some_people(a_frame())
POSES = Poses(a_frame(), *(PEOPLE.boxes, PEOPLE.scores, PEOPLE.ids), np.zeros((2, 5, 3), np.float32), "coco17")


@pytest.mark.parametrize(
    ("buffers", "words"),
    [
        ([], "a message has 0 buffers; it has a head and at most 128 pictures"),
        ([b""] * 200, "a message has 200 buffers"),
        ([bytes(9_000_000)], "a head cannot be decoded: it has 9,000,000 bytes; 8,388,608 are allowed"),
        ([b"\xc1"], "a head cannot be decoded"),
        (
            _changed_head(PEOPLE, (0,), "posestream.wire.9"),
            "has version 'posestream.wire.9'; only 'posestream.wire.2' is supp",
        ),
        (_changed_head(PEOPLE, (*PICTURE, 1), 7), "a picture is in buffer 7 of 1"),
        (_changed_head(PEOPLE, (*PICTURE, 2), [4, 7, 3]), "a picture of (4, 7, 3) has 72 bytes"),
        (_changed_head(PEOPLE, (*PICTURE, 2), [2**40, 1, 3]), "must be an integer of at most 16384"),
        (_changed_head(PEOPLE, (*FRAME, 4), 1), "refers to a frame or picture that it does not contain"),
        (_changed_head(PEOPLE, (*BODY, 1), 1), "refers to a frame or picture that it does not contain"),
        (_changed_head(PEOPLE, (*BODY, 2), b"123"), "an array of (2, 4) float32 has 3 bytes"),
        (_changed_head(PEOPLE, (*BODY, 4), bytes(12)), "an array of (1, 4) float32 has 32 bytes"),
        (
            _changed_head(PEOPLE, (*BODY, 0), "two\nlines" * 99),
            "a head cannot be decoded: [3][0] cannot be 'two\\nlines",
        ),
        (_changed_head(POSES, (*BODY, 5), 1000), "an array of (2, 1000, 3) float32 has 120 bytes"),
        (_changed_head(PEOPLE, (*BODY, 0), "riddle"), "cannot be 'riddle'"),
        (wire.pack(a_frame(), reference=lambda f: FrameRef("r", 0, 0, (4, 6, 3))), "are in shared memory 'r'"),
    ],
)
def test_invalid_bytes_raise_with_a_reason(buffers: list[bytes], words: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.unpack(buffers)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("header", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
@pytest.mark.parametrize("depth", range(4))
def test_a_claimed_length_allocates_nothing(header: bytes, depth: int) -> None:
    name = VERSION.encode()
    before = b"\x94" + bytes([0xA0 + len(name)]) + name + b"\x90" * (depth - 1) if depth else b""
    tracemalloc.start()
    with pytest.raises(WireError):
        wire.unpack([before + header])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000  # an array of the claimed four billion would take 32 GB


# -- fuzzing ----------------------------------------------------------------------------------------------------------

FUZZ_MESSAGES = 30_000
SPLICES = [b"\xdd\xff\xff\xff\xff", b"\xc0", b"\xcb\x7f\xf8", b"\xcf" + b"\xff" * 8, b"\x91" * 600]


def _seeds() -> list[list[bytes]]:
    frame = dataclasses.replace(a_frame(), truth=Truth(PEOPLE.boxes, PEOPLE.ids, POSES.keypoints))
    window = Window((frame, a_frame(1)), ("real", "repeated"), 0, some_people(frame))
    seen = dataclasses.replace(POSES, window=(WindowFrame(-1, 0, 0, "real"),))
    by_reference = wire.pack(window, reference=lambda f: FrameRef("posestream-r-c-1", 1, 2, (4, 6, 3)))
    packed = [wire.pack(one) for one in (frame, PEOPLE, window, seen, Eos("hall"))]
    return [[bytes(buffer) for buffer in buffers] for buffers in [*packed, by_reference]]


def _mutated(rng: random.Random, buffers: list[bytes]) -> list[bytes]:
    result = list(buffers)
    for _ in range(rng.randint(1, 3)):
        _mutate(rng, result)
    return result


def _mutate(rng: random.Random, buffers: list[bytes]) -> None:
    place = rng.randrange(len(buffers)) if buffers else 0
    old = bytearray(buffers[place]) if buffers else bytearray()
    at = rng.randrange(len(old) + 1)
    match rng.randrange(7):
        case 0:
            buffers.append(rng.randbytes(rng.randrange(80)))
        case 1:
            del buffers[place : place + 1]
        case 2:
            buffers[place : place + 1] = [bytes(old[:at])]
        case 3:
            old[at : at + 1] = rng.randbytes(1)
            buffers[place : place + 1] = [bytes(old)]
        case 4:
            old[at:at] = rng.choice(SPLICES)
            buffers[place : place + 1] = [bytes(old)]
        case 5:
            old[at : at + rng.randrange(1, 9)] = b""
            buffers[place : place + 1] = [bytes(old)]
        case _:
            buffers[place : place + 1] = [rng.randbytes(rng.randrange(200))]


def test_hostile_messages_raise_wire_errors_only() -> None:
    rng = random.Random(20)
    seeds = _seeds()
    counted: Counter[str] = Counter()
    for _ in range(FUZZ_MESSAGES):
        try:
            message = wire.unpack(_mutated(rng, rng.choice(seeds)), resolve=lambda ref: np.zeros(ref.shape, np.uint8))
        except WireError as error:
            counted["refused"] += 1
            counted["lines"] += 1 + str(error).count("\n")
        else:
            # A changed pixel, timestamp or spare buffer makes another valid message, which can be encoded again.
            assert wire.pack(message)
            counted["read"] += 1
    assert counted["lines"] == counted["refused"]
    assert counted["refused"] > FUZZ_MESSAGES / 2
    assert counted["refused"] + counted["read"] == FUZZ_MESSAGES


def test_the_bounds_agree_with_those_of_a_link() -> None:
    from stream.transports.base import MAX_BUFFERS

    assert 1 + MAX_FRAMES <= MAX_BUFFERS
