"""An element of your own: it hides faces. One class, whose fields are its properties.

Run it in a line, from the folder above this one:

    posestream inspect examples.own_element
    posestream launch 'testsrc num_frames=50 ! detect ! track ! window ! pose ! examples.own_element size=0.1
        ! overlaysink location=hidden.mp4'

or from Python, as main() below does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import cv2
from msgspec import Meta

import posestream
from engines.skeletons import SKELETONS
from stream import Caps, Poses, Transform, make


@dataclass
class HideFaces(Transform):
    """Draws a disc over the nose of each person; ``size`` is its radius as a share of the person's height."""

    sink = Caps("people/poses")
    src = Caps("people/poses")

    size: Annotated[float, Meta(gt=0, le=1, description="radius of the disc, as a share of the person's height")] = 0.1

    def process(self, item: Poses) -> Iterator[Poses]:
        pixels = item.frame.pixels.copy()  # others may be reading the frame, so draw on a copy
        noses = item.keypoints[:, SKELETONS[item.skeleton].index("nose"), :2].round().astype(int)
        radii = ((item.boxes[:, 3] - item.boxes[:, 1]) * self.size).round().astype(int)
        for (x, y), radius in zip(noses.tolist(), radii.tolist(), strict=True):
            cv2.circle(pixels, (x, y), radius, (0, 0, 0), cv2.FILLED)
        yield replace(item, frame=replace(item.frame, pixels=pixels))


def main() -> None:
    """Hide the faces of people drawn by testsrc."""
    line = [make("testsrc", num_frames=5), make("detect"), make("track"), make("window"), make("pose"), HideFaces()]
    for poses in posestream.Pipeline(*line).run():
        print(f"frame {poses.frame.seq}: {len(poses.ids)} faces hidden")


if __name__ == "__main__":
    main()
