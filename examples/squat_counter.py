"""Counts each person's squats: down when both knees are bent below 120 degrees, up when they are straight again.

python examples/squat_counter.py 0        # your camera
python examples/squat_counter.py squats.mp4
"""

import argparse
from collections import Counter

import numpy as np

import posestream

DOWN_DEG, UP_DEG, MIN_SCORE = 120, 150, 0.3


def knee_angle(person: posestream.Person, side: str) -> float | None:
    """The angle between thigh and shin in degrees; None where the leg is not seen well."""
    hip, knee, ankle = (person[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
    thigh, shin = hip[:2] - knee[:2], ankle[:2] - knee[:2]
    if min(hip[2], knee[2], ankle[2]) < MIN_SCORE:
        return None
    return float(np.degrees(np.arccos(thigh @ shin / (np.linalg.norm(thigh) * np.linalg.norm(shin) + 1e-9))))


def main() -> None:
    """Count in the video or camera that is named on the command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("source", help="a video, or the number of a camera")
    arguments.add_argument("--model", default="auto")
    arguments.add_argument("--detector", default="auto")
    given = arguments.parse_args()

    squats, down = Counter[int](), set[int]()
    source = int(given.source) if given.source.isdecimal() else given.source
    for result in posestream.estimate(source, model=given.model, detector=given.detector, smooth=True):
        for person in result.people:
            angles = [angle for side in ("left", "right") if (angle := knee_angle(person, side)) is not None]
            if angles and max(angles) < DOWN_DEG:
                down.add(person.id)
            elif angles and min(angles) > UP_DEG and person.id in down:
                down.remove(person.id)
                squats[person.id] += 1
                print(f"{result.time_s:.1f} s: person {person.id} has done {squats[person.id]}", flush=True)
    print(f"{squats.total()} squats")


if __name__ == "__main__":
    main()
