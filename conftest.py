"""Modules that need an extra have their doctests collected only where it is installed."""

from __future__ import annotations

import importlib.util

collect_ignore_glob: list[str] = []
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob += [
        *(f"engines/{folder}/*.py" for folder in ("layers", "losses", "models", "training")),
        "engines/testing/costs.py",
        "engines/testing/models.py",
        "export/*.py",
    ]
if importlib.util.find_spec("openvino") is None:
    collect_ignore_glob += ["engines/backends/openvino.py"]
if importlib.util.find_spec("tensorrt") is None or importlib.util.find_spec("pycuda") is None:
    collect_ignore_glob += ["engines/backends/trt/*.py", "engines/plugins/*/plugin.py"]
if importlib.util.find_spec("ray") is None:
    collect_ignore_glob += ["stream/cluster/ray_engine.py"]
