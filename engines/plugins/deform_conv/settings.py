"""The kernel's settings as one line of text, for an ONNX node, and the digest of the kernel they give.

One text attribute, and no numbers: TensorRT 10's Python creators turn every number of an ONNX node into an array of one
and call ``int`` on it, which numpy 2.4 refuses; text arrives whole in 10 and 11.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import msgspec

from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.json import decode_json
from engines.plugins.deform_conv.compiler import source
from engines.plugins.deform_conv.spec import DeformConvSpec

DOMAIN = "posestream"
"""Of the ONNX nodes, and the plugins' namespace: TensorRT's parser looks for one where it finds no plugin without."""


def format_settings(spec: DeformConvSpec) -> str:
    """``spec`` as one line of JSON."""
    return msgspec.json.encode(asdict(spec)).decode()


def parse_settings(settings: str) -> DeformConvSpec:
    """The spec of :func:`format_settings`. Raises :class:`EngineError` if the text is not one."""
    try:
        # The parser ends text with a NUL, which Python receives too.
        return decode_json(settings.rstrip("\0").encode(), DeformConvSpec)
    except FormatError as error:
        raise EngineError(f"plugin settings {settings!r}: {error}; export the network again") from error


def operator_name(spec: DeformConvSpec) -> str:
    """The operator of the ONNX node, and the plugin's name: one for each list of inputs.

    A plugin has a fixed number of inputs. Its name must differ from every ONNX operator's, whatever its domain: the
    parser matches the name alone, and would take a ``DeformConv`` of ours for the standard one.
    """
    return f"FusedDeformConv{spec.rounds}{'' if spec.mask == 'none' else 'Modulated'}"


def kernel_digest(settings: str) -> str:
    """The sha256 of everything a kernel is compiled from: its source, with the settings in it."""
    return hashlib.sha256(source(parse_settings(settings)).encode()).hexdigest()
