"""Numbers of placements rise, whatever ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.cluster.numbering import Fence, Numbering
from stream.errors import TransportError


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9)), max_size=40))
def test_what_is_admitted_of_a_camera_never_falls(seen: list[tuple[str, int]]) -> None:
    fence = Fence()
    admitted = [(camera, number) for camera, number in seen if fence.admit(camera, number)]
    for camera in "ab":
        own = [number for name, number in admitted if name == camera]
        assert own == sorted(own)
        assert max(own, default=0) == max((number for name, number in seen if name == camera), default=0)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 1500), min_size=1, max_size=4))
def test_numbers_rise_across_restarts(counts: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        given_numbers = []
        for count in counts:
            numbering = Numbering(Path(folder) / "last")
            given_numbers += [numbering.next() for _ in range(count)]
    assert given_numbers == sorted(set(given_numbers))


def test_a_number_is_not_given_before_its_bound_is_written(tmp_path: Path) -> None:
    numbering = Numbering(tmp_path / "missing" / "last")
    with pytest.raises(TransportError, match="cannot be written: No such file"):
        numbering.next()


def test_a_file_that_was_edited_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "last").write_text("minus one")
    with pytest.raises(TransportError, match="holds 'minus one', not the last number of a placement; write one that"):
        Numbering(tmp_path / "last")
