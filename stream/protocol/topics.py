"""The topics of the keypoint protocol."""

from __future__ import annotations


def poses_topic(camera: str, prefix: str = "") -> str:
    """The topic of a camera's poses and of its end."""
    return f"{prefix}poses/{camera}"


def skeleton_topic(name: str, prefix: str = "") -> str:
    """The topic of a skeleton."""
    return f"{prefix}skeleton/{name}"


def picture_topic(camera: str, prefix: str = "") -> str:
    """The topic of a camera's pictures."""
    return f"{prefix}pictures/{camera}"


def heartbeat_topic(prefix: str = "") -> str:
    """The topic of the heartbeats."""
    return f"{prefix}heartbeat"


def snapshot_topic(token: str, wanted: str, prefix: str = "") -> str:
    """The topic by which a new subscriber requests a snapshot of ``wanted``, a topic or the beginning of one.

    The publisher answers on this topic with its last messages. ``token`` is random, so that no other subscriber
    receives the answer.
    """
    return f"{prefix}snapshot/{token}/{wanted}"


def parse_snapshot_topic(topic: str, prefix: str = "") -> str | None:
    """Return the ``wanted`` of a snapshot topic; None for other topics.

    >>> parse_snapshot_topic("snapshot/5f3a/poses/hall")
    'poses/hall'
    """
    head = f"{prefix}snapshot/"
    if not topic.startswith(head):
        return None
    token, slash, wanted = topic.removeprefix(head).partition("/")
    return wanted if token and slash else None


RELAYED = (heartbeat_topic(), skeleton_topic(""), poses_topic(""))
"""What a relay always wants of a publisher, which introduces itself when it has received all three subscriptions."""
