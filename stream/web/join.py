"""Pairs the pictures of a publisher with the poses of the same frames."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TypeVar

from stream.protocol.pose_message import PoseMessage
from stream.protocol.schema import Picture

_POSES, _PICTURES = 64, 2
"""How many of a camera wait: poses for a picture, which most of them never get, and pictures that overtook theirs."""

_Key = tuple[str, int]
_Value = TypeVar("_Value", PoseMessage, Picture)


class Join:
    """Returns both, whichever comes second; a picture whose poses were lost is never returned. Thread-safe.

    What waits of a camera is bounded, and not how many cameras there are: give it those that are known.
    """

    def __init__(self) -> None:
        self._poses: dict[str, OrderedDict[_Key, PoseMessage]] = {}
        self._pictures: dict[str, OrderedDict[_Key, Picture]] = {}
        self._lock = threading.Lock()

    def add_poses(self, message: PoseMessage) -> Picture | None:
        """The picture of these poses, if it is here; else they wait for it."""
        key = message.session, message.frame_seq
        with self._lock:
            picture = self._pictures.setdefault(message.camera, OrderedDict()).pop(key, None)
            if picture is None:
                _keep(self._poses.setdefault(message.camera, OrderedDict()), key, message, _POSES)
            return picture

    def add_picture(self, picture: Picture) -> PoseMessage | None:
        """The poses of this picture, if they are here; else it waits for them."""
        key = picture.session, picture.frame_seq
        with self._lock:
            message = self._poses.setdefault(picture.camera, OrderedDict()).pop(key, None)
            if message is None:
                _keep(self._pictures.setdefault(picture.camera, OrderedDict()), key, picture, _PICTURES)
            return message


def _keep(waiting: OrderedDict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    waiting[key] = value
    while len(waiting) > most:
        waiting.popitem(last=False)
