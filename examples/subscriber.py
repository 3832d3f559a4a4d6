"""Receives keypoints from a running line, in a program of its own, and prints how high each person's hands are.

Start a line in one terminal and this program in another, in any order:

    posestream launch 'testsrc realtime=true fps=10 ! detect ! track ! queue ! window ! pose ! keypointsink'
    python examples/subscriber.py
"""

import argparse
from itertools import islice

import posestream


def main() -> None:
    """Print what the line publishes."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("address", nargs="?", default="tcp://127.0.0.1:5570")
    arguments.add_argument("--count", type=int, help="end after so many messages")
    given = arguments.parse_args()

    with posestream.Subscriber(given.address, timeout_s=60) as subscriber:
        for message in islice(subscriber, given.count):
            for person in message.people:
                raised = [
                    side
                    for side in ("left", "right")
                    if person[f"{side}_wrist"][1] < person[f"{side}_shoulder"][1]  # y grows downwards
                ]
                hands = " and ".join(raised) or "no"
                print(f"{message.camera} {message.frame_seq}: person {person.id} raises {hands} hand")


if __name__ == "__main__":
    main()
