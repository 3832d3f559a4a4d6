"""The networks of the papers as entries of ``configs/models`` of kind ``network``, and how one is built.

An entry says which class of ``engines.models``, with which HRNet, window and options; what the paper reports for it and
in which table; where published weights are to be had. Costs are written there too, measured by
:func:`engines.testing.costs.measure` and held to it by a test, so that they can be listed without PyTorch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.skeletons import SKELETONS
from engines.spec.signature import Signature

if TYPE_CHECKING:
    from torch import nn

HRNetName = Literal["w32", "w48", "compact", "compact16"]


class HRNetSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of an HRNet, where none of the named ones is meant."""

    width: int
    modules: tuple[int, int, int] = (1, 4, 3)
    blocks: int = 4
    stem_width: int = 64
    bottlenecks: int = 4
    sigma: Annotated[float, Meta(gt=0)] | None = None


class ReportedScore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a paper says of it: ``value`` of ``metric`` on ``benchmark``, in ``table``."""

    metric: str
    benchmark: str
    value: float
    table: str


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one person costs: parameters, GMAC of one frame's ``backbone`` and of one key frame's ``head``.

    ``keeps`` are the shapes (C, h, w) of the maps kept of a frame, float32. A single-frame network keeps none and has
    no head: its work is all in ``backbone``.
    """

    parameters: int
    backbone_gmac: float
    head_gmac: float = 0.0
    keeps: tuple[tuple[int, int, int], ...] = ()


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Published weights: their ``layout`` (``engines.hub.checkpoints``), the ``file`` and ``where`` a person finds it.

    ``url`` is for those that a program can fetch, ``sha256`` as many of its first digits as the publisher states.
    ``into`` names the submodule they fill when they are of the backbone only.
    """

    layout: str
    file: str
    where: str
    licence: str
    into: str = ""
    url: str = ""
    sha256: Annotated[str, Meta(pattern="^([0-9a-f]{8,64})?$")] = ""


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to build one network and what is known of it.

    ``model`` is ``<file>.<Class>`` in ``engines.models``. ``window`` lists the frames it reads, as offsets from the key
    frame. ``options`` are further keyword arguments of the class. ``takes`` a crop of one person, or the whole picture.
    """

    model: Annotated[str, Meta(pattern=r"^[a-z_]+\.[A-Za-z0-9]+$")]
    input_size: tuple[int, int]
    takes: Literal["crop", "picture"] = "crop"
    hrnet: HRNetName | HRNetSpec | None = None
    window: tuple[int, ...] = (0,)
    skeleton: str = "posetrack17"
    options: dict[str, Any] = {}
    paper: str = ""
    reported: tuple[ReportedScore, ...] = ()
    cost: Cost | None = None
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def past(self) -> int:
        """Frames back."""
        return -min(self.window)

    @property
    def future(self) -> int:
        """Frames it waits for: its look-ahead."""
        return max(self.window)

    @property
    def gmac(self) -> float | None:
        """10^9 multiply-accumulates for a person and key frame, other frames' features being kept; None: unknown."""
        return None if self.cost is None else self.cost.backbone_gmac + self.cost.head_gmac

    @property
    def window_gmac(self) -> float | None:
        """The same when every frame of the window is computed anew."""
        return None if self.cost is None else len(self.window) * self.cost.backbone_gmac + self.cost.head_gmac

    def signature(self, name: str) -> Signature:
        """What an engine exported from it eats and returns. Raises :class:`EngineError` if that is a whole picture."""
        if self.takes == "picture":
            raise EngineError(f"network {name!r} finds people in whole pictures; a Signature describes one of crops")
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
    """The network itself, with fresh weights.

    Raises :class:`EngineError` without PyTorch, for a class that is not there, and for options that do not fit it.
    """
    maker = _class(name, *spec.model.split("."))
    try:
        model: nn.Module = maker(**_arguments(spec))
    except (TypeError, ValueError) as error:
        raise EngineError(f"network {name!r} ({spec.model}): {error}") from None
    frames = getattr(model, "frames", (0,))
    if tuple(frames) != spec.window:
        raise EngineError(
            f"network {name!r}: its entry says window {list(spec.window)}, {spec.model} reads {list(frames)}"
        )
    return model


def _class(name: str, file: str, called: str) -> Callable[..., nn.Module]:
    # By name, so that whoever only lists networks never imports PyTorch.
    try:
        module = importlib.import_module(f"engines.models.{file}")
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise EngineError(f"network {name!r} needs PyTorch: pip install 'posestream[torch]'") from None
        raise EngineError(f"network {name!r}: there is no file {file}.py in engines/models") from None
    maker: Callable[..., nn.Module] | None = getattr(module, called, None)
    if maker is None:
        raise EngineError(f"network {name!r}: engines/models/{file}.py has no class {called!r}")
    return maker


def _arguments(spec: NetworkSpec) -> dict[str, Any]:
    arguments = dict(spec.options)
    if spec.hrnet is not None:
        arguments["config" if spec.model.startswith("hrnet.") else "hrnet"] = _hrnet(spec.hrnet, spec.skeleton)
    return arguments


def _hrnet(told: HRNetName | HRNetSpec, skeleton: str) -> Any:
    """The numbers of an HRNet that gives a heatmap for each joint of ``skeleton``."""
    if skeleton not in SKELETONS:
        raise ValueError(f"skeleton {skeleton!r} is not known; there are {', '.join(SKELETONS)}")
    hrnet = importlib.import_module("engines.models.hrnet")
    if isinstance(told, str):
        named = {"w32": hrnet.W32, "w48": hrnet.W48, "compact": hrnet.COMPACT, "compact16": hrnet.COMPACT16}[told]
    else:
        named = hrnet.HRNetConfig(**msgspec.structs.asdict(told))
    return replace(named, joints=len(SKELETONS[skeleton]))
