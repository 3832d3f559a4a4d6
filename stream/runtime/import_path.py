"""Where the processes of posestream import modules from.

A folder ``engines/`` or ``stream/`` in your working directory is never imported in place of posestream's own package.
Your element modules are found on ``PYTHONPATH`` and, last, in the working directory (:mod:`stream.registry`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_PACKAGES = ("stream", "engines", "export", "configs", "posestream")
_ROOT = str(Path(__file__).resolve().parents[2])


class OwnPackages:
    """A finder on ``sys.meta_path`` that takes posestream's packages from the folder that holds ``stream``."""

    @staticmethod
    def find_spec(
        name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The package called ``name``, or None where it is none of ours."""
        return PathFinder.find_spec(name, [_ROOT]) if name in _PACKAGES else None


def pin_own_packages() -> None:
    """From now on import posestream's packages from one folder, in spite of ``sys.path``; idempotent."""
    if OwnPackages not in sys.meta_path:
        sys.meta_path.insert(0, OwnPackages)


def child_environment() -> dict[str, str]:
    """The environment for a child started with ``python -P``: it imports what this process can, in the same order."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
