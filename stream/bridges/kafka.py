"""``kafka://``: a cluster of Apache Kafka, through librdkafka."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from engines.url import Url
from stream.bridges.outlet import Outlet, split_address
from stream.bridges.payload import encode_frame, encode_person
from stream.errors import TransportError
from stream.protocol.pose_message import PoseMessage

__all__ = ("KafkaOutlet",)

_PORT = 9092
_MAX_IN_FLIGHT = 1000
_CLOSE_S = 5.0


class KafkaOutlet(Outlet):
    """Produces each frame to the topic that is the path of the address, or ``posestream``.

    The key is the camera, so that the frames of a camera stay in order in one partition; with ``people`` there is a
    message for each person. ``options`` are those of librdkafka, which also has the buffer and connects again.
    Raises :class:`TransportError` for an option that it refuses.
    """

    def __init__(self, address: Url, *, people: bool = False, options: Mapping[str, str] | None = None) -> None:
        target = split_address(address, _PORT, "posestream")
        self._topic, self._people = target.path, people
        self._trouble, self._lost, self._in_flight = "", 0, 0
        settings = {
            "bootstrap.servers": f"{target.host}:{target.port}",
            "enable.idempotence": "true",
            "message.timeout.ms": "10000",
            "linger.ms": "5",
        }
        if target.user:
            settings |= {
                "security.protocol": "SASL_SSL",
                "sasl.mechanisms": "PLAIN",
                "sasl.username": target.user,
                "sasl.password": target.password,
            }
        try:
            # Its own log on stderr would repeat what error_cb receives.
            self._producer = Producer({**settings, "log_level": "0", **(options or {}), "error_cb": self._on_error})
        except KafkaException as error:
            raise TransportError(f"{address}: librdkafka refuses its options: {error.args[0].str()}") from None

    def send(self, message: PoseMessage) -> bool:
        """Hand the frame, or its people, to librdkafka."""
        self._producer.poll(0)  # calls the callbacks
        people = message.people if self._people else (None,)
        if self._in_flight + len(people) > _MAX_IN_FLIGHT:
            return False
        for person in people:
            value = encode_frame(message) if person is None else encode_person(message, person)
            self._producer.produce(self._topic, value, message.camera, on_delivery=self._on_delivery)
            self._in_flight += 1
        return True

    @property
    def trouble(self) -> str:
        """The last error, until something is delivered."""
        return self._trouble

    @property
    def lost(self) -> int:
        """Messages that no broker took within ten seconds."""
        return self._lost

    def close(self) -> None:
        """Wait until everything is delivered, five seconds at most; the rest is lost."""
        self._producer.flush(_CLOSE_S)
        self._lost, self._in_flight = self._lost + self._in_flight, 0

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN or error.fatal():
            self._trouble = error.str()

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        self._in_flight -= 1
        if error is None:
            self._trouble = ""
        else:
            self._lost += 1
            self._trouble = error.str()
