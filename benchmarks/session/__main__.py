"""Two RTSP cameras of a site for ten minutes, while a third one comes and goes, the broker behind a bridge to MQTT
dies, viewers hang and Prometheus scrapes: what each camera's subscriber misses.

    python -m benchmarks.session --minutes 10            prints the figures; exit status 1 if anything is wrong
    python -m benchmarks.session --minutes 10 --write    and writes benchmarks/results/session.json and session.md

Each program is a process of its own, as users start it: ``posestream serve``, ``metrics``, ``bridge``, ``camera`` and
``subscribe``, Mosquitto, Prometheus with the alert rules of the documentation, and GStreamer's RTSP server
(``--server``, ``--clip``). A gap in ``seq`` is a message that was lost; one in ``frame_seq`` a frame that the line
dropped because it was busy.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.reporting import describe_machine, make_parser, write_results
from benchmarks.session.session import Options, describe, find_missing, hold

SHARED = Path(__file__).resolve().parents[3] / "shared"


def main() -> int:
    """Hold the session, print, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--server", type=Path, default=SHARED / "tools" / "rtsp_server.py")
    parser.add_argument("--clip", type=Path, default=SHARED / "data" / "rtsp" / "juggle_barcode_720p24.mp4")
    parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has GStreamer's RTSP server")
    given = parser.parse_args()
    options = Options(given.minutes * 60, given.python, given.server, given.clip)
    if why := find_missing(options):
        print(f"cannot hold the session: {why}", file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="session"))
    print(f"what the programs print is in {folder}", file=sys.stderr)
    report = hold(options, folder)
    text = f"{describe_machine()}, load {os.getloadavg()[0]:.0f}\n\n{describe(report)}"
    print(text)
    if given.write:
        cameras = {
            name: {"messages": len(one.messages), "gaps": one.gaps, "lost": one.lost, "dropped": one.dropped}
            for name, one in report.cameras.items()
        }
        counts = {name: getattr(report, name) for name in ("rounds", "deaths", "hangs", "scrapes", "undelivered")}
        write_results(
            "session", {"cameras": cameras, **counts, "faults": report.faults, "troubles": report.troubles}, text
        )
    if report.faults or report.troubles:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
