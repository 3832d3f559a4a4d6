"""Encoding of messages as bytes: ``message <-> [head, picture, picture, …]``, without sockets.

The head is one msgpack array: the version, the pictures, the frames, and the message, which refers to its frames by
index, so that a frame or picture that occurs several times is carried once. A picture is either a :class:`FrameRef` to
a slot of shared memory or the index of the buffer with its bytes. The fields are in
:mod:`stream.transports.wire_schema`.

Input is not trusted: every count is bounded before anything is allocated, every length must match its shape, and all
errors are :class:`stream.errors.WireError`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.formats.files import FormatError
from engines.formats.mismatch import describe_mismatch
from engines.formats.msgpack import decode_msgpack
from engines.skeletons import SHIPPED, SKELETONS, register
from stream.errors import WireError
from stream.messages import Eos, Forecast, Frame, Message, People, Poses, Truth, Window, WindowFrame
from stream.transports.wire_schema import (
    MAX_FRAMES,
    MAX_HEAD_BYTES,
    VERSION,
    AnyBody,
    EosBody,
    ForecastBody,
    FrameBody,
    FrameMessageBody,
    FrameRef,
    Head,
    InlinePicture,
    PeopleBody,
    PosesBody,
    SkeletonBody,
    TruthBody,
    WindowBody,
    WindowFrameBody,
)

__all__ = ["FrameRef", "Reference", "Resolve", "inline", "no_references", "pack", "unpack"]

Reference = Callable[[Frame], FrameRef | None]
Resolve = Callable[[FrameRef], NDArray[np.uint8]]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Head)


def inline(_frame: Frame) -> FrameRef | None:
    """A ``reference`` that puts all pixels into the message, for links between hosts."""
    return None


def no_references(ref: FrameRef) -> NDArray[np.uint8]:
    """A ``resolve`` for receivers without shared memory. Raises :class:`WireError`."""
    raise WireError(
        f"pixels are in shared memory {ref.ring!r} of another host; configure the sender to send them inline"
    )


def pack(message: Message | Eos, *, reference: Reference = inline) -> list[bytes | memoryview]:
    """Encode a message as ``[head, picture, …]``; the pictures are views of the frames' pixels, not copies.

    ``reference`` returns the reference to a frame's pixels in shared memory, or None to send them inline. Raises
    :class:`WireError` for a message whose arrays do not conform to :mod:`stream.messages`, or that is too large.
    """
    packer = _Packer(reference)
    body = packer.body(message)
    head = _encode(Head(VERSION, packer.pictures, packer.frames, body), message)
    return [head, *packer.buffers]


def unpack(buffers: Sequence[bytes | memoryview], *, resolve: Resolve = no_references) -> Message | Eos:
    """Decode a message; its arrays are read-only views of ``buffers``.

    ``resolve`` returns the pixels of a reference; its exceptions are not caught. Raises :class:`WireError` for bytes
    that are not a message of this version.
    """
    head = _decode(buffers)
    pictures = [_read_pixels(picture, buffers[1:], resolve) for picture in head.pictures]
    try:
        frames = [_read_frame(frame, pictures) for frame in head.frames]
        return _read_message(head.body, frames)
    except IndexError:
        raise WireError("a message refers to a frame or picture that it does not contain") from None


# -- encoding ---------------------------------------------------------------------------------------------------------


class _Packer:
    """Collects the frames and pictures of one message, each once."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._frame_index: dict[int, int] = {}
        self._picture_index: dict[int, int] = {}
        self.frames: list[FrameBody] = []
        self.pictures: list[FrameRef | InlinePicture] = []
        self.buffers: list[memoryview] = []

    def body(self, message: Message | Eos) -> AnyBody:
        match message:
            case Frame():
                return FrameMessageBody(self.frame(message))
            case People():
                return self.people(message)
            case Window():
                return self.window(message)
            case Poses():
                return self.poses(message)
            case Eos():
                return EosBody(message.camera)
        raise WireError(f"{type(message).__name__} is not a message; send a Frame, People, Window, Poses or Eos")

    def frame(self, frame: Frame) -> int:
        index = self._frame_index.get(id(frame))
        if index is None:
            index = self._frame_index[id(frame)] = len(self.frames)
            self.frames.append(self._new_frame(frame))
        return index

    def _new_frame(self, frame: Frame) -> FrameBody:
        truth = None if frame.truth is None else _pack_truth(frame.truth, frame)
        picture = self.picture(frame)
        times = frame.pts_ns, frame.wall_ns
        return FrameBody(frame.camera, frame.seq, *times, picture, dict(frame.ledger), truth, frame.file)

    def picture(self, frame: Frame) -> int:
        index = self._picture_index.get(id(frame.pixels))
        if index is None:
            index = self._picture_index[id(frame.pixels)] = len(self.pictures)
            self.pictures.append(self._reference(frame) or self._add_inline(frame))
        return index

    def _add_inline(self, frame: Frame) -> InlinePicture:
        pixels = frame.pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise WireError(f"frame {frame.key}: pixels are {_describe(pixels)}, not uint8 (H, W, 3)")
        self.buffers.append(np.ascontiguousarray(pixels).reshape(-1).data)
        return InlinePicture(len(self.buffers) - 1, (int(pixels.shape[0]), int(pixels.shape[1]), 3))

    def people(self, people: People) -> PeopleBody:
        return PeopleBody(self.frame(people.frame), *_pack_people(people), people.detected)

    def window(self, window: Window) -> WindowBody:
        if len(window.frames) != len(window.states) or not 0 <= window.index < len(window.frames):
            raise WireError(
                f"a window has {len(window.frames)} frames, {len(window.states)} states and index {window.index}; "
                "give one state per frame and the index of a frame"
            )
        frames = [self.frame(frame) for frame in window.frames]
        return WindowBody(frames, list(window.states), window.index, self.people(window.people))

    def poses(self, poses: Poses) -> PosesBody:
        count, joints = len(poses.ids), _joints(poses.keypoints, poses)
        return PosesBody(
            self.frame(poses.frame),
            *_pack_people(poses),
            joints,
            _bytes(poses.keypoints, "<f4", (count, joints, 3), "keypoints", poses),
            poses.skeleton,
            poses.model,
            poses.fingerprint,
            [WindowFrameBody(one.offset, one.seq, one.pts_ns, one.state) for one in poses.window],
            _pack_skeleton(poses.skeleton),
            _pack_forecast(poses, (count, joints, 5)),
        )


def _pack_people(message: People | Poses) -> tuple[bytes, bytes, bytes]:
    """Boxes, scores and ids."""
    count = len(message.ids)
    return (
        _bytes(message.boxes, "<f4", (count, 4), "boxes", message),
        _bytes(message.scores, "<f4", (count,), "scores", message),
        _bytes(message.ids, "<i8", (count,), "ids", message),
    )


def _pack_forecast(poses: Poses, shape: tuple[int, int, int]) -> ForecastBody | None:
    forecast = poses.forecast
    if forecast is None:
        return None
    return ForecastBody(forecast.for_ns, forecast.until_ns, _bytes(forecast.joints, "<f4", shape, "forecasts", poses))


def _pack_skeleton(name: str) -> SkeletonBody | None:
    """A skeleton that a Signature brought, for processes that do not know it; None for those that ship."""
    if name in SHIPPED or name not in SKELETONS:
        return None
    own = SKELETONS[name]
    return SkeletonBody(list(own.joints), [(own.joints[start], own.joints[end]) for start, end in own.limbs])


def _pack_truth(truth: Truth, frame: Frame) -> TruthBody:
    count, joints = len(truth.ids), _joints(truth.keypoints, frame)
    return TruthBody(
        _bytes(truth.boxes, "<f4", (count, 4), "truth boxes", frame),
        _bytes(truth.ids, "<i8", (count,), "truth ids", frame),
        joints,
        _bytes(truth.keypoints, "<f4", (count, joints, 3), "truth keypoints", frame),
        truth.skeleton,
    )


def _joints(keypoints: NDArray[np.float32], message: Message) -> int:
    if keypoints.ndim != 3:
        raise WireError(f"{_title(message)}: keypoints are {_describe(keypoints)}, not float32 (N, K, 3)")
    return int(keypoints.shape[1])


def _bytes(array: NDArray[Any], dtype: str, shape: tuple[int, ...], what: str, message: Message) -> bytes:
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        wanted = f"{np.dtype(dtype)} {shape}"
        raise WireError(
            f"{_title(message)}: {what} are {_describe(array)}, not {wanted}; convert them in their element"
        )
    return array.tobytes()


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"


def _one_line(error: Exception) -> str:
    """The message of an error, in one line of bounded length, without unprintable characters."""
    text = describe_mismatch(error) if isinstance(error, msgspec.ValidationError) else str(error)
    return "".join(one if one.isprintable() else "?" for one in text[:200])


def _title(message: Message) -> str:
    return f"{type(message).__name__} {message.key}"


def _encode(head: Head, message: Message | Eos) -> bytes:
    """Encode the head, and check that it can be decoded."""
    try:
        encoded = _encoder.encode(head)
        _decoder.decode(encoded)
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise WireError(f"{type(message).__name__} {message.key} cannot be sent: {_one_line(error)}") from None
    if len(encoded) > MAX_HEAD_BYTES:
        raise WireError(f"{type(message).__name__} {message.key} cannot be sent: its head has {len(encoded):,} bytes")
    return encoded


# -- decoding ---------------------------------------------------------------------------------------------------------

_Scalar = TypeVar("_Scalar", np.float32, np.int64)


def _decode(buffers: Sequence[bytes | memoryview]) -> Head:
    if not buffers or len(buffers) > 1 + MAX_FRAMES:
        raise WireError(f"a message has {len(buffers)} buffers; it has a head and at most {MAX_FRAMES} pictures")
    try:
        head = decode_msgpack(_decoder, buffers[0], MAX_HEAD_BYTES)
    except FormatError as error:
        raise WireError(f"a head cannot be decoded: {_one_line(error)}") from None
    if head.version != VERSION:
        raise WireError(f"a message has version {head.version[:40]!r}; only {VERSION!r} is supported")
    return head


def _read_pixels(
    picture: FrameRef | InlinePicture, buffers: Sequence[bytes | memoryview], resolve: Resolve
) -> NDArray[np.uint8]:
    if isinstance(picture, FrameRef):
        return resolve(picture)
    if picture.buffer >= len(buffers):
        raise WireError(f"a picture is in buffer {picture.buffer} of {len(buffers)}")
    flat = np.frombuffer(buffers[picture.buffer], np.uint8)
    height, width, channels = picture.shape
    if flat.size != height * width * channels:
        raise WireError(f"a picture of {picture.shape} has {flat.size:,} bytes")
    pixels = flat.reshape(picture.shape)
    pixels.flags.writeable = False
    return pixels


def _read_frame(frame: FrameBody, pictures: list[NDArray[np.uint8]]) -> Frame:
    truth = None if frame.truth is None else _read_truth(frame.truth)
    pixels = pictures[frame.picture]
    return Frame(frame.camera, frame.seq, frame.pts_ns, frame.wall_ns, pixels, frame.ledger, truth, frame.file)


def _read_truth(truth: TruthBody) -> Truth:
    count = len(truth.ids) // 8
    return Truth(
        _array(truth.boxes, np.float32, (count, 4)),
        _array(truth.ids, np.int64, (count,)),
        _array(truth.keypoints, np.float32, (count, truth.joints, 3)),
        truth.skeleton,
    )


def _read_message(body: AnyBody, frames: list[Frame]) -> Message | Eos:
    match body:
        case FrameMessageBody():
            return frames[body.frame]
        case PeopleBody():
            return _read_people(body, frames)
        case WindowBody():
            return _read_window(body, frames)
        case PosesBody():
            return _read_poses(body, frames)
        case EosBody():
            return Eos(body.camera)


def _read_people(body: PeopleBody, frames: list[Frame]) -> People:
    return People(frames[body.frame], *_read_boxes(body), body.detected)


def _read_window(body: WindowBody, frames: list[Frame]) -> Window:
    if len(body.frames) != len(body.states) or body.index >= len(body.frames):
        raise WireError(f"a window has {len(body.frames)} frames, {len(body.states)} states and index {body.index}")
    people = _read_people(body.people, frames)
    return Window(tuple(frames[i] for i in body.frames), tuple(body.states), body.index, people)


def _read_boxes(body: PeopleBody | PosesBody) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Boxes, scores and ids."""
    count = len(body.ids) // 8
    return (
        _array(body.boxes, np.float32, (count, 4)),
        _array(body.scores, np.float32, (count,)),
        _array(body.ids, np.int64, (count,)),
    )


def _read_poses(body: PosesBody, frames: list[Frame]) -> Poses:
    if body.own is not None:
        _register(body.skeleton, body.own)
    count = len(body.ids) // 8
    return Poses(
        frames[body.frame],
        *_read_boxes(body),
        _array(body.keypoints, np.float32, (count, body.joints, 3)),
        body.skeleton,
        body.model,
        body.fingerprint,
        tuple(WindowFrame(one.offset, one.seq, one.pts_ns, one.state) for one in body.window),
        _read_forecast(body, count),
    )


def _read_forecast(body: PosesBody, count: int) -> Forecast | None:
    if body.forecast is None:
        return None
    values = _array(body.forecast.values, np.float32, (count, body.joints, 5))
    return Forecast(body.forecast.for_ns, body.forecast.until_ns, values)


def _register(name: str, own: SkeletonBody) -> None:
    try:
        register(name, own.joints, own.limbs)
    except ValueError as error:
        raise WireError(f"poses cannot be read: {_one_line(error)}") from None


def _array(data: bytes, dtype: type[_Scalar], shape: tuple[int, ...]) -> NDArray[_Scalar]:
    little = np.dtype(dtype).newbyteorder("<")
    if len(data) != int(np.prod(shape)) * little.itemsize:
        raise WireError(f"an array of {shape} {little} has {len(data)} bytes")
    return np.frombuffer(data, little).reshape(shape)
