"""Networks that a line needs and that are not here: fetched once, before any part of the line starts.

Only networks whose bytes are known are fetched without being asked for; ``posestream pull`` fetches all others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from engines.errors import EngineError
from engines.hub import catalogue
from engines.hub.catalogue import Entry
from engines.spec.cache import OFFLINE_VARIABLE, is_offline

if TYPE_CHECKING:
    from engines.hub.pulling import PullResult


def fetch_missing(names: Iterable[str], *, quiet: bool = False) -> None:
    """Download those of the networks called ``names`` that are verified entries of the catalogue and not here.

    On stderr it says what is downloaded, its size, licence and server, and shows a progress bar on a terminal; nothing
    if ``quiet``. Raises :class:`EngineError` with the command to type if ``POSESTREAM_OFFLINE`` is set, and as
    :func:`engines.hub.pulling.pull` does.
    """
    for name in names:
        stem, entry = _find_entry(name)
        if entry is None or _is_here(stem, entry) or not entry.is_verified:
            continue
        if is_offline():
            raise EngineError(
                f"model {name!r} is not on this machine, and {OFFLINE_VARIABLE} or --offline forbids to fetch it "
                f"({describe(entry)}); get it with 'posestream pull {pull_argument(name)}' where you are online"
            )
        pull_and_show(name, quiet=quiet)


def is_fetched(name: str, entry: Entry | None) -> bool:
    """True if the entry is not here, and will be fetched when a line that needs it starts."""
    return entry is not None and entry.is_verified and not is_offline() and not _is_here(name, entry)


def announce(names: Iterable[str]) -> Iterator[str]:
    """A line for each of the networks called ``names`` that :func:`fetch_missing` would download now."""
    for name in names:
        stem, entry = _find_entry(name)
        if entry is not None and is_fetched(stem, entry):
            yield f"to be fetched when the line starts: {stem} ({describe(entry)})"


def pull_and_show(name: str, *, quiet: bool = False, again: bool = False) -> PullResult:
    """Pull one network; unless ``quiet``, say what is downloaded and show a progress bar on a terminal."""
    from engines.hub.pulling import pull  # lines that need nothing do not import an HTTP client

    stem, entry = _find_entry(name)
    if entry is None or quiet or is_offline() or (_is_here(stem, entry) and not again):
        return pull(name, again=again)
    print(f"posestream: fetching {stem} ({describe(entry)})", file=sys.stderr, flush=True)
    return _pull_with_bar(name, again=again)


def describe(entry: Entry) -> str:
    """Size, licence and server of an entry's weights: ``3.7 MB, Apache-2.0, from example.org``."""
    source = next((source for source in entry.sources if source.verified), entry.sources[0])
    size = [f"{source.bytes / 1e6:.1f} MB"] if source.bytes else []
    return ", ".join([*size, entry.licence, f"from {source.files[0].host}"])


def pull_argument(name: str) -> str:
    """What to write behind ``posestream pull``: the set that a network belongs to, or its name."""
    return next((title for title, names in catalogue.SETS.items() if name in names), name)


def _find_entry(name: str) -> tuple[str, Entry | None]:
    """The stem and the entry called ``name``, None if that is not one of ready-made weights."""
    if name in catalogue.SHIPPED or not catalogue.is_entry(name):
        return name, None
    stem, entry = catalogue.find_entry(name)
    return stem, entry if entry.sources else None


def _is_here(stem: str, entry: Entry) -> bool:
    return catalogue.weights_path(stem, entry).is_file()


def _pull_with_bar(name: str, *, again: bool) -> PullResult:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from engines.hub.pulling import pull

    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        return pull(name, lambda done, total: bar.update(task, completed=done, total=total), again=again)
