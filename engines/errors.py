"""What can go wrong in ``engines``: one exception, one line, both parties and the remedy."""

from __future__ import annotations


class EngineError(Exception):
    """A model file, its Signature or a backend cannot be used; ``str()`` is the whole message, in one line."""
