"""``mqtt://`` and ``mqtts://``: a broker of MQTT 3.1.1, such as Mosquitto, for Home Assistant and Node-RED."""

from __future__ import annotations

from collections import deque

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from engines.url import Url
from stream.bridges.outlet import Outlet, quote_level, split_address
from stream.bridges.payload import encode_frame, encode_person
from stream.protocol.pose_message import PoseMessage

__all__ = ("MqttOutlet",)

_PORT, _TLS_PORT = 1883, 8883
_KEEPALIVE_S = 15
_MAX_RETRY_S = 2
"""More would let messages wait for a broker that is back."""
_MAX_IN_FLIGHT = 100
_CLOSE_S = 3.0
_STATUS = "status"


class MqttOutlet(Outlet):
    """Publishes each frame to ``TOPIC/CAMERA``, TOPIC being the path of the address, or ``posestream``.

    With ``people``, each person is published to ``TOPIC/CAMERA/ID`` instead. ``TOPIC/status`` is ``online`` as long as
    the bridge runs, else ``offline``, which the broker says when it dies. ``qos`` is 0 or 1.
    """

    default_rate_hz = 5.0

    def __init__(self, address: Url, *, people: bool = False, qos: int = 0) -> None:
        is_tls = str(address).startswith("mqtts:")
        target = split_address(address, _TLS_PORT if is_tls else _PORT, "posestream")
        self._topic, self._people, self._qos = target.path, people, qos
        self._in_flight: deque[mqtt.MQTTMessageInfo] = deque()
        self._lost = self._breaks = self._breaks_seen = 0
        self._trouble = "not connected yet"
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2)
        if target.user:
            client.username_pw_set(target.user, target.password)
        if is_tls:
            client.tls_set()
        client.will_set(self._status_topic, "offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.reconnect_delay_set(1, _MAX_RETRY_S)
        client.connect_async(target.host, target.port, keepalive=_KEEPALIVE_S)
        client.loop_start()

    @property
    def _status_topic(self) -> str:
        return f"{self._topic}/{_STATUS}"

    def send(self, message: PoseMessage) -> bool:
        """Publish the frame, or its people."""
        topic = f"{self._topic}/{_get_level(message.camera)}"
        self._forget_published()
        if self._trouble or len(self._in_flight) >= _MAX_IN_FLIGHT:
            return False
        if not self._people:
            return self._publish(topic, encode_frame(message))
        return all(self._publish(f"{topic}/{person.id}", encode_person(message, person)) for person in message.people)

    def _publish(self, topic: str, payload: bytes) -> bool:
        info = self._client.publish(topic, payload, qos=self._qos)
        if info.rc == mqtt.MQTT_ERR_SUCCESS:
            self._in_flight.append(info)
        return info.rc == mqtt.MQTT_ERR_SUCCESS

    def _forget_published(self) -> None:
        """Count what a broken connection took along; messages of quality of service 1 are sent again."""
        while self._in_flight and self._in_flight[0].is_published():
            self._in_flight.popleft()
        if self._breaks_seen != self._breaks and self._qos == 0:
            self._lost += len(self._in_flight)
            self._in_flight.clear()
        self._breaks_seen = self._breaks

    @property
    def trouble(self) -> str:
        """Why the broker cannot be reached, or refuses this client."""
        return self._trouble

    @property
    def lost(self) -> int:
        """Messages of quality of service 0 that had not left when a connection broke, and after :meth:`close` those
        that had not left, or of quality of service 1 were not acknowledged."""
        return self._lost

    def close(self) -> None:
        """Say ``offline`` and disconnect; wait three seconds at most until everything has been taken."""
        if not self._trouble:
            self._client.publish(self._status_topic, "offline", qos=1, retain=True).wait_for_publish(_CLOSE_S)
        self._forget_published()
        self._lost += len(self._in_flight)
        self._in_flight.clear()
        self._client.disconnect()
        self._client.loop_stop()

    # -- callbacks, in the client's thread -----------------------------------------------------------------------------

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._trouble = f"the broker refuses this client: {reason}"
            return
        client.publish(self._status_topic, "online", qos=1, retain=True)
        self._trouble = ""

    def _on_connect_fail(self, _client: mqtt.Client, _data: object) -> None:
        self._trouble = "no broker answers there"

    def _on_disconnect(
        self, _client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not self._trouble:
            self._trouble = f"the connection broke: {reason}"
        self._breaks += 1


def _get_level(camera: str) -> str:
    """The level of a camera's topic, which is never that of the bridge's own status.

    >>> _get_level("hall"), _get_level("status")
    ('hall', '%73tatus')
    """
    level = quote_level(camera)
    return f"%{ord(level[0]):x}{level[1:]}" if level == _STATUS else level
