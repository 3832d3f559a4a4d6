"""Each kind of outlet against others' software: Mosquitto, librdkafka's own cluster, python-osc, websockets."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engines.url import Url
from stream.bridges.opening import open_outlet
from stream.bridges.outlet import Outlet
from stream.errors import PropertyError, TransportError
from tests.stream.bridges.frames import make_message

PERSON = {
    "id": 1,
    "score": 0.9,
    "box": [0.0, 0.0, 9.0, 9.5],
    "joints": {"nose": [10, 5, 0.75], "left_eye": [11.3, 4, 0.5]},
}
HEAD = {"camera": "hall/2", "frame": 7, "time": "2023-11-14T22:13:20.280Z", "size": [640, 480]}


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def opened(address: str, **options: Any) -> Iterator[Outlet]:
    with open_outlet(Url(address), **options) as outlet:
        yield outlet


# -- MQTT --------------------------------------------------------------------------------------------------------------


class Mosquitto:
    """The broker of Eclipse, on a port of its own, which lets in the user ``me``."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            pytest.skip("Mosquitto is not installed (Debian: mosquitto)")
        self.port = free_port()
        passwords, config = folder / "passwords", folder / "mosquitto.conf"
        subprocess.run(
            ["mosquitto_passwd", "-c", "-b", str(passwords), "me", "geheim"], check=True, capture_output=True
        )
        passwords.chmod(0o644)
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
        )
        self._command = [program, "-c", str(config)]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._is_listening, "Mosquitto listens")

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def address(self) -> str:
        return f"mqtt://me:geheim@127.0.0.1:{self.port}/site"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.stop()


@contextmanager
def reading(broker: Mosquitto) -> Iterator[list[tuple[str, str]]]:
    """Topics and payloads, as another client of the broker receives them."""
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    def subscribe(*_: object) -> None:
        reader.subscribe("site/#")

    received: list[tuple[str, str]] = []
    ready = threading.Event()
    reader = mqtt.Client(CallbackAPIVersion.VERSION2)
    reader.username_pw_set("me", "geheim")
    reader.on_connect = subscribe
    reader.on_subscribe = lambda *_: ready.set()
    reader.on_message = lambda _client, _data, message: received.append((message.topic, message.payload.decode()))
    reader.reconnect_delay_set(1, 1)
    reader.connect_async("127.0.0.1", broker.port)
    reader.loop_start()
    assert ready.wait(20)
    yield received
    reader.disconnect()
    reader.loop_stop()


@pytest.mark.parametrize("qos", [0, 1])
def test_mqtt_has_a_topic_for_each_camera_and_a_status(broker: Mosquitto, qos: int) -> None:
    with reading(broker) as received:
        with opened(broker.address, qos=qos) as outlet:
            wait_for(lambda: outlet.send(make_message(7, "hall/2")), outlet.trouble)
            wait_for(lambda: len(received) == 2, str(received))
        wait_for(lambda: len(received) == 3, str(received))
    status, (topic, payload), last = received
    assert (status, topic, last) == (("site/status", "online"), "site/hall%2F2", ("site/status", "offline"))
    assert json.loads(payload) == HEAD | {"people": [PERSON]}


def test_mqtt_has_a_topic_for_each_person_if_asked_for(broker: Mosquitto) -> None:
    with reading(broker) as received, opened(broker.address, people=True) as outlet:
        wait_for(lambda: outlet.send(make_message(7, "hall/2", people=2)), outlet.trouble)
        wait_for(lambda: len(received) == 3, str(received))
        people = dict(received[1:])
    assert sorted(people) == ["site/hall%2F2/1", "site/hall%2F2/2"]
    assert json.loads(people["site/hall%2F2/1"]) == HEAD | PERSON


def test_mqtt_connects_again_to_a_broker_that_died(broker: Mosquitto) -> None:
    with opened(broker.address) as outlet:
        wait_for(lambda: outlet.send(make_message(0)), outlet.trouble)
        broker.stop()
        wait_for(lambda: outlet.trouble, "its death is noticed")
        assert not outlet.send(make_message(1))
        broker.start()
        with reading(broker) as received:
            wait_for(lambda: outlet.send(make_message(2)), outlet.trouble)
            wait_for(lambda: any(topic == "site/hall" for topic, _ in received), str(received))
    assert [json.loads(payload)["frame"] for topic, payload in received if topic == "site/hall"] == [2]


def test_mqtt_says_why_it_is_not_let_in(broker: Mosquitto) -> None:
    with opened(broker.address.replace("geheim", "falsch")) as outlet:
        wait_for(lambda: "refuses" in outlet.trouble, outlet.trouble)
        assert outlet.trouble == "the broker refuses this client: Not authorized"


def test_mqtt_counts_what_a_broker_never_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def admit() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x20\x02\x00\x00")  # CONNACK, and nothing more
                while connection.recv(65536):
                    pass

        threading.Thread(target=admit, daemon=True).start()
        with opened(f"mqtt://127.0.0.1:{listener.getsockname()[1]}", qos=1) as outlet:
            wait_for(lambda: outlet.send(make_message(0)), outlet.trouble)
            assert outlet.send(make_message(1))
        assert outlet.lost == 2


def test_mqtt_says_that_no_broker_answers() -> None:
    with opened(f"mqtt://127.0.0.1:{free_port()}") as outlet:
        wait_for(lambda: outlet.trouble == "no broker answers there", outlet.trouble)


# -- Kafka -------------------------------------------------------------------------------------------------------------


def test_kafka_keeps_the_frames_of_a_camera_in_order() -> None:
    from confluent_kafka import Consumer

    with opened("kafka://127.0.0.1:9092/poses", options={"test.mock.num.brokers": "1"}) as outlet:
        for seq in range(50):
            assert outlet.send(make_message(seq, "hall/2"))
        (brokers,) = outlet._producer.list_topics(timeout=10).brokers.values()  # type: ignore[attr-defined]
        consumer = Consumer(
            {"bootstrap.servers": f"{brokers.host}:{brokers.port}", "group.id": "test", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe(["poses"])
        found: list[Any] = []
        end = time.monotonic() + 30
        while len(found) < 50 and time.monotonic() < end:
            found += [message for message in consumer.consume(50, 0.1) if not message.error()]
        consumer.close()
    assert [json.loads(message.value())["frame"] for message in found] == list(range(50))
    assert {message.key() for message in found} == {b"hall/2"}
    assert json.loads(found[7].value()) == HEAD | {"people": [PERSON]}
    assert outlet.lost == 0


def test_kafka_counts_what_no_broker_took() -> None:
    options = {"message.timeout.ms": "200", "reconnect.backoff.ms": "50"}
    with opened(f"kafka://127.0.0.1:{free_port()}", options=options) as outlet:
        assert outlet.send(make_message(0))
        wait_for(lambda: outlet.send(make_message(1)) and outlet.lost, "the first is given up")
        assert outlet.trouble
    assert outlet.lost >= 2


def test_kafka_names_an_option_that_it_does_not_know() -> None:
    with pytest.raises(
        TransportError, match=r"kafka://h: librdkafka refuses its options: No such configuration .*\"x\""
    ):
        open_outlet(Url("kafka://h"), options={"x": "1"})


# -- OSC and WebSocket -------------------------------------------------------------------------------------------------


def test_osc_has_an_address_for_each_joint() -> None:
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_server import BlockingOSCUDPServer

    received: list[tuple[str, Any]] = []
    dispatcher = Dispatcher()
    dispatcher.set_default_handler(lambda path, *values: received.append((path, values)))
    with BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher) as server:
        with opened(f"osc://127.0.0.1:{server.server_address[1]}") as outlet:
            assert outlet.send(make_message(7))
        for _ in range(2):  # the frame, and one person
            server.handle_request()
    assert received == [
        ("/posestream/hall/frame", (7, 1, 640, 480)),
        ("/posestream/hall/1/nose", (10, 5, 0.75)),
        ("/posestream/hall/1/left_eye", (pytest.approx(11.26), 4, 0.5)),
    ]


def test_websocket_clients_get_the_newest_frames_and_do_not_wait_for_each_other() -> None:
    from websockets.sync.client import connect
    from websockets.typing import Origin

    port = free_port()
    address = f"ws://127.0.0.1:{port}/poses"
    with (
        opened(address) as outlet,
        connect(address, origin=Origin("http://localhost:8000")) as quick,
        connect(address, max_queue=1) as slow,
    ):
        wait_for(lambda: outlet.send(make_message(0)) and _try(quick), "a frame comes")
        before = outlet.unread["skipped by clients that read too slowly"]
        for seq in range(1, 31):
            outlet.send(make_message(seq, people=3000))
            newest = json.loads(quick.recv(10))["frame"]
        wait_for(lambda: newest == 30 or json.loads(quick.recv(10))["frame"] == 30, "the newest comes")
        frames = [json.loads(slow.recv(10))["frame"]]
        while frames[-1] != 30:
            frames.append(json.loads(slow.recv(10))["frame"])
    assert frames == sorted(frames)
    assert len(frames) < 31, "what it could not read was skipped"
    assert outlet.unread["skipped by clients that read too slowly"] - before >= 30 - len(frames)


def test_frames_that_no_client_of_the_websocket_could_read_are_counted() -> None:
    with opened(f"ws://127.0.0.1:{free_port()}") as outlet:
        assert [outlet.send(make_message(seq)) for seq in range(3)] == [True] * 3
        assert outlet.unread == {"without a client": 3, "skipped by clients that read too slowly": 0}


def _try(client: Any) -> bool:
    try:
        client.recv(0.05)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    ("path", "origin", "status"), [("poses", "https://evil.example", 403), ("other", "http://localhost", 404)]
)
def test_websocket_refuses_pages_of_other_sites_and_other_paths(path: str, origin: str, status: int) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect
    from websockets.typing import Origin

    port = free_port()
    with opened(f"ws://127.0.0.1:{port}/poses"), pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{port}/{path}", origin=Origin(origin))
    assert caught.value.response.status_code == status


def test_websocket_names_a_port_that_is_not_free() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"ws://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(TransportError, match=f"cannot listen on {address}: .* in use; choose another port"):
            open_outlet(Url(address))


def test_an_option_that_a_kind_does_not_have_is_refused() -> None:
    with pytest.raises(PropertyError, match=r"a bridge to osc:// has no option --qos; leave it out"):
        open_outlet(Url("osc://127.0.0.1"), qos=1)
