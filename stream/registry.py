"""The registry of elements: ``detect`` is in ``stream/elements/detect.py``, which is imported when it is first named.

Write ``mypackage.blur`` for the element in your own module ``mypackage/blur.py``, in the working directory or on
``PYTHONPATH``.

>>> make("queue", leaky="downstream", max_items="2")
Queue(name='', leaky='downstream', max_items=2, address='')
>>> make("tee", nam="people")
Traceback (most recent call last):
stream.errors.PropertyError: tee has no property 'nam'; did you mean 'name'? It has: name
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from engines.formats.mismatch import split_mismatch
from engines.redaction import mask_credentials
from engines.url import decode_url
from stream.element import Element
from stream.errors import EngineError, LaunchError, PosestreamError, PropertyError, add_element_note

_HOME = "stream.elements"


def make(name: str, /, **properties: object) -> Element:
    """The element called ``name``, with these properties; text is converted to each property's type.

    ``name=`` sets the element's name in the pipeline, also where it is no property of the class. Raises
    :class:`LaunchError` for an unknown element and :class:`PropertyError` for an unknown property or a wrong value.
    """
    cls = element_class(name)
    own = property_names(cls)
    called = properties.pop("name", "") if "name" not in own else ""
    _refuse_unknown(name, properties, own)
    element = _construct(cls, _convert(name, cls, properties, strict=False))
    return element.rename(str(called)) if called else element


def element_names() -> tuple[str, ...]:
    """The names of all elements that ship; imports none of them."""
    found = (module.name for module in pkgutil.iter_modules(importlib.import_module(_HOME).__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def element_class(name: str) -> type[Element]:
    """The class called ``name``. Raises :class:`LaunchError` where there is none."""
    return _find_class(name, _module(name))


def element_name(element: Element | type[Element]) -> str:
    """The name of an element's class in a launch string: the inverse of :func:`element_class`."""
    cls = element if isinstance(element, type) else type(element)
    return cls.__module__.removeprefix(_HOME + ".")


def label(element: Element) -> str:
    """The name of this element in messages: the one it was given, else that of its class."""
    if element.name:
        return element.name
    kind = element_name(element)
    is_ours = type(element).__module__.startswith(_HOME)
    return kind if is_ours else type(element).__name__.lower()


@contextmanager
def error_context(element: Element) -> Iterator[None]:
    """Name ``element`` in what it raises: in the message of an :class:`EngineError`, whose origin does not have the
    name, and in a note to an exception of a user's element."""
    try:
        yield
    except EngineError as error:
        if not str(error).startswith(f"{label(element)}: "):
            error.args = (f"{label(element)}: {error}",)
        raise
    except PosestreamError:
        raise
    except Exception as error:
        if not _is_shipped(type(element).__module__):
            add_element_note(error, label(element), element_name(element))
        raise


def _is_shipped(module: str) -> bool:
    return module.startswith(_HOME.partition(".")[0] + ".")


def property_names(cls: type[Element]) -> tuple[str, ...]:
    """The properties of an element class, in the order it declares them."""
    return tuple(item.name for item in _fields(cls))


def get_properties(element: Element, *, defaults: bool = False) -> dict[str, Any]:
    """The properties of an element, in order; those at their default only with ``defaults``.

    The ``name`` of an element that has no such property comes first.
    """
    own = property_names(type(element))
    first = {"name": element.name} if element.name and "name" not in own else {}
    standard = _defaults(type(element))
    values = {name: getattr(element, name) for name in own}
    return first | {name: value for name, value in values.items() if defaults or not _same(value, standard.get(name))}


def change(element: Element, **properties: object) -> Element:
    """A new element that is as this one, with other values of some properties. Raises as :func:`make`.

    >>> change(make("queue", max_items=2, leaky="no"), leaky="downstream")
    Queue(name='', leaky='downstream', max_items=2, address='')
    """
    return make(element_name(element), **{**get_properties(element), **properties})


def validate(element: Element) -> None:
    """Check the properties of an element that was made by calling its class. Raises :class:`PropertyError`."""
    cls = type(element)
    values = {name: getattr(element, name) for name in property_names(cls)}
    _convert(element_name(element), cls, values, strict=True)


def schema_struct(cls: type[Element]) -> type[msgspec.Struct]:
    """A msgspec struct of an element's properties: types, ranges, descriptions, defaults."""
    hints = get_type_hints(cls, include_extras=True)
    fields = [_struct_field(item, hints[item.name]) for item in _fields(cls)]
    return msgspec.defstruct(cls.__name__, fields, kw_only=True)


def suggest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'detect'?`` where a known word is similar, else an empty string."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def advise(word: str, known: Iterable[str], advice: str) -> str:
    """What :func:`suggest` says and an advice, which begins with a capital letter behind the question."""
    question = suggest(word, known)
    return f"{question} {advice[:1].upper()}{advice[1:]}" if question else f"; {advice}"


def _module(name: str) -> ModuleType:
    path = name if "." in name else f"{_HOME}.{name}"
    if not all(part.isidentifier() for part in path.split(".")) or path.rpartition(".")[2].startswith("_"):
        raise LaunchError(f"{name!r} is not the name of an element; {_ADVICE}")
    if "." in name:
        _add_working_directory()
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise _not_found(name, path, error) from error
    except ImportError as error:
        raise LaunchError(f"element {name!r} cannot be loaded: {error}") from error
    except SyntaxError as error:
        place = f"{error.filename} line {error.lineno}"
        raise LaunchError(f"element {name!r} cannot be loaded: {place}: {error.msg}") from error
    except Exception as error:
        add_element_note(error, name, name)
        raise


def _add_working_directory() -> None:
    """Find your modules in the working directory too, but last: a folder of yours must not shadow an installed package.

    Not before you name such a module, so that no folder there is mistaken for an optional package either.
    """
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        sys.path.append(here)


def _siblings(path: str) -> list[str]:
    """The modules beside the one at ``path``, which does not exist, by the names that elements in them would have."""
    package, _, module = path.rpartition(".")
    if not package or package == _HOME:
        return []
    try:
        folders = importlib.import_module(package).__path__
    except (ImportError, AttributeError):
        return [f"{file.parent.name}.{module}" for file in Path.cwd().glob(f"*/{module}.py")]
    return [f"{package}.{found.name}" for found in pkgutil.iter_modules(folders)]


_ADVICE = "'posestream inspect' lists all"


def _not_found(name: str, path: str, error: ModuleNotFoundError) -> LaunchError:
    missing = error.name or ""
    if path == missing or path.startswith(missing + "."):
        return LaunchError(f"no element {name!r}{advise(name, [*element_names(), *_siblings(path)], _ADVICE)}")
    return LaunchError(f"element {name!r} cannot be loaded: it needs the module {missing!r}, which is not installed")


def _find_class(name: str, module: ModuleType) -> type[Element]:
    defined = (item for item in vars(module).values() if isinstance(item, type) and issubclass(item, Element))
    public = [item for item in defined if item.__module__ == module.__name__ and not item.__name__.startswith("_")]
    if len(public) != 1:
        listed = ", ".join(item.__name__ for item in public) or "none"
        raise LaunchError(
            f"element {name!r}: {module.__name__} must define one public element, but defines {len(public)} ({listed})"
        )
    return public[0]


def _construct(cls: type[Element], properties: Mapping[str, Any]) -> Element:
    try:
        return cls(**properties)
    except PosestreamError:
        raise
    except Exception as error:
        if not _is_shipped(cls.__module__):
            add_element_note(error, element_name(cls), element_name(cls))
        raise


def _struct_field(item: dataclasses.Field[Any], hint: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    if item.default_factory is not dataclasses.MISSING:
        return item.name, hint, msgspec.field(default_factory=item.default_factory)
    if item.default is not dataclasses.MISSING:
        return item.name, hint, item.default
    return item.name, hint


def _convert(name: str, cls: type[Element], values: Mapping[str, object], *, strict: bool) -> dict[str, Any]:
    """Convert ``values`` to the types that the class declares; the class adds the defaults."""
    struct = schema_struct(cls)
    given = {key: _split(value, struct, key) for key, value in values.items()}
    for value in values.values():
        mask_credentials(value if isinstance(value, str) else "")
    try:
        checked = msgspec.convert(given, struct, strict=strict, dec_hook=decode_url)
    except msgspec.ValidationError as error:
        raise PropertyError(_describe(name, cls, values, *split_mismatch(error))) from None  # it may quote a password
    converted = {key: getattr(checked, key) for key in values}
    for key, value in converted.items():
        if not _is_finite(value):
            raise PropertyError(_describe(name, cls, values, "must be a finite number", key))
    return converted


def _is_finite(value: object) -> bool:
    """False for NaN and infinity, also within a list."""
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or isfinite(value)


def _split(value: object, struct: type[msgspec.Struct], key: str) -> object:
    """Split ``classes=0,2`` where the property is a list."""
    if not isinstance(value, str) or not _is_list(get_type_hints(struct).get(key)):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _is_list(hint: object) -> bool:
    return get_origin(hint) in (list, tuple) or any(get_origin(part) in (list, tuple) for part in get_args(hint))


def _describe(name: str, cls: type[Element], values: Mapping[str, object], why: str, path: str) -> str:
    """``detect: min_score=3 is not valid: it must be a number of at most 1; …``"""
    remedy = f"see 'posestream inspect {name}'"
    if not path and (missing := why.removeprefix("lacks ")) != why:
        return f"{name}: {missing.strip(chr(39))}= is missing and has no default; {remedy}"
    prop, bracket, index = path.partition("[")
    if why.startswith("cannot be ") and (choices := _list_choices(get_type_hints(cls).get(prop))):
        why = f"must be {choices}"
    return f"{name}: {prop}={_shown(values.get(prop))} is not valid: {bracket + index or 'it'} {why}; {remedy}"


def _list_choices(hint: object) -> str:
    """The values of a ``Literal``, as ``one of a, b``; empty for any other type."""
    values = [str(value) for value in get_args(hint)] if get_origin(hint) is Literal else []
    return f"one of {', '.join(values)}" if values else ""


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value else repr(value)


def _refuse_unknown(name: str, properties: Mapping[str, object], own: tuple[str, ...]) -> None:
    for given in properties:
        if given not in own:
            has = f"it has: {', '.join(own)}" if own else "it has none"
            raise PropertyError(f"{name} has no property {given!r}{advise(given, own, has)}")


def _fields(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    """The dataclass fields of an element class; a class without properties need not be a dataclass."""
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def _defaults(cls: type[Element]) -> dict[str, Any]:
    fields = _fields(cls)
    made = {item.name: item.default_factory() for item in fields if item.default_factory is not dataclasses.MISSING}
    return made | {item.name: item.default for item in fields if item.default is not dataclasses.MISSING}


def _same(value: Any, standard: Any) -> bool:
    return type(value) is type(standard) and bool(value == standard)
