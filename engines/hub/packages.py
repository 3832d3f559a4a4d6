"""Packages of PyPI and npm, fetched by their own clients: what is configured for those, such as a mirror, applies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engines.errors import EngineError
from engines.hub.sources import NPM, PYPI, UnusableSourceError

_TIMEOUT_S = 600
_PYPI = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_NPM = re.compile(r"(?P<name>(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*)==(?P<version>\d+\.\d+\.\d+[A-Za-z0-9.+-]*)")


def download_package(name: str, address: str, path: Path) -> None:
    """Download the package at ``address``, ``pypi:NAME==VERSION`` or ``npm:NAME==VERSION``, to ``path``.

    Raises :class:`EngineError` for an address without an exact version, and :class:`UnusableSourceError` for a client
    that is not installed, and with the last line that the client printed if it fails.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        _run(name, address, _make_command(name, address, Path(folder)))
        found = sorted(Path(folder).iterdir())
        if len(found) != 1:
            raise UnusableSourceError(f"pull {name}: {address} gave {len(found)} files, expected one")
        found[0].replace(path)


def _make_command(name: str, address: str, folder: Path) -> Sequence[str]:
    if address.startswith(PYPI):
        requirement = address.removeprefix(PYPI)
        _check(name, address, _PYPI, requirement, "pypi:NAME==VERSION")
        options = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet")
        return (sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement)
    package = address.removeprefix(NPM)
    _check(name, address, _NPM, package, "npm:NAME==VERSION")
    client = shutil.which("npm")
    if client is None:
        raise UnusableSourceError(f"pull {name}: {address} is fetched by npm, which is not installed; install Node.js")
    flags = ("--silent", "--ignore-scripts", "--pack-destination", str(folder))
    return (client, "pack", *flags, package.replace("==", "@"))


def _check(name: str, address: str, pattern: re.Pattern[str], text: str, form: str) -> None:
    if not pattern.fullmatch(text):
        raise EngineError(f"pull {name}: {address} names no exact version; write {form}")


def _run(name: str, address: str, command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise UnusableSourceError(f"pull {name}: {address} was not here after {_TIMEOUT_S} s; pull again") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = lines[-1][:200] if lines else f"exit code {done.returncode}"
        raise UnusableSourceError(
            f"pull {name}: {address} cannot be fetched ({reason}); check the network and pull again"
        )
