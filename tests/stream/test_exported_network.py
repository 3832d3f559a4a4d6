"""A network of the papers, exported by this project's own command, in a line: cut, fused and kept give the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import yaml

from engines.inference.engine import load
from engines.spec.manifest import read_manifest, write_manifest
from engines.spec.network import HRNetSpec, NetworkSpec
from tests.engines import exports
from tests.stream.test_feature_reuse import asked, frames_of, posed, windows_of

if TYPE_CHECKING:
    from engines.vision.windows import Keypoints

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

SMALL = NetworkSpec(
    model="fami.FAMIPose",
    hrnet=HRNetSpec(width=24, modules=(1, 1, 1), blocks=1, stem_width=16, bottlenecks=1),
    input_size=(64, 96),
    window=(-1, 0, 1),
    skeleton="coco17",
    options={"frames": [-1, 0, 1]},
)
# The graph decodes to a quarter of a heatmap cell. Where two cells of a random network's flat map are as high as each
# other to the last bits, another order of sums may prefer the other: a few keypoints may jump, all others agree.
ATOL_PX = 1e-3
AGREE = 0.98


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FAMI-Pose on the smallest HRNet there is, with random weights: what is compared are two ways to run it."""
    from export.exporter import export_network
    from export.stages import Request
    from export.weights import Choice

    folder = tmp_path_factory.mktemp("exports")
    result = {"kind": "network", "title": "small", "licence": "none", "network": msgspec.to_builtins(SMALL)}
    (folder / "small.yaml").write_text(yaml.safe_dump(result))
    choice = Choice(random=True)
    return export_network(Request(str(folder / "small.yaml"), choice=choice, out=folder / "small-fp32", threads=1))


def assert_agree(found: Sequence[Keypoints], wanted: Sequence[Keypoints]) -> None:
    distances = np.abs(np.concatenate(found) - np.concatenate(wanted)).max(axis=2)
    assert (distances < ATOL_PX).mean() >= AGREE, f"{np.sort(distances.ravel())[-10:]}"


@pytest.mark.slow
def test_a_line_that_keeps_features_gives_the_keypoints_of_whole_windows(export: Path) -> None:
    frames = frames_of("testsrc width=320 height=240 people=2 num_frames=16")
    windows = asked(windows_of(frames, past=1, future=1))
    found = [poses.keypoints for poses in posed(frames, f"pose model={export} crop=lock")]
    assert_agree(found, exports.reference(export, windows))
    spread = np.concatenate(found)[..., :2].reshape(-1, 17, 2).std(axis=(0, 1))
    assert (spread > 10).all(), "keypoints that lie in one place agree whatever is done"


@pytest.mark.slow
def test_the_papers_way_is_the_same_in_one_graph_and_in_two(export: Path) -> None:
    windows = asked(windows_of(frames_of("testsrc width=320 height=240 people=2 num_frames=6"), past=1, future=1))
    manifest = read_manifest(export)
    found = {}
    try:
        for way in ("fused", "cut"):
            graphs = {part: name for part, name in manifest.graphs.items() if way == "fused" or part != "fused"}
            write_manifest(msgspec.structs.replace(manifest, graphs=graphs), export)
            with load(str(export), crop="exact") as engine:
                found[way] = engine.estimate(windows)
                assert (engine.work.computed < engine.work.frames) == (way == "cut")
    finally:
        write_manifest(manifest, export)
    assert_agree(found["cut"], found["fused"])
