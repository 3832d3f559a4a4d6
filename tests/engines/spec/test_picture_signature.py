"""Signatures of single-stage networks."""

from __future__ import annotations

import msgspec
import pytest

from engines.errors import EngineError
from engines.spec.picture_signature import PictureSignature, Suppression, check_size


def test_it_survives_json() -> None:
    signature = PictureSignature(name="toy", input_size=(384, 224), suppression=Suppression(kind="soft", iou=0.3))
    assert msgspec.json.decode(msgspec.json.encode(signature), type=PictureSignature) == signature


def test_padding_is_close_to_zero_after_normalisation() -> None:
    signature = PictureSignature(name="toy", input_size=(384, 224))
    # Half a grey level: pixels are whole numbers.
    assert max(abs(pad - mean) for pad, mean in zip(signature.pad[::-1], signature.mean, strict=True)) <= 0.5


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("skeleton", "centipede", "skeleton 'centipede' is not one of"),
        ("std", (1, 0, 1), "must not contain 0"),
        ("candidates", 0, "candidates"),
        ("pad", (0, 300, 0), "pad"),
    ],
)
def test_a_wrong_field_raises(field: str, value: object, words: str) -> None:
    values = {"name": "toy", "input_size": [384, 224], field: value}
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(values, PictureSignature, strict=True)
    assert words in str(caught.value)


@pytest.mark.parametrize("size", [(1344, 800), (32, 32), (384, 224)])
def test_multiples_of_the_stride_are_valid(size: tuple[int, int]) -> None:
    check_size("inspose-r50", size)


@pytest.mark.parametrize(("size", "valid"), [((1333, 800), "1344x800"), ((0, 31), "32x32"), ((640, 360), "640x384")])
def test_other_sizes_raise_naming_a_valid_one(size: tuple[int, int], valid: str) -> None:
    with pytest.raises(EngineError) as caught:
        check_size("inspose-r50", size)
    assert str(caught.value) == (
        f"network 'inspose-r50': input size {size[0]}x{size[1]} px is invalid; "
        f"width and height must be multiples of 32, such as {valid}"
    )
