"""What is told of a network of whole pictures."""

from __future__ import annotations

import msgspec
import pytest

from engines.errors import EngineError
from engines.spec.picture_signature import PictureSignature, Suppression, check_size


def test_it_survives_being_written_down() -> None:
    told = PictureSignature(name="toy", input_size=(384, 224), suppression=Suppression(kind="soft", iou=0.3))
    assert msgspec.json.decode(msgspec.json.encode(told), type=PictureSignature) == told


def test_what_is_left_over_is_nothing_to_the_network() -> None:
    told = PictureSignature(name="toy", input_size=(384, 224))
    # Half a grey level: pixels are whole numbers.
    assert max(abs(pad - mean) for pad, mean in zip(told.pad[::-1], told.mean, strict=True)) <= 0.5


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("skeleton", "centipede", "skeleton 'centipede' is not one of"),
        ("std", (1, 0, 1), "must not contain 0"),
        ("candidates", 0, "candidates"),
        ("pad", (0, 300, 0), "pad"),
    ],
)
def test_nonsense_is_refused(field: str, value: object, words: str) -> None:
    told = {"name": "toy", "input_size": [384, 224], field: value}
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(told, PictureSignature, strict=True)
    assert words in str(caught.value)


@pytest.mark.parametrize("size", [(1344, 800), (32, 32), (384, 224)])
def test_sizes_that_suit_the_strides_pass(size: tuple[int, int]) -> None:
    check_size("inspose-r50", size)


@pytest.mark.parametrize(("size", "fitting"), [((1333, 800), "1344x800"), ((0, 31), "32x32"), ((640, 360), "640x384")])
def test_other_sizes_are_refused_with_one_that_suits(size: tuple[int, int], fitting: str) -> None:
    with pytest.raises(EngineError) as caught:
        check_size("inspose-r50", size)
    assert str(caught.value) == (
        f"network 'inspose-r50': pictures of {size[0]}x{size[1]} px do not suit its strides; "
        f"width and height must be multiples of 32, such as {fitting}"
    )
