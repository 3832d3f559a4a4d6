"""The address of a camera, a stream or a file on a server, as a value that cannot print its password."""

from __future__ import annotations

import base64
import os
import re
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from engines.errors import PosestreamError
from engines.redaction import mask, mask_credentials, redact

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_HOST_AND_PORT = re.compile(r"(\[.*\]|\d+(\.\d+){3})(:\d*)?")
_HOST = re.compile(r"@(?=(\[[^\]]*\]|[^/?#@:]+)(:\d*)?([/?#]|$))")
_IN_PATH = "/:@!$'()*+,=~"


class Url:
    """An address; only :meth:`reveal` gives its user, password and tokens, all other text of it has ``***`` instead.

    ``${NAME}`` in it stands for an environment variable, so that no file need hold a password. What a variable holds is
    data: reserved characters in it are percent-encoded. Only where it holds the beginning, scheme included, may it
    contain more than one component.

    >>> Url("rtsp://admin:p/w@10.0.0.7/ch1")
    Url('rtsp://***@10.0.0.7/ch1')
    >>> Url("rtsp://admin:p/w@10.0.0.7/ch1").reveal()
    'rtsp://admin:p%2Fw@10.0.0.7/ch1'
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text
        mask_credentials(text)

    def reveal(self, *, expand: bool = True) -> str:
        """The whole address: as it was given, or with variables replaced and its user and password percent-encoded.

        Raises :class:`PosestreamError` for a variable that is not set.
        """
        return _expand(self.__text) if expand else self.__text

    def __str__(self) -> str:
        return redact(self.__text)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        """Equal addresses; a text may be the other one."""
        return self.__text == (other.__text if isinstance(other, Url) else other)

    def __hash__(self) -> int:
        return hash(self.__text)

    def __copy__(self) -> Url:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Url:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Url is not pickled, since its password would be in the pickle")


def decode_url(kind: type, value: object) -> Url:
    """What msgspec calls for a value where a :class:`Url` is expected (``dec_hook``)."""
    if kind is Url and isinstance(value, str | Url):
        return value if isinstance(value, Url) else Url(value)
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")


def schema_of_url(kind: type) -> dict[str, Any]:
    """The JSON schema of an address, for msgspec (``schema_hook``)."""
    if kind is Url:
        return {"type": "string", "format": "uri"}
    raise NotImplementedError(f"a {kind.__name__} has no schema")


def split_basic_auth(url: str) -> tuple[str, str]:
    """A revealed address without user and password, and these as the header ``Authorization``; empty without any."""
    scheme, mark, rest = url.partition("://")
    user, at, place = _split_user(rest)
    if not at:
        return url, ""
    encoded = base64.b64encode(unquote(user).encode()).decode()
    mask(encoded)
    return f"{scheme}{mark}{place}", f"Basic {encoded}"


def _expand(template: str) -> str:
    begin = _VARIABLE.match(template)
    if begin is not None:  # with the scheme in it; a variable within a variable is none
        template = _read(begin).replace("${", "$%7B") + template[begin.end() :]
    scheme, mark, rest = template.partition("://")
    user, at, place = _split_user(rest)
    host, slash, path = place.partition("/")
    path, question, query = path.partition("?")
    filled = [_encode(_fill_secret(user)), at, _fill(host, ":[]"), slash, _fill(path, _IN_PATH), question]
    url = "".join([scheme.lower() if mark else scheme, mark, *filled, _fill_secret(query)])
    mask_credentials(url)
    return url


def _split_user(rest: str) -> tuple[str, str, str]:
    """User and password, the ``@``, and what follows."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if not at and ":" in authority and not _HOST_AND_PORT.fullmatch(authority):
        host = _HOST.search(rest)  # of a password that holds a /, ? or #
        user, at = (rest[: host.start()], "@") if host else ("", "")
    return user, at, rest[len(user) + len(at) :]


def _fill(component: str, safe: str) -> str:
    """Replace variables; ``safe`` are the reserved characters (RFC 3986, section 2.2) that remain in their values."""
    return _VARIABLE.sub(lambda match: quote(_read(match), safe=safe), component)


def _fill_secret(component: str) -> str:
    for match in _VARIABLE.finditer(component):
        mask(_read(match))
    return _fill(component, "")


def _encode(user: str) -> str:
    """Percent-encode what a user and password may not contain; what is encoded already stays."""
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", user), safe="%:!$&'()*+,;=~")


def _read(match: re.Match[str]) -> str:
    name = match[1]
    if name not in os.environ:
        raise PosestreamError(f"the address contains ${{{name}}}, but the variable {name} is not set; export it first")
    return os.environ[name]
