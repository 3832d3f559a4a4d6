"""How right a network is on synthetic people it never saw: PCK against the exact truth, by what makes it hard."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engines.engine import Engine, PersonWindows, load
from engines.metrics import HIDDEN, VISIBLE, Pck, correct
from engines.people.scene import Scene

SCENES = range(100)
FRAMES_A_SCENE = 3
_CLIP_S = 240.0
_CROSSING_IOU = 0.1


@dataclass
class Verdict:
    """PCK at 0.2 and 0.1 of the box's longer side, over ``frames`` pictures."""

    model: str
    frames: int = 0
    people: int = 0
    scores: dict[str, Pck] = field(default_factory=dict)

    def add(self, name: str, near: np.ndarray, judged: np.ndarray) -> None:
        """Count the ``near`` among the ``judged`` (N, 17)."""
        self.scores[name] = self.scores.get(name, Pck()) + Pck(int((near & judged).sum()), int(judged.sum()))

    def __str__(self) -> str:
        rows = [f"  {name:<34} {100 * float(p):5.1f} %  of {p.judged}" for name, p in self.scores.items()]
        return "\n".join([f"{self.model}: {self.people} people in {self.frames} frames never trained on", *rows])


def judge(model: str, scenes: range = SCENES) -> Verdict:
    """Score ``model`` on its crops of the true boxes."""
    verdict = Verdict(model)
    with load(model) as engine:
        for seed in scenes:
            rng = np.random.default_rng([seed, 0x7E57])
            scene = Scene(seed, int(rng.integers(1, 5)), 640, 480)
            for k in range(FRAMES_A_SCENE):
                _judge_frame(engine, scene, float(rng.uniform(0, _CLIP_S)), k, verdict)
    return verdict


def _judge_frame(engine: Engine, scene: Scene, time_s: float, number: int, verdict: Verdict) -> None:
    picture = scene.at(time_s, number)
    if not len(picture.boxes):
        return
    window = PersonWindows((picture.pixels,), (("judge", number),), picture.boxes, picture.ids)
    (keypoints,) = engine.estimate([window])
    verdict.frames, verdict.people = verdict.frames + 1, verdict.people + len(picture.boxes)
    crossed = _crossed(picture.boxes)[:, None]
    seen, hidden = picture.keypoints[..., 2] == VISIBLE, picture.keypoints[..., 2] == HIDDEN
    for alpha in (0.2, 0.1, 0.05):
        near = correct(keypoints, picture.keypoints, picture.boxes, alpha)
        verdict.add(f"PCK@{alpha} visible", near, seen)
        verdict.add(f"PCK@{alpha} visible, people crossing", near, seen & crossed)
        verdict.add(f"PCK@{alpha} hidden", near, hidden)


def _crossed(boxes: np.ndarray) -> np.ndarray:
    """(N,) whether a person's box overlaps another's."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    iou = shared / np.maximum(areas[:, None] + areas[None] - shared, 1e-9)
    np.fill_diagonal(iou, 0)
    crossed: np.ndarray = iou.max(1, initial=0.0) > _CROSSING_IOU
    return crossed
