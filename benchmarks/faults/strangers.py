"""Faults: programs that have no business with the line talk to its sockets."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import zmq

from benchmarks.faults.kinds import Fault, Missed, Victim, kind
from stream.errors import PosestreamError
from stream.messages import Eos
from stream.transports.wire import inline, pack
from stream.transports.zmq_link import open_outbox

# The greeting of ZMTP 3: signature, version, mechanism, and padding to 64 bytes.
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)


def _address(line: Victim, fault: Fault) -> str | Path:
    """A socket of the line: the path of one in the run directory, or a TCP address."""
    found: list[str | Path] = [*sorted(line.run_dir().glob("*.sock"))]
    found += [f"tcp://127.0.0.1:{port}" for port in line.ports()]
    if not found:
        raise Missed
    return fault.rng.choice(found)


def _connect(address: str | Path) -> socket.socket:
    try:
        if isinstance(address, Path):
            plain = socket.socket(socket.AF_UNIX)
            plain.settimeout(0.3)
            plain.connect(str(address))
            return plain
        return socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=0.3)
    except OSError:
        raise Missed from None


@kind("garbage sent by a stranger", 3, survives=True)
def send_garbage(line: Victim, fault: Fault) -> str:
    address, rng = _address(line, fault), fault.rng
    data = rng.choice([b"GET / HTTP/1.1\r\n\r\n", rng.randbytes(20_000), _GREETING + rng.randbytes(3000), bytes(200)])
    with _connect(address) as plain, contextlib.suppress(OSError):
        plain.sendall(data)
        plain.recv(1000)
    return f"{len(data)} bytes of garbage to {_name(address)}"


@kind("garbage messages of a stranger", 3, survives=True)
def send_messages(line: Victim, fault: Fault) -> str:
    address, rng = _address(line, fault), fault.rng
    kinds = [zmq.DEALER, zmq.PUSH, zmq.SUB, zmq.REQ, zmq.PUB]
    context = zmq.Context()
    try:
        with context.socket(rng.choice(kinds)) as stranger:
            stranger.linger = 100
            stranger.connect(f"ipc://{address}" if isinstance(address, Path) else address)
            for _ in range(rng.randint(1, 50)):
                parts = [rng.randbytes(rng.choice([0, 1, 8, 300])) for _ in range(rng.randint(1, 5))]
                with contextlib.suppress(zmq.ZMQError):
                    stranger.send_multipart(parts, flags=zmq.NOBLOCK)
    finally:
        context.term()
    return f"garbage messages to {_name(address)}"


@kind("many connections of a stranger", 1, survives=True)
def connect_often(line: Victim, fault: Fault) -> str:
    address = _address(line, fault)
    opened = []
    with contextlib.suppress(Missed):
        opened += [_connect(address) for _ in range(40)]

    def close() -> None:
        for plain in opened:
            plain.close()

    line.later(fault.hold_s, close)
    return f"{len(opened)} silent connections to {_name(address)}"


@kind("end of stream forged by a stranger", 3, survives=True)
def forge_end(line: Victim, fault: Fault) -> str:
    """A well-formed end of stream, to a queue that is reached over TCP."""
    ports = line.ports()
    if not ports:
        raise Missed
    address = f"tcp://127.0.0.1:{fault.rng.choice(ports)}"
    camera = fault.rng.choice(["hall", "yard"])
    with contextlib.suppress(PosestreamError), contextlib.closing(open_outbox(address, "stranger")) as outbox:
        outbox.send(Eos(camera).key, pack(Eos(camera), reference=inline))
        for _ in range(4):
            zmq.zmq_poll([(outbox.pollable, zmq.POLLIN)], 50)
            outbox.take_acknowledged()
    return f"end of {camera} sent to {address} by a stranger"


def _name(address: str | Path) -> str:
    return address.name if isinstance(address, Path) else address
