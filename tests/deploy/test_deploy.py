"""What runs posestream for good: each command, option, port, path and file that it names exists, or is made by it."""

from __future__ import annotations

import configparser
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.pipeline.launch import load_yaml
from stream.registry import element_name
from stream.site.template import Template
from tests.deploy.command_line import parse
from tests.documents import read_blocks

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
EXPOSURE = 25
"""What ``systemd-analyze security`` may say of a unit, in tenths: at most 2.5 of 10."""


def read_toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text())


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


# -- Docker ------------------------------------------------------------------------------------------------------------


def services() -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(DEPLOY / "compose.yaml")["services"]
    return found


def commands() -> dict[str, tuple[str, dict[str, Any]]]:
    """What the services of our own image run."""
    return {
        name: parse(shlex.split(service["command"]))
        for name, service in services().items()
        if service["image"] == "posestream"
    }


def test_the_commands_of_compose_are_those_of_posestream() -> None:
    assert {name: command for name, (command, _) in commands().items()} == {
        "site": "serve",
        "metrics": "metrics",
        "bridge": "bridge",
    }


def test_the_files_of_compose_exist_and_its_volumes_are_declared() -> None:
    declared = set(read_yaml(DEPLOY / "compose.yaml")["volumes"])
    used = set()
    for service in services().values():
        for volume in service["volumes"]:
            source = volume.rsplit("/", 0)[0].split(":/")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), source
            elif not source.startswith("$"):
                used.add(source)
    assert used == declared


def test_the_ports_of_compose_meet() -> None:
    running, all_services = commands(), services()
    (target,) = read_yaml(DEPLOY / "prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == running["metrics"][1]["listen"]
    listener = re.search(r"^listener (\d+) (\S+)$", (DEPLOY / "mosquitto.conf").read_text(), re.MULTILINE)
    assert listener is not None
    assert running["bridge"][1]["to"] == f"mqtt://{listener[2]}:{listener[1]}/posestream"
    listen = running["site"][1]["listen"]
    assert f"http://{listen}/healthz" in all_services["site"]["healthcheck"]["test"][-1]
    assert len({target, listen, ":".join(listener.group(2, 1)), "127.0.0.1:9090", "127.0.0.1:8554"}) == 5


def test_the_bridge_of_compose_has_the_address_at_which_serve_publishes() -> None:
    running = commands()
    place = hashlib.sha256(str(running["site"][1]["cameras"]).encode()).hexdigest()[:6]
    assert running["bridge"][1]["address"] == f"ipc:///run/posestream/site-{place}.pub/hall.sock"


def test_the_camera_of_compose_is_that_of_its_line() -> None:
    template = Template(load_yaml(DEPLOY / "site.yaml"), "site.yaml")
    camera = read_yaml(DEPLOY / "mediamtx.yml")
    (name,) = camera["paths"]
    source = load_yaml(DEPLOY / "site.yaml").lines[0].elements[0]
    assert (template.source, element_name(source)) == ("rtspsrc", "rtspsrc")
    assert source.url.reveal() == f"rtsp://{camera['rtspAddress']}/{name}"  # type: ignore[attr-defined]
    assert f"/{name}" in camera["paths"][name]["runOnInit"]


def test_the_image_copies_what_exists_and_installs_extras_that_exist() -> None:
    text = (ROOT / "Dockerfile").read_text()
    extras = re.search(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project()["optional-dependencies"])
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            assert (ROOT / line[1:]).exists(), line
    found = read_toml("pyproject.toml")["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {f"!{name.rstrip('*')}" for name in found}
    assert packages <= set((ROOT / ".dockerignore").read_text().splitlines())
    assert "USER 10001" in text


def test_promtool_reads_the_configuration_of_prometheus(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool; apt-get install prometheus")
    for file in (DEPLOY / "prometheus.yml", ROOT / "docs/metrics/alerts.yml"):
        shutil.copy(file, tmp_path)
    checked = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "5 rules found" in checked.stdout


# -- systemd -----------------------------------------------------------------------------------------------------------


def read_unit(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return dict(parser["Service"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_with_options_that_exist(unit: Path) -> None:
    service = read_unit(unit)
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/posestream/bin/posestream"
    values = {"${TO}": "mqtt://127.0.0.1/x", "${FROM}": "ipc:///run/posestream/x", "${HEAD}": "127.0.0.1:6379"}
    words = [values.get(word, word) for word in words]
    parse(words[1:], words[0]) if words[0] == "cluster" else parse(words)
    if "ExecReload" in service:
        program, group, *words = shlex.split(service["ExecReload"])
        parse(words, group)
    assert service["User"] == "posestream"
    assert service["RuntimeDirectoryMode"] == "0700"


def test_what_a_unit_opens_to_other_hosts_has_keys_for_both_sides_and_the_page_puts_them_there() -> None:
    opened = {}
    for unit in UNITS:
        _, *words = shlex.split(read_unit(unit)["ExecStart"])
        if any(word.startswith("tcp://") and "//127.0.0.1:" not in word for word in words):
            opened[unit.name] = parse(words)
    assert {name: command for name, (command, _) in opened.items()} == {"posestream-relay.service": "relay"}
    options = opened["posestream-relay.service"][1]
    page = (ROOT / "docs/how-to/relay.md").read_text()
    for name in ("keys", "clients", "publisher_keys"):
        place = options[name] if name != "keys" else options[name].parent
        assert f" {place}" in page, place
    assert (
        options["placements"].parent.as_posix().removeprefix("/var/lib/")
        in read_unit(DEPLOY / "systemd/posestream-relay.service")["StateDirectory"].split()
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_no_fault_with_a_unit_and_little_that_it_may(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze")
    here = tmp_path / unit.name.replace("@", "@hall")
    text = unit.read_text().replace("/opt/posestream/bin/posestream", str(Path(sys.executable).with_name("posestream")))
    here.write_text(text.replace("User=posestream", "User=root"))
    verified = subprocess.run([analyze, "verify", "--man=no", here], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    options = ("--offline=yes", f"--threshold={EXPOSURE}", "--no-pager")
    judged = subprocess.run(
        [analyze, "security", *options, here],
        capture_output=True,
        text=True,
    )
    assert judged.returncode == 0, judged.stdout[-200:]


def test_the_user_of_the_units_is_made(tmp_path: Path) -> None:
    sysusers = shutil.which("systemd-sysusers")
    if sysusers is None:
        pytest.skip("no systemd-sysusers")
    (tmp_path / "etc").mkdir()
    made = subprocess.run(
        [sysusers, f"--root={tmp_path}", DEPLOY / "systemd/sysusers.conf"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert "posestream:" in (tmp_path / "etc/passwd").read_text()


# -- pages -------------------------------------------------------------------------------------------------------------


def test_the_commands_of_the_page_exist() -> None:
    found = []
    for block in read_blocks(ROOT, ["docs/how-to/deploy.md"]):
        for line in block.text.splitlines():
            if command := re.search(
                r"posestream:?\w* ((?:launch|camera|doctor|serve) .*)$|posestream:cuda (doctor)$", line
            ):
                words = shlex.split(command[1] or command[2], comments=True)
                found.append(words[0])
                parse(words[1:], words[0]) if words[0] == "camera" else parse(words)
    assert sorted(set(found)) == ["camera", "doctor", "launch"]
    assert found.count("camera") == 3


def test_the_page_installs_the_extras_of_the_image_and_the_address_of_the_bridge_is_that_of_compose() -> None:
    text = (ROOT / "docs/how-to/deploy.md").read_text()
    extras = re.search(r"^ARG EXTRAS=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert extras is not None
    assert f"'.[{extras[1]}]'" in text
    assert f"FROM={commands()['bridge'][1]['address']}" in text


# -- GitHub ------------------------------------------------------------------------------------------------------------


def project() -> Any:
    return read_toml("pyproject.toml")["project"]


def jobs(workflow: str) -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(ROOT / ".github/workflows" / workflow)["jobs"]
    return found


def test_a_release_is_published_without_a_password_after_the_tests() -> None:
    release = read_yaml(ROOT / ".github/workflows/release.yml")
    assert release["permissions"] == {"contents": "read"}
    assert jobs("release.yml")["publish"]["permissions"] == {"id-token": "write"}
    assert jobs("release.yml")["publish"]["needs"] == ["test", "build"]
    assert jobs("release.yml")["test"]["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in read_yaml(ROOT / ".github/workflows/ci.yml")[True]  # YAML 1.1 takes the key 'on' for that
    assert "secrets" not in (ROOT / ".github/workflows/release.yml").read_text()


def test_a_tag_that_is_not_the_version_is_refused() -> None:
    (step,) = [step for step in jobs("release.yml")["build"]["steps"] if "GITHUB_REF_NAME" in step.get("run", "")]
    for tag, status in ((f"v{project()['version']}", 0), ("v9.9", 1)):
        ended = subprocess.run(
            ["bash", "-c", step["run"]], cwd=ROOT, env={"GITHUB_REF_NAME": tag}, capture_output=True, check=False
        )
        assert ended.returncode == status


def test_the_workflow_tests_the_versions_of_python_that_are_promised() -> None:
    versions = jobs("ci.yml")["test"]["strategy"]["matrix"]["python"]
    named = [text.split(" :: ")[-1] for text in project()["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert versions == named


def test_the_line_that_the_image_runs_in_the_workflow_can_run() -> None:
    (step,) = [step for step in jobs("ci.yml")["image"]["steps"] if "name" in step]
    words = shlex.split(step["run"])
    command, _ = parse(words[words.index("posestream") + 1 :])
    assert command == "launch"
