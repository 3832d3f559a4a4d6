"""What counts as the same: only clear keypoints are measured, and a broken promise is reported with its figures."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

from engines.errors import EngineError
from engines.spec.signature import Signature
from export.calibration import Samples, make_noise
from export.parity import BOUNDS, Outcome, check, compare, decode_heatmaps, find_clear, get_bound, summarise

SIGNATURE = Signature(name="toy", input_size=(40, 48), notes={"decoding": "heatmap"})


def outcome(*peaks: tuple[int, int, float]) -> Outcome:
    """One person of one joint with these cells and values, decoded."""
    maps: NDArray[np.float32] = np.zeros((1, 1, 12, 10), np.float32)
    for row, column, value in peaks:
        maps[0, 0, row, column] = value
    return decode_heatmaps(maps, SIGNATURE)


def test_the_error_is_a_share_of_the_largest_value_and_the_shift_is_in_crop_pixels() -> None:
    found = compare(outcome((4, 4, 2.0), (4, 5, 1.0)), outcome((4, 4, 2.0), (4, 3, 0.1)))
    assert found.heatmap_error == pytest.approx(0.5)
    # Half of a peak of 2 may belong to another place when cells are off by 1: it is not clear, and not measured.
    assert (found.clear, found.keypoints, found.shift_px_max) == (0, 1, 0.0)


def test_a_clear_keypoint_is_measured() -> None:
    found = compare(outcome((4, 4, 2.0), (4, 5, 0.1)), outcome((4, 4, 2.0), (4, 3, 0.1)))
    assert found.clear == 1
    assert found.shift_px_max == found.shift_px_mean == pytest.approx(2.0)  # from a quarter right to a quarter left


@pytest.mark.parametrize(("rival", "is_clear"), [(0.5, True), (0.9, False)])
def test_a_peak_is_clear_where_nothing_elsewhere_could_have_overtaken_it(rival: float, is_clear: bool) -> None:
    maps = outcome((4, 4, 1.0), (9, 8, rival)).heatmaps
    assert find_clear(maps, np.full((1, 1), 0.1, np.float32)).tolist() == [[is_clear]]


def test_a_rival_beside_the_peak_does_not_make_it_unclear() -> None:
    maps = outcome((4, 4, 1.0), (5, 5, 0.99)).heatmaps
    assert find_clear(maps, np.full((1, 1), 0.1, np.float32)).tolist() == [[True]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_break_every_bound(value: float) -> None:
    spoiled = outcome((4, 4, 1.0))
    spoiled.heatmaps[0, 0, 0, 0] = value
    assert compare(outcome((4, 4, 1.0)), spoiled).heatmap_error == np.inf


def test_a_broken_promise_is_reported_with_its_figures() -> None:
    shown = Samples(make_noise(SIGNATURE), "2 of noise")
    result = summarise(outcome((4, 4, 2.0)), outcome((4, 4, 1.5)), ("PyTorch", "fused.onnx"), shown, "fp32")
    with pytest.raises(EngineError) as caught:
        check("toy", "fused", result)
    assert str(caught.value) == (
        "export of 'toy': fused by fused.onnx in ONNX Runtime on the CPU differs from PyTorch by 2.5e-01 of the "
        "largest heatmap value (bound 2e-03), keypoints by 0.00 px (bound 3) on 2 of noise; 1 of 1 keypoints are "
        "clear; nothing was written"
    )
    kept = msgspec.structs.replace(result, heatmap_error=BOUNDS["fp32"].heatmap_error)
    check("toy", "fused", kept)
    with pytest.raises(EngineError):
        check("toy", "fused", msgspec.structs.replace(kept, shift_px_max=3.5))


def test_random_weights_are_allowed_more_only_below_fp32() -> None:
    assert get_bound("fp32", random=True) == get_bound("fp32")
    for precision in ("fp16", "int8"):
        assert get_bound(precision, random=True).heatmap_error == 3 * get_bound(precision).heatmap_error
        assert get_bound(precision, random=True).shift_px == get_bound(precision).shift_px


def test_a_shift_that_could_not_be_measured_is_not_passed_off_as_none() -> None:
    shown = Samples(make_noise(SIGNATURE, 1), "noise")
    flat, other = outcome((4, 4, 0.0)), outcome((4, 4, 0.5))
    result = summarise(flat, other, ("PyTorch", "fused.onnx"), shown, "int8")
    assert result.inputs.endswith("keypoints are clear, so no shift was measured")
