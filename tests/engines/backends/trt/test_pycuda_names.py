"""Every name of PyCUDA that is used exists in the simulation, and in PyCUDA itself where that is installed."""

from __future__ import annotations

import ast
import re
from functools import reduce
from pathlib import Path

import pytest

from tests.engines.backends.trt.simulated_cuda import Gpu, pycuda_driver


def names(root: Path) -> set[str]:
    """Every ``cuda.A.B`` of modules that call ``pycuda.driver`` so."""
    found = set()
    for path in (root / "engines" / "backends" / "trt").glob("*.py"):
        text = path.read_text()
        if "import pycuda.driver as cuda" in text:
            dotted = (ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute))
            found |= {without_arguments(name) for name in dotted if name.startswith("cuda.")}
    return found


def without_arguments(name: str) -> str:
    """``Device.name`` of ``cuda.Device(0).name``."""
    return re.sub(r"\([^)]*\)", "", name).removeprefix("cuda.")


def missing(root: Path, driver: object) -> list[str]:
    return [name for name in names(root) if not _has(driver, name)]


def _has(driver: object, name: str) -> bool:
    try:
        reduce(getattr, name.split("."), driver)
    except AttributeError:
        return False
    return True


def test_the_simulation_has_every_name(root: Path) -> None:
    assert {"memcpy_htod_async", "Context.pop", "Device.retain_primary_context"} <= names(root)
    assert missing(root, pycuda_driver(Gpu())) == []


def test_pycuda_has_every_name(root: Path) -> None:
    # ImportError: PyCUDA is there, but not the driver that it links to.
    driver = pytest.importorskip("pycuda.driver", reason="PyCUDA is not installed", exc_type=ImportError)
    assert missing(root, driver) == []
