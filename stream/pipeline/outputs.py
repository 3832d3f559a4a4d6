"""What sinks write to has one writer, and no source reads it."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from engines.redaction import redact
from stream.capture.picture_suffixes import is_picture
from stream.capture.regular_file import describe_kind
from stream.element import Sink, Source
from stream.errors import LinkError
from stream.output.locations import find_first
from stream.pipeline.wiring import Part
from stream.registry import error_context, label
from stream.transports.addresses import identify_address

_SinkOfCameras: TypeAlias = tuple[Sink, tuple[str, ...]]


def check_outputs(parts: Iterable[Part], addresses: Mapping[str, str] | None = None) -> None:
    """Raise :class:`LinkError` where a sink would overwrite what a source reads, or two sinks each other's output, or
    one would listen at the address of a queue; ``addresses`` are those of queues, by name."""
    elements = [(element, part.cameras) for part in parts for element in part.elements]
    sinks = [(element, cameras) for element, cameras in elements if isinstance(element, Sink)]
    writers = _check_writers(sinks)
    series = {_identify(first): sink for sink, cameras in sinks for first in sink.series(cameras)}
    _check_series(sinks, series)
    for name, address in (addresses or {}).items():
        if address and (listener := writers.get(_identify(address))):
            both = f"queue {name!r} and {label(listener)}"
            raise LinkError(f"{both} have the same address {redact(address)}; change one")
    for source, _ in elements if writers else ():
        if isinstance(source, Source):
            _check_inputs(source, writers)
            _check_later(source, series)


def _check_writers(sinks: Sequence[_SinkOfCameras]) -> dict[Hashable, Sink]:
    """The sink that writes to each output, by its identity."""
    writers: dict[Hashable, Sink] = {}
    for sink, cameras in sinks:
        for output in _list_outputs(sink, cameras):
            other = writers.setdefault(_identify(output), sink)
            if other is not sink:
                _refuse_two(output, f"{label(other)} and {label(sink)}")
    return writers


def _check_series(sinks: Sequence[_SinkOfCameras], series: Mapping[Hashable, Sink]) -> None:
    for sink, cameras in sinks:
        for output in _list_outputs(sink, cameras):
            other = _find_numberer(output, series)
            if other is not None and other is not sink:
                _refuse_two(output, f"{label(sink)}, and {label(other)} as a later file of its own")


def _refuse_two(output: str, both: str) -> NoReturn:
    raise LinkError(f"two sinks write to {output!r} ({both}); give each an output of its own")


def _check_later(source: Source, series: Mapping[Hashable, Sink]) -> None:
    """Whether or not a later file is there yet: it is written when a part is restarted."""
    for path in source.inputs():
        if sink := _find_numberer(str(path), series):
            raise LinkError(
                f"{label(sink)} numbers its later files, and one would overwrite {str(path)!r}, which {label(source)} "
                f"reads; choose another location= for {label(sink)}"
            )


def _find_numberer(output: str, series: Mapping[Hashable, Sink]) -> Sink | None:
    """The sink that numbers files so that one is called ``output``; None where no sink does."""
    names = () if "://" in output or "\0" in output else (output, os.path.realpath(output))
    firsts = (find_first(Path(name)) for name in names)
    return next((series[key] for first in firsts if first and (key := _identify(str(first))) in series), None)


def _list_outputs(sink: Sink, cameras: tuple[str, ...]) -> Iterator[str]:
    with error_context(sink):
        outputs = dict.fromkeys(sink.outputs(cameras))
    return (output for output in outputs if "://" in output or not describe_kind(Path(output)))


def _check_inputs(source: Source, writers: dict[Hashable, Sink]) -> None:
    """A folder that a sink fills is an output too: pictures that are read from it might be replaced."""
    for path in source.inputs():
        sink = writers.get(_identify(str(path))) or (is_picture(path) and writers.get(_identify(str(path.parent))))
        if sink:
            raise LinkError(
                f"{label(sink)} would overwrite {str(path)!r}, which {label(source)} reads; "
                f"choose another location= for {label(sink)}"
            )


def _identify(output: str) -> Hashable:
    """Equal for two names of one file, folder (links, other spellings) or address, whether or not it is there."""
    if "://" in output:
        return identify_address(output)
    try:
        status = os.stat(output)  # noqa: PTH116 - Path.stat raises ValueError for fewer names
    except (OSError, ValueError):
        return os.path.realpath(output) if "\0" not in output else output
    return status.st_dev, status.st_ino
