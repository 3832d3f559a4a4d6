"""What the sources stand on: decoding, damage, reading in a thread, waiting for a lost camera to come back.

``pictures`` and ``stills`` know pixels; ``files``, ``videofile`` and ``media`` know files; ``reader``, ``reconnecting``
and ``live`` know what it is to depend on somebody else's camera; ``timeline`` keeps ``pts_ns`` running forward.
"""
