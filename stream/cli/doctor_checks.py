"""What ``posestream doctor`` looks at: one short function a question, each of which answers with findings."""

from __future__ import annotations

import importlib.util
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

State = Literal["good", "note", "bad"]

FRAME_1080P_MIB = 1920 * 1080 * 3 / 2**20
# A line of one 1080p camera with a window of 5 frames and 5 parts keeps 17 frames in flight and 2 more in its ring.
WANTED_SHM_MIB = 19 * FRAME_1080P_MIB
_SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Finding:
    """One answer: ``good``, ``note`` (something is not there that some need) or ``bad`` (posestream cannot work)."""

    topic: str
    state: State
    text: str
    remedy: str = ""


def findings() -> Iterator[Finding]:
    """Every question asked of this machine, in the order of the page."""
    for topic, question in QUESTIONS:
        try:
            yield from question(topic)
        except Exception as error:  # noqa: BLE001 - a question that fails is an answer, and the others must still be asked
            yield Finding(topic, "note", f"could not be found out: {type(error).__name__}: {error}")


def _python(topic: str) -> Iterator[Finding]:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    fits = sys.version_info >= (3, 11)
    yield Finding(topic, "good" if fits else "bad", text, "" if fits else "install Python 3.11 or newer")


def _processor(topic: str) -> Iterator[Finding]:
    cores = usable_cores()
    memory_gib = psutil.virtual_memory().available / 2**30
    remedy = "" if cores > 1 else "with one core the parts of a line take turns; try --in-process"
    yield Finding(topic, "good" if cores > 1 else "note", f"{cores} usable, {memory_gib:.1f} GiB of memory", remedy)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shared_memory(topic: str) -> Iterator[Finding]:
    if not _SHM.is_dir():
        yield Finding(topic, "good", "provided by the system; this one does not say how much")
        return
    free_mib = shutil.disk_usage(_SHM).free / 2**20
    text = f"{free_mib:.0f} MiB free in {_SHM}"
    if free_mib >= WANTED_SHM_MIB:
        yield Finding(topic, "good", text)
    else:
        remedy = (
            f"a 1080p camera needs {WANTED_SHM_MIB:.0f} MiB: mount -o remount,size=1G {_SHM} (docker: --shm-size=1g)"
        )
        yield Finding(topic, "note", text, remedy)
    if left := sorted(path.name for path in _SHM.glob("posestream-*")):
        yield Finding(topic, "note", f"{len(left)} segments of lines that run now, or ran: {left[0]} …")


def _cameras(topic: str) -> Iterator[Finding]:
    if platform.system() != "Linux":
        yield Finding(
            topic,
            "note",
            "not listed on this system",
            "try 'posestream launch \"camerasrc device=0 ! fakesink dump=true\"'",
        )
        return
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        yield Finding(topic, "note", "no /dev/video*", "plug one in, or use filesrc, rtspsrc or testsrc")
    for device in devices:
        readable = os.access(device, os.R_OK | os.W_OK)
        remedy = "" if readable else "join the group video: 'sudo usermod -aG video $USER', then log in again"
        yield Finding(topic, "good" if readable else "bad", f"{device} {_camera_name(device)}".rstrip(), remedy)


def _camera_name(device: Path) -> str:
    label = Path("/sys/class/video4linux") / device.name / "name"
    return label.read_text().strip() if label.exists() else ""


def _opencv(topic: str) -> Iterator[Finding]:
    try:
        import cv2
    except ImportError as error:
        remedy = "'apt-get install libgl1 libglib2.0-0', or put opencv-python-headless in place of opencv-python"
        yield Finding(topic, "bad", f"cannot be loaded: {error}", remedy)
        return
    yield Finding(topic, "good", f"OpenCV {cv2.__version__}")


def _video(topic: str) -> Iterator[Finding]:
    import av

    decoders = [name for name in ("h264", "hevc", "av1", "vp9", "mjpeg", "gif") if _codec(name, "r")]
    encoders = [name for name in ("libx264", "mpeg4", "libvpx-vp9") if _codec(name, "w")]
    yield Finding(topic, "good", f"PyAV {av.__version__} reads {', '.join(decoders)}; writes {', '.join(encoders)}")


def _codec(name: str, mode: Literal["r", "w"]) -> bool:
    import av

    try:
        return av.Codec(name, mode) is not None
    except ValueError:  # PyAV's UnknownCodecError
        return False


def _rtsp(topic: str) -> Iterator[Finding]:
    import av

    there = "rtsp" in av.formats_available
    remedy = "" if there else "this PyAV was built without RTSP; install PyAV from its published wheels"
    yield Finding(topic, "good" if there else "bad", "over TCP and UDP, in PyAV" if there else "not in PyAV", remedy)


def _display(topic: str) -> Iterator[Finding]:
    has_one = (
        platform.system() in ("Darwin", "Windows") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    remedy = "overlaysink writes videos and pictures; it needs no display"
    yield Finding(topic, "good", "there is one") if has_one else Finding(topic, "note", "none", remedy)


def _gpu(topic: str) -> Iterator[Finding]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding(topic, "note", "no NVIDIA GPU found (no nvidia-smi)", "networks run on the CPU")
        return
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    for line in answer.stdout.strip().splitlines() or [answer.stderr.strip() or "nvidia-smi says nothing"]:
        yield Finding(topic, "good" if answer.returncode == 0 else "note", line)


def _backends(topic: str) -> Iterator[Finding]:
    from engines.backends.auto import why_no_gpu
    from engines.backends.onnxrt import list_providers, provider_name

    providers = ", ".join(map(provider_name, list_providers()))
    yield Finding(topic, "good", f"onnxrt: ONNX Runtime {_version('onnxruntime')} on {providers}")
    if absent := why_no_gpu():
        yield Finding(topic, "good", f"auto is onnxrt:cpu for every network: {absent}")
    else:
        yield from _on_gpu(topic)


def _on_gpu(topic: str) -> Iterator[Finding]:
    """In the order in which ``auto`` asks; which one it takes is up to the network, see 'posestream compare'."""
    from engines.backends.auto import why_no_provider, why_no_tensorrt, why_no_torch_cuda

    for backend, lacking, needs in (
        ("tensorrt", why_no_tensorrt(), "for networks that 'posestream export --to tensorrt' built an engine of"),
        ("torch", why_no_torch_cuda(), "for exported networks"),
        ("onnxrt:cuda", why_no_provider(), "for every network"),
    ):
        text = f"auto passes {backend} by" if lacking else f"auto takes {backend} {needs}"
        yield Finding(topic, "note" if lacking else "good", text, lacking)


def _extras(topic: str) -> Iterator[Finding]:
    for package, use in (("torch", "training and export"), ("tensorrt", "TensorRT engines")):
        if importlib.util.find_spec(package) is None:
            yield Finding(
                topic,
                "note",
                f"{package} is not installed",
                f"wanted only for {use}: 'pip install posestream[{package}]'",
            )
        else:
            yield Finding(topic, "good", f"{package} {_version(package)}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _sockets(topic: str) -> Iterator[Finding]:
    yield Finding(topic, "good", f"pyzmq {version('pyzmq')}")


QUESTIONS: tuple[tuple[str, Callable[[str], Iterator[Finding]]], ...] = (
    ("Python", _python),
    ("Cores", _processor),
    ("Shared memory", _shared_memory),
    ("ZeroMQ", _sockets),
    ("Cameras", _cameras),
    ("Pictures", _opencv),
    ("Video", _video),
    ("RTSP", _rtsp),
    ("Display", _display),
    ("GPU", _gpu),
    ("Backends", _backends),
    ("Extras", _extras),
)
