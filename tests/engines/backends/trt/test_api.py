"""Every name of TensorRT that is used here exists, in the oldest and the newest release, with the arguments given.

Names and signatures are those of the real bindings (see ``tests/tensorrt_api.py``). That a call exists says nothing of
what it does: none of this has run on a GPU.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.caches import cache_folder, exclusive
from tests.tensorrt_api import VERSIONS, Bindings, bindings, stubs

# The tensorrt modules are looked into, and ours; all else is left alone, or this would take the time of a full check.
SETTINGS = """
[mypy]
strict = True
follow_imports = skip
disallow_subclassing_any = False
disallow_untyped_calls = False
disallow_untyped_decorators = False
warn_return_any = False
warn_unused_ignores = False
# what numpy gives has no type here
disable_error_code = var-annotated
[mypy-tensorrt.*]
follow_imports = normal
ignore_errors = True
[mypy-engines.*,collections.*,typing.*,types.*]
follow_imports = silent
[mypy-pycuda.*,cuda.*]
ignore_missing_imports = True
"""

RESOLVE = """
import functools, json, sys
import tensorrt, tensorrt.plugin
missing = []
for chain in json.loads(sys.argv[1]):
    try:
        functools.reduce(getattr, chain[1:], sys.modules[chain[0]])
    except AttributeError:
        missing.append(".".join(chain))
print(json.dumps(missing))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def release(request: pytest.FixtureRequest) -> Bindings:
    return bindings(request.param, cache_folder(request, "tensorrt"))


def modules(root: Path) -> list[Path]:
    """Those that may import TensorRT."""
    return sorted([*(root / "engines/backends/trt").glob("*.py"), *(root / "engines/plugins").glob("*/plugin.py")])


def checked(files: list[Path], release: Bindings, root: Path, cache: Path, tmp_path: Path) -> str:
    """What mypy finds wrong in ``files``, with the stubs of this release."""
    settings = tmp_path / "mypy.ini"
    settings.write_text(SETTINGS)
    cache /= release.version
    command = [sys.executable, "-m", "mypy", "--config-file", str(settings), "--cache-dir", str(cache)]
    environment = {"MYPYPATH": str(stubs(release)), "PATH": ""}
    with exclusive(cache):  # mypy's cache is for one mypy at a time
        answer = subprocess.run(
            [*command, *map(str, files)], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
    assert answer.returncode in (0, 1), answer.stderr
    return "" if answer.returncode == 0 else answer.stdout


@pytest.mark.slow
def test_every_call_fits_the_signature_of_the_release(
    release: Bindings, root: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cache = cache_folder(request, "tensorrt-types")
    assert not checked(modules(root), release, root, cache, tmp_path)


PLANTED = {
    "create_optimization_profile": ("create_optimisation_profile", "create_optimisation_profile"),
    "trt.ProfilingVerbosity.DETAILED": ("trt.ProfilingVerbosity.DETAIL", 'no attribute "DETAIL"'),
    "config.set_timing_cache(cache, False)": ("config.set_timing_cache(cache)", "Missing positional argument"),
    "builder.build_serialized_network(network, config)": (
        "builder.build_serialized_network(network, options=config)",
        "No overload variant",
    ),
    "parser.parse_from_file(str(source.path))": ("parser.parse_from_file(source.path, 1)", "Too many arguments"),
}


@pytest.mark.slow
def test_every_planted_misspelling_is_found(
    release: Bindings, root: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = (root / "engines/backends/trt/builder.py").read_text()
    for right, (wrong, _) in PLANTED.items():
        assert right in text
        text = text.replace(right, wrong)
    planted = tmp_path / "planted.py"
    planted.write_text(text)
    found = checked([planted], release, root, cache_folder(request, "tensorrt-types"), tmp_path)
    for right, (_, said) in PLANTED.items():
        assert said in found, right


def chains(source: str) -> Iterator[tuple[str, ...]]:
    """Every ``trt.A.B`` in ``source`` as (module, A, B), whatever the module is called there."""
    tree = ast.parse(source)
    called = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.split(".")[0] == "tensorrt"
    }
    for node in ast.walk(tree):
        names: list[str] = []
        inner: ast.expr | None = node if isinstance(node, ast.Attribute) else None
        while isinstance(inner, ast.Attribute):
            names.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in called:
            yield called[inner.id], *reversed(names)


def missing(found: set[tuple[str, ...]], release: Bindings, root: Path) -> list[str]:
    result = release.run(RESOLVE, json.dumps(sorted(found)), cwd=root)
    assert result.returncode == 0, result.stderr
    names: list[str] = json.loads(result.stdout.splitlines()[-1])
    return names


def test_every_name_of_the_module_exists(release: Bindings, root: Path) -> None:
    found = {chain for module in modules(root) for chain in chains(module.read_text())}
    assert ("tensorrt", "NetworkDefinitionCreationFlag", "STRONGLY_TYPED") in found
    assert ("tensorrt.plugin", "aot_impl") in found
    assert not missing(found, release, root)


def test_a_name_that_does_not_exist_is_found(release: Bindings, root: Path) -> None:
    planted = "import tensorrt as t\nt.BuilderFlag.REFIT\nt.BuilderFlag.REFITTABLE\nt.Bilder(1)\n"
    assert missing(set(chains(planted)), release, root) == ["tensorrt.Bilder", "tensorrt.BuilderFlag.REFITTABLE"]


def test_flags_that_are_named_by_text_exist(release: Bindings, root: Path) -> None:
    script = (
        "import tensorrt as trt; from engines.backends.trt.options import BuildOptions;"
        "flags = BuildOptions(refit=True, version_compatible=True).flags;"
        "print(len(flags), set(flags) <= set(trt.BuilderFlag.__members__))"
    )
    assert release.run(script, cwd=root).stdout.split()[-2:] == ["3", "True"]
