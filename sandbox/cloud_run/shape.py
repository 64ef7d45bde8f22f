"""The fields of Knative's Service that the sandbox accepts, with their types. Other fields are refused by name.

`Any` marks a field that only Google sets, which is ignored in a request, or one that another module checks.

Source: https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services
"""

from __future__ import annotations

from typing import Any, Literal

from sandbox.api.shapes import Shape


class Meta(Shape):
    """Kubernetes' ObjectMeta."""

    name: str | None = None
    resource_version: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    namespace: str | None = None
    self_link: Any = None
    uid: Any = None
    generation: Any = None
    creation_timestamp: Any = None
    deletion_timestamp: Any = None


class _SecretKey(Shape):
    name: str | None = None
    key: str | None = None


class _ValueFrom(Shape):
    secret_key_ref: _SecretKey | None = None


class _Variable(Shape):
    name: str | None = None
    value: str | None = None
    value_from: _ValueFrom | None = None


class _Port(Shape):
    name: str | None = None
    container_port: int | None = None
    protocol: Literal["TCP"] | None = None


class _Resources(Shape):
    limits: dict[str, str] | None = None
    requests: dict[str, str] | None = None  # gcloud sends an empty one


class _ProbeTarget(Shape):
    port: int | None = None
    path: str | None = None
    http_headers: Any = None
    host: Any = None
    scheme: Any = None


class _Probe(Shape):
    http_get: _ProbeTarget | None = None
    tcp_socket: _ProbeTarget | None = None
    grpc: Any = None
    exec: Any = None
    initial_delay_seconds: Any = None
    timeout_seconds: Any = None
    period_seconds: Any = None
    failure_threshold: Any = None
    success_threshold: Any = None


class _Container(Shape):
    image: str | None = None
    name: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[_Variable] | None = None
    ports: list[_Port] | None = None
    resources: _Resources | None = None
    startup_probe: _Probe | None = None
    volume_mounts: list[Any] | None = None
    liveness_probe: Any = None
    readiness_probe: Any = None


class _RevisionSpec(Shape):
    containers: list[_Container] | None = None
    volumes: list[Any] | None = None
    service_account_name: str | None = None
    container_concurrency: int | None = None
    timeout_seconds: int | None = None
    node_selector: Any = None


class _Template(Shape):
    metadata: Meta | None = None
    spec: _RevisionSpec | None = None


class _Traffic(Shape):
    percent: int | None = None
    revision_name: str | None = None
    tag: str | None = None
    latest_revision: bool | None = None
    url: Any = None


class _Spec(Shape):
    template: _Template | None = None
    traffic: list[_Traffic] | None = None


class Service(Shape):
    """The body of a request that creates or replaces a service."""

    api_version: str | None = None
    kind: str | None = None
    metadata: Meta | None = None
    spec: _Spec | None = None
    status: Any = None
