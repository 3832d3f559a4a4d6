"""The structure of the packages: no module imports itself by any way round, and no package grows into a heap."""

from __future__ import annotations

import graphlib
import sys
from pathlib import Path

import grimp
import pytest

PACKAGES = ("posestream", "stream", "engines", "export", "configs")
MOST_FLAT_MODULES = 10


@pytest.fixture(scope="module")
def imports(root: Path) -> dict[str, set[str]]:
    """Every module, and all modules it imports: at the top, inside functions and for type checking alone."""
    sys.path.insert(0, str(root))
    try:
        graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    finally:
        sys.path.remove(str(root))
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_no_modules_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    graphlib.TopologicalSorter(imports).prepare()


def test_no_packages_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    between: dict[str, set[str]] = {}
    for module, imported in imports.items():
        own = _package(module)
        between.setdefault(own, set()).update({_package(other) for other in imported} - {own})
    graphlib.TopologicalSorter(between).prepare()


def test_a_circle_would_be_found() -> None:
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


@pytest.mark.parametrize("package", ["posestream", "stream", "engines"])
def test_few_modules_lie_flat_in(package: str, root: Path) -> None:
    flat = sorted(path.name for path in (root / package).glob("*.py"))
    assert len(flat) <= MOST_FLAT_MODULES, flat


def _package(module: str) -> str:
    """The package a module stands in, two levels deep; a module directly under a top package stands for itself."""
    return ".".join(module.split(".")[:2])
