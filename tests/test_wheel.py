"""The built wheel, alone in an empty environment and away from the checkout, does what the checkout does."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(400)  # an empty environment is filled: a minute, or a few on a busy machine


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(_copy(root, folder / "source")))
    (built,) = folder.glob("posestream-*.whl")
    return built


@pytest.fixture(scope="module")
def bin_folder(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands lie in an environment that holds nothing but the wheel and what it asks for."""
    venv = tmp_path_factory.mktemp("alone") / "venv"
    answer = subprocess.run(
        ["bash", str(root / "scripts" / "set_up"), str(venv), str(wheel)],
        capture_output=True,
        text=True,
        check=False,
        env=bare_environment() | {"PYTHON": sys.executable},
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return venv / "bin"


def _copy(root: Path, target: Path) -> Path:
    """What git knows of the checkout, since a build leaves traces where it runs."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, names.decode().split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((root / name).read_bytes())
    return target


def run(*words: str) -> None:
    answer = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def bare_environment() -> dict[str, str]:
    """Nothing of this checkout or of the environment that runs the tests."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def test_the_wheel_holds_the_packages_their_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"posestream", "stream", "engines", "export", "configs"}
    for wanted in (
        "configs/pipelines/demo.yaml",
        "configs/models/yolox-nano.yaml",
        *(
            f"engines/hub/weights/{name}/{file}"
            for name in ("fami-small", "hrnet-small")
            for file in ("fused.onnx", "weights.data")
        ),
        "posestream/py.typed",
        "stream/py.typed",
        *(f"stream/web/static/{file}" for file in ("page.html", "page.js", "page.css", "login.html")),
    ):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_wheel_asks_for_no_torch(bin_folder: Path) -> None:
    answer = subprocess.run([bin_folder / "python", "-m", "pip", "list"], capture_output=True, text=True, check=True)
    installed = {line.split()[0].lower() for line in answer.stdout.splitlines()}
    assert "onnxruntime" in installed
    assert not installed & {"torch", "onnx", "pytest", "mypy"}


@pytest.mark.slow
def test_the_installed_command_runs_the_demo_from_any_folder(bin_folder: Path, tmp_path: Path, no_leaks: None) -> None:
    answer = subprocess.run(
        [bin_folder / "posestream", "demo", "--seconds", "5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=bare_environment() | {name: os.environ[name] for name in os.environ if name.startswith("POSESTREAM")},
        timeout=200,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    right = float(answer.stdout.rpartition("PCK@0.2 ")[2].split(" %")[0])
    # 96.8 % in 8 s when measured; which frames a busy machine drops and judges differs, so some points are left.
    assert right > 85
    assert (tmp_path / "posestream-demo.mp4").stat().st_size > 10_000
    assert (tmp_path / "posestream-demo.png").stat().st_size > 10_000


# Which packages of extras the modules of a package may lack, and only they.
EXTRAS = {
    "engines.backends.openvino": {"openvino"},
    "engines.backends.pytorch": {"torch"},
    "engines.backends.trt": {"onnx", "pycuda", "tensorrt", "torch"},
    "engines.hub.checkpoints": {"safetensors", "torch"},
    "engines.layers": {"torch"},
    "engines.losses": {"torch"},
    "engines.models": {"torch"},
    "engines.plugins": {"cuda", "onnx", "tensorrt", "torch"},
    "engines.testing": {"torch"},
    "engines.training": {"torch"},
    "stream.bridges": {"confluent_kafka", "opentelemetry", "paho", "pythonosc", "requests", "websockets"},
    "stream.cluster.ray_engine": {"ray"},
    "stream.metrics": {"prometheus_client"},
    "stream.recording": {"foxglove_schemas_protobuf", "google", "lz4", "mcap", "mcap_protobuf", "zstandard"},
    "stream.web": {"h11", "starlette", "uvicorn", "websockets"},
}


@pytest.mark.slow
def test_every_module_of_the_run_path_can_be_imported_without_the_extras(bin_folder: Path, tmp_path: Path) -> None:
    script = (
        "import importlib, pkgutil, posestream, stream, engines, configs\n"
        "started = ('posestream.__main__', 'stream.__main__', 'stream.runtime.worker', 'stream.runtime.janitor')\n"
        "for package in (posestream, stream, engines):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.', onerror=lambda name: None):\n"
        "        if not found.name.startswith(started):\n"
        "            try:\n"
        "                importlib.import_module(found.name)\n"
        "            except ModuleNotFoundError as error:\n"
        "                print(found.name, error.name.partition('.')[0])\n"
    )
    answer = subprocess.run([bin_folder / "python", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)  # fmt: skip # noqa: E501
    assert answer.returncode == 0, answer.stderr
    lacking = [line.split() for line in answer.stdout.splitlines()]
    assert lacking  # the environment really has no extras
    for module, package in lacking:
        assert any(module.startswith(name) and package in missing for name, missing in EXTRAS.items()), (
            module,
            package,
        )
