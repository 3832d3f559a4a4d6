"""Judges: hand a backend, a feature ring or a network to one, and it says in one line which promise is broken.

``check_backend`` and ``check_ring`` need numpy alone, ``check_model`` PyTorch; each is imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.testing.backends import check_backend as check_backend
    from engines.testing.backends import check_ring as check_ring
    from engines.testing.models import check_model as check_model

_MODULES = {"check_backend": "backends", "check_ring": "backends", "check_model": "models"}

__all__ = ("check_backend", "check_model", "check_ring")


def __getattr__(name: str) -> object:
    """Import a judge from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
