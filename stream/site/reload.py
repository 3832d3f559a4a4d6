"""What a site would do to run another line: which cameras it would start again, and which would go on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from engines.redaction import redact
from stream.errors import LaunchError, PosestreamError
from stream.site.folder import CameraSettings
from stream.site.template import Template


@dataclass(frozen=True)
class Plan:
    """``changes``: the lines of YAML that go (``-``) and come (``+``), without passwords. ``restarted``: cameras whose
    lines are drained and started again; ``untouched``: those that go on, or do not run."""

    changes: tuple[str, ...]
    restarted: tuple[str, ...]
    untouched: tuple[str, ...]

    def __str__(self) -> str:
        if not self.changes:
            return "the line has not changed"
        names = f"drains and starts again: {', '.join(self.restarted) or 'no camera'}"
        rest = f"; does not touch: {', '.join(self.untouched)}" if self.untouched else ""
        return "\n".join([*self.changes, f"{names}{rest}"])


def plan_reload(before: Template, after: Template, cameras: Mapping[str, CameraSettings]) -> Plan:
    """What changes for ``cameras``. Raises :class:`LaunchError` if one of them could not run any more."""
    diff = difflib.ndiff(before.text.splitlines(), after.text.splitlines())
    changes = tuple(redact(line) for line in diff if line.startswith(("- ", "+ ")))
    restarted: list[str] = []
    untouched: list[str] = []
    for name, settings in sorted(cameras.items()):
        if settings.fault or settings.paused:
            untouched.append(name)
            continue
        (restarted if _differs(before, after, name, settings) else untouched).append(name)
    return Plan(changes, tuple(restarted), tuple(untouched))


def _differs(before: Template, after: Template, name: str, settings: CameraSettings) -> bool:
    properties, bind = dict(settings.properties), "ipc:///nowhere/poses.sock"
    try:
        wanted = after.build(name, properties, bind)
    except PosestreamError as error:
        raise LaunchError(f"camera {name} cannot run with the new line, and nothing is changed: {error}") from None
    try:
        return before.build(name, properties, bind) != wanted
    except PosestreamError:  # it has not run with the former line
        return True
