"""The manifest of an exported network: its files, their source, and the measured difference from PyTorch.

An export is a folder with ``manifest.json``, a graph for each part (``fused.onnx``; ``backbone.onnx`` and ``head.onnx``
if the network is split), the weights that the graphs share and, unless left out, a checkpoint for PyTorch. Every file
is verified against the manifest before the export is opened, so that a damaged folder never runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.formats.files import FormatError, read_bytes
from engines.formats.json import MAX_JSON_BYTES, decode_json
from engines.spec.fingerprint import fingerprint_bytes, hash_file
from engines.spec.model_files import list_files
from engines.spec.network import NetworkSpec
from engines.spec.picture_signature import PictureSignature
from engines.spec.signature import Signature

MANIFEST = "manifest.json"
FORMAT = 1
"""The version of the file format."""

Part = Literal["fused", "backbone", "head"]
Precision = Literal["fp32", "fp16", "int8"]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A file in the folder itself; no path can lead out of it."""


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digest and size of one file."""

    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0)]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The checkpoint it was exported from: name, digest and layout; ``note`` says what else it was made from."""

    file: str = ""
    sha256: str = ""
    layout: str = ""
    note: str = ""


class Parity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The difference between one graph, run by ``runner``, and ``reference``, on ``windows`` windows of ``inputs``.

    ``heatmap_error`` is the largest difference of two heatmaps relative to the reference's largest value.
    ``shift_px_max`` and ``shift_px_mean`` are distances between keypoints in crop pixels. The export fails if they
    exceed ``bound_heatmap`` and ``bound_px``.
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
    """The fields of every ``manifest.json``.

    ``graphs`` names the file of each part, ``parity`` has an entry for each. ``network`` is the architecture and
    ``weights`` the checkpoint for PyTorch (safetensors, this project's parameter names), None if it was left out.
    ``fingerprint`` identifies graphs and weights by their digests; every message of keypoints contains it.
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
    """The manifest of a network of crops."""

    signature: Signature


class PictureManifest(BaseManifest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The manifest of a single-stage network, whose only graph is ``fused``."""

    signature: PictureSignature


def is_export(path: Path) -> bool:
    """True if ``path`` is the folder of an exported network."""
    return (path / MANIFEST).is_file()


def fingerprint_files(files: Mapping[str, File]) -> str:
    """The fingerprint of a list of files: of every name and digest, sorted by name."""
    return fingerprint_bytes("".join(f"{name} {files[name].sha256}\n" for name in sorted(files)).encode())


def describe_file(path: Path) -> File:
    """Digest and size of the file at ``path``."""
    return File(sha256=hash_file(path), bytes=path.stat().st_size)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a network of crops in ``folder``; does not verify the files.

    Raises :class:`EngineError` naming file and field, and for a single-stage network.
    """
    manifest = read_any_manifest(folder)
    if isinstance(manifest, PictureManifest):
        raise EngineError(
            f"export {folder}: network {manifest.signature.name!r} takes whole pictures, not crops of people; "
            f"use 'posedetect model={folder}' in place of 'detect', 'window' and 'pose'"
        )
    return manifest


def read_picture_manifest(folder: Path) -> PictureManifest:
    """The manifest of a single-stage network in ``folder``; otherwise as :func:`read_manifest`."""
    manifest = read_any_manifest(folder)
    if isinstance(manifest, Manifest):
        raise EngineError(
            f"export {folder}: network {manifest.signature.name!r} takes crops of people, not whole pictures; "
            f"use 'detect ! window ! pose model={folder}'"
        )
    return manifest


def read_any_manifest(folder: Path) -> Manifest | PictureManifest:
    """The manifest in ``folder``, for either kind of network. Raises :class:`EngineError` naming file and field."""
    path = folder / MANIFEST
    try:
        data = read_bytes(path, MAX_JSON_BYTES)
        manifest = decode_json(data, PictureManifest) if _takes_pictures(data) else decode_json(data, Manifest)
    except FormatError as error:
        raise EngineError(f"export {folder}: {error.within(MANIFEST)}; export the network again") from error
    if manifest.format != FORMAT:
        raise EngineError(
            f"export {folder}: its manifest has format {manifest.format}, this version reads {FORMAT}; export again"
        )
    _check_agreement(manifest, folder)
    return manifest


def _check_agreement(manifest: Manifest | PictureManifest, folder: Path) -> None:
    """Raise :class:`EngineError` if signature and network, of which only one is read, say different things."""
    network, signature = manifest.network, manifest.signature
    fields: dict[str, tuple[object, object]] = {"skeleton": (signature.skeleton, network.skeleton)}
    if isinstance(signature, Signature):
        frames = tuple(range(-network.past, network.future + 1))
        fields |= {"input_size": (signature.input_size, network.input_size), "frames": (signature.offsets, frames)}
    for name, (said, made) in fields.items():
        if said != made:
            raise EngineError(
                f"export {folder}: the signature in its manifest has {name} {said}, the network {made}; "
                "it was changed by hand; export the network again"
            )


class _NetworkSection(msgspec.Struct):
    """The part of a manifest that determines its kind."""

    network: dict[str, Any]


def _takes_pictures(data: bytes) -> bool:
    try:
        return decode_json(data, _NetworkSection).network.get("takes") == "picture"
    except FormatError:  # reported when the manifest is decoded in full
        return False


def write_manifest(manifest: BaseManifest, folder: Path) -> None:
    """Write ``manifest.json``, indented, atomically."""
    partial = folder / f"{MANIFEST}.part"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(manifest, enc_hook=str), indent=2) + b"\n")
    partial.replace(folder / MANIFEST)


def verify_files(manifest: BaseManifest, folder: Path) -> None:
    """Raise :class:`EngineError` naming the first file that is missing, truncated or differs from the exported one, and
    one that a graph reads and the manifest does not list."""
    for name, expected in manifest.files.items():
        _verify_file(folder, name, expected)
    graphs = (folder / name for name in manifest.graphs.values())
    needed = {os.path.relpath(path, folder) for graph in graphs for path in list_files(graph)}
    if unlisted := sorted((needed | ({manifest.weights} if manifest.weights else set())) - manifest.files.keys()):
        raise EngineError(
            f"export {folder}: its manifest does not list {unlisted[0]!r}, which the network is read from, so nothing "
            "vouches for it; export the network again"
        )
    actual = fingerprint_files(manifest.files)
    if actual != manifest.fingerprint:
        raise EngineError(
            f"export {folder}: its manifest has fingerprint {manifest.fingerprint}, but its list of files gives "
            f"{actual}; one of them was changed by hand; export the network again"
        )


def _verify_file(folder: Path, name: str, expected: File) -> None:
    path = folder / name
    if not path.is_file():
        raise EngineError(f"export {folder}: its file {name} is missing; copy the whole folder, or export again")
    size = path.stat().st_size
    if size != expected.bytes:
        raise EngineError(
            f"export {folder}: {name} has {size} bytes, its manifest says {expected.bytes}; "
            "copy it again, or export the network again"
        )
    actual = hash_file(path)
    if actual != expected.sha256:
        raise EngineError(
            f"export {folder}: {name} is not the file that was exported (sha256 {actual[:12]}…, its manifest says "
            f"{expected.sha256[:12]}…); copy it again, or export again"
        )
