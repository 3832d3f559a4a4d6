"""What of the schemas of Kubernetes 1.32 and KubeRay 1.2 to 1.7 our manifest uses; any other key is refused.

They are those of https://kubernetes.io/docs/reference/kubernetes-api and of KubeRay's definition of a RayCluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import UNSET, Meta, UnsetType

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?\Z")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Quantity = Annotated[str, Meta(pattern=r"\A\d+(m|Mi|Gi)?\Z")]
Place = Annotated[str, Meta(pattern=r"\A/")]
Count = Annotated[int, Meta(ge=0)]
Labels = dict[str, str]


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    """Has the keys that are named, and no others."""


class OneOf(Strict, frozen=True):
    """Has exactly one of its keys besides ``name``."""

    def __post_init__(self) -> None:
        given = [name for name in self.__struct_fields__ if name != "name" and getattr(self, name) is not UNSET]
        if len(given) != 1:
            raise ValueError(f"has {' and '.join(given) or 'nothing'} where one thing is needed")


class Metadata(Strict, frozen=True):
    name: Name
    namespace: Name | UnsetType = UNSET
    labels: Labels = {}
    annotations: Labels = {}


class TemplateMetadata(Strict, frozen=True):
    labels: Labels = {}


# -- pods --------------------------------------------------------------------------------------------------------------


class Named(Strict, frozen=True):
    name: Name
    optional: bool = False


class EnvFrom(Strict, frozen=True):
    secret_ref: Named


class FieldRef(Strict, frozen=True):
    field_path: Literal["status.podIP"]


class ValueFrom(Strict, frozen=True):
    field_ref: FieldRef


class Variable(OneOf, frozen=True):
    name: Annotated[str, Meta(pattern=r"\A[A-Z_]+\Z")]
    value: str | UnsetType = UNSET
    value_from: ValueFrom | UnsetType = UNSET


class Exec(Strict, frozen=True):
    command: Annotated[list[str], Meta(min_length=1)]


class Handler(Strict, frozen=True):
    exec: Exec


class TcpSocket(Strict, frozen=True):
    port: Port


class Probe(Strict, frozen=True):
    exec: Exec | UnsetType = UNSET
    tcp_socket: TcpSocket | UnsetType = UNSET
    initial_delay_seconds: Count = 0
    period_seconds: Annotated[int, Meta(ge=1)] = 10
    failure_threshold: Annotated[int, Meta(ge=1)] = 3

    def __post_init__(self) -> None:
        if (self.exec is UNSET) == (self.tcp_socket is UNSET):
            raise ValueError("a probe needs exec or tcpSocket")


class Lifecycle(Strict, frozen=True):
    pre_stop: Handler


class Amounts(Strict, frozen=True):
    cpu: Quantity
    memory: Quantity


class Resources(Strict, frozen=True):
    requests: Amounts
    limits: Amounts


class Capabilities(Strict, frozen=True):
    drop: list[Literal["ALL"]]


class ContainerSecurity(Strict, frozen=True):
    """As the Pod Security Standard 'restricted' wants it."""

    allow_privilege_escalation: bool
    read_only_root_filesystem: bool
    capabilities: Capabilities


class ContainerPort(Strict, frozen=True):
    name: Annotated[Name, Meta(max_length=15)]
    container_port: Port


class Mount(Strict, frozen=True):
    name: Name
    mount_path: Place
    read_only: bool = False


class Container(Strict, kw_only=True, frozen=True):
    name: Name
    image: str
    command: list[str]
    args: list[str] = []
    env: list[Variable] = []
    env_from: list[EnvFrom] = []
    ports: list[ContainerPort] = []
    security_context: ContainerSecurity
    resources: Resources
    readiness_probe: Probe | UnsetType = UNSET
    liveness_probe: Probe | UnsetType = UNSET
    lifecycle: Lifecycle | UnsetType = UNSET
    volume_mounts: list[Mount]


class EmptyDir(Strict, kw_only=True, frozen=True):
    medium: Literal["Memory"] | UnsetType = UNSET
    size_limit: Quantity


class SecretVolume(Strict, frozen=True):
    secret_name: Name


class ConfigMapVolume(Strict, frozen=True):
    name: Name


class Claim(Strict, frozen=True):
    claim_name: Name


class Volume(OneOf, frozen=True):
    name: Name
    empty_dir: EmptyDir | UnsetType = UNSET
    secret: SecretVolume | UnsetType = UNSET
    config_map: ConfigMapVolume | UnsetType = UNSET
    persistent_volume_claim: Claim | UnsetType = UNSET


class Seccomp(Strict, frozen=True):
    type: Literal["RuntimeDefault"]


class PodSecurity(Strict, frozen=True):
    run_as_non_root: bool
    run_as_user: int
    run_as_group: int
    fs_group: int
    fs_group_change_policy: Literal["OnRootMismatch", "Always"]
    seccomp_profile: Seccomp


class PodSpec(Strict, kw_only=True, frozen=True):
    automount_service_account_token: bool
    share_process_namespace: bool = False
    termination_grace_period_seconds: Count = 30
    security_context: PodSecurity
    init_containers: list[Container] = []
    containers: Annotated[list[Container], Meta(min_length=1)]
    volumes: list[Volume]


class PodTemplate(Strict, kw_only=True, frozen=True):
    metadata: TemplateMetadata = TemplateMetadata()
    spec: PodSpec


# -- objects -----------------------------------------------------------------------------------------------------------


class Namespace(Strict, tag_field="kind", tag=True, frozen=True):
    api_version: Literal["v1"]
    metadata: Metadata


class ConfigMap(Strict, tag_field="kind", tag=True, frozen=True):
    api_version: Literal["v1"]
    metadata: Metadata
    data: dict[str, str]


class Storage(Strict, frozen=True):
    storage: Quantity


class StorageRequests(Strict, frozen=True):
    requests: Storage


class ClaimSpec(Strict, frozen=True):
    access_modes: list[Literal["ReadWriteOnce", "ReadWriteMany"]]
    resources: StorageRequests


class PersistentVolumeClaim(Strict, tag_field="kind", tag=True, frozen=True):
    api_version: Literal["v1"]
    metadata: Metadata
    spec: ClaimSpec


class HeadGroup(Strict, frozen=True):
    ray_start_params: dict[str, str]
    template: PodTemplate


class WorkerGroup(Strict, frozen=True):
    group_name: Name
    replicas: Count
    min_replicas: Count
    max_replicas: Count
    ray_start_params: dict[str, str]
    template: PodTemplate

    def __post_init__(self) -> None:
        if not self.min_replicas <= self.replicas <= self.max_replicas:
            raise ValueError("replicas is not within minReplicas and maxReplicas")


class RayClusterSpec(Strict, frozen=True):
    ray_version: str
    head_group_spec: HeadGroup
    worker_group_specs: list[WorkerGroup]


class RayCluster(Strict, tag_field="kind", tag=True, frozen=True):
    api_version: Literal["ray.io/v1"]
    metadata: Metadata
    spec: RayClusterSpec


class Strategy(Strict, frozen=True):
    type: Literal["Recreate", "RollingUpdate"]


class Selector(Strict, frozen=True):
    match_labels: Labels = {}


class DeploymentSpec(Strict, frozen=True):
    replicas: Count
    strategy: Strategy
    selector: Selector
    template: PodTemplate


class Deployment(Strict, tag_field="kind", tag=True, frozen=True):
    api_version: Literal["apps/v1"]
    metadata: Metadata
    spec: DeploymentSpec


class ServicePort(Strict, frozen=True):
    name: Name
    port: Port
    target_port: Name | Port


class ServiceSpec(Strict, frozen=True):
    selector: Labels
    ports: list[ServicePort]


class Service(Strict, tag_field="kind", tag=True, frozen=True):
    api_version: Literal["v1"]
    metadata: Metadata
    spec: ServiceSpec


class IpBlock(Strict, rename={"except_": "except"}, frozen=True):
    cidr: str
    except_: list[str] = []


class Peer(Strict, frozen=True):
    """The pods and namespaces, or the addresses, that a policy names."""

    pod_selector: Selector | UnsetType = UNSET
    namespace_selector: Selector | UnsetType = UNSET
    ip_block: IpBlock | UnsetType = UNSET


class PolicyPort(Strict, frozen=True):
    protocol: Literal["TCP", "UDP"]
    port: Port


class Ingress(Strict, rename={"from_": "from"}, frozen=True):
    from_: Annotated[list[Peer], Meta(min_length=1)]
    ports: list[PolicyPort] = []


class Egress(Strict, frozen=True):
    to: Annotated[list[Peer], Meta(min_length=1)]
    ports: list[PolicyPort] = []


class PolicySpec(Strict, frozen=True):
    pod_selector: Selector
    policy_types: list[Literal["Ingress", "Egress"]]
    ingress: list[Ingress] = []
    egress: list[Egress] = []


class NetworkPolicy(Strict, tag_field="kind", tag=True, frozen=True):
    api_version: Literal["networking.k8s.io/v1"]
    metadata: Metadata
    spec: PolicySpec


Object = Namespace | ConfigMap | PersistentVolumeClaim | RayCluster | Deployment | Service | NetworkPolicy


def read_manifest(file: Path) -> list[Any]:
    """The objects of a manifest. Raises :class:`msgspec.ValidationError`, which names the key."""
    return convert(yaml.safe_load_all(file.read_text()))


def convert(documents: Iterable[Any]) -> list[Any]:
    """The objects that documents of YAML hold."""
    return [msgspec.convert(document, Object) for document in documents]
