"""Commands of other packages stand beside ours, and a broken one does not affect the others."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from stream.cli import plugins
from stream.errors import PosestreamError


def announced(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> dict[str, plugins.Command]:
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == plugins.GROUP else ())
    return dict(plugins.load_commands())


def test_a_command_is_the_function_that_its_entry_point_names(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = announced(monkeypatch, EntryPoint("join", "os.path:join", plugins.GROUP))
    assert commands["join"]("a", "b") == "a/b"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("nowhere.commands:run", "ModuleNotFoundError: No module named 'nowhere'"),
        ("os.path:run", "AttributeError: module 'posixpath' has no attribute 'run'"),
    ],
)
def test_a_broken_one_says_why_when_it_is_called_and_not_before(
    value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("run", value, plugins.GROUP)
    commands = announced(monkeypatch, broken, EntryPoint("join", "os.path:join", plugins.GROUP))
    assert list(commands) == ["join", "run"]
    assert commands["run"].__doc__ == f"Cannot be loaded: {why}"
    with pytest.raises(PosestreamError) as caught:
        commands["run"]()
    assert str(caught.value) == (
        f"command 'run' of an unknown package ({value}) cannot be loaded: {why}; repair or remove that package"
    )


def test_no_command_imports_pytorch_before_it_is_called() -> None:
    result = "import sys, stream.__main__; print(sorted({'torch', 'onnx', 'numpy'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", result], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
