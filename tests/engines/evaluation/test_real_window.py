"""The window against the single frame on a real clip: what is compared, and with what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="JHMDB's labels are Matlab files")

from benchmarks.real_window import NETWORKS, compare, jhmdb_samples, measure, repeat_key_frame
from engines.inference.engine import load


def test_the_control_differs_from_the_window_in_its_neighbours_only(shared: Path) -> None:
    samples = list(jhmdb_samples(shared / "data/annot/jhmdb_seq"))[19:22]
    single, window, control = measure(shared / "data", {"goalkeeper": samples})
    assert [row["network"] for row in (single, window, control)] == [label for label, _, _ in NETWORKS]
    # All are judged by the same joints, those of which the reference is certain; the labels of the clip are not used.
    assert 30 <= single["joints"] == window["joints"] == control["joints"] <= 3 * 17
    assert not any(sample.joints.any() for sample in samples)
    assert window["median"] != control["median"]
    repeated = [repeat_key_frame(sample) for sample in samples]
    assert np.array_equal(repeated[1].clip[19], samples[1].clip[20])
    assert not np.array_equal(samples[1].clip[19], samples[1].clip[20])
    with load("hrnet-small", crop="exact") as engine:
        one, other = ([replace(each, joints=np.ones((17, 3))) for each in kind] for kind in (samples, repeated))
        assert compare(engine, one) == compare(engine, other)  # a single frame has no neighbours
