"""Whole pictures of drawn people and a small InsPose, for tests of their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from engines.models.hrnet import HRNetConfig
from engines.models.inspose import InsPose
from engines.training.drawn_pictures import DrawnPictures, PictureSettings, draw_scene
from engines.training.picture_samples import PictureSamples
from engines.training.recipe import Resizing

SIZE = (128, 96)
HRNET = {"width": 12, "modules": (1, 1, 1), "blocks": 1, "stem_width": 8, "bottlenecks": 1}


def make_model(**options: Any) -> InsPose:
    """The same weights every time."""
    torch.manual_seed(0)
    return InsPose(hrnet=HRNetConfig(**HRNET), width=64, **options)  # type: ignore[arg-type]


def draw_pictures(count: int = 2, people: int = 2) -> DrawnPictures:
    """``count`` pictures of one scene."""
    return draw_scene(100_003, PictureSettings(SIZE, count, (people, people), "easy"))


def make_samples(pictures: Any, short: tuple[int, int] = (SIZE[1], SIZE[1])) -> PictureSamples:
    """The pictures at sizes of ``short``."""
    return PictureSamples(pictures, Resizing(short=short, long=SIZE[0], step=16), "coco17", 1)


def write_recipe(folder: Path, network: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A recipe that trains for seconds, and the entry of its network."""
    entry = {
        "kind": "network",
        "title": "tiny",
        "licence": "Apache-2.0",
        "network": {
            "model": "inspose.InsPose",
            "hrnet": {**HRNET, "modules": [1, 1, 1]},
            "input_size": list(SIZE),
            "takes": "picture",
            "skeleton": "coco17",
            "options": {"width": 64},
            **(network or {}),
        },
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(entry))
    recipe = {
        "network": str(folder / "tiny.yaml"),
        "data": {"type": "synthetic", "scenes": 2, "moments": 1, "people": [1, 2], "validation_scenes": 1},
        "resizing": {"short": [64, 96], "step": 16, "long": 128},
        "epochs": 1,
        "batch": 2,
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path
