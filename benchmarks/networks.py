"""Time of the papers' networks per person and key frame, with and without cached features.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.networks --write
    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.networks --networks fami-compact-256x192 --rounds 20

Each network runs in PyTorch as written (eager) and, cut into backbone and head, in ONNX Runtime. With reuse, a key
frame costs one backbone and one head; without, a backbone for every frame of the window. Weights are random, of a size
that keeps activations of order one: numbers too small for a float's exponent would be slow. A second table holds
deformable convolution against a loop over its definition and ONNX Runtime's operator.

OMP_WAIT_POLICY=PASSIVE lets PyTorch's threads sleep while they wait. On a machine that does anything else they would
otherwise spin against it, and a key frame of 0.1 s then took 7 s.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

import engines
from engines.hub import catalogue
from engines.layers.deform_conv import DeformConv2d
from engines.models.temporal import TemporalModel
from export.graph.operators import TRANSLATIONS

RESULTS = Path(__file__).parent / "results" / "networks.md"
THREADS = 2
NETWORKS = (*(name for name in catalogue.list_names("network") if "compact" in name), "fami-w48-384x288")


def median_ms(call: Callable[[], object], rounds: int) -> float:
    """Of ``rounds`` calls, after two to warm up."""
    for _ in range(2):
        call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


# -- one network, cut in two ------------------------------------------------------------------------------------------


class Backbone(nn.Module):
    """The part that runs once per frame."""

    def __init__(self, model: TemporalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        return self.model.backbone(crop)


class Head(nn.Module):
    """The part that runs once per key frame."""

    def __init__(self, model: TemporalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *window: Tensor) -> Tensor:
        return self.model.head(window)


def session(model: nn.Module, inputs: Sequence[Tensor]) -> Callable[[], object]:
    """Export ``model`` to ONNX; return a call of it in ONNX Runtime."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            tuple(inputs),
            dynamo=True,
            opset_version=20,
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    memory = io.BytesIO()
    assert program is not None
    program.save(memory)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    opened = onnxruntime.InferenceSession(memory.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {entry.name: value.numpy() for entry, value in zip(opened.get_inputs(), inputs, strict=True)}
    return lambda: opened.run(None, feed)


def init_weights(model: nn.Module) -> nn.Module:
    """Initialise weights so that activations keep their size (He et al., ICCV 2015)."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
    return model.eval()


def network_row(name: str, rounds: int) -> str:
    """A line of the first table."""
    _, spec = catalogue.find_network(name)
    model = init_weights(engines.create(name))
    width, height = spec.input_size
    crop = torch.randn(1, 3, height, width)
    if not isinstance(model, TemporalModel):
        eager = median_ms(lambda: model(crop), rounds)
        there = "" if spec.takes == "picture" else f"{median_ms(session(model, [crop]), rounds):.0f}"
        return f"| {name} | {spec.gmac:.1f} | {eager:.0f} | {eager:.0f} | {there} | {there} |"
    frames = len(spec.window)
    window = [feature.repeat(frames, 1, 1, 1)[None] for feature in model.backbone(crop)]
    parts: list[tuple[nn.Module, Sequence[Tensor]]] = [(Backbone(model), [crop]), (Head(model), window)]
    cells = []
    eager_calls = [lambda part=part, inputs=inputs: part(*inputs) for part, inputs in parts]
    for calls in (eager_calls, [session(part, inputs) for part, inputs in parts]):
        backbone, head = (median_ms(call, rounds) for call in calls)
        cells += [f"{backbone + head:.0f}", f"{frames * backbone + head:.0f}"]
    return f"| {name} | {spec.gmac:.1f} ({spec.window_gmac:.1f}) | {' | '.join(cells)} |"


# -- deformable convolution -------------------------------------------------------------------------------------------


def naive(layer: DeformConv2d, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
    """The definition, cell by cell; one picture."""
    _, channels, h, w = x.shape
    padded = torch.nn.functional.pad(x[0], (1, 1, 1, 1))
    result = torch.zeros(layer.weight.shape[0], h, w)
    share = channels // layer.offset_groups
    for i in range(h):
        for j in range(w):
            column = torch.zeros(channels, 9)
            for g in range(layer.offset_groups):
                for k in range(9):
                    y = i + k // 3 - 1 + float(offset[0, 18 * g + 2 * k, i, j])
                    z = j + k % 3 - 1 + float(offset[0, 18 * g + 2 * k + 1, i, j])
                    value = bilinear(padded[g * share : (g + 1) * share], y, z, h, w)
                    column[g * share : (g + 1) * share, k] = value * mask[0, 9 * g + k, i, j]
            result[:, i, j] = layer.weight.flatten(1) @ column.flatten()
    assert layer.bias is not None
    return (result + layer.bias[:, None, None])[None]


def bilinear(padded: Tensor, y: float, x: float, h: int, w: int) -> Tensor:
    """All channels at (y, x) of a map with a border of zeros."""
    if not (-1 < y < h and -1 < x < w):
        return torch.zeros(len(padded))
    top, left = int(y // 1), int(x // 1)
    fy, fx = y - top, x - left
    corner = padded[:, top + 1 : top + 3, left + 1 : left + 3]
    weights = torch.tensor([[(1 - fy) * (1 - fx), (1 - fy) * fx], [fy * (1 - fx), fy * fx]])
    return (corner * weights).sum((1, 2))


def deform_row(channels: int, h: int, w: int, rounds: int, *, loop: bool) -> str:
    """A line of the second table: 12 offset groups and a 3x3 kernel, as FAMI-Pose has them."""
    torch.manual_seed(0)
    layer = DeformConv2d(channels, channels, padding=1, offset_groups=12).eval()
    x, offset, mask = torch.randn(1, channels, h, w), torch.randn(1, 216, h, w), torch.rand(1, 108, h, w)
    ours, there = layer(x, offset, mask), session(layer, [x, offset, mask])
    results: Any = there()
    cells = [f"{median_ms(lambda: layer(x, offset, mask), rounds):.1f}", f"{median_ms(there, rounds):.1f}"]
    error = float((torch.from_numpy(results[0]) - ours).abs().max())
    cell = "not run"
    if loop:
        start = time.perf_counter()
        by_definition = naive(layer, x, offset, mask)
        cell = f"{(time.perf_counter() - start) * 1e3:.0f}, {float((by_definition - ours).abs().max()):.0e}"
    return f"| {channels} of {h}x{w} | {cells[0]} | {cells[1]}, {error:.0e} | {cell} |"


def page(names: Sequence[str], rounds: int) -> str:
    """Both tables with the conditions of the measurement."""
    load = os.getloadavg()[0]
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    libraries = f"PyTorch {torch.__version__.partition('+')[0]}, ONNX Runtime {onnxruntime.__version__}"
    lines = [
        f"`OMP_WAIT_POLICY=PASSIVE python -m benchmarks.networks --write` on {machine}, {libraries};",
        f"{THREADS} threads, medians of {rounds} calls.",
        "",
        "Milliseconds for one person and key frame (InsPose: for one picture).",
        "",
        "| network | GMAC (full) | eager, reuse | eager, full | ONNX Runtime, reuse | ONNX Runtime, full |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        print(row := network_row(name, rounds), flush=True)
        lines.append(row)
    lines += [
        "",
        "Deformable convolution, 3x3, 12 offset groups, one picture, no gradients: milliseconds, and the largest",
        "difference from ours (values of order 1, float32).",
        "",
        "| channels of map | ours | ONNX Runtime | loop over the definition |",
        "|---|---|---|---|",
    ]
    for channels, h, w in ((24, 16, 12), (48, 64, 48), (48, 96, 72)):
        print(row := deform_row(channels, h, w, rounds, loop=h == 16), flush=True)
        lines.append(row)
    lines += ["", f"Load of the machine when it began: {load:.1f}; when it ended: {os.getloadavg()[0]:.1f}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} too")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    with torch.no_grad():
        text = page(options.networks, options.rounds)
    if options.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
