"""Whether what recordings need is installed."""

from __future__ import annotations

from importlib.util import find_spec

from engines.errors import install_hint
from stream.errors import PropertyError

_PACKAGES = {
    "mcap": "mcap",
    "mcap_protobuf": "mcap-protobuf-support",
    "foxglove_schemas_protobuf": "foxglove-schemas-protobuf",
}


def check_installed(owner: str) -> None:
    """Raise :class:`PropertyError` if a package that ``owner`` needs for recordings is missing."""
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise PropertyError(f"{owner} needs {package}; {install_hint('record')}")
