"""Files of networks that run: ONNX, OpenVINO's IR (``.xml``, its weights beside it in a ``.bin``) and TFLite."""

from __future__ import annotations

import re
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path

from engines.formats.files import stamp
from engines.spec.fingerprint import fingerprint_bytes, fingerprint_file

ONNX, IR, TFLITE = ".onnx", ".xml", ".tflite"

MODEL_SUFFIXES = (ONNX, IR, TFLITE)
"""The ends of the names of files that a backend runs."""


_LOCATION = re.compile(rb"\n\x08location\x12([\x80-\xff]?[\x01-\x7f])", re.DOTALL)
"""In ONNX, an entry of a tensor's external data: the key ``location``, and the length of the file's name after it."""


def is_model_file(name: str) -> bool:
    """True if ``name`` ends as a file that a backend runs, whether or not there is one.

    >>> is_model_file("tinypose/model.xml"), is_model_file("tinypose")
    (True, False)
    """
    return Path(name).suffix in MODEL_SUFFIXES


def list_files(path: Path) -> tuple[Path, ...]:
    """All files of the network at ``path``: the file itself, the weights of an IR, and those beside an ONNX graph.

    >>> [file.name for file in list_files(Path("model.xml"))]
    ['model.xml', 'model.bin']
    """
    if path.suffix == IR:
        return (path, path.with_suffix(".bin"))
    if path.suffix == ONNX and path.is_file() and path.stat().st_size:
        return (path, *(path.parent / name for name in _find_external(path, stamp(path.stat()))))
    return (path,)


@lru_cache(maxsize=64)
def _find_external(path: Path, state: tuple[int, ...]) -> tuple[str, ...]:  # noqa: ARG001 - part of the cache's key
    """The files with weights of the graph at ``path``, as ONNX's external data names them."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        found = [(match.end(), match[1]) for match in _LOCATION.finditer(content)]
        sizes = [(begin, sum((byte & 0x7F) << 7 * place for place, byte in enumerate(size))) for begin, size in found]
        names = {content[begin : begin + size].decode(errors="replace") for begin, size in sizes}
    return tuple(sorted(names))


def fingerprint_model(path: Path) -> str:
    """The 16 hex digits that identify a network: of its file's sha256, or of the digests of all its files."""
    files = [file for file in list_files(path) if file.is_file()]
    if len(files) < 2:
        return fingerprint_file(path)
    return fingerprint_bytes("".join(map(fingerprint_file, files)).encode())
