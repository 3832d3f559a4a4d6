"""What a line has lost for good: the items of files, and results that a sink could not write.

A live source may drop frames, and a leaky queue is asked to. A file line is expected to deliver everything, and so is
every sink: if one does not, the run fails at its end.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream import wording
from stream.element import Sink
from stream.messages import EOS_SEQ
from stream.pipeline.pipeline import Pipeline
from stream.registry import label
from stream.runtime import bus


@dataclass
class _Loss:
    count: int = 0
    last_seq: int = -1
    last_error: str = ""


class Losses:
    """Counts the losses of one line by what its parts report."""

    def __init__(self, pipeline: Pipeline) -> None:
        sources = [part for part in pipeline.parts if part.source is not None]
        self._files = {camera for part in sources if part.source and not part.source.is_live for camera in part.cameras}
        self._has_files_only = all(part.source and not part.source.is_live for part in sources)
        self._elements = {(part.name, label(element)): element for part in pipeline.parts for element in part.elements}
        self._failed: dict[tuple[str, str, str], _Loss] = {}
        self._at_end: dict[tuple[str, str, str], str] = {}
        self._dropped: dict[tuple[str, str, str], int] = {}

    def take(self, notice: bus.AnyNotice) -> None:
        """Take note of one notice of a part."""
        match notice:
            case bus.Error(fatal=False, needs_user=False) if self._counts(notice):
                where = notice.part, notice.element, notice.camera
                if not notice.camera or notice.seq == EOS_SEQ:
                    self._at_end[where] = notice.text
                    return
                loss = self._failed.setdefault(where, _Loss())
                if notice.seq > loss.last_seq:  # a restarted part takes an item in again
                    loss.count += 1
                    loss.last_seq, loss.last_error = notice.seq, notice.text
            case bus.Qos(part=part, camera=camera, reason=reason) if reason in bus.LOSSES and camera in self._files:
                key = part, camera, reason
                self._dropped[key] = max(self._dropped.get(key, 0), notice.total)

    def _counts(self, error: bus.Error) -> bool:
        element = self._elements.get((error.part, error.element))
        is_file = error.camera in self._files or (not error.camera and self._has_files_only)
        return element is not None and (is_file or isinstance(element, Sink))

    def describe(self) -> str:
        """One line: who lost how many items of which camera, and why; empty where nothing was lost."""
        failed = [
            f"{self._name(*where)} failed on {wording.count(loss.count, 'frame')} of camera {where[2]!r}, "
            f"last on {loss.last_seq}: {loss.last_error}"
            for where, loss in self._failed.items()
        ]
        at_end = [
            f"{self._name(*where)} failed at the end of {f'camera {where[2]!r}' if where[2] else 'the stream'}: {error}"
            for where, error in self._at_end.items()
        ]
        dropped = [
            f"{part} dropped {wording.count(count, 'frame')} of camera {camera!r} ({reason})"
            for (part, camera, reason), total in self._dropped.items()
            if (count := total - self._count_reported(part, camera, reason)) > 0
        ]
        return "; ".join(failed + at_end + dropped)

    def _count_reported(self, part: str, camera: str, reason: str) -> int:
        """Failures are reported one by one; the rest of the total are those whose notice was lost with its process."""
        losses = self._failed.items() if reason == "failed" else ()
        return sum(loss.count for where, loss in losses if (where[0], where[2]) == (part, camera))

    def _name(self, part: str, element: str, _camera: str) -> str:
        parts = [name for name, other in self._elements if other == element]
        return element if len(parts) == 1 or part == element else f"{element} of part {part}"
