"""The chain: every step and what it needs, in order. Listing them imports nothing heavy."""

from __future__ import annotations

from export.gpu_selftest.chain import Step

NETWORK = "fami-compact-256x192-causal"

_HERE = "export.gpu_selftest"
_TENSORRT = "tensorrt:nobuild,tensorrt:nobuild+nograph"
_TORCH = "torch:cuda,torch:cudagraphs"

ROUTES = (("fp32", "fused"), ("fp16", "fused"), ("fp16", "nvidia"))
"""Precision and plugin of the engines that are built."""

FIRST = (
    Step("machine", "versions", f"{_HERE}.machine:report_versions"),
    Step("gpu", "GPU", f"{_HERE}.machine:find_gpus"),
    Step("torch", "PyTorch on it", f"{_HERE}.machine:check_torch", ("gpu",)),
    Step("tensorrt", "TensorRT on it", f"{_HERE}.machine:check_tensorrt", ("gpu",)),
    Step("kernel", "kernel: compiled", f"{_HERE}.kernel:compile_kernels"),
    Step("kernel-exact", "kernel: exact", f"{_HERE}.kernel:check_accuracy", ("kernel", "torch")),
    Step("kernel-speed", "kernel: speed", f"{_HERE}.kernel:measure_speed", ("kernel-exact",)),
    Step("export-fp32", "export in fp32", f"{_HERE}.fixtures:make_export", options={"precision": "fp32"}),
    Step("export-fp16", "export in fp16", f"{_HERE}.fixtures:make_export", options={"precision": "fp16"}),
    Step(
        "torch-agrees",
        "torch fp16: right",
        f"{_HERE}.agreement:check_agreement",
        ("torch", "export-fp16"),
        {"folder": "fp16", "backends": _TORCH},
    ),
)


def _make_route_steps(precision: str, plugin: str) -> tuple[Step, ...]:
    """Engines by one route, and whether they are right."""
    name = f"{precision}-{plugin}"
    needs = ("tensorrt", f"export-{precision}", *(("kernel",) if plugin == "fused" else ()))
    return (
        Step(
            f"engine-{name}",
            f"engine {precision} {plugin}: built",
            f"{_HERE}.fixtures:make_engines",
            needs,
            {"precision": precision, "plugin": plugin},
        ),
        Step(
            f"agrees-{name}",
            f"engine {precision} {plugin}: right",
            f"{_HERE}.agreement:check_agreement",
            (f"engine-{name}",),
            {"folder": name, "backends": _TENSORRT},
        ),
    )


LAST = (
    Step(
        "speed-torch",
        "torch fp16: speed",
        f"{_HERE}.speed:measure_speed",
        ("torch", "export-fp16"),
        {"folder": "fp16", "backends": _TORCH},
    ),
    *(
        Step(
            f"speed-fp16-{plugin}",
            f"engine fp16 {plugin}: speed",
            f"{_HERE}.speed:measure_speed",
            (f"engine-fp16-{plugin}",),
            {"folder": f"fp16-{plugin}", "backends": _TENSORRT},
        )
        for plugin in ("fused", "nvidia")
    ),
)

CHAIN = (*FIRST, *(step for route in ROUTES for step in _make_route_steps(*route)), *LAST)
