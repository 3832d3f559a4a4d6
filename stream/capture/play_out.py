"""Play-out of streams that arrive in bursts: HLS and DASH deliver seconds of video at once, as one file each."""

from __future__ import annotations

import time
from collections.abc import Callable

FORMATS = frozenset({"hls", "applehttp", "dash"})
"""FFmpeg's names of the formats whose video comes as a playlist of files."""

SUFFIXES = (".m3u8", ".mpd")
"""How the addresses of such playlists end."""

MAX_SEGMENT_S = 15.0
"""A file of a playlist is rarely longer; until the next one is there, nothing comes."""

_MAX_STEP_NS = 1_500_000_000
"""Times that go further ahead than this, or back, are those of another clock: files of the playlist are missing."""

_MAX_LATE_NS = 200_000_000
"""A frame that is later than this has waited for its file; the ones after it are played later too, and so in time."""


class PlayOut:
    """Maps the times of frames to moments of this machine's clock, at which they are shown.

    Frames keep their distances. What begins late, or at another time, is played from that moment on.

    >>> now_ns = [0]
    >>> play_out = PlayOut(lambda: now_ns[0])
    >>> [play_out.place(9_000_000_000), play_out.place(9_040_000_000)]
    [0, 40000000]
    """

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns
        self._last_ns: int | None = None
        self._offset_ns = 0

    def place(self, pts_ns: int) -> int:
        """The moment, in ns of the clock, at which a frame with this time is due."""
        now_ns = self._now_ns()
        is_continued = self._last_ns is not None and 0 <= pts_ns - self._last_ns <= _MAX_STEP_NS
        if not is_continued or pts_ns + self._offset_ns < now_ns - _MAX_LATE_NS:
            self._offset_ns = now_ns - pts_ns
        self._last_ns = pts_ns
        return pts_ns + self._offset_ns

    def wait(self, pts_ns: int) -> int:
        """Wait until a frame with this time is due, and return that moment."""
        due_ns = self.place(pts_ns)
        time.sleep(max(0, due_ns - self._now_ns()) / 1e9)
        return due_ns
