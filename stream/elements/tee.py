"""``tee``: branches a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from stream.caps import ANY, Caps
from stream.element import Transform


@dataclass
class Tee(Transform):
    """Passes every item to each of its branches; every branch begins with a queue and runs in its own process.

    Name the tee, and begin one line per branch with ``from`` and that name. Lines are separated by ``;`` or by line
    breaks, but a line that ends in ``!`` continues on the next one::

        testsrc ! detect ! tee name=t
        from t ! queue ! window ! pose ! jsonsink
        from t ! queue leaky=downstream max_items=1 ! fakesink

    The first branch may also follow the tee: ``tee name=t ! queue ! window ! …``. In YAML, each line is a list under
    ``lines:``, and a branch begins with ``- from: t``.

    Unlike lines that read one named queue, each branch of a tee has its own queue, so that one may be leaky (a display)
    while another loses nothing (a recording).
    """

    sink = Caps(ANY)
    src = Caps(ANY)
    example = "testsrc ! tee name=t ; from t ! queue ! fakesink ; from t ! queue ! detect ! fakesink"

    name: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]*$", description="name by which its branches begin: from NAME")
    ] = ""

    def process(self, item: Any) -> Iterator[Any]:
        yield item
