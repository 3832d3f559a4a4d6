"""Estimates the keypoints of people, frame after frame, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from engines.backends.cores import Threads
from engines.inference.single_stage import takes_pictures
from posestream.inputs import Input, Report, open_input
from posestream.result import Result
from stream.element import Element
from stream.errors import PropertyError
from stream.messages import NO_ID, Poses
from stream.pipeline.pipeline import Pipeline
from stream.registry import make


def estimate(
    source: Input,
    *,
    model: str | Path = "auto",
    detector: str | Path = "auto",
    backend: str = "auto",
    threads: Threads = "auto",
    track: bool = True,
    smooth: bool = False,
    min_score: float | None = None,
    fps: float = 25.0,
    on_error: Report | None = None,
) -> Iterator[Result]:
    """Yield a :class:`Result` for each frame of ``source``, in order.

    ``source`` is one of these:

    * the path of a photo or a video, a folder of them, a pattern such as ``"shots/*.jpg"``, or several of these, in
      a list or as ``Path.glob`` gives them;
    * a camera: its number, or its path such as ``"/dev/video0"``;
    * an address: ``"rtsp://…"`` or ``"http://…"``, also of a picture that a camera serves (``"http://…/snapshot.jpg"``);
    * an array (H, W, 3) uint8 BGR, or an iterable of such arrays at ``fps`` frames a second;
    * a source element, such as ``stream.make("testsrc")``.

    ``model`` is a pose network: a name that ``posestream models`` lists, an ``.onnx`` with its Signature beside it, or
    the folder of an export. ``detector`` is an ``.onnx`` or a name. ``"auto"`` is YOLOX-nano and TinyPose, which are
    downloaded once; for frames that testsrc has drawn, it is their exact boxes and ``hrnet-small``. ``backend``, as
    ``"onnxrt:cuda"``, runs both networks, each on ``threads`` CPU threads; ``auto`` takes all cores.

    ``track`` gives people ids that stay the same from frame to frame; in photos, they have none. ``smooth`` removes
    jitter from tracked keypoints. Detections that score below ``min_score`` (0..1) are left out.

    All of it runs in the for-loop: no other process is started and nothing is published. Networks are opened once, at
    the first frame. If the network reads frames after the key frame, results come that many frames late. Leaving the
    loop closes the source.

    Raises :class:`~posestream.PosestreamError` for a network that cannot be used, and its subclass ``SourceError`` for
    a source that cannot be read, after the results of all frames before the damage. If ``on_error`` is given, it is
    called with the name of such a file and the error instead, and the next file follows.

    >>> import posestream, stream
    >>> drawn = stream.make("testsrc", num_frames=2, people=2)
    >>> for result in posestream.estimate(drawn):
    ...     print(result.index, [person.id for person in result.people], result.people[0].keypoints.shape)
    0 [1, 2] (17, 3)
    1 [1, 2] (17, 3)

    A single frame, which needs no tracking:

    >>> frame = next(stream.make("testsrc", people=1).frames())
    >>> (result,) = posestream.estimate(frame)
    >>> x, y, score = result.people[0]["left_wrist"]
    >>> result.draw().shape
    (480, 640, 3)
    """
    opened = open_input(source, fps, on_error)
    is_tracked = track and getattr(opened, "is_sequence", True)
    if smooth and not track:
        raise PropertyError("smooth=True follows people by their ids; leave track=True")
    networks = _networks(str(model), str(detector), backend, threads, min_score, is_tracked=is_tracked)
    after = [make("smooth")] if smooth and is_tracked else []
    pipeline = Pipeline(opened, *networks, *after)
    pipeline.negotiate()
    photos: frozenset[str] = getattr(opened, "photos", frozenset())
    return (Result(_without_ids(poses) if poses.frame.camera in photos else poses) for poses in pipeline.run())


def _without_ids(poses: Poses) -> Poses:
    """The same people, of whom none is tracked."""
    return replace(poses, ids=np.full_like(poses.ids, NO_ID))


def _networks(
    model: str, detector: str, backend: str, threads: Threads, min_score: float | None, *, is_tracked: bool
) -> list[Element]:
    """The elements from frames to poses."""
    tracker = [make("track")] if is_tracked else []
    limit = {} if min_score is None else {"min_score": min_score}
    if takes_pictures(model):
        if detector != "auto":
            raise PropertyError(f"model={model!r} finds people by itself; leave detector={detector!r} away")
        return [make("posedetect", model=model, backend=backend, threads=threads, **limit), *tracker]
    return [
        make("detect", model=detector, backend=backend, threads=threads, **limit),
        *tracker,
        make("window"),
        make("pose", model=model, backend=backend, threads=threads),
    ]
