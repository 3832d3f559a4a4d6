"""Train the network that ships inside the package, on synthetic people, and export it.

    python -m engines.training.tiny                     # as shipped: about seven minutes on two busy cores
    python -m engines.training.tiny --scenes 20 --epochs 1 --out trial   # a trial of a minute
    python -m engines.training.tiny --judge engines/weights/tiny.onnx    # how right it is, on scenes never trained on

Everything is drawn from ``--seed``. Scenes are numbered: training takes those from 1000 on, the judge 0 to 99, so what
is judged was never trained on, nor are the scenes that ``testsrc`` shows by default.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from engines.catalogue import fingerprint
from engines.models.tiny import INPUT_SIZE, SIGMA_CELLS, STRIDE, Tiny
from engines.signature import IMAGENET_MEAN, IMAGENET_STD, Signature, write_signature
from engines.skeletons import SKELETONS
from engines.training.crops import ENLARGE, Crops, Draw, crops_of
from engines.training.judge import judge

FIRST_TRAINING_SCENE = 1000
_FLIP = list(SKELETONS["coco17"].flip_order)


@dataclass(frozen=True)
class Recipe:
    """The numbers of one training."""

    seed: int = 0
    scenes: int = 120
    epochs: int = 4
    batch: int = 64
    peak_rate: float = 4e-3
    weight_decay: float = 1e-4


def train(recipe: Recipe, crops: Crops, progress: Progress) -> Tiny:
    """A network trained on ``crops`` with AdamW and a one-cycle learning rate."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model: Tiny = Tiny().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = recipe.epochs * math.ceil(len(crops) / recipe.batch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_rate, total_steps=steps, pct_start=0.15)
    bar = progress.add_task("training", total=steps)
    model.train()
    for _ in range(recipe.epochs):
        order = rng.permutation(len(crops))
        for start in range(0, len(order), recipe.batch):
            rows = np.sort(order[start : start + recipe.batch])
            loss = _loss(model, crops.pictures[rows], crops.joints[rows], rng)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
            progress.update(bar, advance=1, description=f"training, loss {loss.item():.2f}")
    model.eval()
    return model


def _loss(model: Tiny, pictures: NDArray[np.uint8], joints: NDArray[np.float32], rng: np.random.Generator) -> Tensor:
    """Cross-entropy of each joint's softmax against its Gaussian; joints outside the crop are not judged.

    A squared error over the cells would do in the end, but most cells are empty and a network learns to say nothing
    first: after 1,100 steps its peaks stood at 0.13.
    """
    inputs, places = _augmented(pictures, joints.copy(), rng)
    logits = model.logits(inputs)
    target, weight = heatmaps_of(places, tuple(logits.shape[-2:]))  # type: ignore[arg-type]
    shares = target.flatten(2) / target.flatten(2).sum(-1, keepdim=True).clamp(min=1e-6)
    entropy = -(shares * logits.flatten(2).log_softmax(-1)).sum(-1)
    return (entropy * weight).sum() / weight.sum().clamp(min=1)


def _augmented(
    pictures: NDArray[np.uint8], joints: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Half of the pictures mirrored, all of them lit and tinted anew."""
    mirrored = rng.random(len(pictures)) < 0.5
    joints[mirrored] = joints[mirrored][:, _FLIP]
    joints[mirrored, :, 0] = pictures.shape[2] - 1 - joints[mirrored, :, 0]
    pictures = np.where(mirrored[:, None, None, None], pictures[:, :, ::-1], pictures)
    gain = rng.normal(1, 0.15, (len(pictures), 1, 1, 1)) * rng.normal(1, 0.06, (len(pictures), 1, 1, 3))
    shift = rng.normal(0, 14, (len(pictures), 1, 1, 1))
    lit = np.clip(pictures * gain.astype(np.float32) + shift.astype(np.float32), 0, 255)
    return inputs_of(lit), torch.from_numpy(joints)


def inputs_of(pictures: NDArray[np.float32] | NDArray[np.uint8]) -> Tensor:
    """(B, h, w, 3) BGR 0..255 as the network takes it: (B, 3, h, w) RGB, normalised as the Signature says."""
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    normalised = (pictures[..., ::-1] - mean) / std
    # (B, h, w, 3) seen as (B, 3, h, w) is PyTorch's channels_last: no copy.
    return torch.from_numpy(np.ascontiguousarray(normalised, np.float32)).permute(0, 3, 1, 2)


def heatmaps_of(joints: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Gaussians with a peak of 1 at each joint's own place, between cells: (B, 17, h, w) and weights (B, 17)."""
    h, w = size
    cells = joints[..., :2] / STRIDE
    inside = (cells[..., 0] > -0.5) & (cells[..., 0] < w - 0.5) & (cells[..., 1] > -0.5) & (cells[..., 1] < h - 0.5)
    dx2 = (torch.arange(w) - cells[..., 0, None]).square()
    dy2 = (torch.arange(h) - cells[..., 1, None]).square()
    heatmaps = torch.exp(-(dy2[..., :, None] + dx2[..., None, :]) / (2 * SIGMA_CELLS**2))
    # A joint hidden by something is still there, and the body tells where; one outside the picture is a guess.
    known = joints[..., 2] > 0
    return heatmaps, (inside & known).float()


SIGNATURE = Signature(
    name="tiny",
    input_size=INPUT_SIZE,
    decode="heatmap-dark",
    blur_px=7,
    enlarge=ENLARGE,
    licence="Apache-2.0",
    source="python -m engines.training.tiny",
    notes={"trained on": "synthetic people only; it knows nothing of real ones"},
)


def export(model: Tiny, folder: Path) -> Path:
    """Write ``tiny.pth``, ``tiny.onnx`` (any batch) and ``tiny.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "tiny.pth")
    width, height = INPUT_SIZE
    plain = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    program = torch.onnx.export(
        plain,
        (torch.zeros(2, 3, height, width),),
        input_names=["image"],
        output_names=["heatmaps"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=20,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    path = folder / "tiny.onnx"
    program.save(path)
    write_signature(replace(SIGNATURE, fingerprint=fingerprint(path)), folder / "tiny.json")
    return path


def gather(recipe: Recipe, progress: Progress) -> Crops:
    """The crops of the recipe's training scenes."""
    first = FIRST_TRAINING_SCENE + 1_000_000 * recipe.seed
    seeds = list(range(first, first + recipe.scenes))
    bar = progress.add_task("drawing", total=recipe.scenes)
    parts = []
    for crops in crops_of(seeds, Draw()):
        parts.append(crops)
        progress.update(bar, advance=1)
    return Crops(np.concatenate([p.pictures for p in parts]), np.concatenate([p.joints for p in parts]))


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    told = _parser().parse_args(arguments)
    if told.judge:
        print(judge(told.judge))
        return
    recipe = Recipe(seed=told.seed, scenes=told.scenes, epochs=told.epochs)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        model = train(recipe, gather(recipe, progress), progress)
    onnx = export(model, told.out)
    print(f"wrote {onnx} ({onnx.stat().st_size / 1e6:.2f} MB)")
    print(judge(str(onnx)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engines.training.tiny",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="other scenes and other first weights")
    parser.add_argument("--scenes", type=int, default=Recipe.scenes, help="how many scenes to draw (default 120)")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs, help="how often to see each crop (default 4)")
    parser.add_argument("--out", type=Path, default=Path("out/tiny"), help="folder to write (default out/tiny)")
    parser.add_argument("--judge", metavar="ONNX", help="train nothing; score this network")
    return parser


if __name__ == "__main__":
    main()
