"""Estimates every photo and video in a folder and writes one CSV table: a row for each joint of each person.

    python examples/folder.py holiday/ --out keypoints.csv

A file that cannot be read is reported, and the next one follows. 'posestream estimate' does the same and writes JSON.
"""

import argparse
import csv
import sys
from pathlib import Path

import posestream


def main() -> None:
    """Estimate the folder that is named on the command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder")
    arguments.add_argument("--model", default="auto")
    arguments.add_argument("--detector", default="auto")
    arguments.add_argument("--out", type=Path, default=Path("keypoints.csv"))
    given = arguments.parse_args()

    def report(file: str, error: posestream.PosestreamError) -> None:
        print(f"left out {file}: {error}", file=sys.stderr)

    with given.out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "frame", "person", "joint", "x_px", "y_px", "score"])
        for result in posestream.estimate(given.folder, model=given.model, detector=given.detector, on_error=report):
            for row, person in enumerate(result.people):
                for joint, (x, y, score) in dict(person).items():
                    table.writerow([result.source, result.index, row, joint, f"{x:.1f}", f"{y:.1f}", f"{score:.3f}"])


if __name__ == "__main__":
    main()
