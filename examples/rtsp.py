"""Watches a network camera and prints a line whenever the number of people changes.

    python examples/rtsp.py rtsp://USER:PASSWORD@192.168.1.64/stream

The source is an element with options of its own: it waits for a camera that is off and reconnects to one that is lost.
'posestream inspect rtspsrc' lists all of them. Ctrl-C ends the program.
"""

import argparse
from itertools import islice

import posestream
from stream import make


def main() -> None:
    """Watch the address that is named on the command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("address")
    arguments.add_argument("--model", default="auto")
    arguments.add_argument("--detector", default="auto")
    arguments.add_argument("--frames", type=int, help="end after so many")
    given = arguments.parse_args()

    camera = make("rtspsrc", url=given.address, camera="door", retry="always")
    before = None
    for result in islice(posestream.estimate(camera, model=given.model, detector=given.detector), given.frames):
        if len(result.people) != before:
            before = len(result.people)
            print(f"{result.source} at {result.time_s:.1f} s: {before} people", flush=True)


if __name__ == "__main__":
    main()
