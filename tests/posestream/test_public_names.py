"""``import posestream`` is quick, and each public name is where it says."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import posestream
import stream.errors

MOST_MS = 50
DESCRIBED = sorted(set(posestream.__all__) - {"__version__"})


def test_importing_posestream_takes_few_milliseconds_and_brings_in_nothing_heavy() -> None:
    heavy = "{'numpy', 'cv2', 'av', 'zmq', 'msgspec', 'yaml', 'torch', 'rich', 'typer', 'stream', 'engines'}"
    code = (
        "import sys, time; begin = time.perf_counter(); import posestream; print(time.perf_counter() - begin);"
        f"found = {heavy} & set(sys.modules); assert not found, found"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) * 1000 < MOST_MS  # 8 ms when measured; the first run compiles


def test_the_package_imports_nothing_before_its_command_can_set_how_ctrl_c_ends_it() -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1]); old = {*sys.modules}; import posestream; print({*sys.modules} - old)"
    )
    root = str(Path(posestream.__file__).parents[1])
    run = subprocess.run([sys.executable, "-SIc", code, root], capture_output=True, text=True, check=True)
    assert ast.literal_eval(run.stdout) == {"posestream", "__future__"}


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_public_name_can_be_had_and_is_described(name: str) -> None:
    value = getattr(posestream, name)
    assert inspect.getdoc(value)
    assert getattr(importlib.import_module(value.__module__), name) is value


def test_all_errors_of_stream_are_here() -> None:
    values = {name: getattr(stream.errors, name) for name in stream.errors.__all__}
    errors = {name for name, value in values.items() if isinstance(value, type)}
    assert "SourceError" in errors
    assert errors <= set(posestream.__all__)


def test_what_type_checkers_see_is_what_is_there() -> None:
    tree = ast.parse(inspect.getsource(posestream))
    seen = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen - {"annotations", "TYPE_CHECKING", "version", "import_ours"} == set(DESCRIBED)


def test_the_version_is_that_of_the_distribution() -> None:
    assert posestream.__version__ == version("posestream")


def test_a_name_that_is_not_public_is_refused() -> None:
    with pytest.raises(AttributeError) as refused:
        posestream.estimat  # noqa: B018
    assert str(refused.value) == "module 'posestream' has no attribute 'estimat'"
    assert set(posestream.__all__) <= set(dir(posestream))
