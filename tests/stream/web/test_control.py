"""The cameras of a site over HTTP; the lines themselves are fake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.errors import PartError
from stream.web.access import Access
from stream.web.server import PageServer
from tests.stream.site.bench import Bench, open_bench
from tests.stream.web.test_server import TOKEN, ask

NO_SED = "has no property 'sed'; did you mean 'seed'?"
SECRET = "rtsp://me:Kiwi7Mango3@10.0.0.7/1"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def bench(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path_factory.mktemp("r")))
    with open_bench(tmp_path / "d") as made:
        yield made


@pytest.fixture
def server(bench: Bench) -> Iterator[PageServer]:
    with PageServer([], Access("127.0.0.1", 0, TOKEN), site=bench.site) as made:
        yield made


def post(server: PageServer, path: str, content: object = None) -> tuple[int, object]:
    body = content if isinstance(content, str | bytes) else json.dumps(content)
    status, text, _ = ask(server, path, "POST", body, **BEARER)
    return status, json.loads(text)


def cameras(server: PageServer) -> dict[str, str]:
    server.turn()
    return {one["name"]: one["state"] for one in json.loads(ask(server, "/api/cameras", **BEARER)[1])}


def test_cameras_are_added_paused_resumed_and_removed(server: PageServer, bench: Bench) -> None:
    assert post(server, "/api/cameras", {"name": "hall", "properties": {"seed": 7, "blur": "0.5"}}) == (
        201,
        {"name": "hall"},
    )
    assert cameras(server) == {"hall": "running"}
    source = bench.lines[0].pipeline.lines[0].elements[0]
    assert (source.seed, source.blur, source.camera) == (7, 0.5, "hall")  # type: ignore[attr-defined]
    assert next(iter(server._feeds)).address == bench.site.reports[0].address
    assert post(server, "/api/cameras/hall/pause") == (200, {"name": "hall"})
    assert cameras(server) == {"hall": "draining"}
    bench.lines[0].has_ended = True
    assert [cameras(server) for _ in range(2)][1] == {"hall": "paused"}
    assert not server._feeds
    assert post(server, "/api/cameras/hall/resume") == (200, {"name": "hall"})
    assert cameras(server) == {"hall": "running"}
    status, text, _ = ask(server, "/api/cameras/hall", "DELETE", **BEARER)
    assert (status, json.loads(text)) == (200, {"name": "hall"})
    bench.lines[1].has_ended = True
    cameras(server)
    assert cameras(server) == {}


@pytest.mark.parametrize(
    ("path", "content", "status", "error"),
    [
        ("", {"name": "yard"}, 409, "there is a camera 'yard' already; remove it first, or choose another name"),
        ("", {"name": "../x"}, 400, "'../x' is no name for a camera: write at most 32 letters, digits, '-' and '_'"),
        ("", {"name": "a", "properties": {"sed": 1}}, 400, f"testsrc of site.yaml {NO_SED}"),
        ("", {"name": "a", "other": 1}, 400, "the body: it has no key 'other'"),
        ("", "{", 400, "the body line 1, column 2: it ends too early"),
        ("", b'{"name":"\xff"}', 400, "the body: it is not UTF-8 text"),
        ("", " " * 70_000, 400, "the body has more than 65536 bytes"),
        ("/hall/pause", None, 404, "there is no camera 'hall'; there are: yard"),
        ("/..%2Fsite/pause", None, 404, ""),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    server: PageServer, bench: Bench, path: str, content: object, status: int, error: str
) -> None:
    bench.site.add("yard", {})
    files = {file.name: file.read_text() for file in bench.folder.path.iterdir()}
    if error:
        assert post(server, f"/api/cameras{path}", content) == (status, {"error": error})
    else:
        assert ask(server, f"/api/cameras{path}", "POST", **BEARER)[0] == status
    assert {file.name: file.read_text() for file in bench.folder.path.iterdir()} == files


def test_who_has_no_token_or_comes_from_another_site_changes_nothing(server: PageServer, bench: Bench) -> None:
    body = json.dumps({"name": "hall"})
    assert ask(server, "/api/cameras", "POST", body)[0] == 401
    assert ask(server, "/api/cameras", "POST", body, Origin="http://evil.example", **BEARER)[0] == 403
    assert ask(server, "/api/cameras", "DELETE", **BEARER)[0] == 405
    assert bench.folder.read() == {}


def test_no_password_of_a_camera_is_in_an_answer(server: PageServer, bench: Bench) -> None:
    (bench.folder.path / "hall.yaml").write_text(json.dumps({"properties": {"url": SECRET}}))
    (bench.folder.path / "yard.yaml").write_text("{}")
    (bench.folder.path / "zoo.yaml").write_text(json.dumps({"properties": {SECRET: "url"}}))
    cameras(server)
    bench.lines[0].error = PartError(f"cannot open {SECRET}")
    cameras(server)
    status, refusal = post(server, "/api/cameras", {"name": "new", "properties": {"url": SECRET}})
    answers = [ask(server, path, **BEARER)[1] for path in ("/api/cameras", "/api/state", "/readyz")]
    answers.append(json.dumps(refusal))
    assert status == 400
    assert not [answer for answer in answers if "Kiwi7" in answer]
    assert "Kiwi7" not in "".join(bench.printed)


def test_it_is_ready_when_no_camera_has_failed(server: PageServer, bench: Bench) -> None:
    assert ask(server, "/readyz", **BEARER)[:2] == (200, "ok\n")
    bench.site.add("hall", {})
    cameras(server)
    bench.lines[0].error = PartError("the camera burns")
    cameras(server)
    assert ask(server, "/readyz", **BEARER)[:2] == (503, "hall: the camera burns\n")


def test_the_description_names_every_address_of_the_interface(server: PageServer) -> None:
    described = json.loads(ask(server, "/api/openapi.json", **BEARER)[1])
    assert described["openapi"] == "3.1.0"
    operations = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert operations == {
        ("/api/cameras", "get"),
        ("/api/cameras", "post"),
        ("/api/cameras/{name}", "delete"),
        ("/api/cameras/{name}/pause", "post"),
        ("/api/cameras/{name}/resume", "post"),
        ("/api/state", "get"),
    }
