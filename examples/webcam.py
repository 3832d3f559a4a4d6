"""Shows your camera's picture with people's skeletons drawn on it, until you press q.

    python examples/webcam.py

Without a display, give --out FOLDER: the pictures go there. --source takes a video in place of the camera.
"""

import argparse
from pathlib import Path

import cv2

import posestream


def main() -> None:
    """Show or save what the camera sees."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--source", default="0", help="the number of a camera, or a file")
    arguments.add_argument("--model", default="auto")
    arguments.add_argument("--detector", default="auto")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()

    source = int(given.source) if given.source.isdecimal() else given.source
    for result in posestream.estimate(source, model=given.model, detector=given.detector, smooth=True):
        if given.out:
            result.save(given.out / f"{result.index:06d}.jpg")
            continue
        cv2.imshow("posestream", result.draw(caption=f"{len(result.people)} people"))
        if cv2.waitKey(1) == ord("q"):
            break


if __name__ == "__main__":
    main()
