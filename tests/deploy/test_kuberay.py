"""The manifest for Kubernetes: its objects fit their schemas and each other, and nothing is open without keys."""

from __future__ import annotations

import copy
import functools
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from stream.cluster.settings import parse_settings
from stream.pipeline.launch import parse_yaml
from stream.site.template import Template
from tests.deploy import kubernetes
from tests.deploy.command_line import parse
from tests.documents import read_blocks

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy/kuberay.yaml"
PAGE = "docs/how-to/cluster.md"


@functools.cache
def objects() -> list[Any]:
    return kubernetes.read_manifest(FILE)


def find(kind: type) -> list[Any]:
    return [one for one in objects() if isinstance(one, kind)]


def cluster() -> Any:
    (found,) = find(kubernetes.RayCluster)
    return found


def pods() -> dict[str, Any]:
    """Each pod that is made, with the labels that KubeRay gives its own."""
    (relay,) = find(kubernetes.Deployment)
    (workers,) = cluster().spec.worker_group_specs
    own = {"ray.io/cluster": cluster().metadata.name}
    return {
        "head": (cluster().spec.head_group_spec.template.spec, own),
        "worker": (workers.template.spec, own),
        "relay": (relay.spec.template.spec, relay.spec.template.metadata.labels),
    }


def page_commands() -> Iterator[list[str]]:
    for block in read_blocks(ROOT, [PAGE]):
        for line in block.text.splitlines():
            if "kubectl" in line:
                yield shlex.split(line, comments=True)


def made_by_the_page(kind: str) -> dict[str, set[str]]:
    """The Secrets or ConfigMaps that commands of the page make: the files of each, or the folder of all."""
    made = {}
    for words in page_commands():
        if "create" in words and kind in words:
            name = next(word for word in words[words.index(kind) + 1 :] if word.startswith("posestream"))
            files = [word.partition("=")[2] for word in words if word.startswith("--from-")]
            made[name] = {Path(file).name if "=" not in file else file.partition("=")[0] for file in files}
    return made


def test_every_object_is_in_the_namespace_that_is_made_first() -> None:
    first, *others = objects()
    assert isinstance(first, kubernetes.Namespace)
    assert {one.metadata.namespace for one in others} == {first.metadata.name}
    assert first.metadata.labels == {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.mark.parametrize("name", ["head", "worker", "relay"])
def test_a_pod_is_restricted_and_writes_to_its_volumes_alone(name: str) -> None:
    spec, _ = pods()[name]
    assert not spec.automount_service_account_token
    user = re.search(r"useradd --uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert user is not None
    assert spec.security_context.run_as_non_root
    assert spec.security_context.run_as_user == spec.security_context.fs_group == int(user[1])
    assert spec.security_context.fs_group_change_policy == "OnRootMismatch"
    for container in (*spec.init_containers, *spec.containers):
        security = container.security_context
        assert security.read_only_root_filesystem
        assert not security.allow_privilege_escalation
        assert security.capabilities.drop == ["ALL"]


@pytest.mark.parametrize("name", ["head", "worker", "relay"])
def test_what_a_pod_mounts_exists(name: str) -> None:
    spec, _ = pods()[name]
    volumes = {volume.name: volume for volume in spec.volumes}
    mounted = {mount.name for one in (*spec.init_containers, *spec.containers) for mount in one.volume_mounts}
    assert mounted == volumes.keys()
    claims = {one.metadata.name for one in find(kubernetes.PersistentVolumeClaim)}
    maps = {one.metadata.name for one in find(kubernetes.ConfigMap)} | made_by_the_page("configmap").keys()
    for volume in volumes.values():
        if volume.persistent_volume_claim:
            assert volume.persistent_volume_claim.claim_name in claims
        if volume.config_map:
            assert volume.config_map.name in maps
        if volume.secret:
            files = made_by_the_page("secret")[volume.secret.secret_name]
            (first,) = spec.init_containers
            assert set(re.findall(r"/secret/(\S+)", " ".join([*first.command, *first.args]))) == files


def test_keys_and_the_token_are_where_they_are_looked_for() -> None:
    settings = site()[1]
    for name in ("head", "worker"):
        spec, _ = pods()[name]
        (first,) = spec.init_containers
        made = {
            f"{folder}/{Path(file).name}"
            for folder, files in re.findall(r"--target-directory=(\S+) (.+)", first.args[0])
            for file in files.split()
        }
        (container,) = spec.containers
        given = {one.name: one.value for one in container.env}
        assert given["RAY_AUTH_MODE"] == "token"
        assert given["RAY_AUTH_TOKEN_PATH"] == f"{given['POSESTREAM_CLUSTER_DIR']}/token"
        assert made == {given["RAY_AUTH_TOKEN_PATH"], settings.relay_key, settings.keys}


def test_pods_of_the_cluster_run_our_commands_and_those_of_kuberay_are_replaced() -> None:
    assert cluster().metadata.annotations == {"ray.io/overwrite-container-cmd": "true"}
    values = {"$(POD_IP)": "10.0.0.2", "$(FQ_RAY_IP):6379": "posestream-head-svc.posestream.svc.cluster.local:6379"}
    found = {}
    for name in ("head", "worker"):
        (container,) = pods()[name][0].containers
        program, group, *words = [values.get(word, word) for word in container.command]
        assert (program, group) == ("posestream", "cluster")
        found[name] = parse(words, group)
        assert container.readiness_probe, "KubeRay would ask Ray's dashboard, which is not installed"
        assert container.liveness_probe, "KubeRay would ask Ray's dashboard, which is not installed"
    assert {name: command for name, (command, _) in found.items()} == {"head": "up", "worker": "join"}
    head = found["head"][1]
    (container,) = pods()["head"][0].containers
    assert (
        [port.container_port for port in container.ports]
        == [head["port"]]
        == [container.liveness_probe.tcp_socket.port]
    )
    (host,) = pods()["worker"][0].containers
    words = shlex.split(host.lifecycle.pre_stop.exec.command[-1])
    assert int(words[1]) < pods()["worker"][0].termination_grace_period_seconds
    assert parse(words[4:], "cluster")[1]["wait"]


def test_the_version_of_ray_is_the_one_that_is_pinned() -> None:
    assert f"ray=={cluster().spec.ray_version}\n" in (ROOT / "constraints.txt").read_text()


def site() -> tuple[Template, Any]:
    (found,) = find(kubernetes.ConfigMap)
    text = found.data["site.yaml"]
    return Template(parse_yaml(text, place="site.yaml"), "site.yaml"), parse_settings(yaml.safe_load(text), "site.yaml")


def test_the_line_is_that_of_one_host() -> None:
    (found,) = find(kubernetes.ConfigMap)
    given = yaml.safe_load(found.data["site.yaml"])
    assert given["line"] == yaml.safe_load((ROOT / "deploy/site.yaml").read_text())["line"]


def test_lanes_publish_at_the_relay_and_subscribers_find_it() -> None:
    template, settings = site()
    (service,) = find(kubernetes.Service)
    spec, labels = pods()["relay"]
    (container,) = spec.containers
    command, options = parse(container.command[1:])
    ports = {port.name: port.port for port in service.spec.ports}
    assert (template.source, command, service.spec.selector) == ("rtspsrc", "relay", labels)
    assert settings.relay == f"tcp://{service.metadata.name}:{ports['lines']}"
    assert options["publishers"] == f"tcp://0.0.0.0:{ports['lines']}"
    assert options["bind"] == f"tcp://0.0.0.0:{ports['subscribers']}"
    assert {port.name: port.container_port for port in container.ports} == ports


def test_the_relay_has_keys_for_both_sides_and_what_it_keeps_is_on_a_claim() -> None:
    spec, _ = pods()["relay"]
    (container,) = spec.containers
    options = parse(container.command[1:])[1]
    volumes = {volume.name: volume for volume in spec.volumes}
    mounted = {mount.mount_path: volumes[mount.name] for mount in container.volume_mounts}
    assert mounted[str(options["keys"].parent)].empty_dir.medium == "Memory"
    for name in ("clients", "publisher_keys"):
        assert mounted[str(options[name])].config_map
    assert mounted[str(options["placements"].parent)].persistent_volume_claim
    head, _ = pods()["head"]
    (state,) = [volume for volume in head.volumes if volume.persistent_volume_claim]
    (mount,) = [mount for mount in head.containers[0].volume_mounts if mount.name == state.name]
    given = {one.name: one.value for one in head.containers[0].env}
    assert given["POSESTREAM_CLUSTER_DIR"].startswith(mount.mount_path)


def test_nothing_passes_but_what_a_policy_names() -> None:
    policies = find(kubernetes.NetworkPolicy)
    assert all(policy.spec.policy_types == ["Ingress", "Egress"] for policy in policies)
    closed, *others = policies
    assert (closed.spec.pod_selector.match_labels, closed.spec.ingress, closed.spec.egress) == ({}, [], [])
    labels = {tuple(one.items()) for _, one in pods().values()}
    assert {tuple(policy.spec.pod_selector.match_labels.items()) for policy in others} == labels
    own, relay = others
    assert may_come_in(own, pods()["worker"][1], 0)
    assert not may_come_in(own, pods()["relay"][1], 0)
    assert may_come_in(relay, pods()["head"][1], 5571)
    assert not may_come_in(relay, pods()["head"][1], 5570)
    assert may_come_in(relay, {"posestream-subscriber": "true"}, 5570)
    assert not may_come_in(relay, {"posestream-subscriber": "true"}, 5571)
    assert not may_come_in(relay, {"app": "other"}, 5570)


def may_come_in(policy: Any, labels: dict[str, str], port: int) -> bool:
    return any(
        (not rule.ports or port in {one.port for one in rule.ports})
        and any(peer.pod_selector.match_labels.items() <= labels.items() for peer in rule.from_)
        for rule in policy.spec.ingress
    )


def test_the_commands_of_the_page_name_what_the_manifest_has() -> None:
    run = [words for words in page_commands() if "exec" in words]
    assert run
    for words in run:
        inner = words[words.index("posestream", words.index("--")) + 1 :]
        if inner[0] in ("camera", "cluster"):
            parse(inner[1:], inner[0])
        else:
            assert parse(inner)[0] == "deploy"
        for word in inner:
            if word.startswith("/etc/posestream/site"):
                assert word == "/etc/posestream/site/site.yaml"
    applied = [words[words.index("--filename") + 1] for words in page_commands() if "apply" in words]
    assert applied == ["deploy/kuberay.yaml"]
    optional = {one.secret_ref.name for one in pods()["worker"][0].containers[0].env_from}
    assert optional <= made_by_the_page("secret").keys()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda spec: spec["headGroupSpec"].pop("template"), "template"),
        (lambda spec: spec["headGroupSpec"].update(serviceTyp="NodePort"), "serviceTyp"),
        (lambda spec: spec["workerGroupSpecs"][0].pop("maxReplicas"), "maxReplicas"),
        (lambda spec: spec["workerGroupSpecs"][0].update(replicas=11), "replicas is not within"),
        (lambda spec: container_of(spec).update(hostPort=1), "hostPort"),
        (lambda spec: container_of(spec)["env"].append({"name": "A"}), "has nothing where one"),
        (lambda spec: container_of(spec)["volumeMounts"].append({"name": "a", "mountPath": "run"}), "mountPath"),
        (lambda spec: container_of(spec)["resources"]["limits"].update(memory="8GB"), "memory"),
    ],
)
def test_a_fault_would_be_found(change: Callable[[Any], Any], why: str) -> None:
    documents = list(yaml.safe_load_all(FILE.read_text()))
    (document,) = [copy.deepcopy(one) for one in documents if one["kind"] == "RayCluster"]
    change(document["spec"])
    with pytest.raises(msgspec.ValidationError, match=re.escape(why)):
        kubernetes.convert([document])


def container_of(spec: Any) -> Any:
    return spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
