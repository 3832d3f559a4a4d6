"""Finds the people in one photo, prints where their wrists are, and saves a copy with their skeletons.

python examples/photo.py photo.jpg
"""

import argparse

import posestream


def main() -> None:
    """Estimate the photo that is named on the command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("photo")
    arguments.add_argument("--model", default="auto")
    arguments.add_argument("--detector", default="auto")
    arguments.add_argument("--out", default="photo_poses.jpg")
    given = arguments.parse_args()

    (result,) = posestream.estimate(given.photo, model=given.model, detector=given.detector)
    for number, person in enumerate(result.people, 1):
        for joint in ("left_wrist", "right_wrist"):
            x, y, score = person[joint]
            print(f"person {number}: {joint} at ({x:.0f}, {y:.0f}) px, score {score:.2f}")
    print(f"{len(result.people)} people; drawn into {result.save(given.out)}")


if __name__ == "__main__":
    main()
