"""Opens the outlet that an address names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from urllib.parse import urlsplit

from engines.errors import install_hint
from engines.url import Url
from stream.bridges.outlet import Outlet
from stream.errors import PropertyError, TransportError

# The module, its class, the package it needs, the extra that brings that, and the options it takes.
_KINDS = {
    "mqtt": ("mqtt", "MqttOutlet", "paho-mqtt", "mqtt", {"people", "qos"}),
    "mqtts": ("mqtt", "MqttOutlet", "paho-mqtt", "mqtt", {"people", "qos"}),
    "kafka": ("kafka", "KafkaOutlet", "confluent-kafka", "kafka", {"people", "options"}),
    "osc": ("osc", "OscOutlet", "python-osc", "osc", set[str]()),
    "ws": ("websocket", "WebSocketOutlet", "websockets", "websocket", set[str]()),
}
_MODULES = {"paho", "confluent_kafka", "pythonosc", "websockets"}


def open_outlet(address: Url, **options: bool | int | Mapping[str, str]) -> Outlet:
    """Open the outlet of an address; ``options`` are those of its class, and those at 0 or empty do not count.

    Raises :class:`PropertyError` for an option that the kind of address does not have, and :class:`TransportError` for
    an address of no known kind, one that cannot be used, or one whose library is not installed.
    """
    scheme = urlsplit(str(address)).scheme
    if scheme not in _KINDS:
        raise TransportError(
            f"{str(address)!r} is no address of a bridge; write one that begins with "
            f"{', '.join(f'{name}://' for name in _KINDS)}"
        )
    module, name, package, extra, known = _KINDS[scheme]
    given = {option: value for option, value in options.items() if value}
    for option in sorted(given.keys() - known):
        raise PropertyError(f"a bridge to {scheme}:// has no option --{option}; leave it out")
    try:
        outlet = getattr(importlib.import_module(f"stream.bridges.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _MODULES:
            raise
        raise TransportError(f"a bridge to {scheme}:// needs {package}; {install_hint(extra)}") from None
    opened: Outlet = outlet(address, **given)
    return opened
