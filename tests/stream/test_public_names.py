"""``import stream`` is quick, and each public name is where it says."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import stream


def test_importing_stream_brings_in_nothing_heavy() -> None:
    heavy = "{'numpy', 'cv2', 'av', 'zmq', 'onnxruntime', 'yaml', 'trackers', 'torch', 'rich', 'typer'}"
    code = f"import sys, stream; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pipeline_of_files_needs_neither_sockets_nor_networks_to_be_understood() -> None:
    code = (
        "import sys, stream; stream.parse_launch('filesrc location=x.mp4 ! queue ! fakesink').negotiate();"
        "found = {'zmq', 'onnxruntime', 'trackers', 'torch'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", stream.__all__)
def test_every_public_name_can_be_had_and_is_described(name: str) -> None:
    value = getattr(stream, name)
    assert inspect.getdoc(value)
    assert getattr(importlib.import_module(value.__module__), name) is value


def test_what_type_checkers_see_is_what_is_there() -> None:
    tree = ast.parse(inspect.getsource(stream))
    seen = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen - {"annotations", "import_module", "TYPE_CHECKING"} == set(stream.__all__)


def test_a_name_that_is_not_public_is_reported() -> None:
    with pytest.raises(AttributeError) as refused:
        stream.Pipelin  # noqa: B018
    assert str(refused.value) == "module 'stream' has no attribute 'Pipelin'"
    assert set(stream.__all__) <= set(dir(stream))
