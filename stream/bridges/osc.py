"""``osc://``: Open Sound Control over UDP, for TouchDesigner, Max, Pure Data and their like."""

from __future__ import annotations

from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.udp_client import UDPClient

from engines.url import Url
from stream.bridges.outlet import Outlet, quote_level, split_address
from stream.errors import TransportError
from stream.protocol.pose_message import Person, PoseMessage

__all__ = ("OscOutlet",)

_PORT = 9000


class OscOutlet(Outlet):
    """Sends ``/posestream/CAMERA/frame`` (number, people, width, height) and a bundle for each person.

    A bundle has a message ``/posestream/CAMERA/ID/JOINT`` with x, y (px) and score for each joint. The path of the
    address stands for ``posestream``, if it has one. With UDP, the sender does not learn whether a message has arrived.
    Raises :class:`TransportError` for a host whose name is unknown.
    """

    def __init__(self, address: Url) -> None:
        target = split_address(address, _PORT, "posestream")
        self._path = target.path
        self._trouble = ""
        try:
            self._client = UDPClient(target.host, target.port)
        except OSError as error:
            raise TransportError(f"{address}: the host is unknown: {error.strerror}; check its name") from None

    def send(self, message: PoseMessage) -> bool:
        """Send the frame and its people."""
        camera = f"/{self._path}/{quote_level(message.camera)}"
        try:
            self._client.send(_make(f"{camera}/frame", message.frame_seq % 2**31, len(message.people), *message.size))
            for person in message.people:
                self._client.send(_bundle(f"{camera}/{person.id}", person).build())
        except OSError as error:
            self._trouble = str(error.strerror)
            return False
        self._trouble = ""
        return True

    @property
    def trouble(self) -> str:
        """Why the last message could not be sent."""
        return self._trouble

    def close(self) -> None:
        """Close the socket."""
        self._client.close()


def _make(path: str, *values: float) -> OscMessage:
    builder = OscMessageBuilder(path)
    for value in values:
        builder.add_arg(value)
    return builder.build()


def _bundle(path: str, person: Person) -> OscBundleBuilder:
    bundle = OscBundleBuilder(IMMEDIATELY)
    for name in person:
        bundle.add_content(_make(f"{path}/{name}", *map(float, person[name])))
    return bundle
