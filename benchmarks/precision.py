"""Accuracy of float16 and int8: heatmaps, keypoints and PCK of trained networks against float32, on the same crops.

    python -m benchmarks.precision --shared ../shared --write
    python -m benchmarks.precision --networks fami-compact-256x192

The network that ships is measured on drawn people that it was never trained on, a published one
(Ultralight-SimplePose, in ``--shared``) on real people; int8 is calibrated on others. Float16 is rounded as a GPU does
it (``export.precision.rounding``): run as it is, ONNX Runtime would leave most rounding out on a CPU. A second table
holds where int8 may cut off rare values, a third what the networks of the papers run in.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import version_converter
from onnxruntime.quantization.calibrate import HistogramCollector

from benchmarks.real_people import load_sets
from engines.datasets.synthetic.scene import Scene
from engines.hub import catalogue
from engines.metrics import find_correct
from engines.spec.manifest import read_manifest
from engines.spec.signature import Signature
from engines.vision import crop, heatmaps
from export.calibration import cut_windows, draw_windows, normalise
from export.graph.editing import copy_proto
from export.graph.folding import fold_normalisations
from export.precision.fp16 import find_float32_nodes, measure_sizes, to_fp16
from export.precision.inspection import compute_shares
from export.precision.int8 import STEPS, Scales, compute_scales, quantise
from export.precision.rounding import round_float16
from export.precision.wiring import Wiring

RESULTS = Path(__file__).parent / "results" / "precision.md"
SHIPPED = "hrnet-small"
PUBLISHED = "data/models/ultralight_nano_simplepose.onnx"
OTHER_CLIPS = ("felix_exercise.avi", "sam2_juggle.mp4", "mmhuman3d_single.mp4", "intel_one_by_one.mp4")
NETWORKS = ("fami-w48-384x288", "dcpose-w48-384x288", "posewarper-compact-256x192")
CALIBRATED_ON = 24
BATCH = 16


@dataclass(frozen=True)
class Person:
    """A crop (h, w, 3), and in its pixels the true joints (17, 3) and box (4,)."""

    crop: NDArray[np.uint8]
    joints: NDArray[np.float64]
    box: NDArray[np.float64]


@dataclass
class Subject:
    """A network, its calibration crops as it takes them (uint8 or float32), and the people it is evaluated on."""

    name: str
    graph: onnx.ModelProto
    signature: Signature
    calibration: NDArray[Any]
    people: list[Person]

    @property
    def input(self) -> str:
        """The one input's name."""
        return str(self.graph.graph.input[0].name)

    @cached_property
    def feeds(self) -> list[dict[str, NDArray[Any]]]:
        """One crop per run: a published network may take no more."""
        return [{self.input: crop[None]} for crop in self.calibration]

    @cached_property
    def planes(self) -> NDArray[Any]:
        """The people as the network takes them."""
        crops = np.stack([person.crop for person in self.people])[:, None]
        return crops if self.signature.pixel == "uint8" else normalise(crops, self.signature)[:, 0]

    @cached_property
    def reference(self) -> NDArray[np.float32]:
        """Heatmaps in float32."""
        return run_network(self.graph, self.planes)

    @cached_property
    def scales(self) -> Scales:
        """Of int8, to the largest values."""
        wiring = Wiring(copy_proto(self.graph))
        return compute_scales(wiring, measure_sizes(wiring, self.feeds))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, help="the folder with data/clips, data/annot and data/models")
    parser.add_argument("--networks", nargs="*", default=NETWORKS, help="whose shares are counted")
    parser.add_argument("--write", action="store_true", help=f"also to {RESULTS.name} beside the other results")
    options = parser.parse_args()
    lines = []
    for line in report(options.shared, options.networks):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


def report(shared: Path | None, networks: Sequence[str]) -> Iterator[str]:
    """Every line of the page."""
    yield f"`python -m benchmarks.precision --shared ../shared --write` on {platform.machine()}, ONNX Runtime"
    yield f"{onnxruntime.__version__}. Not run on a GPU: float16 is rounded as one does.\n"
    subjects = [load_shipped()] if shared is None else [load_shipped(), load_published(shared)]
    for subject in subjects:
        yield from table(subject)
    yield from cuts(subjects)
    yield from windows(subjects[0])
    yield from runs_in(networks)


# -- the two trained networks -----------------------------------------------------------------------------------------


def load_shipped() -> Subject:
    """The network of the package, on people of scenes that it was never trained on."""
    folder = catalogue.SHIPPED_FOLDER / SHIPPED
    signature = read_manifest(folder).signature
    people = [person for seed in range(60) for person in drawn_people(seed, signature)]
    calibration = draw_windows(signature, CALIBRATED_ON, seed=1_000)
    return Subject(f"{SHIPPED}, on drawn people", with_heatmaps(folder), signature, calibration, people)


def with_heatmaps(folder: Path) -> onnx.ModelProto:
    """The fused graph of an export, giving the heatmaps in place of the points it makes of them."""
    model = onnx.load(str(folder / "fused.onnx"))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("heatmaps", onnx.TensorProto.FLOAT, None))
    return model


def drawn_people(seed: int, signature: Signature) -> Iterator[Person]:
    """Of one moment of a scene."""
    rng = np.random.default_rng([seed, 0x9C])
    picture = Scene(seed, int(rng.integers(1, 5)), 640, 480).at(float(rng.uniform(0, 240)), 0)
    for box, joints in zip(picture.boxes, picture.keypoints, strict=True):
        visible = np.column_stack([joints[:, :2], joints[:, 2] == 2])
        yield crop_person(picture.pixels, box, visible, signature)


def crop_person(
    pixels: NDArray[np.uint8], box: NDArray[np.float32], joints: NDArray[Any], signature: Signature
) -> Person:
    """Crop a person, and move the ground truth to the crop."""
    affine = crop.box_to_affine(box, signature.input_size, enlarge=signature.enlarge, rule=signature.affine)
    corners = crop.to_crop(box.reshape(2, 2), affine).reshape(4)
    moved = np.column_stack([crop.to_crop(joints[:, :2], affine), joints[:, 2] > 0])
    return Person(crop.crop(pixels, affine, signature.input_size), moved, np.asarray(corners, np.float64))


def load_published(shared: Path) -> Subject:
    """A published network on real people, calibrated on clips of other people."""
    signature = Signature(name="simplepose", input_size=(192, 256))
    clips = [shared / "data/clips" / clip for clip in OTHER_CLIPS]
    windows = np.concatenate([cut_windows(clip, signature, CALIBRATED_ON // len(clips)) for clip in clips])
    samples = [sample for _, some in load_sets(shared / "data") for sample in some]
    people = [crop_person(sample.clip[sample.number], sample.box, sample.joints, signature) for sample in samples]
    graph = upgrade(onnx.load(shared / PUBLISHED))
    return Subject(
        "Ultralight-SimplePose, on real people", graph, signature, normalise(windows, signature)[:, 0], people
    )


def upgrade(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of opset 8 as one of 20, normalisations folded."""
    for node in model.graph.node:
        kept = [attribute for attribute in node.attribute if attribute.name != "spatial"]  # means nothing since opset 9
        del node.attribute[:]
        node.attribute.extend(kept)
    model = version_converter.convert_version(model, 20)
    model.ir_version = 10
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    fold_normalisations(model)
    return model


def run_network(model: onnx.ModelProto, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, 17, h, w), in batches as large as the graph takes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    batch = entry.shape[0] if isinstance(entry.shape[0], int) else BATCH
    runs = [session.run(None, {entry.name: planes[i : i + batch]})[0] for i in range(0, len(planes), batch)]
    return np.concatenate(runs)


# -- the tables -------------------------------------------------------------------------------------------------------


def table(subject: Subject) -> Iterator[str]:
    """Each precision of one network."""
    crops = len(subject.calibration)
    yield f"{subject.name}: {len(subject.people)} people; int8 calibrated on {crops} crops of others.\n"
    yield "| precision | multiplications | heatmaps: rms, largest | px moved: median, mean, 99 % | PCK@0.2 | PCK@0.1 |"
    yield "|---|---|---|---|---|---|"
    for name, graph in variants(subject):
        found = run_network(round_float16(graph), subject.planes)
        yield f"| {name} | {format_shares(graph)} | {' | '.join(figures(subject, found))} |"
    yield ""


def variants(subject: Subject) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield the graph in each precision."""
    yield "fp32", subject.graph
    yield "fp16", to_fp16(subject.graph, subject.feeds)
    yield "int8, rest float16", quantise(subject.graph, subject.scales)
    yield "int8, rest float32", quantise(subject.graph, subject.scales, rest="float32")


def format_shares(graph: onnx.ModelProto) -> str:
    return ", ".join(f"{100 * share:.0f} % {kind}" for kind, share in sorted(compute_shares(graph).items()) if share)


def figures(subject: Subject, found: NDArray[np.float32]) -> tuple[str, ...]:
    """The errors of heatmaps and keypoints against float32, and PCK."""
    rms, largest = errors(subject, found)
    places = decode(subject, found)
    moved = np.hypot(*np.moveaxis(places - decode(subject, subject.reference), -1, 0))
    return (
        f"{100 * rms:.2f} %, {100 * largest:.1f} %",
        f"{np.median(moved):.2f}, {moved.mean():.2f}, {np.percentile(moved, 99):.1f}",
        *(f"{100 * compute_pck(subject, places, alpha):.1f} %" for alpha in (0.2, 0.1)),
    )


def errors(subject: Subject, found: NDArray[np.float32]) -> tuple[float, float]:
    """Of the heatmaps: root mean square as a share of theirs, and the largest as a share of the largest value."""
    apart = np.abs(found - subject.reference)
    rms = np.sqrt(np.square(apart).mean() / np.square(subject.reference).mean())
    return float(rms), float(apart.max() / np.abs(subject.reference).max())


def decode(subject: Subject, found: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, 17, 2) px of the crop."""
    is_dark = subject.signature.decode == "heatmap-dark"
    cells, _ = heatmaps.decode_dark(found, subject.signature.blur_px) if is_dark else heatmaps.decode(found)
    stride = subject.signature.input_size[0] / found.shape[3]
    return cells * np.float32(stride)


def compute_pck(subject: Subject, places: NDArray[np.float32], alpha: float) -> float:
    """PCK over the visible joints."""
    truth = np.stack([person.joints for person in subject.people])
    boxes = np.stack([person.box for person in subject.people])
    judged = truth[..., 2] > 0
    return float(find_correct(places, truth, boxes, alpha)[judged].mean())


def cuts(subjects: Iterable[Subject]) -> Iterator[str]:
    """Scales that reach to the largest value, and those that cut rare values off."""
    yield "Where the scale of int8 ends, rest float32: rms of the heatmaps, mean shift of keypoints in px.\n"
    yield "| network | largest value | 99.999 % | 99.99 % | 99.9 % | entropy |"
    yield "|---|---|---|---|---|---|"
    for subject in subjects:
        others = [percentile(subject, share) for share in (99.999, 99.99, 99.9)]
        cells = [cut_off(subject, scales) for scales in (subject.scales, *others, entropy(subject))]
        yield f"| {subject.name} | {' | '.join(cells)} |"
    yield ""


def cut_off(subject: Subject, scales: Scales) -> str:
    found = run_network(quantise(subject.graph, scales, rest="float32"), subject.planes)
    moved = np.hypot(*np.moveaxis(decode(subject, found) - decode(subject, subject.reference), -1, 0))
    return f"{100 * errors(subject, found)[0]:.1f} %, {moved.mean():.2f}"


def percentile(subject: Subject, share: float) -> Scales:
    return collect_scales(subject, HistogramCollector("percentile", True, STEPS * 16, 128, share, "same"))


def entropy(subject: Subject) -> Scales:
    return collect_scales(subject, HistogramCollector("entropy", True, 128, 128, 0, "same"))


def collect_scales(subject: Subject, collector: Any) -> Scales:
    """The scales that ONNX Runtime's own calibration finds for the same convolutions."""
    wiring = Wiring(copy_proto(subject.graph))
    reading = {wiring.weights_name(place): node.input[0] for place, node in convolutions(wiring)}
    tensors = sorted({reading[weights] for weights in subject.scales})
    with contextlib.redirect_stdout(io.StringIO()):
        for feed in subject.feeds:
            collector.collect({name: [value] for name, value in values(wiring.model, tensors, feed)})
        found = collector.compute_collection_result()
    ends = {name: float(max(abs(end) for end in found[name][:2])) for name in tensors}
    return {weights: ends[reading[weights]] / STEPS for weights in subject.scales}


def convolutions(wiring: Wiring) -> list[tuple[int, onnx.NodeProto]]:
    return [(place, node) for place, node in enumerate(wiring.nodes) if node.op_type == "Conv"]


def values(
    model: onnx.ModelProto, names: Sequence[str], feed: dict[str, NDArray[np.float32]]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors ``names`` of one run."""
    probed = copy_proto(model)
    del probed.graph.output[:]
    kind = onnx.TensorProto.FLOAT
    probed.graph.output.extend(onnx.helper.make_tensor_value_info(name, kind, None) for name in names)
    session = onnxruntime.InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    yield from zip(names, session.run(list(names), feed), strict=True)


def windows(subject: Subject) -> Iterator[str]:
    """How many crops calibration needs."""
    yield f"Crops that int8 is calibrated on, {subject.name}, rest float32: rms of the heatmaps, mean shift in px.\n"
    yield "| crops | rms, shift |"
    yield "|---|---|"
    for number in (1, 4, 16, 64):
        calibration = normalise(draw_windows(subject.signature, number, seed=1_000), subject.signature)[:, 0]
        fewer = Subject(subject.name, subject.graph, subject.signature, calibration, subject.people)
        yield f"| {number} | {cut_off(subject, fewer.scales)} |"
    yield ""


def runs_in(networks: Sequence[str]) -> Iterator[str]:
    """What fp16 makes of the networks of the papers: shares of their multiplications, and what stays float32."""
    yield "What fp16 runs in, of the multiplications for one person, and the nodes that stay float32 by reason."
    yield "Weights are random: types do not depend on them.\n"
    yield "| network | part | runs in | nodes that stay float32 |"
    yield "|---|---|---|---|"
    for name in networks:
        for part, graph in parts(name):
            kept = Counter(find_float32_nodes(Wiring(copy_proto(graph))).values())
            del kept["operator"]  # changes of type, and what computes with whole numbers
            reasons = ", ".join(f"{count} {reason}" for reason, count in kept.most_common())
            yield f"| {name} | {part} | {format_shares(to_fp16(graph))} | {reasons} |"


def parts(name: str) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Every graph of a network as it is exported, with the weights that it is born with."""
    import torch
    from msgspec.structs import replace

    from engines.layers.decoding import Points
    from engines.spec.network import build
    from export.graph import wrappers
    from export.to_onnx import to_onnx

    _, spec = catalogue.find_network(name)
    torch.manual_seed(0)
    model = build(name, spec).eval()
    signature = replace(spec.signature(name), layout="nthwc", pixel="uint8", decode="points")
    signature = replace(signature, keeps=wrappers.kept_shapes(model, spec.input_size))
    for graph in wrappers.make_graphs(model, signature, Points("heatmap", spec.input_size)):
        yield graph.part, to_onnx(graph)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
