"""Fixtures of the network tests: they need PyTorch, the golden ones also the reference tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="networks are tested where PyTorch is installed (extra 'torch')")


@pytest.fixture
def reference(shared: Path) -> Path:
    """The folder of golden tensors."""
    return shared / "models"


@pytest.fixture(autouse=True)
def _quiet_numbers() -> Iterator[None]:
    """No gradients, and the same random numbers for every test."""
    torch.manual_seed(0)
    with torch.no_grad():
        yield
