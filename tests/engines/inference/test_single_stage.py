"""The engine of a single-stage network: frames of any size in, people in frame coordinates out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.backends.onnxrt import OnnxRuntime
from engines.errors import EngineError
from engines.inference.single_stage import PictureEngine, load_picture_engine
from engines.spec.picture_signature import PictureSignature, Suppression
from tests.engines import exports
from tests.engines.pictures import CANDIDATES, REACH, SIZE, dark, signature, write_export

PAD = np.array([104, 116, 124])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_export(tmp_path / "export")


def test_people_come_back_in_frame_coordinates(folder: Path) -> None:
    with load_picture_engine(str(folder)) as engine:
        (found,) = engine.estimate([dark(SIZE, (20, 10, 255), (50, 25, 128))])
    assert found.scores.tolist() == pytest.approx([1, 128 / 255])
    assert found.keypoints.shape == (2, 17, 3)
    # The centre of pixel (20, 10) is (20.5, 10.5).
    assert found.keypoints[:, 0].tolist() == [pytest.approx([20.5, 10.5, 1]), pytest.approx([50.5, 25.5, 128 / 255])]
    assert found.boxes.tolist() == [[16, 6, 24, 14], [46, 21, 54, 29]]
    assert {array.dtype.name for array in found} == {"float32"}


def test_a_larger_frame_is_resized_and_its_people_transformed_back(folder: Path) -> None:
    frame = dark((128, 64))
    frame[20:22, 60:62] = 255  # one pixel of the input, (30, 10)
    with load_picture_engine(str(folder)) as engine:
        (found,) = engine.estimate([frame])
    assert found.keypoints[0, 0].tolist() == pytest.approx([30 * 2 + 0.5, 10 * 2 + 0.5, 1])
    assert found.boxes[0].tolist() == [52, 12, 68, 28]


def test_padding_is_the_mean_and_boxes_end_with_the_frame(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = dark((32, 32), (31, 5, 255))  # half of the input
    shown: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = []
    with load_picture_engine(str(folder)) as engine:
        run = engine._backend.run

        def record(feeds: Any) -> Any:
            shown.append(feeds["pictures"])
            return run(feeds)

        monkeypatch.setattr(engine._backend, "run", record)
        (found,) = engine.estimate([frame])
    assert np.array_equal(shown[0][0, :, :32], frame)
    assert (shown[0][0, :, 32:] == PAD).all()
    assert found.boxes[0].tolist() == [31 - REACH, 1, 32, 9]


def test_duplicates_and_low_scores_are_removed(folder: Path) -> None:
    spots = (20, 10, 255), (21, 10, 250), (50, 25, 128), (5, 5, 60)
    with load_picture_engine(str(folder)) as engine:
        (found,) = engine.estimate([dark(SIZE, *spots)])
    assert found.scores.tolist() == pytest.approx([1, 128 / 255])


def test_soft_suppression_lowers_scores(tmp_path: Path) -> None:
    soft = signature(Suppression(kind="soft", iou=0.3, min_score=0.25))
    with load_picture_engine(str(write_export(tmp_path / "soft", soft))) as engine:
        (found,) = engine.estimate([dark(SIZE, (20, 10, 255), (21, 10, 255), (50, 25, 128))])
    # Boxes of 8 x 8 that are one pixel apart share 56 of 72.
    assert found.scores.tolist() == pytest.approx([1, 128 / 255, 1 - 56 / 72])
    # A joint's score is the network's own; the person's says how sure it is that this is one more.
    assert found.keypoints[:, 0, 2].tolist() == pytest.approx([1, 128 / 255, 1])


def test_the_signature_limits_the_number_of_people(tmp_path: Path) -> None:
    with load_picture_engine(str(write_export(tmp_path / "few", signature(max_people=1)))) as engine:
        (found,) = engine.estimate([dark(SIZE, (20, 10, 255), (50, 25, 128))])
    assert found.scores.tolist() == [1]


def test_an_empty_frame_has_no_people(folder: Path) -> None:
    with load_picture_engine(str(folder)) as engine:
        (found,) = engine.estimate([dark(SIZE)])
        assert engine.estimate([]) == []
    assert [array.shape for array in found] == [(0, 4), (0,), (0, 17, 3)]


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_frames_of_several_sizes_share_a_run(tmp_path: Path, batch: int | str) -> None:
    frames = [
        dark(SIZE, (20, 10, 255)),
        dark((32, 32), (7, 9, 200)),
        dark(SIZE),
        dark((80, 40)),
        dark(SIZE, (1, 2, 140)),
    ]
    folder = write_export(tmp_path / "export", batch=batch)
    with load_picture_engine(str(folder), max_batch=3) as engine:
        together = engine.estimate(frames)
        alone = [engine.estimate([frame])[0] for frame in frames]
    for one, other in zip(together, alone, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert [len(found.scores) for found in alone] == [1, 1, 0, 0, 1]


def test_its_fingerprint_is_that_of_the_export(folder: Path) -> None:
    from engines.spec.manifest import read_picture_manifest

    assert load_picture_engine(str(folder)).fingerprint == read_picture_manifest(folder).fingerprint


def load_error(model: Path | str) -> str:
    with pytest.raises(EngineError) as caught:
        load_picture_engine(str(model)).open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_network_of_crops_raises_with_the_remedy(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "crops")
    assert load_error(folder) == (
        f"export {folder}: network 'drawn' takes crops of people, not whole pictures; "
        f"use 'detect ! window ! pose model={folder}'"
    )


def test_a_name_that_is_no_export_raises_with_the_remedy() -> None:
    manifest_path = load_error("no-such-folder")
    assert manifest_path.startswith(
        "model 'no-such-folder': this is neither an .onnx (YOLO-pose, RTMO) nor the folder of an exported network"
    )
    assert "'posestream export NETWORK', where NETWORK is inspose-compact or" in manifest_path


def test_a_damaged_export_raises(folder: Path) -> None:
    with (folder / "fused.onnx").open("ab") as file:
        file.write(b"x")
    assert "fused.onnx has" in load_error(folder)


def test_a_damaged_manifest_raises_naming_the_field(folder: Path) -> None:
    manifest_path = folder / "manifest.json"
    manifest_path.write_text(manifest_path.read_text().replace('"soft"', '"gentle"').replace('"hard"', '"gentle"'))
    assert load_error(folder) == (
        f"export {folder}: manifest.json: signature.suppression.kind cannot be 'gentle'; export the network again"
    )


def test_a_graph_that_does_not_fit_its_signature_raises(folder: Path) -> None:
    other = PictureSignature(name="other", input_size=(96, 64), candidates=CANDIDATES)
    with pytest.raises(EngineError) as caught:
        PictureEngine(other, OnnxRuntime(folder / "fused.onnx")).open()
    assert str(caught.value) == (
        "model other: its 'pictures' is (any, 32, 64, 3) uint8, but its signature says (any, 64, 96, 3) "
        "uint8; export the network again"
    )


def test_candidates_of_several_scales_are_suppressed_together(folder: Path) -> None:
    frame = dark((64, 32), (40, 20, 255))
    with load_picture_engine(str(folder), scales=(1.0, 0.5)) as engine:
        (found,) = engine.estimate([frame])
    with load_picture_engine(str(folder)) as engine:
        (alone,) = engine.estimate([frame])
    # The spot shrinks to a quarter of its brightness at half the scale, below the threshold: the same one person.
    assert found.keypoints[:, 0].tolist() == alone.keypoints[:, 0].tolist() == [pytest.approx([40.5, 20.5, 1])]
    bright = np.full((32, 64, 3), 0, np.uint8)
    bright[8:16, 16:24] = 255  # at half the scale four pixels' square in the same place of the frame
    with load_picture_engine(str(folder), scales=(0.5,)) as engine:
        (small,) = engine.estimate([bright])
    assert len(small.scores) > 0
    assert ((small.keypoints[..., 0] >= 16) & (small.keypoints[..., 0] <= 24.5)).all()
    assert ((small.keypoints[..., 1] >= 8) & (small.keypoints[..., 1] <= 16.5)).all()


@pytest.mark.parametrize("scales", [(1.0, 2.0), (0.0,), ()])
def test_scales_beyond_the_input_raise_with_the_remedy(folder: Path, scales: tuple[float, ...]) -> None:
    with pytest.raises(EngineError) as caught:
        load_picture_engine(str(folder), scales=scales)
    assert "scales are shares of its input's 64x32 px, above 0 and up to 1, not" in str(caught.value)
    assert "for larger pictures export it with a larger --size" in str(caught.value)
