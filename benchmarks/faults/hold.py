"""``benchmarks.faults.hold``: a slow step before a sink, which looks at the pixels once more."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Poses

_CHECKSUMS = 10_000


@dataclass
class Hold(Transform):
    """Takes ``step_ms`` per frame, and writes a checksum of its pixels, as they are then, into the last joint."""

    sink = Caps("people/poses")
    src = Caps("people/poses")

    step_ms: Annotated[float, Meta(ge=0, description="how long a frame takes")] = 0.0

    def process(self, item: Poses) -> Iterator[Poses]:
        time.sleep(self.step_ms / 1000)
        keypoints = item.keypoints.copy()
        keypoints[:, -1, 0] = zlib.crc32(item.frame.pixels.tobytes()) % _CHECKSUMS
        yield replace(item, keypoints=keypoints)
