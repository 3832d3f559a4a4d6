"""Networks for pose estimation: build them in PyTorch, and run exported ones and other models.

``engines.load()`` opens an engine: the network that ships, an export, an ``.onnx`` or a name of the catalogue.
``engines.create("fami-w48-384x288")`` builds a network of the papers; only this needs PyTorch.
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

_LAZY = ("Engine", "PersonWindows", "load", "load_signature")


def create(name: str) -> nn.Module:
    """The network of an entry in the catalogue, as a PyTorch module with random weights.

    ``name`` is that of a file in ``configs/models`` without ``.yaml``, or the path of a ``.yaml``. Raises
    :class:`engines.errors.EngineError` for an unknown name, without PyTorch, and for options that the network does not
    have.
    """
    from engines.hub import catalogue
    from engines.spec import network

    return network.build(*catalogue.find_network(name))


def __getattr__(name: str) -> object:
    """Import engines on first use; they need OpenCV and a backend."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("engines.inference.engine"), name)
