"""The line that every camera of a site gets a copy of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stream.element import Element, Source
from stream.elements.keypointsink import KeypointSink
from stream.errors import LaunchError
from stream.pipeline.launch import parse_yaml
from stream.pipeline.wiring import Line
from stream.registry import element_name, get_properties, make, property_names, suggest

if TYPE_CHECKING:
    from stream.pipeline.pipeline import Pipeline

_OWN = "camera"

Properties = Mapping[str, str]
"""Values of properties of a source, as they are typed."""


class Template:
    """``pipeline`` as a template, called ``name``. Raises :class:`LaunchError` unless it has one source and one
    ``keypointsink``, since each copy publishes one camera."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self.name, self._text = name, pipeline.to_yaml(reveal=True)
        elements = [element for line in pipeline.lines for element in line.elements]
        sources = [element for element in elements if isinstance(element, Source)]
        sinks = [element for element in elements if isinstance(element, KeypointSink)]
        if len(sources) != 1 or len(sinks) != 1:
            raise LaunchError(
                f"{name} has {len(sources)} sources and {len(sinks)} keypointsinks; a site needs one of each, "
                "of which every camera gets a copy"
            )
        self.source, self.source_properties = element_name(sources[0]), property_names(type(sources[0]))
        self.networks = pipeline.networks
        if _OWN not in self.source_properties:
            raise LaunchError(f"{name}: {self.source} has no property {_OWN!r}, by which its copies would be known")

    def build(self, camera: str, properties: Properties, bind: str) -> Pipeline:
        """The line of a camera, which publishes keypoints and pictures on ``bind``, checked against this machine.

        Raises :class:`PosestreamError` for properties that the source does not have or take, and for what keeps the
        line from running.
        """
        self._check(properties)
        pipeline = parse_yaml(self._text, place=self.name)
        changes: dict[type[Element], dict[str, object]] = {
            Source: {**properties, _OWN: camera},
            KeypointSink: {"bind": bind, "pictures": True},
        }
        lines = [
            Line(*(_change(element, changes) for element in line.elements), from_queue=line.from_queue)
            for line in pipeline.lines
        ]
        built = pipeline.with_lines(*lines)
        built.check()
        return built

    def _check(self, properties: Properties) -> None:
        known = [name for name in self.source_properties if name != _OWN]
        for name in properties:
            if name == _OWN:
                raise LaunchError("camera= is the name that the camera is added under; leave it out")
            if name not in known:
                advice = suggest(name, known) or f"; it has {', '.join(known)}"
                raise LaunchError(f"{self.source} of {self.name} has no property {name!r}{advice}")


def _change(element: Element, changes: Mapping[type[Element], Mapping[str, object]]) -> Element:
    for kind, values in changes.items():
        if isinstance(element, kind):
            return make(element_name(element), **{**get_properties(element), **values})
    return element
