"""The backend ``openvino``: ONNX, IR and TFLite on the CPU, options and errors."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engines.backends.auto import choose
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.hub.catalogue import SHIPPED_FOLDER
from engines.inference.engine import load
from engines.inference.image_input import get_image_input
from engines.inference.signature_inference import infer_signature
from engines.spec.signature import Signature, write_signature
from engines.testing.arrays import make_random_feeds
from engines.testing.backends import check_backend
from engines.vision.trial_picture import draw_person
from engines.vision.windows import PersonWindows
from tests.engines import networks, pose_files
from tests.engines.tflite_files import Quantised, save_reshapes

if importlib.util.find_spec("openvino") is None:
    pytest.skip("OpenVINO is not installed (the extra openvino)", allow_module_level=True)

from engines.backends.cores import BEST_BATCH
from engines.backends.openvino import OpenVino

openvino: Any = sys.modules["openvino"]
"""As the backend imported it, without its telemetry."""

SHIPPED = SHIPPED_FOLDER / "hrnet-small" / "fused.onnx"


def save_ir(graph: Path, path: Path) -> Path:
    openvino.save_model(openvino.Core().read_model(graph), path, compress_to_fp16=False)
    return path


def open_error(path: Path, mode: str = "") -> str:
    with pytest.raises(EngineError) as caught:
        OpenVino(path, mode=mode).open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_is_a_backend() -> None:
    check_backend(lambda: make_backend(SHIPPED, "openvino"))


def test_it_says_how_many_people_a_run_on_a_core_is_fast_for() -> None:
    backend = make_backend(SHIPPED, "openvino")
    backend.open()
    assert backend.describe().best_batch == BEST_BATCH


def test_it_is_a_backend_for_ir(tmp_path: Path) -> None:
    path = save_ir(networks.brightness(tmp_path / "bright.onnx"), tmp_path / "bright.xml")
    check_backend(lambda: make_backend(path, "openvino:cpu", threads=3))


def test_onnx_and_ir_give_the_numbers_of_onnx_runtime(tmp_path: Path) -> None:
    # bfloat16, the default of processors that have it, would differ by some thousandths.
    paths = SHIPPED, SHIPPED, save_ir(SHIPPED, tmp_path / "net.xml")
    outputs = []
    for path, name in zip(paths, ("onnxrt:cpu", "openvino", "auto"), strict=True):
        backend = make_backend(path, name)
        backend.open()
        outputs.append(backend.run(make_random_feeds(backend.describe(), 2))["points"])
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-4)
    np.testing.assert_allclose(outputs[2], outputs[0], atol=1e-4)


def estimate(model: Path, size: tuple[int, int], backend: str = "auto") -> Any:
    """Keypoints (K, 3) of the drawn person, whose box is the whole picture."""
    box = np.array([[0, 0, *size]], np.float32)
    with load(str(model), backend) as engine:
        (found,) = engine.estimate([PersonWindows((draw_person(size)[0],), (("camera", 0),), box, np.array([1]))])
    return found[0]


def test_published_ir_gives_the_keypoints_of_its_onnx(shared: Path, tmp_path: Path) -> None:
    folder, size = shared / "data/real", (96, 128)
    for suffix in (".xml", ".bin"):
        (tmp_path / f"net{suffix}").symlink_to(folder / f"tinypose_128_96/model{suffix}")
    with load(str(folder / "tinypose_128_96.onnx")) as reference:
        signature = reference.signature
    # Of its two outputs, the second is where each map is highest.
    fields = {name: getattr(signature, name) for name in signature.__struct_fields__}
    write_signature(type(signature)(**{**fields, "outputs": ("conv2d_441.tmp_1",)}), tmp_path / "net.json")
    ours = estimate(tmp_path / "net.xml", size)
    np.testing.assert_allclose(ours, estimate(folder / "tinypose_128_96.onnx", size), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "skeleton"), [("movenet_lightning_int8_v4", "coco17"), ("pose_landmark_lite", "blazepose33")]
)
def test_published_tflite_finds_the_drawn_person(shared: Path, name: str, skeleton: str) -> None:
    signature, warning = infer_signature(name, shared / f"data/models/{name}.tflite")
    assert signature.skeleton == skeleton
    assert "not in order" not in warning


def test_the_fingerprint_is_of_graph_and_weights(tmp_path: Path) -> None:
    path = save_ir(networks.brightness(tmp_path / "bright.onnx"), tmp_path / "bright.xml")
    path.with_suffix(".json").write_text('{"name": "bright", "input_size": [48, 64]}')
    first = load(str(path)).fingerprint
    weights = path.with_suffix(".bin")
    weights.write_bytes(bytes(len(weights.read_bytes())))
    assert load(str(path)).fingerprint != first


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", -100), ("uint8", 28)])
def test_quantised_outputs_are_given_in_real_values(tmp_path: Path, dtype: str, zero_point: int) -> None:
    same: dict[str, Any] = {"dtype": dtype, "scale": 0.25, "zero_point": zero_point}
    tensors = [Quantised("input", (1, 2, 2, 3), **same), Quantised("output", (1, 12), **same)]
    backend = make_backend(save_reshapes(tmp_path / "net.tflite", tensors, [(0, 1)]))
    backend.open()
    assert [(tensor.name, tensor.dtype) for tensor in backend.describe().outputs] == [("output", "float32")]
    fed = np.arange(12).reshape(1, 2, 2, 3).astype(dtype)
    np.testing.assert_allclose(backend.run({"input": fed})["output"], 0.25 * (np.arange(12) - zero_point)[None])


def test_a_network_in_8_bit_integers_runs_as_published(tmp_path: Path) -> None:
    size, points = pose_files.SIZE, pose_files.points(axes="yx", units="fractions", shape=(1, 1, 17, 3))["points"].table
    scale, middle = 1 / 255, -128
    stored = np.clip(np.rint(points / scale) + middle, -128, 127)
    tensors = [
        Quantised("image", (1, size[1], size[0], 3), scale=scale, zero_point=middle),
        Quantised("known", (17, 3), scale=scale, zero_point=middle, stored=stored),
        Quantised("points", points.shape, scale=scale, zero_point=middle),
        Quantised("seen", (1, 3 * size[0] * size[1]), scale=scale, zero_point=middle),
    ]
    path = save_reshapes(tmp_path / "net.tflite", tensors, [(1, 2), (0, 3)])
    write_signature(
        Signature(
            name="net",
            input_size=size,
            layout="nhwc",
            mean=(0, 0, 0),
            std=(1, 1, 1),
            decode="points",
            axes="yx",
            units="fractions",
            outputs=("points",),
        ),
        path.with_suffix(".json"),
    )
    found = estimate(path, size)
    np.testing.assert_allclose(found[:, 2], 0.9, atol=scale)
    backend = make_backend(path)
    backend.open()
    picture = draw_person(size)[0]
    fed = get_image_input("net", backend.describe()).make([picture], "bgr", (0, 0, 0), (1, 1, 1))
    np.testing.assert_allclose(backend.run({"image": fed})["seen"], picture.reshape(1, -1) / 255, atol=1e-6)


def test_openvino_is_imported_without_its_telemetry() -> None:
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__ == "openvino.tools.ovc.telemetry_stub"


def test_a_missing_package_raises_naming_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "engines.backends.openvino")
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.xml")
    assert str(caught.value) == (
        "backend 'openvino:cpu': it needs the Python package 'openvino', which is not installed; in a clone of "
        "posestream: pip install '.[openvino]'"
    )


def test_files_of_openvino_are_refused_by_the_others(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.tflite", "onnxrt:cpu")
    assert str(caught.value) == (
        "backend 'onnxrt:cpu' reads .onnx, not any.tflite; use backend=openvino, or leave backend out"
    )


def test_auto_reads_the_suffix(tmp_path: Path) -> None:
    assert str(choose(tmp_path / "any.xml")) == "openvino:cpu: only OpenVINO reads .xml"


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite"])
def test_damaged_files_raise_and_print_nothing(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"not a network" * 50)
    path.with_suffix(".bin").write_bytes(b"")
    message = open_error(path)
    assert message.startswith(f"model {path}: OpenVINO ")
    assert message.endswith("; export it, or download it, again")
    assert capfd.readouterr() == ("", "")


def test_missing_files_raise(tmp_path: Path) -> None:
    path = tmp_path / "net.xml"
    assert open_error(path) == f"model {path}: there is no such file"
    save_ir(networks.brightness(tmp_path / "net.onnx"), path)
    path.with_suffix(".bin").unlink()
    assert open_error(path) == f"model {path}: its weights net.bin are not beside it; copy both files"


def test_an_operator_that_openvino_lacks_raises_with_what_runs_it(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED_FOLDER / "fami-small", tmp_path / "fami")
    message = open_error(folder / "head.onnx")
    assert message.endswith(
        "cannot read it as onnx (-- No conversion rule found for operations: DeformConv-20); run it with backend=onnxrt"
    )


@pytest.mark.parametrize("mode", ["abacus", "gpu:", "gpu:one", "cpu:1", "npu:-1"])
def test_an_unknown_device_raises_listing_the_devices(tmp_path: Path, mode: str) -> None:
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx", f"openvino:{mode}")
    assert str(caught.value) == (
        f"backend 'openvino:{mode}': there is no such device; choose one of cpu, gpu, npu, or gpu:1 for the second GPU"
    )


class Machine:
    """An OpenVINO that finds these devices, and keeps what it was asked to compile for."""

    def __init__(self, *devices: str) -> None:
        self.available_devices = devices
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def compile_model(self, model: object, device: str, options: dict[str, Any]) -> SimpleNamespace:
        self.asked.append((device, options))
        return SimpleNamespace(create_infer_request=object, inputs=[], outputs=[], get_property=lambda key: [device])


@pytest.mark.parametrize(
    ("mode", "devices", "device"),
    [
        ("gpu", ("CPU", "GPU"), "GPU"),
        ("gpu:0", ("CPU", "GPU"), "GPU.0"),
        ("gpu", ("CPU", "GPU.0", "GPU.1"), "GPU"),
        ("gpu:1", ("CPU", "GPU.0", "GPU.1"), "GPU.1"),
        ("npu", ("CPU", "NPU"), "NPU"),
    ],
)
def test_devices_are_asked_for_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, devices: tuple[str, ...], device: str
) -> None:
    machine = Machine(*devices)
    monkeypatch.setattr(openvino, "Core", lambda: machine)
    monkeypatch.setattr(OpenVino, "_read", lambda self: None)
    OpenVino(tmp_path / "any.xml", mode=mode).open()
    ((asked, options),) = machine.asked
    assert asked == device
    assert options["EXECUTION_MODE_HINT"] == "ACCURACY"
    assert Path(options["CACHE_DIR"]).name.startswith("openvino-2")


@pytest.mark.parametrize(
    ("mode", "remedy"),
    [
        ("gpu", "install Intel's GPU driver (on Debian and Ubuntu intel-opencl-icd), or choose"),
        ("gpu:1", "install Intel's GPU driver (on Debian and Ubuntu intel-opencl-icd), or choose"),
        ("npu", "install Intel's NPU driver, or choose"),
    ],
)
def test_a_device_that_is_not_there_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, remedy: str
) -> None:
    monkeypatch.setattr(openvino, "Core", lambda: Machine("CPU"))
    path = networks.brightness(tmp_path / "bright.onnx")
    message = open_error(path, mode)
    assert message.startswith(f"backend 'openvino:{mode}': OpenVINO 20")
    device = mode.upper().replace(":", ".")
    assert message.endswith(f" finds CPU on this machine, not {device}; {remedy} backend=openvino:cpu")


def test_a_run_takes_one_thread_which_is_not_bound_to_a_core(tmp_path: Path) -> None:
    options = OpenVino(tmp_path / "any.onnx", threads=2)._make_options()
    assert options["INFERENCE_NUM_THREADS"] == options["NUM_STREAMS"] == 2
    assert options["ENABLE_CPU_PINNING"] is False
