"""Architectures: the ``network`` section of an entry in ``configs/models``, and how to build the network from it.

A section names a class of ``engines.models`` with its HRNet, window and options, the results that the paper reports,
the published weights and the cost. Costs are stored so that they can be listed without PyTorch; a test compares them
with :func:`engines.testing.costs.measure_cost`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engines.errors import EngineError, install_hint
from engines.skeletons import SKELETONS
from engines.spec.signature import Signature
from engines.url import Url

if TYPE_CHECKING:
    from torch import nn

Horizon = Annotated[int, Meta(ge=0, le=7)]
HRNetName = Literal["w32", "w48", "compact", "compact16"]


class HRNetSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of an HRNet other than the named ones; see :class:`engines.models.hrnet.HRNetConfig`."""

    width: int
    modules: tuple[int, int, int] = (1, 4, 3)
    blocks: int = 4
    stem_width: int = 64
    bottlenecks: int = 4
    sigma: Annotated[float, Meta(gt=0)] | None = None


class ReportedScore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A result in the paper: ``value`` of ``metric`` on ``benchmark``, in ``table``."""

    metric: str
    benchmark: str
    value: float
    table: str


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters, and 10^9 multiply-accumulates (GMAC) for one person: the backbone per frame, the head per key frame.

    ``keeps`` are the shapes (C, h, w) of the feature maps per frame, float32. A single-frame network has none and no
    head; all of its work counts as backbone.
    """

    parameters: int
    backbone_gmac: float
    head_gmac: float = 0.0
    keeps: tuple[tuple[int, int, int], ...] = ()


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Published weights: a ``file`` name, ``where`` to find it, and its ``layout`` (``engines.hub.checkpoints``).

    ``url`` is empty if the file cannot be downloaded by a program. ``sha256`` has as many of the first digits as the
    publisher states. ``into`` names the submodule that the weights fill if they are not for the whole network.
    """

    layout: str
    file: str
    where: str
    licence: str
    into: str = ""
    url: Url = Url("")
    sha256: Annotated[str, Meta(pattern="^([0-9a-f]{8,64})?$")] = ""


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The architecture of one network, its published results, weights and cost.

    ``model`` is ``<module>.<Class>`` in ``engines.models``, ``options`` its further keyword arguments. It ``takes``
    crops of one person, or whole pictures. ``input_size`` is (width, height) px. ``window`` lists the frames it reads,
    as offsets from the key frame; its keypoints are those of ``horizon`` frames after the key frame.
    """

    model: Annotated[str, Meta(pattern=r"^[a-z_]+\.[A-Za-z0-9]+$")]
    input_size: tuple[int, int]
    takes: Literal["crop", "picture"] = "crop"
    hrnet: HRNetName | HRNetSpec | None = None
    window: tuple[int, ...] = (0,)
    horizon: Horizon = 0
    skeleton: str = "posetrack17"
    options: dict[str, Any] = {}
    paper: str = ""
    reported: tuple[ReportedScore, ...] = ()
    cost: Cost | None = None
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def past(self) -> int:
        """Frames before the key frame."""
        return -min(self.window)

    @property
    def future(self) -> int:
        """Frames after the key frame: the look-ahead."""
        return max(self.window)

    @property
    def gmac(self) -> float | None:
        """10^9 multiply-accumulates per person and key frame if other frames' features are cached; None if unknown."""
        return None if self.cost is None else self.cost.backbone_gmac + self.cost.head_gmac

    @property
    def window_gmac(self) -> float | None:
        """As :attr:`gmac`, if the features of all frames of the window are computed anew."""
        return None if self.cost is None else len(self.window) * self.cost.backbone_gmac + self.cost.head_gmac

    def signature(self, name: str) -> Signature:
        """The Signature of an engine exported from it. Raises :class:`EngineError` for a single-stage network, and
        for one with a horizon."""
        if self.takes == "picture":
            raise EngineError(f"network {name!r} takes whole pictures; only a network of crops has a Signature")
        if self.horizon:
            raise EngineError(
                f"network {name!r} gives the keypoints of {self.horizon} frames after its key frame (horizon), but a "
                "line would take them for those of the key frame; export one trained without a horizon, and put "
                "'predict' after 'pose'"
            )
        return Signature(
            name=name,
            input_size=self.input_size,
            skeleton=self.skeleton,
            past=self.past,
            future=self.future,
            layout="ntchw" if len(self.window) > 1 else "nchw",
            keeps=self.cost.keeps if self.cost else (),
        )


def build(name: str, spec: NetworkSpec) -> nn.Module:
    """The network as a PyTorch module with random weights; ``name`` appears in errors.

    Raises :class:`EngineError` if PyTorch is not installed, the class does not exist or does not accept the options.
    """
    model_class = _import_class(name, *spec.model.split("."))
    try:
        model: nn.Module = model_class(**_collect_arguments(spec))
    except (TypeError, ValueError) as error:
        raise EngineError(f"network {name!r} ({spec.model}): {error}") from None
    frames = getattr(model, "frames", (0,))
    if tuple(frames) != spec.window:
        raise EngineError(
            f"network {name!r}: its entry has window {list(spec.window)}, but {spec.model} reads {list(frames)}"
        )
    return model


def _import_class(name: str, file: str, class_name: str) -> Callable[..., nn.Module]:
    # Imported by name, so that listing networks does not import PyTorch.
    try:
        module = importlib.import_module(f"engines.models.{file}")
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise EngineError(f"network {name!r} needs PyTorch; {install_hint('torch')}") from None
        raise EngineError(f"network {name!r}: there is no file {file}.py in engines/models") from None
    model_class: Callable[..., nn.Module] | None = getattr(module, class_name, None)
    if model_class is None:
        raise EngineError(f"network {name!r}: engines/models/{file}.py has no class {class_name!r}")
    return model_class


def _collect_arguments(spec: NetworkSpec) -> dict[str, Any]:
    arguments = dict(spec.options)
    if spec.hrnet is not None:
        arguments["config" if spec.model.startswith("hrnet.") else "hrnet"] = _make_hrnet_config(
            spec.hrnet, spec.skeleton
        )
    return arguments


def _make_hrnet_config(spec: HRNetName | HRNetSpec, skeleton: str) -> Any:
    """The ``HRNetConfig`` with a heatmap for each joint of ``skeleton``."""
    if skeleton not in SKELETONS:
        raise ValueError(f"skeleton {skeleton!r} is not known; there are {', '.join(SKELETONS)}")
    hrnet = importlib.import_module("engines.models.hrnet")
    if isinstance(spec, str):
        config = {"w32": hrnet.W32, "w48": hrnet.W48, "compact": hrnet.COMPACT, "compact16": hrnet.COMPACT16}[spec]
    else:
        config = hrnet.HRNetConfig(**msgspec.structs.asdict(spec))
    return replace(config, joints=len(SKELETONS[skeleton]))
