"""Networks and what they need: Signatures, geometry, decoding and backends to run them; models and losses to make them.

``engines.create("fami-w48-384x288")`` builds a network of the papers. It needs PyTorch; nothing else here does until it
is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def create(name: str) -> nn.Module:
    """The network that ``configs/models/<name>.yaml``, or the ``.yaml`` at a path, describes, with fresh weights.

    Raises :class:`engines.errors.EngineError` in one line for an unknown name (answered with the near ones), without
    PyTorch, and for options that do not fit.
    """
    from engines import catalogue, networks

    return networks.build(*catalogue.network(name))
