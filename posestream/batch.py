"""Estimates many inputs one after the other, writes what it finds, and sums it up."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from engines.errors import PosestreamError
from engines.redaction import redact
from posestream.inputs import drop_repeated, find_files, make_source, name_files
from posestream.outputs import Add, Outputs
from posestream.result import Result
from stream.capture.files import printable
from stream.capture.stills import is_still
from stream.cli.progress import progress_bar
from stream.errors import PropertyError, SourceError
from stream.logs import is_quiet

Estimate = Callable[..., Iterator[Result]]
"""``posestream.estimate`` with its networks chosen."""


@dataclass
class Summary:
    """What was done so far."""

    inputs: int = 0
    frames: int = 0
    people: int = 0
    failed: list[str] = field(default_factory=list)

    def fail(self, name: str, error: PosestreamError) -> None:
        """Count an input that could not be read, not to its end, or not be written, and say why on stderr."""
        self.failed.append(name)
        print(f"posestream: {error}", file=sys.stderr)


def run(sources: Sequence[str], estimate: Estimate, outputs: Outputs) -> int:
    """Estimate all ``sources`` and return the exit code: 1 where one could not be read or written."""
    begin_s, summary, quiet = time.monotonic(), Summary(), is_quiet()
    files = _select(_find_all(sources, summary), outputs, summary)
    outputs.protect(files)
    if files:
        try:
            with nullcontext(_pass) if quiet else progress_bar("frames", sum(map(_length, files))) as advance:
                results = estimate(files, on_error=summary.fail)
                _write_all(results, name_files(files), outputs, summary, advance)
        except KeyboardInterrupt:
            print(f"posestream: interrupted: {_describe_rest(summary, outputs, len(files))}", file=sys.stderr)
            raise
    if not quiet:
        for line in _lines(summary, outputs, time.monotonic() - begin_s):
            print(line, file=sys.stderr)
    return 1 if summary.failed else 0


def _find_all(sources: Sequence[str], summary: Summary) -> tuple[Path, ...]:
    """Every file that the sources name, once."""
    found: list[Path] = []
    for source in sources:
        try:
            _refuse_endless(source)
            found += find_files(source)
        except SourceError as error:
            summary.fail(redact(source), error)
    return drop_repeated(found)


def _select(files: Iterable[Path], outputs: Outputs, summary: Summary) -> list[Path]:
    """The files whose results can be written."""
    selected = []
    for path in files:
        try:
            outputs.check(path)
            selected.append(path)
        except PropertyError as error:
            summary.fail(printable(path), error)
    return selected


def _refuse_endless(source: str) -> None:
    if "://" in source or source.startswith("/dev/video"):
        raise SourceError(
            f"{source!r} never ends, and this command writes at the end; run a line: see 'posestream launch --help'"
        )


def _length(path: Path) -> int:
    """How many frames a file has; 1 where its header does not say."""
    return 1 if is_still(path) else make_source("filesrc", location=str(path)).length or 1


def _write_all(
    results: Iterable[Result],
    files: Mapping[str, Path],
    outputs: Outputs,
    summary: Summary,
    advance: Callable[[], object],
) -> None:
    for source, found in groupby(results, key=lambda result: result.source):
        try:
            with outputs.open(files[source], source) as add:
                count, people = _write_one(found, add, advance)
        except PropertyError as error:  # of this input alone, unlike a disk that is full
            summary.fail(source, error)
            continue
        summary.inputs += 1
        summary.frames += count
        summary.people += people


def _write_one(results: Iterable[Result], add: Add, advance: Callable[[], object]) -> tuple[int, int]:
    """Write the results of one input; return its frames and its people."""
    frames = most = 0
    ids: set[int] = set()
    for result in results:
        add(result)
        advance()
        frames += 1
        ids |= {person.id for person in result.people}
        most = max(most, len(result.people))
    return frames, max(most, len(ids - {-1}))


def _describe_rest(summary: Summary, outputs: Outputs, count: int) -> str:
    """What was written before Ctrl-C, and what became of the input in progress."""
    done = f"{summary.inputs} of {_count(count, 'input is', 'inputs are')} complete"
    if outputs.folder is None or outputs.format == "openpose":
        return f"{done}; of the next one, the frames so far are written"
    return f"{done}; nothing is written of the next one, and files that it has of an earlier run stay"


def _lines(summary: Summary, outputs: Outputs, seconds: float) -> Iterator[str]:
    """The summary, for people."""
    if summary.inputs:
        people = _count(summary.people, "person", "people")
        done = f"{_count(summary.inputs, 'input', 'inputs')}, {_count(summary.frames, 'frame', 'frames')}, {people}"
        yield f"{done} in {seconds:.1f} s ({summary.frames / seconds:.1f} frames a second)"
    if outputs.written:
        kinds = Counter("folder" if path.is_dir() else path.suffix for path in outputs.written)
        yield f"wrote {', '.join(f'{number} {kind}' for kind, number in kinds.items())} to {outputs.folder}"
    if summary.failed:
        yield f"failed, for the reasons above: {', '.join(summary.failed)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _pass() -> None:
    """Progress where none is shown."""
