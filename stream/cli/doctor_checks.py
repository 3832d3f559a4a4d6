"""The checks of ``posestream doctor``: one short function for each topic."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil

from engines.errors import install_hint

State = Literal["good", "note", "bad"]

FRAME_1080P_MIB = 1920 * 1080 * 3 / 2**20
NEEDED_SHM_MIB = 19 * FRAME_1080P_MIB
"""A line of one 1080p camera with a window of 5 frames and 5 parts has 17 frames in flight and 2 more in its ring."""
_SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Result:
    """``good``, ``note`` (something is missing that some uses need) or ``bad`` (posestream cannot work)."""

    topic: str
    state: State
    text: str
    remedy: str = ""


def run_checks() -> Iterator[Result]:
    """The results of all checks, in the order of the page."""
    for topic, check in CHECKS:
        try:
            yield from check(topic)
        except Exception as error:  # noqa: BLE001 - a check that fails is a result, and the others must still run
            yield Result(topic, "note", f"could not be checked: {type(error).__name__}: {error}")


def _python(topic: str) -> Iterator[Result]:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    fits = sys.version_info >= (3, 11)
    yield Result(topic, "good" if fits else "bad", text, "" if fits else "install Python 3.11 or newer")


def _processor(topic: str) -> Iterator[Result]:
    cores = usable_cores()
    memory_gib = psutil.virtual_memory().available / 2**30
    remedy = "" if cores > 1 else "with one core the parts of a line take turns; try --in-process"
    yield Result(topic, "good" if cores > 1 else "note", f"{cores} usable, {memory_gib:.1f} GiB of memory", remedy)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shared_memory(topic: str) -> Iterator[Result]:
    if not _SHM.is_dir():
        yield Result(topic, "good", "provided by the system, which does not report its size")
        return
    free_mib = shutil.disk_usage(_SHM).free / 2**20
    text = f"{free_mib:.0f} MiB free in {_SHM}"
    if free_mib >= NEEDED_SHM_MIB:
        yield Result(topic, "good", text)
    else:
        remedy = (
            f"a 1080p camera needs {NEEDED_SHM_MIB:.0f} MiB: mount -o remount,size=1G {_SHM} (docker: --shm-size=1g)"
        )
        yield Result(topic, "note", text, remedy)
    if left := sorted(path.name for path in _SHM.glob("posestream-*")):
        yield Result(topic, "note", f"{len(left)} segments of lines that are running or were killed: {left[0]} …")


def _cameras(topic: str) -> Iterator[Result]:
    if platform.system() != "Linux":
        yield Result(
            topic,
            "note",
            "not listed on this system",
            "try 'posestream launch \"camerasrc device=0 ! fakesink dump=true\"'",
        )
        return
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        yield Result(
            topic, "note", "no /dev/video*", "plug one in, or use filesrc, rtspsrc, snapshotsrc, rtmpsrc or testsrc"
        )
    for device in devices:
        readable = os.access(device, os.R_OK | os.W_OK)
        remedy = "" if readable else "join the group video: 'sudo usermod -aG video $USER', then log in again"
        yield Result(topic, "good" if readable else "bad", f"{device} {_camera_name(device)}".rstrip(), remedy)


def _camera_name(device: Path) -> str:
    label = Path("/sys/class/video4linux") / device.name / "name"
    return label.read_text().strip() if label.exists() else ""


def _opencv(topic: str) -> Iterator[Result]:
    try:
        import cv2
    except ImportError as error:
        remedy = "'apt-get install libgl1 libglib2.0-0', or put opencv-python-headless in place of opencv-python"
        yield Result(topic, "bad", f"cannot be loaded: {error}", remedy)
        return
    yield Result(topic, "good", f"OpenCV {cv2.__version__}")


def _video(topic: str) -> Iterator[Result]:
    import av

    decoders = [name for name in ("h264", "hevc", "av1", "vp9", "mjpeg", "gif") if _codec(name, "r")]
    encoders = [name for name in ("libx264", "mpeg4", "libvpx-vp9") if _codec(name, "w")]
    yield Result(topic, "good", f"PyAV {av.__version__} reads {', '.join(decoders)}; writes {', '.join(encoders)}")


def _codec(name: str, mode: Literal["r", "w"]) -> bool:
    import av

    try:
        return av.Codec(name, mode) is not None
    except ValueError:  # PyAV's UnknownCodecError
        return False


def _network_cameras(topic: str) -> Iterator[Result]:
    import av

    needed = {"RTSP": "rtsp", "HLS": "hls", "RTMP": "flv", "Motion JPEG": "mpjpeg", "MPEG-TS": "mpegts"}
    missing = [name for name, reader in needed.items() if reader not in av.formats_available]
    if missing:
        remedy = "install PyAV from its published wheels"
        yield Result(topic, "bad", f"this PyAV was built without {', '.join(missing)}", remedy)
    else:
        yield Result(topic, "good", f"PyAV reads {', '.join(needed)}; SRT and WebRTC through MediaMTX or go2rtc")


def _display(topic: str) -> Iterator[Result]:
    has_one = (
        platform.system() in ("Darwin", "Windows") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    remedy = "overlaysink writes videos and pictures; it needs no display"
    yield Result(topic, "good", "available") if has_one else Result(topic, "note", "none", remedy)


def _gpu(topic: str) -> Iterator[Result]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Result(topic, "note", "no NVIDIA GPU found (no nvidia-smi)", "networks run on the CPU")
        return
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    for line in answer.stdout.strip().splitlines() or [answer.stderr.strip() or "nvidia-smi prints nothing"]:
        yield Result(topic, "good" if answer.returncode == 0 else "note", line)


def _backends(topic: str) -> Iterator[Result]:
    from engines.backends.auto import why_no_gpu
    from engines.backends.onnxrt import list_providers, provider_name

    providers = ", ".join(map(provider_name, list_providers()))
    yield Result(topic, "good", f"onnxrt: ONNX Runtime {_version('onnxruntime')} on {providers}")
    if absent := why_no_gpu():
        yield Result(topic, "good", f"auto is onnxrt:cpu for every network: {absent}")
    else:
        yield from _on_gpu(topic)


def _on_gpu(topic: str) -> Iterator[Result]:
    """In the order in which ``auto`` tries them; which one it takes depends on the network: 'posestream compare'."""
    from engines.backends.auto import why_no_provider, why_no_tensorrt, why_no_torch_cuda

    for backend, lacking, needs in (
        ("tensorrt", why_no_tensorrt(), "for networks that 'posestream export --to tensorrt' built an engine of"),
        ("torch", why_no_torch_cuda(), "for exported networks"),
        ("onnxrt:cuda", why_no_provider(), "for every network"),
    ):
        text = f"auto skips {backend}" if lacking else f"auto takes {backend} {needs}"
        yield Result(topic, "note" if lacking else "good", text, lacking)


_EXTRAS = {
    "openvino": ("openvino", "networks as OpenVINO's .xml and as .tflite, Intel's GPUs and NPUs"),
    "torch": ("torch", "training, export, and networks in PyTorch"),
    "tensorrt": ("tensorrt", "TensorRT engines"),
    "kernel": ("nvidia-cuda-nvrtc", "the CUDA kernel of deformable convolutions, where no CUDA toolkit is"),
    "train": ("tensorboard", "curves and pictures of a training"),
    "eval": ("pycocotools", "scores on COCO"),
    "web": ("starlette", "the page: 'posestream view' and 'serve'"),
    "metrics": ("prometheus-client", "'posestream metrics', for Prometheus"),
    "ray": ("ray", "many hosts: 'posestream cluster' and 'deploy'"),
    "trace": ("opentelemetry-sdk", "'posestream trace', for OpenTelemetry"),
    "record": ("mcap", "recordsink, replaysrc and 'posestream replay'"),
    "parquet": ("pyarrow", "jsonsink format=parquet"),
    "mqtt": ("paho-mqtt", "'posestream bridge mqtt://…'"),
    "kafka": ("confluent-kafka", "'posestream bridge kafka://…'"),
    "osc": ("python-osc", "'posestream bridge osc://…'"),
    "websocket": ("websockets", "'posestream bridge ws://…'"),
}
"""A distribution that each extra brings, by which it is known, and what the extra is for."""


def _extras(topic: str) -> Iterator[Result]:
    found = {extra: _find_version(package) for extra, (package, _) in _EXTRAS.items()}
    if any(found.values()):
        present = [f"{extra} ({_EXTRAS[extra][0]} {has})" for extra, has in found.items() if has]
        yield Result(topic, "good", ", ".join(present))
    if missing := [extra for extra, has in found.items() if not has]:
        lines = [f"{extra} is not installed; needed only for {_EXTRAS[extra][1]}" for extra in missing]
        yield Result(topic, "note", "\n".join(lines), install_hint(missing[0] if len(missing) == 1 else "NAME,…"))


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _version(package: str) -> str:
    return _find_version(package) or "of unknown version"


def _sockets(topic: str) -> Iterator[Result]:
    yield Result(topic, "good", f"pyzmq {version('pyzmq')}")


CHECKS: tuple[tuple[str, Callable[[str], Iterator[Result]]], ...] = (
    ("Python", _python),
    ("Cores", _processor),
    ("Shared memory", _shared_memory),
    ("ZeroMQ", _sockets),
    ("Cameras", _cameras),
    ("Pictures", _opencv),
    ("Video", _video),
    ("network cameras", _network_cameras),
    ("Display", _display),
    ("GPU", _gpu),
    ("Backends", _backends),
    ("Extras", _extras),
)
