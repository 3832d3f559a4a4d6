"""The networks of the papers by name: ``engines.create("fami-w48-384x288")``.

Each is an entry of ``configs/models`` of kind ``network``: which class of ``engines.models``, with which HRNet, window
and options; what the paper reports for it and in which table; where published weights are to be had. Costs are written
there too, measured by :func:`engines.costs.measure` and held to it by a test, so that they can be listed without
PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.signature import Signature

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


class Reported(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a paper says of it: ``value`` of ``metric`` on ``benchmark``, in ``table``."""

    metric: str
    benchmark: str
    value: float
    table: str


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one person costs: parameters, GMAC of one frame's ``backbone`` and of one key frame's ``head``, bytes kept.

    Features are counted as float32. A single-frame network has no head: its work is all in ``backbone``.
    """

    parameters: int
    backbone_gmac: float
    head_gmac: float = 0.0
    kept_bytes: int = 0


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Published weights: their ``layout`` (``export.checkpoints``), the ``file`` and ``where`` a person finds it.

    ``into`` names the submodule they fill when they are of the backbone only.
    """

    layout: str
    file: str
    where: str
    licence: str
    into: str = ""


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to build one network and what is known of it.

    ``model`` is ``<file>.<Class>`` in ``engines.models``. ``window`` lists the frames it reads, as offsets from the key
    frame. ``options`` are further keyword arguments of the class.
    """

    model: Annotated[str, Meta(pattern=r"^[a-z_]+\.[A-Za-z0-9]+$")]
    input_size: tuple[int, int]
    hrnet: HRNetName | HRNetSpec | None = None
    window: tuple[int, ...] = (0,)
    skeleton: str = "posetrack17"
    options: dict[str, Any] = {}
    paper: str = ""
    reported: tuple[Reported, ...] = ()
    cost: Cost | None = None
    checkpoint: Checkpoint | None = None

    @property
    def past(self) -> int:
        """Frames back."""
        return -min(self.window)

    @property
    def future(self) -> int:
        """Frames it waits for: its look-ahead."""
        return max(self.window)

    def signature(self, name: str) -> Signature:
        """What an engine exported from it eats and returns."""
        return Signature(
            name=name,
            input_size=self.input_size,
            skeleton=self.skeleton,
            past=self.past,
            future=self.future,
            layout="ntchw" if len(self.window) > 1 else "nchw",
        )


def build(name: str, spec: NetworkSpec) -> nn.Module:
    """The network itself, with fresh weights.

    Raises :class:`EngineError` without PyTorch, for a class that is not there, and for options that do not fit it.
    """
    try:
        module_name, class_name = spec.model.split(".")
        module = importlib.import_module(f"engines.models.{module_name}")
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise EngineError(f"network {name!r} needs PyTorch: pip install 'posestream[torch]'") from None
        raise EngineError(f"network {name!r}: there is no file {module_name}.py in engines/models") from None
    maker = getattr(module, class_name, None)
    if maker is None:
        raise EngineError(f"network {name!r}: engines/models/{module_name}.py has no class {class_name!r}")
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


def _arguments(spec: NetworkSpec) -> dict[str, Any]:
    arguments = dict(spec.options)
    if spec.hrnet is not None:
        arguments["config" if spec.model.startswith("hrnet.") else "hrnet"] = _hrnet(spec.hrnet)
    return arguments


def _hrnet(told: HRNetName | HRNetSpec) -> Any:
    from engines.models import hrnet

    if isinstance(told, str):
        return {"w32": hrnet.W32, "w48": hrnet.W48, "compact": hrnet.COMPACT, "compact16": hrnet.COMPACT16}[told]
    return hrnet.HRNetConfig(**msgspec.structs.asdict(told))
