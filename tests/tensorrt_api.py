"""TensorRT's real Python API on a machine without TensorRT: its bindings, over libraries that do nothing.

The bindings are an ordinary wheel; only the libraries they link to come from elsewhere, and importing needs nine names
of them. With those compiled empty, every class, member, signature and docstring is there, and ``tensorrt.plugin``
validates what is registered. No builder, runtime or engine: each factory gives null. Nothing seen this way has run.

The wheel's licence allows no copies: it is fetched when tests run, into pytest's cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.caches import fill_once

VERSIONS = ("10.13.3.9", "11.4.0.106")
"""The oldest release that is supported, and the newest there is."""

_PACKAGE = "tensorrt-cu13-bindings"
_LIBRARIES = {
    "libnvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "libnvonnxparser": (
        "createNvOnnxParserRefitter_INTERNAL",
        "createNvOnnxParser_INTERNAL",
        "getNvOnnxParserVersion",
    ),
    "libnvinfer_plugin": ("initLibNvInferPlugins",),
}
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Bindings:
    """One release, unpacked: ``site`` holds the package, ``libraries`` the empty libraries."""

    version: str
    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def run(self, script: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run ``script`` where ``import tensorrt`` finds this release, and our packages."""
        environment = os.environ | {
            "LD_LIBRARY_PATH": str(self.folder / "lib"),
            "PYTHONPATH": os.pathsep.join((str(self.site), str(cwd))),
        }
        command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
        return subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )


def bindings(version: str, cache: Path) -> Bindings:
    """The release ``version`` in ``cache``, fetched and made importable if need be; skips where it cannot be."""

    def prepare(folder: Path) -> None:
        if shutil.which("cc") is None:
            pytest.skip("TensorRT's bindings need empty libraries, and there is no C compiler to make them")
        _fetch(version, folder)
        _compile(version.split(".", 1)[0], folder / "lib")

    return Bindings(version, fill_once(cache / version, prepare))


def _fetch(version: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--timeout", "10", "--retries", "1", "--dest", str(folder), f"{_PACKAGE}=={version}"]
    try:
        got = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{_PACKAGE} {version} did not arrive in {_TIMEOUT_S} s; is there a package index?")
    if got.returncode:
        last = (got.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"{_PACKAGE} {version} cannot be had here: {last}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    (folder / "site" / "tensorrt").symlink_to("tensorrt_bindings")


def _compile(major: str, folder: Path) -> None:
    folder.mkdir()
    for name, symbols in _LIBRARIES.items():
        source = "".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in symbols)
        file = folder / f"{name}.so.{major}"
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{file.name}", "-x", "c", "-", "-o", str(file)]
        subprocess.run(command, input=source.encode(), check=True, timeout=_TIMEOUT_S)


def stubs(release: Bindings) -> Path:
    """A folder with type stubs of ``tensorrt``, made by stubgen from the bindings themselves, once a release."""

    def prepare(folder: Path) -> None:
        script = "import sys; from mypy.stubgen import main; main(sys.argv[1:])"
        made = release.run(script, "-q", "-p", "tensorrt", "-o", str(folder), cwd=release.folder)
        assert made.returncode == 0, made.stderr
        module = folder / "tensorrt" / "tensorrt.pyi"
        module.write_text(_mended(module.read_text()))
        plugin = folder / "tensorrt" / "plugin"
        _publish(release, plugin / "__init__.pyi")
        for stub in (plugin / "_tensor.pyi", plugin / "_top_level.pyi"):
            stub.write_text(_mended_tuples(stub.read_text()))

    return fill_once(release.folder / "stubs", prepare)


def _publish(release: Bindings, stub: Path) -> None:
    """Name in ``stub`` what ``tensorrt.plugin`` puts into itself while it is imported, which stubgen does not see."""
    script = (
        "import tensorrt.plugin as p\n"
        "for name in sorted({*p.__all__} - {'op'}):\n"
        "    print('from', getattr(p, name).__module__, 'import', name, 'as', name)"
    )
    result = release.run(script, cwd=release.folder)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("from tensorrt.plugin.")]
    stub.write_text("\n".join((stub.read_text(), *lines, "")))


def _mended(stub: str) -> str:
    """What stubgen cannot know of a compiled module, or writes down wrongly."""
    # The module has a DataType called bool.
    stub = re.sub(r"(?<=[\s\[|>(])bool(?=[\s,\]):]|$)(?!: DataType)", "builtins.bool", stub, flags=re.MULTILINE)
    stub = re.sub(r"^(\s*def \w+\()(.*)(\) ->.*)$", _without_early_defaults, stub, flags=re.MULTILINE)
    # Anything with __int__ goes in; out of a callback comes an int.
    stub = stub.replace("typing.SupportsInt", "builtins.int").replace("typing.SupportsFloat", "builtins.float")
    # "The TensorRT API can implicitly convert Python iterables to Dims", and "all behave like tuples".
    stub = re.sub(r": Dims\b(?=[,)\s=])", ": Sequence[builtins.int]", stub)
    stub = stub.replace("class Dims:", "class Dims(tuple[builtins.int, ...]):")
    # "This class exposes a buffer interface using Python's buffer protocol."
    stub = stub.replace(
        "class IHostMemory:", "class IHostMemory:\n    def __buffer__(self, flags: builtins.int, /) -> memoryview: ..."
    )
    # What C++ calls a capsule is any logger.
    stub = re.sub(r"\b(typing_extensions\.CapsuleType|capsule)\b", "Any", stub)
    stub = re.sub(r"\b(typing_extensions\.Buffer|buffer)\b", "Buffer", stub)
    return f"import builtins\nfrom collections.abc import Sequence\nfrom typing_extensions import Buffer\n{stub}"


def _mended_tuples(stub: str) -> str:
    """Its authors write ``Tuple[X]`` for any number of X, and one class method returns its own class."""
    stub = re.sub(r"tuple\[([^\[\],]+)\]", r"tuple[\1, ...]", stub)
    return re.sub(r"(def from_tuple\(cls, .*\)) -> \w+: \.\.\.", r"\1 -> Self: ...", f"from typing import Self\n{stub}")


def _without_early_defaults(found: re.Match[str]) -> str:
    """A default before a parameter without one, which pybind11 allows and Python does not."""
    arguments = found[2]
    last = arguments.rsplit(", ", 1)[-1]
    if " = ..." in arguments and not last.endswith("= ..."):
        arguments = arguments.replace(" = ...", "")
    return f"{found[1]}{arguments}{found[3]}"
