"""The line that every camera of a site gets a copy of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stream.element import Element, Sink, Source
from stream.elements.keypointsink import KeypointSink
from stream.errors import LaunchError
from stream.pipeline.launch import parse_yaml
from stream.registry import change, element_name, label, property_names, suggest

if TYPE_CHECKING:
    from stream.pipeline.pipeline import Pipeline

_OWN = "camera"

Properties = Mapping[str, str]
"""Values of properties of a source, as they are typed."""

Value = str | int | float | bool
"""A value of a property as YAML and JSON have it."""


def spell(values: Mapping[str, Value]) -> dict[str, str]:
    """The properties as they are typed.

    >>> spell({"fps": 25, "realtime": True, "url": "rtsp://camera/"})
    {'fps': '25', 'realtime': 'true', 'url': 'rtsp://camera/'}
    """
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


class Template:
    """``pipeline`` as a template, called ``name``. Raises :class:`LaunchError` unless it has one source and one
    ``keypointsink``, since each copy publishes one camera, and unless copies may run side by side.

    A ``keypointsink`` with ``relay`` is beside that one, and left as it is."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self.name, self.text = name, pipeline.to_yaml(reveal=True)
        """``text``: the line as YAML, with its passwords."""
        elements = [element for line in pipeline.lines for element in line.elements]
        sources = [element for element in elements if isinstance(element, Source)]
        sinks = [element for element in elements if _is_local(element)]
        if len(sources) != 1 or len(sinks) != 1:
            raise LaunchError(
                f"{name} has {len(sources)} sources and {len(sinks)} keypointsinks{_except_relays(elements)}; "
                "a site needs one of each, "
                "of which every camera gets a copy"
            )
        self.source, self.source_properties = element_name(sources[0]), property_names(type(sources[0]))
        self.networks = pipeline.networks
        if _OWN not in self.source_properties:
            raise LaunchError(f"{name}: {self.source} has no property {_OWN!r}, by which its copies would be known")
        self._check_outputs()

    def build(
        self, camera: str, properties: Properties, bind: str, publish: Mapping[str, object] | None = None
    ) -> Pipeline:
        """The line of a camera, which publishes keypoints and pictures on ``bind``, checked against this machine; with
        ``publish``, as these properties of its ``keypointsink`` say.

        Raises :class:`PosestreamError` for properties that the source does not have or take, and for what keeps the
        line from running.
        """
        self._check(properties)
        built = self._copy({**properties, _OWN: camera}, bind, publish)
        built.check()
        return built

    def _copy(self, properties: Properties, bind: str, publish: Mapping[str, object] | None = None) -> Pipeline:
        # An address of this user alone, where the page finds every camera without a prefix or keys.
        own = {"bind": bind, "pictures": True, "prefix": "", "keys": "", "clients": ""} if publish is None else publish

        def rewrite(element: Element) -> Element:
            if isinstance(element, Source):
                return change(element, **properties)
            if _is_local(element):
                return change(element, **own)
            return element

        return parse_yaml(self.text, place=self.name).with_elements(rewrite)

    def _check_outputs(self) -> None:
        """Raise :class:`LaunchError` if two copies would write to the same file or address."""
        one, other = (_outputs(self._copy({_OWN: name}, f"ipc:///{name}")) for name in ("one", "other"))
        for output in one.keys() & other.keys():
            raise LaunchError(
                f"{self.name}: every camera's {one[output]} would write to {output}; put {{camera}} into its location="
            )

    def _check(self, properties: Properties) -> None:
        known = [name for name in self.source_properties if name != _OWN]
        for name in properties:
            if name == _OWN:
                raise LaunchError("camera= is the name that the camera is added under; leave it out")
            if name not in known:
                advice = suggest(name, known) or f"; it has {', '.join(known)}"
                raise LaunchError(f"{self.source} of {self.name} has no property {name!r}{advice}")


def _outputs(pipeline: Pipeline) -> dict[str, str]:
    """The files and addresses that the sinks of a line need, and the name of each sink."""
    return {
        output: label(element)
        for part in pipeline.parts
        for element in part.elements
        if isinstance(element, Sink)
        for output in element.outputs(part.cameras)
    }


def _is_local(element: Element) -> bool:
    return isinstance(element, KeypointSink) and not element.relay


def _except_relays(elements: Sequence[Element]) -> str:
    return " without relay=" if any(isinstance(element, KeypointSink) and element.relay for element in elements) else ""
