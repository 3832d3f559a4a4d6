"""The two ends of a hop for every carrier, which ``hop.py`` runs in two processes.

A sender has a picture in its memory and sends it; a receiver reads it, each as the documentation of the carrier shows.
One end is run by ``python -m benchmarks.hop_ends CARRIER send|receive ADDRESS FPS FRAMES``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

SHAPE = (1080, 1920, 3)
SIZE = 1080 * 1920 * 3
IN_FLIGHT = 4
"""Maximum number of pictures in flight, for all carriers that can be configured."""

Bytes = NDArray[np.uint8]


class Sender(Protocol):
    """``prepare`` is called while there is no picture yet, to find a place for one; ``send`` returns when the
    picture may be written over; ``close`` when all have arrived."""

    def prepare(self) -> None: ...

    def send(self, picture: Bytes, seq: int) -> None: ...

    def close(self) -> None: ...


class Receiver(Protocol):
    """``receive`` gives the next picture's bytes, which stay until ``done``."""

    def receive(self) -> Bytes: ...

    def done(self) -> None: ...


# -- ours -------------------------------------------------------------------------------------------------------------


class OursSender:
    """Copies the picture into a slot of the ring, as a decoder would write it there, and sends the reference."""

    def __init__(self, address: str) -> None:
        from stream.transports.shm_ring import FrameRing
        from stream.transports.zmq_link import open_outbox

        self._ring = FrameRing(Path(address).name, "bench", IN_FLIGHT + 2)
        self._outbox = open_outbox(f"ipc://{address}", "source")
        self._open = 0
        self._slot: Any = None

    def prepare(self) -> None:
        self._settle(IN_FLIGHT - 1)
        self._slot = self._ring.allocate(SHAPE)

    def send(self, picture: Bytes, seq: int) -> None:
        from stream.messages import Frame
        from stream.transports import wire

        self._fill(self._slot, picture)
        frame = Frame("hall", seq, 0, 0, self._slot)
        self._slot = None
        self._outbox.send(frame.key, wire.pack(frame, reference=self._ring.reference))
        self._open += 1

    def _fill(self, slot: Bytes, picture: Bytes) -> None:
        np.copyto(slot, picture)

    def _settle(self, open_: int) -> None:
        """Wait until no more than so many pictures are under way."""
        while True:
            for key in self._outbox.take_acknowledged(100 if self._open > open_ else 0):
                self._ring.release(key)
                self._open -= 1
            if self._open <= open_:
                return

    def close(self) -> None:
        self._settle(0)
        self._outbox.close()
        self._ring.close()


class OursInPlaceSender(OursSender):
    """The picture is in the slot already, since its source decoded it there; only its stamp is new."""

    def _fill(self, slot: Bytes, picture: Bytes) -> None:
        slot.reshape(-1)[:16] = picture.reshape(-1)[:16]


class OursReceiver:
    def __init__(self, address: str) -> None:
        from stream.transports.shm_ring import FrameReader
        from stream.transports.zmq_link import open_inbox

        self._reader = FrameReader()
        self._inbox = open_inbox(f"ipc://{address}", "sink")
        self._frame: Any = None

    def receive(self) -> Bytes:
        from stream.transports import wire

        deliveries = self._inbox.receive(1, 60_000)
        self._frame = wire.unpack(deliveries[0].buffers, resolve=self._reader.resolve)
        return np.asarray(self._frame.pixels).reshape(-1)

    def done(self) -> None:
        self._reader.check_frame(self._frame)
        self._inbox.acknowledge(self._frame.key)

    def close(self) -> None:
        self._inbox.close()


# -- pyzmq, the way its examples send arrays --------------------------------------------------------------------------


class PyzmqSender:
    def __init__(self, address: str) -> None:
        import zmq

        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUSH)
        self._socket.set_hwm(IN_FLIGHT)
        self._socket.connect(f"ipc://{address}")

    def prepare(self) -> None:
        return

    def send(self, picture: Bytes, seq: int) -> None:
        self._socket.send_json({"seq": seq, "dtype": str(picture.dtype), "shape": picture.shape}, 2)  # SNDMORE
        self._socket.send(picture.data)

    def close(self) -> None:
        self._socket.close(60_000)
        self._socket.context.term()


class PyzmqReceiver:
    def __init__(self, address: str) -> None:
        import zmq

        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PULL)
        self._socket.set_hwm(IN_FLIGHT)
        self._socket.bind(f"ipc://{address}")

    def receive(self) -> Bytes:
        head: Any = self._socket.recv_json()
        return np.frombuffer(self._socket.recv(), head["dtype"])

    def done(self) -> None:
        return


# -- imagezmq ---------------------------------------------------------------------------------------------------------


class ImagezmqSender:
    def __init__(self, address: str) -> None:
        import imagezmq

        self._sender = imagezmq.ImageSender(connect_to=f"ipc://{address}")

    def prepare(self) -> None:
        return

    def send(self, picture: Bytes, seq: int) -> None:
        self._sender.send_image(str(seq), picture)

    def close(self) -> None:
        self._sender.close()


class ImagezmqReceiver:
    def __init__(self, address: str) -> None:
        import imagezmq

        self._hub = imagezmq.ImageHub(open_port=f"ipc://{address}")

    def receive(self) -> Bytes:
        return np.asarray(self._hub.recv_image()[1]).reshape(-1)

    def done(self) -> None:
        self._hub.send_reply(b"OK")


# -- iceoryx2: slices in shared memory, and an event to wake the receiver ---------------------------------------------


def _iceoryx2_services(address: str) -> tuple[Any, Any, Any]:
    import iceoryx2 as iox2

    iox2.set_log_level(iox2.LogLevel.Fatal)
    node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
    name = iox2.ServiceName.new(address)
    frames = (
        node.service_builder(name)
        .publish_subscribe(iox2.Slice[ctypes.c_uint8])
        .enable_safe_overflow(False)
        .subscriber_max_buffer_size(IN_FLIGHT)
        .open_or_create()
    )
    return node, frames, node.service_builder(name).event().open_or_create()


class Iceoryx2Sender:
    def __init__(self, address: str) -> None:
        import iceoryx2 as iox2

        self._node, self._frames, events = _iceoryx2_services(address)
        self._publisher = (
            self._frames.publisher_builder()
            .initial_max_slice_len(SIZE)
            .backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )
        self._notifier = events.notifier_builder().create()
        while not (self._frames.dynamic_config.number_of_subscribers and events.dynamic_config.number_of_listeners):
            time.sleep(0.01)
        self._publisher.update_connections()
        self._sample: Any = None

    def prepare(self) -> None:
        self._sample = self._publisher.loan_slice_uninit(SIZE)

    def send(self, picture: Bytes, seq: int) -> None:  # noqa: ARG002
        ctypes.memmove(self._sample.payload_ptr, picture.ctypes.data, SIZE)
        self._sample.assume_init().send()
        self._notifier.notify()

    def close(self) -> None:
        while self._frames.dynamic_config.number_of_subscribers:
            time.sleep(0.01)


class Iceoryx2Receiver:
    def __init__(self, address: str) -> None:
        self._node, frames, events = _iceoryx2_services(address)
        self._listener = events.listener_builder().create()
        self._subscriber = frames.subscriber_builder().create()
        self._sample: Any = None

    def receive(self) -> Bytes:
        import iceoryx2 as iox2

        while (sample := self._subscriber.receive()) is None:
            self._listener.timed_wait(iox2.Duration.from_secs(1))
        self._sample = sample
        return np.ctypeslib.as_array((ctypes.c_uint8 * SIZE).from_address(sample.payload_ptr))

    def done(self) -> None:
        self._sample.delete()


# -- GStreamer shmsink and shmsrc -------------------------------------------------------------------------------------


def _gstreamer() -> Any:
    # The system's bindings serve any Python of the same version; appended, so that nothing else comes from there.
    sys.path.append("/usr/lib/python3/dist-packages")
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    from gi.repository import Gst, GstApp  # noqa: F401  GstApp gives appsrc and appsink their methods

    Gst.init(None)
    return Gst


_CAPS = f"video/x-raw,format=BGR,width={SHAPE[1]},height={SHAPE[0]},framerate=0/1"


class GstreamerSender:
    def __init__(self, address: str) -> None:
        self._gst = _gstreamer()
        self._line = self._gst.parse_launch(
            f"appsrc name=source is-live=true block=true max-bytes={SIZE} caps={_CAPS} "
            f"! shmsink socket-path={address} sync=false async=false wait-for-connection=true shm-size={SIZE * 8}"
        )
        self._source = self._line.get_by_name("source")
        self._line.set_state(self._gst.State.PLAYING)
        self._buffer: Any = None

    def prepare(self) -> None:
        self._buffer = self._gst.Buffer.new_allocate(None, SIZE, None)

    def send(self, picture: Bytes, seq: int) -> None:  # noqa: ARG002
        _, info = self._buffer.map(self._gst.MapFlags.WRITE)
        info.data[:] = picture.reshape(-1).data
        self._buffer.unmap(info)
        self._source.push_buffer(self._buffer)

    def close(self) -> None:
        time.sleep(2)  # shmsink takes its memory with it, so the last picture has to be read first
        self._line.set_state(self._gst.State.NULL)


class GstreamerReceiver:
    def __init__(self, address: str) -> None:
        self._gst = _gstreamer()
        while not Path(address).exists():
            time.sleep(0.01)
        self._line = self._gst.parse_launch(
            f"shmsrc socket-path={address} is-live=true ! {_CAPS} "
            f"! appsink name=sink sync=false max-buffers={IN_FLIGHT} drop=false"
        )
        self._sink = self._line.get_by_name("sink")
        self._line.set_state(self._gst.State.PLAYING)

    def receive(self) -> Bytes:
        self._buffer = self._sink.pull_sample().get_buffer()
        _, self._info = self._buffer.map(self._gst.MapFlags.READ)
        return np.frombuffer(self._info.data, np.uint8)

    def done(self) -> None:
        self._buffer.unmap(self._info)


RIVALS: dict[str, tuple[Any, Any]] = {
    "ours": (OursSender, OursReceiver),
    "ours by reference": (OursInPlaceSender, OursReceiver),
    "pyzmq": (PyzmqSender, PyzmqReceiver),
    "imagezmq": (ImagezmqSender, ImagezmqReceiver),
    "iceoryx2": (Iceoryx2Sender, Iceoryx2Receiver),
    "gstreamer": (GstreamerSender, GstreamerReceiver),
}


def why_missing(rival: str) -> str | None:
    """What to install before a rival can run; None when it can."""
    try:
        match rival:
            case "imagezmq":
                import imagezmq  # noqa: F401
            case "iceoryx2":
                import iceoryx2  # noqa: F401
            case "gstreamer":
                _check_gstreamer()
    except (ImportError, ValueError) as error:
        return f"not installed ({error})"
    return None


def _check_gstreamer() -> None:
    gst = _gstreamer()
    if gst.ElementFactory.find("shmsink") is None:
        raise ImportError("no shmsink: gstreamer1.0-plugins-bad")
    _, info = gst.Buffer.new_allocate(None, 8, None).map(gst.MapFlags.READ)
    if not isinstance(info.data, memoryview):
        raise ImportError("it would copy every picture: python3-gst-1.0")


# -- both ends --------------------------------------------------------------------------------------------------------


def make_picture() -> Bytes:
    """A picture in which no two lines are alike."""
    return np.random.default_rng(7).integers(0, 256, SHAPE, np.uint8)


def sum_words(data: Bytes) -> int:
    """Reads every pixel: the sum of all 8-byte words, modulo 2**64."""
    return int(data.view(np.uint64).sum(dtype=np.uint64))


def run_sender(sender: Sender, fps: float, frames: int) -> None:
    """Send stamped pictures, ``fps`` a second, or as fast as they are taken where it is 0."""
    full = make_picture()
    stamp = full.reshape(-1)[:16].view(np.uint64)
    due = time.monotonic()
    for seq in range(frames):
        due += 1 / fps if fps else 0
        sender.prepare()
        time.sleep(max(0.0, due - time.monotonic()))
        stamp[:] = seq, time.monotonic_ns()
        sender.send(full, seq)
    sender.close()


def run_receiver(receiver: Receiver, frames: int, reads_all: bool) -> dict[str, list[int]]:
    """Receive them; a picture has arrived when every pixel was read and checked."""
    full = make_picture().reshape(-1)
    rest = sum_words(full[16:])
    latencies_ns, arrivals_ns = [], []
    for seq in range(frames):
        data = receiver.receive()
        stamp = data[:16].view(np.uint64)
        number, sent_ns = int(stamp[0]), int(stamp[1])
        total = sum_words(data) if reads_all else None
        now_ns = time.monotonic_ns()
        receiver.done()
        _prove(seq, number, total, (rest + number + sent_ns) % 2**64)
        latencies_ns.append(now_ns - sent_ns)
        arrivals_ns.append(now_ns)
    return {"latencies_ns": latencies_ns, "arrivals_ns": arrivals_ns}


def _prove(seq: int, number: int, total: int | None, expected: int) -> None:
    if number != seq or total not in (None, expected):
        raise SystemExit(f"picture {seq} arrived as {number}, its sum {total} is not {expected}")


def main(rival: str, side: str, address: str, fps: str, frames: str) -> None:
    """Run one end; the receiver prints what it measured, as JSON."""
    make_sender, make_receiver = RIVALS[rival]
    if side == "send":
        run_sender(make_sender(address), float(fps), int(frames))
        return
    receiver = make_receiver(address)
    print(json.dumps(run_receiver(receiver, int(frames), reads_all=rival != "ours by reference")), flush=True)
    with contextlib.suppress(AttributeError):
        receiver.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
