"""The kernel compiled for a processor, once for all tests here."""

from __future__ import annotations

import pytest

from tests.engines.plugins.deform_conv.emulation import Emulator


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    """Skips where there is no g++."""
    return Emulator(tmp_path_factory.mktemp("kernels"))
