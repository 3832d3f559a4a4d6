"""Networks and what they need: Signatures, geometry, decoding and backends to run them; models and losses to make them.

``engines.create("fami-w48-384x288")`` builds a network of the papers; it needs PyTorch, and nothing else here does.
``engines.load("fami-w48-384x288-fp32")`` opens what ``posestream export`` made of one, or any other model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from engines.inference.engine import Engine as Engine
    from engines.inference.engine import PersonWindows as PersonWindows
    from engines.inference.engine import load as load
    from engines.inference.engine import load_signature as load_signature

_OF_ENGINE = ("Engine", "PersonWindows", "load", "load_signature")


def create(name: str) -> nn.Module:
    """The network that ``configs/models/<name>.yaml``, or the ``.yaml`` at a path, describes, with fresh weights.

    Raises :class:`engines.errors.EngineError` in one line for an unknown name (answered with the near ones), without
    PyTorch, and for options that do not fit.
    """
    from engines.hub import catalogue
    from engines.spec import network

    return network.build(*catalogue.find_network(name))


def __getattr__(name: str) -> object:
    """Import what runs networks when it is first used."""
    if name not in _OF_ENGINE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("engines.inference.engine"), name)
