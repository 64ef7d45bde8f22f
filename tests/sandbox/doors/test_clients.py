"""Google's Python clients as they are by default, over gRPC: no transport named, no endpoint set."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Iterator
from typing import Any

import google.auth.credentials
import google.auth.transport.requests
import grpc
import pytest
from google.api_core import exceptions
from google.cloud import artifactregistry_v1 as ar
from google.cloud import billing_v1, resourcemanager_v3, run_v2, service_usage_v1
from google.cloud.devtools import cloudbuild_v1, containeranalysis_v1
from google.iam.v1 import policy_pb2
from google.longrunning import operations_pb2

from cli.world.starter import World
from helpers import target, waiting
from sandbox.doors import log_tail

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def project(in_world: object) -> str:
    """The project, with the APIs that these tests speak to."""
    found = os.environ["PROJECT_ID"]
    names = [f"{name}.googleapis.com" for name in ("artifactregistry", "cloudbuild", "containeranalysis", "run")]
    service_usage_v1.ServiceUsageClient().batch_enable_services(
        request={"parent": f"projects/{found}", "service_ids": names}
    ).result(timeout=30)
    return found


@pytest.fixture
def parent(project: str) -> str:
    return f"projects/{project}/locations/us-central1"


@pytest.fixture
def client(project: str) -> ar.ArtifactRegistryClient:
    made = ar.ArtifactRegistryClient()
    assert made.transport.kind == "grpc"
    return made


@pytest.fixture
def repository(client: ar.ArtifactRegistryClient, parent: str) -> Iterator[str]:
    made = client.create_repository(
        parent=parent, repository_id=f"r-{secrets.token_hex(4)}", repository=ar.Repository(format_="DOCKER")
    ).result(timeout=30)
    yield made.name
    client.delete_repository(name=made.name).result(timeout=30)


def test_a_repository_from_beginning_to_end(client: ar.ArtifactRegistryClient, repository: str, parent: str) -> None:
    assert client.get_repository(name=repository).format_ is ar.Repository.Format.DOCKER
    assert repository in {one.name for one in client.list_repositories(parent=parent)}
    changed = client.update_repository(
        repository={"name": repository, "description": "changed", "labels": {"a": "1"}},
        update_mask={"paths": ["description"]},
    )
    assert (changed.description, dict(changed.labels)) == ("changed", {})
    policy = policy_pb2.Policy(
        bindings=[policy_pb2.Binding(role="roles/artifactregistry.reader", members=["allUsers"])]
    )
    client.set_iam_policy(request={"resource": repository, "policy": policy})
    assert client.get_iam_policy(request={"resource": repository}).bindings[0].members == ["allUsers"]
    asked = {"resource": repository, "permissions": ["artifactregistry.tags.get", "artifactregistry.tags.delete"]}
    assert len(client.test_iam_permissions(request=asked).permissions) == 2


def test_pages_are_turned(client: ar.ArtifactRegistryClient, repository: str, parent: str) -> None:
    more = [f"{secrets.token_hex(4)}" for _ in range(3)]
    for name in more:
        client.create_repository(parent=parent, repository_id=f"p-{name}", repository={"format_": "DOCKER"}).result(30)
    pages = list(client.list_repositories(request={"parent": parent, "page_size": 1}).pages)
    assert len(pages) >= 4
    assert {f"{parent}/repositories/p-{name}" for name in more} <= {one.name for p in pages for one in p.repositories}
    for name in more:
        client.delete_repository(name=f"{parent}/repositories/p-{name}").result(timeout=30)


def test_refusals_keep_their_code_their_words_and_their_details(
    client: ar.ArtifactRegistryClient, repository: str, parent: str, project: str
) -> None:
    with pytest.raises(exceptions.NotFound, match="Requested entity was not found"):
        client.get_repository(name=f"{parent}/repositories/nothing")
    with pytest.raises(exceptions.AlreadyExists):
        client.create_repository(
            parent=parent, repository_id=repository.rpartition("/")[2], repository={"format_": "DOCKER"}
        )
    with pytest.raises(exceptions.InvalidArgument, match="do not fit /v1/"):
        client.list_repositories(parent="projects/only")
    with pytest.raises(exceptions.PermissionDenied) as denied:
        client.list_repositories(parent="projects/somebody-elses/locations/us-central1")
    assert denied.value.reason == "IAM_PERMISSION_DENIED"
    service_usage_v1.ServiceUsageClient().disable_service(
        request={"name": f"projects/{project}/services/containeranalysis.googleapis.com"}
    ).result(timeout=30)
    with pytest.raises(exceptions.PermissionDenied) as disabled:
        list(_grafeas().list_occurrences(parent=f"projects/{project}"))
    assert disabled.value.reason == "SERVICE_DISABLED"
    assert disabled.value.metadata["service"] == "containeranalysis.googleapis.com"


def _grafeas() -> Any:
    # gRPC only: https://github.com/googleapis/google-cloud-python, containeranalysis' get_grafeas_client
    return containeranalysis_v1.ContainerAnalysisClient().get_grafeas_client()


def test_the_other_apis_answer_too(project: str, parent: str) -> None:
    assert list(_grafeas().list_occurrences(parent=f"projects/{project}")) == []
    assert list(cloudbuild_v1.CloudBuildClient().list_builds(project_id=project)) == []
    assert list(run_v2.ServicesClient().list_services(parent=parent)) == []
    found = resourcemanager_v3.ProjectsClient().get_project(name=f"projects/{project}")
    assert found.project_id == project
    about = billing_v1.CloudBillingClient().get_project_billing_info(name=f"projects/{project}")
    assert about.project_id == project
    enabled = service_usage_v1.ServiceUsageClient().list_services(
        request={"parent": f"projects/{project}", "filter": "state:ENABLED"}
    )
    assert "artifactregistry.googleapis.com" in {one.config.name for one in enabled}


def test_operations_and_locations_are_their_host_s(client: ar.ArtifactRegistryClient, parent: str) -> None:
    operation = client.create_repository(parent=parent, repository_id="for-an-operation", repository={"format_": 1})
    again = client.get_operation(operations_pb2.GetOperationRequest(name=operation.operation.name))
    assert again.done
    assert again.response.Is(ar.Repository.pb(ar.Repository()).DESCRIPTOR)
    assert client.get_location({"name": parent}).location_id == "us-central1"
    client.delete_repository(name=f"{parent}/repositories/for-an-operation").result(timeout=30)


def test_a_forged_token_is_refused(project: str, parent: str) -> None:
    class Forged(google.auth.credentials.Credentials):
        def refresh(self, request: object) -> None:
            self.token = "ya29.forged"

    with pytest.raises(exceptions.Unauthenticated):
        ar.ArtifactRegistryClient(credentials=Forged()).list_repositories(parent=parent)


def test_the_async_client_asks_many_things_at_once(client: ar.ArtifactRegistryClient, repository: str) -> None:
    async def ask() -> set[str]:
        opened = ar.ArtifactRegistryAsyncClient()
        found = await asyncio.gather(*(opened.get_repository(name=repository) for _ in range(40)))
        await opened.transport.close()
        return {one.name for one in found}

    assert asyncio.run(ask()) == {repository}


def test_what_is_not_served_says_so(project: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="sandbox does not do this"):
        run_v2.JobsClient().list_jobs(parent=f"projects/{project}/locations/us-central1")


def test_nobody_gets_in_past_the_edge(client: ar.ArtifactRegistryClient, repository: str, world: World) -> None:
    """The listener is on loopback; whoever finds it without coming through the edge is told nothing."""
    ports = _listening(world.info.pid) - {world.info.port, world.info.edge_port}
    assert len(ports) == 1
    with grpc.insecure_channel(f"127.0.0.1:{ports.pop()}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/google.devtools.artifactregistry.v1.ArtifactRegistry/GetRepository")
        with pytest.raises(grpc.RpcError) as refused:
            call(ar.GetRepositoryRequest.serialize(ar.GetRepositoryRequest(name=repository)), timeout=30)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "did not come through the edge" in refused.value.details()


def _listening(pid: int) -> set[int]:
    """The ports of 127.0.0.1 on which a process listens, as Linux tells (proc(5))."""
    inodes = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}  # noqa: PTH208, PTH115
    loopback = socket.inet_aton("127.0.0.1")[::-1].hex().upper()
    found = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(path) as file:  # noqa: PTH123
            for line in list(file)[1:]:
                parts = line.split()
                address, port = parts[1].rsplit(":", 1)
                if parts[3] == "0A" and f"socket:[{parts[9]}]" in inodes:
                    assert address in (loopback, f"0000000000000000FFFF0000{loopback}"), "listens beyond loopback"
                    found.add(int(port, 16))
    return found


@pytest.mark.parametrize("call", ["get", "list", "create", "policy"])
def test_a_call_arrives_as_the_rest_transport_would_send_it(
    client: ar.ArtifactRegistryClient, repository: str, parent: str, call: str
) -> None:
    """The request log shows the same verb, path, query and body for both transports."""

    def make(spoken: ar.ArtifactRegistryClient) -> None:
        if call == "get":
            spoken.get_repository(name=repository)
        elif call == "list":
            list(spoken.list_repositories(request={"parent": parent, "page_size": 3, "order_by": "CREATE_TIME desc"}))
        elif call == "policy":
            spoken.test_iam_permissions(request={"resource": repository, "permissions": ["artifactregistry.tags.get"]})
        else:
            with pytest.raises(exceptions.Conflict):
                spoken.create_repository(
                    parent=parent, repository_id=repository.rpartition("/")[2], repository={"format_": "DOCKER"}
                )

    seen = []
    for spoken in (client, ar.ArtifactRegistryClient(transport="rest")):
        before = _requests()
        make(spoken)
        seen.append([_told(one) for one in _requests()[len(before) :] if one["host"].startswith("artifactregistry")])
    assert seen[0]
    assert seen[0] == seen[1]


def _requests() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (target.admin("requests") or {})["requests"]
    return found


def _told(one: dict[str, Any]) -> tuple[str, str, list[str], str]:
    query = sorted(part for part in one["query"].split("&") if part and not part.startswith("%24alt="))
    return one["verb"], one["path"], query, "".join(str(one["body"]).split())


def test_a_tail_of_the_log_takes_no_stranger_and_ends_with_its_caller(project: str) -> None:
    token, _ = google.auth.default(["https://www.googleapis.com/auth/cloud-platform"])
    token.refresh(google.auth.transport.requests.Request())
    mine = [("authorization", f"Bearer {token.token}")]
    nothing = 'resource.type="nothing"'
    trusted = grpc.ssl_channel_credentials()
    elsewhere = "run.googleapis.com"
    channels = {host: grpc.secure_channel(f"{host}:443", trusted) for host in (log_tail.HOST, elsewhere)}

    def tail(host: str, wanted: str, metadata: list[tuple[str, str]], seconds: float = 30) -> Any:
        content = log_tail.request([f"projects/{project}"], wanted)
        return channels[host].stream_stream(log_tail.PATH)(iter([content]), metadata=metadata, timeout=seconds)

    def end(opened: Any) -> grpc.StatusCode:
        with pytest.raises(grpc.RpcError) as ended:
            next(opened)
        return ended.value.code()

    assert end(tail(log_tail.HOST, nothing, [])) is grpc.StatusCode.UNAUTHENTICATED
    assert end(tail(log_tail.HOST, "resource.type=", mine)) is grpc.StatusCode.UNIMPLEMENTED
    assert end(tail(elsewhere, nothing, mine)) is grpc.StatusCode.UNIMPLEMENTED
    opened = [tail(log_tail.HOST, nothing, mine) for _ in range(log_tail.SESSIONS + 1)]
    refused = next(one for _ in waiting.attempts(30) for one in opened if not one.is_active())
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for one in opened:
        one.cancel()
    # It waits for entries again: nobody's session is held any more.
    codes = (end(tail(log_tail.HOST, nothing, mine, 2)) for _ in waiting.attempts(30))
    assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
    for channel in channels.values():
        channel.close()
