"""Each gRPC call as an HTTP request, and answers back: pure, over every call that the packages know."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from google.cloud import artifactregistry_v1 as ar
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from sandbox.doors import grpc_schema, grpc_transcoding
from sandbox.doors.grpc_schema import Rpc
from sandbox.errors import HTTP_STATUS

AR = "artifactregistry.googleapis.com"
CREATE = "/google.devtools.artifactregistry.v1.ArtifactRegistry/CreateRepository"


def rpc(path: str, host: str = AR) -> Rpc:
    found = grpc_schema.find(path, host)
    assert found is not None
    return found


def every() -> list[Rpc]:
    return [call for service in grpc_schema._SERVICES for call in grpc_schema._calls(service).values()]


def fill(message: Any, uri: str) -> None:
    """Set the fields that the rule's path names to names of the form that it asks for."""
    for field, form in re.findall(r"\{([\w.]+)=?([^}]*)\}", uri):
        *parents, last = field.split(".")
        at = message
        for parent in parents:
            at = getattr(at, parent)
        setattr(at, last, (form or "*").replace("**", "a/b%2Fc").replace("*", "one-1"))


@pytest.mark.parametrize("call", every(), ids=lambda call: call.path)
def test_every_call_has_its_request(call: Rpc) -> None:
    for rule in call.rules:
        message = call.request()
        fill(message, rule["uri"])
        made = grpc_transcoding.request(call, message.SerializeToString())
        # Another rule of the call may fit the same names; the first that fits is taken, as the clients do.
        assert made.verb in {one["method"].upper() for one in call.rules}
        assert made.path.startswith("/v")
        assert "{" not in made.path
        if any("body" in one for one in call.rules if one["method"].upper() == made.verb):
            assert isinstance(json.loads(made.body or b"{}"), dict)


def test_there_are_as_many_calls_as_the_packages_have() -> None:
    found = every()
    assert len(found) > 100
    assert len({call.path for call in found}) == len(found)


def test_a_body_holds_what_the_path_and_the_query_do_not() -> None:
    message = ar.CreateRepositoryRequest(
        parent="projects/p/locations/l", repository_id="r", repository={"format_": 1, "labels": {"a": "b"}}
    )
    made = grpc_transcoding.request(rpc(CREATE), ar.CreateRepositoryRequest.serialize(message))
    assert (made.verb, made.path, made.query) == ("POST", "/v1/projects/p/locations/l/repositories", "repositoryId=r")
    assert json.loads(made.body) == {"format": 1, "labels": {"a": "b"}}


def test_an_escaped_name_is_escaped_once_more() -> None:
    message = ar.GetPackageRequest(name="projects/p/locations/l/repositories/r/packages/team%2Fnested")
    path = "/google.devtools.artifactregistry.v1.ArtifactRegistry/GetPackage"
    made = grpc_transcoding.request(rpc(path), ar.GetPackageRequest.serialize(message))
    assert made.path.endswith("/packages/team%252Fnested")


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused_in_words(content: bytes) -> None:
    with pytest.raises(
        grpc_transcoding.NotTranscodable, match=r"The request('s names do not fit /v1/| is no google\.)"
    ):
        grpc_transcoding.request(rpc(CREATE), content)


@given(
    name=st.text(max_size=60).map(lambda text: f"projects/p/locations/l/repositories/{text}"),
    description=st.text(max_size=60),
    labels=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    size=st.integers(0, 2**62),
)
def test_an_answer_survives_json(name: str, description: str, labels: dict[str, str], size: int) -> None:
    sent = ar.Repository(name=name, description=description, labels=labels, size_bytes=size, format_="DOCKER")
    path = "/google.devtools.artifactregistry.v1.ArtifactRegistry/GetRepository"
    back = grpc_transcoding.answer(rpc(path), ar.Repository.to_json(sent).encode())
    assert ar.Repository.deserialize(back) == sent


def test_an_empty_answer_is_an_empty_message() -> None:
    path = "/google.devtools.artifactregistry.v1.ArtifactRegistry/DeleteTag"
    assert grpc_transcoding.answer(rpc(path), b"") == b""


@pytest.mark.parametrize("code", HTTP_STATUS)
def test_an_error_keeps_its_code_words_and_details(code: str) -> None:
    reason = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "BECAUSE",
        "domain": "googleapis.com",
        "metadata": {"service": AR},
    }
    unknown = {"@type": "type.googleapis.com/nobody.knows.This", "a": 1}
    body = {"error": {"code": 400, "message": "No.", "status": code, "details": [unknown, reason]}}
    failed = grpc_transcoding.failure(HTTP_STATUS[code], json.dumps(body).encode())
    assert (failed.code, failed.message) == (code, "No.")
    status = status_pb2.Status.FromString(failed.status)
    assert len(status.details) == 1
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, dict(info.metadata)) == ("BECAUSE", {"service": AR})


@given(st.integers(400, 599), st.binary(max_size=200))
def test_an_answer_of_any_other_kind_is_an_error_too(http_status: int, content: bytes) -> None:
    failed = grpc_transcoding.failure(http_status, content)
    assert failed.code in {"UNKNOWN", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "UNAVAILABLE"}
    assert status_pb2.Status.FromString(failed.status).code > 0


def test_shared_services_belong_to_the_host_that_was_asked() -> None:
    for host, version in ((AR, "v1"), ("run.googleapis.com", "v2"), ("serviceusage.googleapis.com", "v1")):
        found = rpc("/google.longrunning.Operations/GetOperation", host)
        assert found.rules[0]["uri"].startswith(f"/{version}/")
    assert rpc("/google.cloud.location.Locations/ListLocations").rules[0]["method"] == "get"
    assert grpc_schema.find("/google.longrunning.Operations/GetOperation", "storage.googleapis.com") is None
    assert grpc_schema.find(CREATE, "run.googleapis.com") is None
    assert grpc_schema.find("/nobody.Knows/This", AR) is None
