"""What a site asks of the hosts that its cameras run on: the key ``cluster`` of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from engines.formats.files import FormatError, decode_text, read_bytes
from engines.formats.yaml import MAX_YAML_BYTES, compose_yaml
from stream.errors import LaunchError, PosestreamError
from stream.registry import make
from stream.site.folder import MAX_CAMERAS

KEY = "cluster"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lane runs the lines of at most ``cameras_per_lane`` cameras on one host, which must have ``labels`` and have
    ``cpus`` and ``gpus`` free for it. A site has ``min_lanes`` to ``max_lanes`` lanes: one more after frames were older
    than ``age_limit_ms`` (95 of 100 stay below) or were dropped for ``late_s`` seconds, one less after ``quiet_min``
    minutes without either. Lanes publish at the ``relay`` (tcp://HOST:PORT) whose public key is in ``relay_key``;
    without one, each camera at an address of its own, to the subscribers whose keys are in the folder ``clients``.
    ``keys`` is the CURVE key with which they publish. These are paths on every host.
    """

    cameras_per_lane: Annotated[int, Meta(ge=1, le=64)] = 8
    min_lanes: Annotated[int, Meta(ge=1, le=10_000)] = 1
    max_lanes: Annotated[int, Meta(ge=1, le=10_000)] = 64
    cpus: Annotated[float, Meta(ge=0, le=1024)] = 1.0
    gpus: Annotated[float, Meta(ge=0, le=64)] = 0.0
    labels: dict[str, str] = {}
    age_limit_ms: Annotated[float, Meta(gt=0)] = 1000.0
    late_s: Annotated[float, Meta(ge=1)] = 10.0
    quiet_min: Annotated[float, Meta(ge=0.1)] = 10.0
    relay: str = ""
    relay_key: str = ""
    keys: str = ""
    clients: str = ""

    @property
    def most_cameras(self) -> int:
        """The most cameras that a site can have."""
        return self.max_lanes * self.cameras_per_lane

    def count_lanes(self, cameras: int, asked: int) -> int:
        """How many lanes ``cameras`` need, where autoscaling asks for ``asked``: enough for all of them, if the site
        allows so many, and never more than there are cameras, or than ``min_lanes`` where there are fewer.

        >>> Settings(cameras_per_lane=8).count_lanes(20, asked=1)
        3
        """
        needed = -(-cameras // self.cameras_per_lane)
        most = max(needed, self.min_lanes, min(asked, cameras))
        return min(self.max_lanes, most)


def read_settings(file: Path) -> Settings:
    """The settings of the site in ``file``. Raises :class:`LaunchError` for what cannot be one."""
    return parse_settings(_read(file), str(file))


def count_most_cameras(file: Path) -> int:
    """The most cameras of the site in ``file``: on one host, unless it says what it asks of a cluster."""
    document = _read(file)
    has_settings = isinstance(document, dict) and KEY in document
    return parse_settings(document, str(file)).most_cameras if has_settings else MAX_CAMERAS


def _read(file: Path) -> Any:
    try:
        text = decode_text(read_bytes(file, MAX_YAML_BYTES))
        compose_yaml(text)  # within our bounds of size, depth and aliases
    except FormatError as error:
        raise LaunchError(error.within(str(file))) from None
    return yaml.safe_load(text)


def parse_settings(document: Any, place: str) -> Settings:
    """The settings in a document of YAML: the value of its key ``cluster``, or the defaults where it has none."""
    given = document.get(KEY) if isinstance(document, dict) else None
    try:
        found = msgspec.convert(given if given is not None else {}, Settings)
    except msgspec.ValidationError as error:
        raise LaunchError(f"{place}: {KEY}: {error}; its keys are {', '.join(Settings.__struct_fields__)}") from None
    if found.min_lanes > found.max_lanes:
        raise LaunchError(
            f"{place}: {KEY}: min_lanes={found.min_lanes} is above max_lanes={found.max_lanes}; lower the first"
        )
    if found.gpus > 1 and found.gpus != int(found.gpus):
        raise LaunchError(f"{place}: {KEY}: gpus={found.gpus:g} is no part of one GPU; give at most 1, or whole ones")
    try:
        make("keypointsink", **publishing(found, "tcp://127.0.0.1:1", number=1))
    except PosestreamError as error:
        raise LaunchError(f"{place}: {KEY}: {error}") from None
    return found


def publishing(settings: Settings, bind: str, number: int) -> dict[str, object]:
    """The properties of the ``keypointsink`` of a lane: at its relay, with the ``number`` of its placement, or on
    ``bind``."""
    keys = {"keys": settings.keys, "relay_key": settings.relay_key, "clients": settings.clients}
    if settings.relay:
        return {**keys, "relay": settings.relay, "placement": number, "prefix": ""}
    return {**keys, "bind": bind}
