"""The people of one PoseTrack frame, annotated or predicted, with the 15 joints in ``poseval``'s order."""

from __future__ import annotations

from dataclasses import dataclass

from engines.datasets.clips import Floats

JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "head_bottom", "nose", "head_top",
)  # fmt: skip
"""The 15 joints in poseval's order."""


@dataclass(frozen=True)
class Annotated:
    """The annotated people of one frame: ``joints`` (N, 15, 2) px, NaN where not annotated; ``heads`` (N, 4) px x1, y1,
    x2, y2; ``ignored`` polygons (P, 2) px."""

    joints: Floats
    heads: Floats
    ignored: tuple[Floats, ...] = ()


@dataclass(frozen=True)
class Predicted:
    """The predicted people of one frame: ``joints`` (M, 15, 2) px, NaN where absent, and their ``scores`` (M, 15)."""

    joints: Floats
    scores: Floats
