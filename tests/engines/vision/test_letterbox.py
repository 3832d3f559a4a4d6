"""Fitting a frame to the input of a network, and taking boxes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engines.vision.letterbox import fit_frame, to_tensor

SIZE = (96, 64)


@pytest.mark.parametrize(
    ("fit", "scale", "offset"),
    [("top-left", (0.5, 0.5), (0, 0)), ("centre", (0.5, 0.5), (0, 7)), ("stretch", (0.5, 0.64), (0, 0))],
)
def test_a_frame_is_resized_and_the_rest_is_padding(fit: Any, scale: Any, offset: Any) -> None:
    frame = np.full((100, 192, 3), 200, np.uint8)
    fitted = fit_frame(frame, SIZE, fit, 114)
    assert fitted.pixels.shape == (64, 96, 3)
    assert fitted.scale == scale
    assert fitted.offset == offset
    padded = int((fitted.pixels == 114).all(axis=2).sum())
    assert padded == (0 if fit == "stretch" else 14 * 96)
    corners = fitted.to_frame(np.array([[offset[0], offset[1], 96, offset[1] + 100 * scale[1]]], np.float32))
    np.testing.assert_allclose(corners, [[0, 0, 192, 100]], atol=1e-4)


@pytest.mark.parametrize(("fit", "rows"), [("top-left", 59), ("centre", 60)])
def test_the_size_of_a_picture_is_rounded_as_its_networks_expect(fit: Any, rows: int) -> None:
    fitted = fit_frame(np.full((119, 192, 3), 200, np.uint8), SIZE, fit, 114)  # 59.5 rows
    assert int((fitted.pixels[:, 0] == 200).all(axis=1).sum()) == rows
    assert fitted.scale == (0.5, rows / 119)


def test_a_tensor_has_the_given_colour_order_and_normalisation() -> None:
    pixels = np.array([[[10, 20, 30]]], np.uint8)
    assert to_tensor(pixels, "rgb", (0, 0, 0), (1, 1, 1)).ravel().tolist() == [30, 20, 10]
    assert to_tensor(pixels, "bgr", (10, 10, 10), (2, 5, 10)).ravel().tolist() == [0, 2, 2]
