"""Conformance checks for backends, feature caches and networks; each raises ``AssertionError`` naming what is broken.

``check_backend`` and ``check_feature_cache`` need only numpy, ``check_learns`` and ``check_model`` need PyTorch. Each
is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.testing.backends import check_backend as check_backend
    from engines.testing.feature_caches import check_feature_cache as check_feature_cache
    from engines.testing.learning import check_learns as check_learns
    from engines.testing.models import check_model as check_model

_MODULES = {
    "check_backend": "backends",
    "check_feature_cache": "feature_caches",
    "check_learns": "learning",
    "check_model": "models",
}

__all__ = ("check_backend", "check_feature_cache", "check_learns", "check_model")


def __getattr__(name: str) -> object:
    """Import a check from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
