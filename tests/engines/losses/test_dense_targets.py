"""Targets around keypoints, against a plain loop over people, joints and cells."""

from __future__ import annotations

from math import exp, hypot
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.losses.dense_targets import Dense, dense_targets  # noqa: E402


def plain(keypoints: Any, size: tuple[int, int], stride: int, radii: Any, *, disk: bool) -> Dense:
    (h, w), joints = size, keypoints.shape[1]
    heat, offsets = torch.zeros(joints, h, w), torch.zeros(joints, 2, h, w)
    best = torch.full((joints, h, w), torch.inf)
    for person in range(len(keypoints)):
        r = float(radii[person])
        for k in range(joints):
            if keypoints[person, k, 2] <= 0:
                continue
            qx, qy = (float(value) / stride for value in keypoints[person, k, :2])
            for y in range(h):
                for x in range(w):
                    dx, dy = x - int(qx // 1), y - int(qy // 1)
                    if max(abs(dx), abs(dy)) <= r:
                        value = exp(-(dx**2 + dy**2) / (2 * ((2 * r + 1) / 6) ** 2))
                        heat[k, y, x] = max(float(heat[k, y, x]), value if value > 1.2e-7 else 0)
                    length = hypot(qx - x, qy - y)
                    in_region = length <= r if disk else max(abs(dx), abs(dy)) <= r
                    if in_region and length < best[k, y, x] - 1e-5:
                        best[k, y, x] = length
                        offsets[k, :, y, x] = torch.tensor([qx - x, qy - y])
    return Dense(heat, offsets.flatten(0, 1), best.isfinite())


@pytest.mark.parametrize("disk", [True, False])
@pytest.mark.parametrize("radius", [0.0, 2.0, 3.0])
def test_targets_equal_those_of_a_plain_loop(disk: bool, radius: float) -> None:
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.rand(5, 3, 3, generator=generator) * torch.tensor([104.0, 84.0, 3.0]) - 4
    keypoints[..., 2] = torch.randint(0, 3, (5, 3), generator=generator)
    keypoints[0], keypoints[1, :, 2] = keypoints[2], 0  # two people in one place, one without labels
    radii = torch.tensor([radius, 1.0, radius, 2.0, 0.0])
    ours = dense_targets(keypoints, (10, 12), 8, radii, disk=disk)
    wanted = plain(keypoints, (10, 12), 8, radii, disk=disk)
    torch.testing.assert_close(ours.heatmaps, wanted.heatmaps)
    torch.testing.assert_close(ours.disk, wanted.disk)
    assert torch.equal(ours.mask, wanted.mask)
    assert ours.mask.any()


def test_no_people_give_empty_targets() -> None:
    targets = dense_targets(torch.zeros(0, 17, 3), (4, 5), 8, torch.zeros(0), disk=True)
    assert targets.heatmaps.shape == (17, 4, 5)
    assert targets.disk.shape == (34, 4, 5)
    assert not targets.mask.any()
    assert not targets.heatmaps.any()
