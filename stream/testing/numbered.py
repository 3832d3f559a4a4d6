"""``stream.testing.numbered``: a detector without errors, for clips whose frames contain their number."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.errors import SourceError
from stream.messages import Frame, People
from stream.testing.videos import read_number

Box = tuple[float, float, float, float]


@dataclass
class Numbered(Transform):
    """Reads the number in the picture and returns the people of ``truth``, as ``detect model=truth`` does for testsrc.

    Raises :class:`SourceError` for a picture without a number.
    """

    sink = Caps("video/raw")
    src = Caps("people/boxes")

    truth: Annotated[str, Meta(description="COCO annotations of the clip, ids of pictures being their numbers")]

    def __post_init__(self) -> None:
        self._boxes: dict[int, list[Box]] = {}

    def __enter__(self) -> Self:
        boxes = defaultdict(list)
        for annotation in json.loads(Path(self.truth).read_text())["annotations"]:
            x, y, width, height = annotation["bbox"]
            boxes[annotation["image_id"]].append((x, y, x + width, y + height))
        self._boxes = dict(boxes)
        return self

    def process(self, item: Frame) -> Iterator[People]:
        number = read_number(item.pixels)
        if number is None:
            raise SourceError(
                f"numbered: frame {item.seq} of {item.camera!r} has no number; use a clip of stream.testing.drawn_clip"
            )
        boxes = self._boxes.get(number, [])
        yield People.from_boxes(item.stamp("detected", self.context.now_ns()), boxes, [1.0] * len(boxes))
