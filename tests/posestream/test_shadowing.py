"""A package of another origin that hides one of posestream's is named in one line, with the remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from posestream import shadowing
from posestream.shadowing import PACKAGES, ShadowedPackageError, check_overwritten, check_packages

ESTIMATE = "from posestream import estimate"


def run(folder: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Python in ``folder``, which comes first on its path, with ``path`` next."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (path, *sys.path)))}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_packages_of_this_checkout_are_posestreams() -> None:
    check_packages()
    assert set(PACKAGES) == {"configs", "engines", "export", "stream"}


@pytest.mark.parametrize("place", ["stream/__init__.py", "engines.py", "configs/__init__.py"])
def test_a_users_file_that_hides_one_is_named_with_the_remedy(place: str, tmp_path: Path) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    found = file.parent if file.name == "__init__.py" else file
    line = (
        f"{found} shadows posestream's package {found.stem!r}; rename it, or keep its folder off Python's path "
        "(python -P, or unset PYTHONPATH)"
    )
    assert run(tmp_path, "-c", ESTIMATE).stderr.splitlines()[-1].partition(": ")[2] == line
    command = run(tmp_path, "-m", "posestream", "--version")
    assert (command.returncode, command.stderr) == (1, f"posestream: {line}\n")


def test_a_folder_without_code_that_hides_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ModuleType("configs")
    module.__path__ = [str(tmp_path / "configs")]
    monkeypatch.setitem(sys.modules, "configs", module)
    with pytest.raises(ShadowedPackageError) as caught:
        check_packages()
    assert str(caught.value).startswith(f"{tmp_path / 'configs'} shadows posestream's package 'configs'; rename it")


def test_a_users_export_does_not_stop_what_needs_no_export(tmp_path: Path) -> None:
    (tmp_path / "export.py").write_text("")
    assert run(tmp_path, "-c", ESTIMATE).returncode == 0
    answer = run(tmp_path, "-c", "from posestream import export")
    assert f"ShadowedPackageError: {tmp_path / 'export.py'} shadows" in answer.stderr


def test_another_distributions_package_is_named_with_its_distribution(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    _install(installed, "stream", "stream-python")
    answer = run(tmp_path, "-P", "-m", "posestream", "--version", path=str(installed))
    assert answer.stderr == (
        f"posestream: {installed / 'stream'} belongs to distribution 'stream-python' and shadows posestream's package "
        "'stream'; install posestream in a virtual environment of its own\n"
    )
    assert answer.returncode == 1


def test_a_distribution_that_has_overwritten_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _install(tmp_path, "stream", "stream-python")
    monkeypatch.syspath_prepend(str(tmp_path))
    missing = ImportError("cannot import name 'Caps' from 'stream.caps'", name="stream.caps")
    with pytest.raises(ShadowedPackageError) as caught:
        check_overwritten(missing)
    assert str(caught.value).endswith(
        "is posestream's package, but distribution 'stream-python' has installed one of the same name over it; "
        "install posestream in a virtual environment of its own"
    )


def test_a_missing_library_is_not_taken_for_a_shadow() -> None:
    check_overwritten(ModuleNotFoundError("No module named 'cv2'", name="cv2"))
    check_overwritten(ImportError("no name at all"))


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "export", raising=False)
    monkeypatch.setattr(shadowing, "find_spec", lambda name: None)
    with pytest.raises(ShadowedPackageError) as caught:
        check_packages(["export"])
    assert str(caught.value).startswith("posestream's package 'export' is missing from ")
    assert str(caught.value).endswith("install it again: pip install --force-reinstall --no-deps posestream")


def _install(folder: Path, package: str, distribution: str) -> None:
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text("")
    record = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (record / "top_level.txt").write_text(f"{package}\n")
