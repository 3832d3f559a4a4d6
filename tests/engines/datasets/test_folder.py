"""A folder of one's own: its only annotation file, and photos that are no sequence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.datasets import folder
from engines.datasets.config import Folder, configure
from engines.errors import EngineError
from tests.engines.datasets import sample_datasets


def test_the_only_json_file_is_found_and_several_are_named(tmp_path: Path) -> None:
    (tmp_path / "people.json").touch()
    found = configure("folder", tmp_path)
    assert isinstance(found, Folder)
    assert found.validation == "people.json"
    (tmp_path / "more.json").touch()
    with pytest.raises(EngineError) as caught:
        configure("folder", tmp_path)
    assert str(caught.value).endswith("(--split FILE); it has more.json, people.json")


def test_photos_in_a_folder_of_images_are_stills_of_their_own(tmp_path: Path) -> None:
    names = ["dog.jpg", "000139.jpg"]
    sample_datasets.write_json(tmp_path / "people.json", sample_datasets.coco_document("coco17", names))
    (tmp_path / "images").mkdir()
    for value, name in enumerate(names):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((64, 48, 3), 50 * value, np.uint8))
    clips = folder.read(tmp_path, "people.json", "coco17")
    assert [clip.name for clip in clips] == names
    assert [list(clip.pictures) for clip in clips] == [[0], [0]]
    assert all(clip.frames[0].people for clip in clips)


def test_a_photo_that_is_missing_is_named(tmp_path: Path) -> None:
    sample_datasets.write_json(tmp_path / "people.json", sample_datasets.coco_document("coco17", ["a.jpg", "b.jpg"]))
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.zeros((64, 48, 3), np.uint8))
    with pytest.raises(EngineError, match=r"picture 'b.jpg' is not under"):
        folder.read(tmp_path, "people.json", "coco17")
