"""A body as flat outlines: limbs, trunk and head are convex polygons, each with a colour and a depth.

Painted from far to near they show a person; filled with numbers instead of colours, they give the visible part at every
pixel, and thus the visibility of joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from engines.datasets.synthetic.appearance import Appearance, Colour
from engines.datasets.synthetic.body import POINT, Floats, Posture

# Half widths of the limbs at either end, metres for a body of 1.75 m (from anthropometric tables, with clothes).
_WIDTHS: Final = {
    "upper_arm": (0.058, 0.046), "forearm": (0.045, 0.031), "hand": (0.036, 0.030),
    "thigh": (0.088, 0.060), "shin": (0.058, 0.038), "foot": (0.042, 0.034),
}  # fmt: skip
_LIMBS: Final = (
    ("upper_arm", "shoulder", "elbow"), ("forearm", "elbow", "wrist"), ("hand", "wrist", "hand"),
    ("thigh", "hip", "knee"), ("shin", "knee", "ankle"), ("foot", "heel", "toe"),
)  # fmt: skip
_PUPIL: Final = (30.0, 26.0, 24.0)
_STANDARD_M: Final = 1.75
_ROUND: Final = np.linspace(0, np.pi, 7)
_CIRCLE: Final = np.linspace(0, 2 * np.pi, 20, endpoint=False)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: ``focal_px``, the principal point in px, the height of the eye above the ground in m."""

    focal_px: float
    centre: tuple[float, float]
    eye_m: float

    def project(self, points: Floats) -> Floats:
        """(..., 3) m, y down from the ground's height 0, to (..., 2) px; pixel centres are at halves."""
        scale = self.focal_px / points[..., 2:]
        return np.concatenate(
            [self.centre[0] + scale * points[..., :1], self.centre[1] + scale * (points[..., 1:2] + self.eye_m)], -1
        )


@dataclass(frozen=True)
class Part:
    """A convex polygon (n, 2) px of the body part ``name``; ``depth`` m is the order of painting."""

    name: str
    outline: Floats
    colour: Colour
    depth: float
    shade: bool = True


def build_parts(posture: Posture, person: int, height: float, appearance: Appearance, camera: Camera) -> list[Part]:
    """The polygons of one person, far to near."""
    points = posture.points[person]
    flat = camera.project(points)
    px_per_m = camera.focal_px / points[:, 2]
    size = height / _STANDARD_M
    parts = [part for side in ("left", "right") for part in _side(side, points, flat, px_per_m * size, appearance)]
    parts += [_trunk(points, flat, px_per_m * size, appearance), _neck(points, flat, px_per_m * size, appearance)]
    parts += _head(points, flat, posture.heads[person], height, camera, appearance)
    return sorted(parts, key=lambda part: -part.depth)


def _side(side: str, points: Floats, flat: Floats, scale: Floats, appearance: Appearance) -> list[Part]:
    parts = []
    for name, start, end in _LIMBS:
        a, b = POINT[f"{side}_{start}"], POINT[f"{side}_{end}"]
        wide, narrow = _WIDTHS[name]
        outline = capsule(flat[a], flat[b], wide * scale[a], narrow * scale[b])
        # A limb's surface is nearer than its axis, so that an arm in front of the chest is painted after it.
        depth = float((points[a, 2] + points[b, 2]) / 2) - 0.03
        parts.append(Part(f"{side}_{name}", outline, _limb_colour(name, appearance), depth))
    return parts


def _limb_colour(name: str, appearance: Appearance) -> Colour:
    covered = {"upper_arm": appearance.sleeves >= 1, "forearm": appearance.sleeves >= 2}
    if name in covered:
        return appearance.shirt if covered[name] else appearance.skin
    if name in ("thigh", "shin"):
        return appearance.trousers if name == "thigh" or appearance.legs >= 2 else appearance.skin
    return appearance.shoes if name == "foot" else appearance.skin


def _trunk(points: Floats, flat: Floats, scale: Floats, appearance: Appearance) -> Part:
    rings = [
        circle(flat[POINT[name]], radius * scale[POINT[name]])
        for name, radius in (
            ("left_shoulder", 0.065),
            ("right_shoulder", 0.065),
            ("left_hip", 0.088),
            ("right_hip", 0.088),
        )
    ]
    depth = float(points[[POINT["neck"], POINT["pelvis"]], 2].mean())
    return Part("trunk", hull(np.concatenate(rings)), appearance.shirt, depth)


def _neck(points: Floats, flat: Floats, scale: Floats, appearance: Appearance) -> Part:
    a, b = POINT["neck"], POINT["head"]
    return Part(
        "neck",
        capsule(flat[a], flat[b], 0.055 * scale[a], 0.05 * scale[b]),
        appearance.skin,
        float(points[a, 2]) + 0.01,
    )


def _head(
    points: Floats, flat: Floats, axes: Floats, height: float, camera: Camera, appearance: Appearance
) -> list[Part]:
    """Hair behind, face in front, and eyes, nose and ears if they face the camera."""
    middle, px_per_m = points[POINT["head"]], camera.focal_px / points[POINT["head"], 2]
    radius = height * px_per_m
    depth = float(middle[2])
    facing = float(-axes[2, 2])  # component of the forward axis towards the camera
    hair_centre = camera.project(middle - 0.016 * height * axes[2] + 0.012 * height * axes[1])
    hair = ellipse(hair_centre, 0.056 * radius, 0.073 * radius, axes)
    if appearance.long_hair:
        nape = camera.project(middle - 0.035 * height * axes[2] - 0.065 * height * axes[1])
        hair = hull(np.concatenate([hair, ellipse(nape, 0.05 * radius, 0.055 * radius, axes)]))
    face_centre = camera.project(middle + 0.012 * height * axes[2] - 0.010 * height * axes[1])
    face = Part(
        "face",
        ellipse(face_centre, 0.046 * radius, 0.060 * radius, axes),
        appearance.skin,
        depth - 0.06 * facing - 0.02,
    )
    # Seen from the front, hair is behind the neck; seen from behind, in front of it.
    parts = [Part("hair", hair, appearance.hair, depth - 0.015 + 0.08 * max(facing, 0.0)), face]
    for ear in ("left_ear", "right_ear"):
        near = 0.02 if points[POINT[ear], 2] < middle[2] + 0.03 else -0.05
        parts.append(Part(ear, circle(flat[POINT[ear]], 0.013 * radius), appearance.skin, depth - 0.03 - near))
    if facing > -0.25:
        parts += _features(points, flat, radius, face.depth, appearance, middle)
    return parts


def _features(
    points: Floats, flat: Floats, radius: float, depth: float, appearance: Appearance, middle: Floats
) -> list[Part]:
    parts = [
        Part(eye, circle(flat[POINT[eye]], 0.0085 * radius), _PUPIL, depth - 0.02, shade=False)
        for eye in ("left_eye", "right_eye")
        if points[POINT[eye], 2] < middle[2] + 0.01
    ]
    darker = tuple(0.72 * channel for channel in appearance.skin)
    parts.append(Part("nose", circle(flat[POINT["nose"]], 0.011 * radius), darker, depth - 0.03, shade=False))  # type: ignore[arg-type]
    return parts


def capsule(a: Floats, b: Floats, wide: float, narrow: float) -> Floats:
    """The outline of a limb from ``a`` to ``b`` (2,) px with half widths ``wide`` and ``narrow``."""
    return hull(np.concatenate([circle(a, wide), circle(b, narrow)]))


def circle(centre: Floats, radius: float) -> Floats:
    """(20, 2) px."""
    ring: Floats = centre + radius * np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], 1)
    return ring


def ellipse(centre: Floats, across: float, along: float, axes: Floats) -> Floats:
    """A head's outline: ``along`` px half its length in the direction of the head's up axis."""
    up = axes[1, :2] / max(float(np.hypot(*axes[1, :2])), 1e-6)
    side = np.array([-up[1], up[0]])
    ring: Floats = centre + across * np.cos(_CIRCLE)[:, None] * side + along * np.sin(_CIRCLE)[:, None] * up
    return ring


def hull(points: Floats) -> Floats:
    """Convex hull (n, 2)."""
    outline = np.asarray(cv2.convexHull(points.astype(np.float32)), np.float64)
    return outline[:, 0]
