"""The chain: every step, what it needs, and in which order they are tried. Nothing heavy is imported to list them."""

from __future__ import annotations

from export.gpu_selftest.chain import Step

NETWORK = "fami-compact-256x192-causal"

_HERE = "export.gpu_selftest"
_TENSORRT = "tensorrt:nobuild,tensorrt:nobuild+nograph"
_TORCH = "torch:cuda,torch:cudagraphs"

ROUTES = (("fp32", "fused"), ("fp16", "fused"), ("fp16", "nvidia"))
"""Precision and plugin of the engines that are built."""

FIRST = (
    Step("machine", "versions", f"{_HERE}.machine:machine"),
    Step("gpu", "GPU", f"{_HERE}.machine:gpu"),
    Step("torch", "PyTorch on it", f"{_HERE}.machine:torch_cuda", ("gpu",)),
    Step("tensorrt", "TensorRT on it", f"{_HERE}.machine:tensorrt", ("gpu",)),
    Step("kernel", "kernel: compiled", f"{_HERE}.kernel:compiled"),
    Step("kernel-exact", "kernel: exact", f"{_HERE}.kernel:exact", ("kernel", "torch")),
    Step("kernel-speed", "kernel: speed", f"{_HERE}.kernel:speed", ("kernel-exact",)),
    Step("export-fp32", "export in fp32", f"{_HERE}.fixtures:export", options={"precision": "fp32"}),
    Step("export-fp16", "export in fp16", f"{_HERE}.fixtures:export", options={"precision": "fp16"}),
    Step(
        "torch-agrees",
        "torch fp16: right",
        f"{_HERE}.agreement:agree",
        ("torch", "export-fp16"),
        {"folder": "fp16", "backends": _TORCH},
    ),
)


def _of_route(precision: str, plugin: str) -> tuple[Step, ...]:
    """Engines by one route, and whether they are right."""
    name = f"{precision}-{plugin}"
    needs = ("tensorrt", f"export-{precision}", *(("kernel",) if plugin == "fused" else ()))
    return (
        Step(
            f"engine-{name}",
            f"engine {precision} {plugin}: built",
            f"{_HERE}.fixtures:engines",
            needs,
            {"precision": precision, "plugin": plugin},
        ),
        Step(
            f"agrees-{name}",
            f"engine {precision} {plugin}: right",
            f"{_HERE}.agreement:agree",
            (f"engine-{name}",),
            {"folder": name, "backends": _TENSORRT},
        ),
    )


LAST = (
    Step(
        "speed-torch",
        "torch fp16: speed",
        f"{_HERE}.speed:speed",
        ("torch", "export-fp16"),
        {"folder": "fp16", "backends": _TORCH},
    ),
    *(
        Step(
            f"speed-fp16-{plugin}",
            f"engine fp16 {plugin}: speed",
            f"{_HERE}.speed:speed",
            (f"engine-fp16-{plugin}",),
            {"folder": f"fp16-{plugin}", "backends": _TENSORRT},
        )
        for plugin in ("fused", "nvidia")
    ),
)

CHAIN = (*FIRST, *(step for route in ROUTES for step in _of_route(*route)), *LAST)
