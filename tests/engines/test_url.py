"""An address gives its password to the one who asks for it, and to nothing else."""

from __future__ import annotations

import copy
import json
import pickle
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
import yaml

from engines.errors import PosestreamError
from engines.url import Url

RESERVED = "'\"#/\\|<@:?&%+ ü!;=$*{,[]\t"


@pytest.mark.parametrize("character", RESERVED)
@pytest.mark.parametrize(
    "text", ["rtsp://adm:{}@cam:554/x@1?y=2", "rtsp://adm:${PASSWORD_OF_CAM}@cam:554/x@1?y=2", "${URL_OF_CAM}"]
)
def test_a_password_of_any_character_arrives_whole(character: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    password = f"hun{character}ter2"
    monkeypatch.setenv("PASSWORD_OF_CAM", password)
    monkeypatch.setenv("URL_OF_CAM", f"rtsp://adm:{password}@cam:554/x?y=2")
    parts = urlsplit(Url(text.format(password) if "{}" in text else text).reveal())
    assert (parts.hostname, parts.port, parts.username) == ("cam", 554, "adm")
    assert unquote(parts.password or "") == password
    assert parts.query == "y=2"


@pytest.mark.parametrize("character", RESERVED)
def test_the_value_of_a_variable_is_data_in_a_query_too(character: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_CAM", f"hun{character}ter2")
    url = Url("http://cam/x?token=${TOKEN_OF_CAM}&y=2").reveal()
    assert parse_qs(urlsplit(url).query) == {"token": [f"hun{character}ter2"], "y": ["2"]}


def test_what_is_encoded_already_stays() -> None:
    assert Url("rtsp://adm:p%40ss@cam/x%20y").reveal() == "rtsp://adm:p%40ss@cam/x%20y"


def test_a_variable_in_the_value_of_a_variable_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URL_OF_CAM", "rtsp://cam/${HOME}")
    assert Url("${URL_OF_CAM}").reveal() == "rtsp://cam/$%7BHOME}"


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(
        PosestreamError, match=r"contains \$\{NO_SUCH_THING\}, but the variable NO_SUCH_THING is not set"
    ):
        Url("rtsp://${NO_SUCH_THING}@h/").reveal()


def test_no_text_of_it_has_the_password() -> None:
    url = Url("rtsp://adm:hunter2@cam/x")
    texts = [str(url), repr(url), f"{url:>40}", "%s" % url, json.dumps([url], default=str), repr([url])]  # noqa: UP031
    texts += [msgspec.json.encode([url], enc_hook=str).decode(), str(copy.deepcopy(url)), repr(copy.copy(url))]
    assert all("***@cam/x" in text and "hunter2" not in text for text in texts)


@pytest.mark.parametrize("write", [pickle.dumps, msgspec.msgpack.encode, json.dumps, yaml.safe_dump])
def test_it_is_not_written_by_chance(write: object) -> None:
    with pytest.raises((TypeError, yaml.YAMLError)) as caught:
        write(Url("rtsp://adm:hunter2@cam/x"))  # type: ignore[operator]
    assert "hunter2" not in str(caught.value)


def test_addresses_are_equal_where_their_texts_are() -> None:
    assert Url("rtsp://a:b@h/") == Url("rtsp://a:b@h/") == "rtsp://a:b@h/"
    assert Url("rtsp://a:b@h/") != Url("rtsp://a:c@h/")
    assert len({Url("rtsp://a:b@h/"), Url("rtsp://a:b@h/")}) == 1
    assert not Url("")
