"""Files of networks that run: ONNX, OpenVINO's IR (``.xml``, its weights beside it in a ``.bin``) and TFLite."""

from __future__ import annotations

from pathlib import Path

from engines.spec.fingerprint import fingerprint_bytes, fingerprint_file

ONNX, IR, TFLITE = ".onnx", ".xml", ".tflite"

MODEL_SUFFIXES = (ONNX, IR, TFLITE)
"""The ends of the names of files that a backend runs."""


def is_model_file(name: str) -> bool:
    """True if ``name`` ends as a file that a backend runs, whether or not there is one.

    >>> is_model_file("tinypose/model.xml"), is_model_file("tinypose")
    (True, False)
    """
    return Path(name).suffix in MODEL_SUFFIXES


def list_files(path: Path) -> tuple[Path, ...]:
    """All files of the network at ``path``: the file itself, and the weights of an IR.

    >>> [file.name for file in list_files(Path("model.xml"))]
    ['model.xml', 'model.bin']
    """
    return (path, path.with_suffix(".bin")) if path.suffix == IR else (path,)


def fingerprint_model(path: Path) -> str:
    """The 16 hex digits that identify a network: of its file's sha256, or of the digests of all its files."""
    files = [file for file in list_files(path) if file.is_file()]
    if len(files) < 2:
        return fingerprint_file(path)
    return fingerprint_bytes("".join(map(fingerprint_file, files)).encode())
