"""The manifest of an exported network: what lies in its folder, where it came from, and how far it may be trusted.

An export is a folder: ``manifest.json``, one graph a part (``fused.onnx``; ``backbone.onnx`` and ``head.onnx`` where
the network is cut for streaming), the weights they share, and, unless it was left out, the checkpoint under this
project's names for PyTorch.
Whoever opens it verifies every file against the manifest first, so a damaged or mixed folder never runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.spec.network import NetworkSpec
from engines.spec.picture_signature import PictureSignature
from engines.spec.signature import Signature

MANIFEST = "manifest.json"
FORMAT = 1
FINGERPRINT_DIGITS = 16

Part = Literal["fused", "backbone", "head"]
Precision = Literal["fp32", "fp16", "int8"]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A file of the folder itself: no path leads out of it."""


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the folder."""

    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0)]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The checkpoint it was made from: its name, its digest and the layout it was read by; ``note`` where none was."""

    file: str = ""
    sha256: str = ""
    layout: str = ""
    note: str = ""


class Parity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far one graph, run by ``runner``, is from ``reference`` on the same inputs.

    ``heatmap_error`` is the largest difference of two heatmaps as a share of the reference's largest value;
    ``shift_px`` are distances of keypoints in crop pixels: the largest, and the mean. ``bound_heatmap`` and
    ``bound_px`` are what the export promised, and failed unless it held. ``inputs`` says what was compared.
    """

    reference: str
    runner: str
    inputs: str
    windows: int
    heatmap_error: float
    shift_px_max: float
    shift_px_mean: float
    bound_heatmap: float
    bound_px: float


class BaseManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every ``manifest.json`` says.

    ``network`` is how PyTorch builds it and ``weights`` the file of its weights (safetensors, this project's names);
    None where the export was made without it, and only graphs run.
    ``graphs`` names the file of each part. ``parity`` holds one account a part. ``fingerprint`` identifies what is
    computed, the digests of graphs and weights; it travels in every message of keypoints.
    """

    format: int = FORMAT
    network: NetworkSpec
    precision: Precision
    graphs: dict[Part, FileName]
    weights: FileName | None
    files: dict[FileName, File]
    source: Source
    versions: dict[str, str]
    parity: dict[Part, Parity]
    fingerprint: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    opset: int


class Manifest(BaseManifest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a network of crops."""

    signature: Signature


class PictureManifest(BaseManifest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a network of whole pictures: one graph, ``fused``."""

    signature: PictureSignature


def is_export(path: Path) -> bool:
    """True for the folder of an exported network."""
    return (path / MANIFEST).is_file()


def fingerprint_files(files: Mapping[str, File]) -> str:
    """The first 16 hex digits of the sha256 of every file's name and digest, in order of names."""
    told = "".join(f"{name} {files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(told.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def digest(path: Path) -> File:
    """What the manifest says of a file."""
    with path.open("rb") as file:
        return File(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``, its files not yet looked at.

    Raises :class:`EngineError` naming file and field, and for a network of whole pictures.
    """
    manifest = read_any_manifest(folder)
    if isinstance(manifest, PictureManifest):
        raise EngineError(
            f"export {folder}: network {manifest.signature.name!r} finds people and their keypoints in whole pictures, "
            f"not in crops of people; use 'posedetect model={folder}' in place of 'detect', 'window' and 'pose'"
        )
    return manifest


def read_picture_manifest(folder: Path) -> PictureManifest:
    """The same for a network of whole pictures, and for no other."""
    manifest = read_any_manifest(folder)
    if isinstance(manifest, Manifest):
        raise EngineError(
            f"export {folder}: network {manifest.signature.name!r} takes crops of people, not whole pictures; "
            f"use 'detect ! window ! pose model={folder}'"
        )
    return manifest


def read_any_manifest(folder: Path) -> Manifest | PictureManifest:
    """The manifest of ``folder``, whatever its network takes. Raises :class:`EngineError` naming file and field."""
    path = folder / MANIFEST
    try:
        told = path.read_bytes()
    except OSError as error:
        raise EngineError(f"export {folder}: {MANIFEST}: {error.strerror}; export the network again") from error
    manifest = _decoded(folder, told, PictureManifest) if _takes_pictures(told) else _decoded(folder, told, Manifest)
    if manifest.format != FORMAT:
        raise EngineError(
            f"export {folder}: its manifest is of format {manifest.format}, this version reads {FORMAT}; export again"
        )
    return manifest


class _Glimpse(msgspec.Struct):
    """As much of a manifest as tells its kind."""

    network: dict[str, Any]


def _takes_pictures(told: bytes) -> bool:
    try:
        return msgspec.json.decode(told, type=_Glimpse).network.get("takes") == "picture"
    except msgspec.DecodeError:  # what is wrong with it is said when it is read in full
        return False


_Kind = TypeVar("_Kind", Manifest, PictureManifest)


def _decoded(folder: Path, told: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(told, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise EngineError(f"export {folder}: {MANIFEST} is damaged ({error}); export the network again") from error


def write_manifest(manifest: BaseManifest, folder: Path) -> None:
    """Write ``manifest.json``, indented, at once or not at all."""
    told = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    partial = folder / f"{MANIFEST}.part"
    partial.write_bytes(told)
    partial.replace(folder / MANIFEST)


def verify(manifest: BaseManifest, folder: Path) -> None:
    """Raise :class:`EngineError` naming the first file that is missing, cut short or not the one that was exported."""
    for name, wanted in manifest.files.items():
        _verify_file(folder, name, wanted)
    told = fingerprint_files(manifest.files)
    if told != manifest.fingerprint:
        raise EngineError(
            f"export {folder}: its manifest says fingerprint {manifest.fingerprint}, its list of files makes {told}; "
            "one of the two was changed by hand; export the network again"
        )


def _verify_file(folder: Path, name: str, wanted: File) -> None:
    path = folder / name
    if not path.is_file():
        raise EngineError(f"export {folder}: its file {name} is missing; copy the whole folder, or export again")
    size = path.stat().st_size
    if size != wanted.bytes:
        raise EngineError(
            f"export {folder}: {name} has {size} bytes, its manifest says {wanted.bytes}; "
            "copy it again, or export the network again"
        )
    found = digest(path).sha256
    if found != wanted.sha256:
        raise EngineError(
            f"export {folder}: {name} is not the file that was exported (sha256 {found[:12]}…, its manifest says "
            f"{wanted.sha256[:12]}…); copy it again, or export again"
        )
