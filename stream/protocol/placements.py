"""The placements of cameras that a relay has seen, which a file keeps beyond its restart."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from engines.formats.files import FormatError
from engines.formats.json import read_json
from engines.formats.output_files import replace_file
from stream.errors import TransportError
from stream.protocol.schema import Text, Unsigned

_LOG = logging.getLogger(__name__)
_MAX_BYTES = 4 * 1024 * 1024
_MAX_CAMERAS = 10_000


class Placements:
    """The highest placement of each camera, in the file ``path`` if one is given, which may not exist yet.

    Placements of 0, which are those of lines without one, are not kept. Raises :class:`TransportError` for a file that
    is none of ours.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._highest = path, _read(path) if path is not None and path.exists() else {}
        self._has_failed = False

    def find(self, camera: str) -> int:
        """The highest placement of ``camera``; 0 if none is known."""
        return self._highest.get(camera, 0)

    def store(self, camera: str, placement: int) -> None:
        """Keep ``placement`` if it is the highest of ``camera``. A file that cannot be written is warned of once."""
        if placement <= self.find(camera):
            return
        self._highest.pop(camera, None)
        self._highest[camera] = placement
        if len(self._highest) > _MAX_CAMERAS:
            del self._highest[next(iter(self._highest))]
        if self._path is not None:
            self._write(self._path)

    def _write(self, path: Path) -> None:
        content = msgspec.json.encode(self._highest) + b"\n"
        try:
            replace_file(path, lambda file: file.write(content))
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                _LOG.warning(
                    "relay: placements are not kept, since %s cannot be written: %s; make room, or choose another file",
                    path,
                    error.strerror,
                )


def _read(path: Path) -> dict[str, int]:
    try:
        return read_json(path, dict[Text, Unsigned], limit=_MAX_BYTES)
    except (FormatError, OSError) as error:
        raise TransportError(f"relay: {path} is no file of placements: {error}; choose another, or remove it") from None
