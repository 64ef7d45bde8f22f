"""The gRPC calls that the sandbox accepts, with message types and HTTP rules from Google's published packages.

The packages have the rules of google.api.http (https://google.aip.dev/127) only in the classes of their REST
transports, which are read as tables here and never instantiated.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

_Empty: type[Message] = empty_pb2.Empty  # type: ignore[attr-defined]
# For each gRPC service, its host and the module in Google's package.
_SERVICES = {
    "google.devtools.artifactregistry.v1.ArtifactRegistry": (
        "artifactregistry.googleapis.com",
        "google.cloud.artifactregistry_v1.services.artifact_registry",
    ),
    "google.devtools.cloudbuild.v1.CloudBuild": (
        "cloudbuild.googleapis.com",
        "google.cloud.devtools.cloudbuild_v1.services.cloud_build",
    ),
    "google.cloud.run.v2.Services": ("run.googleapis.com", "google.cloud.run_v2.services.services"),
    "google.cloud.run.v2.Revisions": ("run.googleapis.com", "google.cloud.run_v2.services.revisions"),
    "grafeas.v1.Grafeas": ("containeranalysis.googleapis.com", "grafeas.grafeas_v1.services.grafeas"),
    "google.devtools.containeranalysis.v1.ContainerAnalysis": (
        "containeranalysis.googleapis.com",
        "google.cloud.devtools.containeranalysis_v1.services.container_analysis",
    ),
    "google.cloud.resourcemanager.v3.Projects": (
        "cloudresourcemanager.googleapis.com",
        "google.cloud.resourcemanager_v3.services.projects",
    ),
    "google.api.serviceusage.v1.ServiceUsage": (
        "serviceusage.googleapis.com",
        "google.cloud.service_usage_v1.services.service_usage",
    ),
    "google.cloud.billing.v1.CloudBilling": (
        "cloudbilling.googleapis.com",
        "google.cloud.billing_v1.services.cloud_billing",
    ),
}
# Services that many hosts share (https://google.aip.dev/151).
_SHARED = {"google.longrunning.Operations", "google.cloud.location.Locations"}
# For packages whose REST transports leave operations to another class. Their rule has the API's own version.
_OPERATIONS = {
    "GetOperation": ("get", operations_pb2.GetOperationRequest, operations_pb2.Operation),
    "CancelOperation": ("post", operations_pb2.CancelOperationRequest, _Empty),
}


@dataclass(frozen=True)
class Rpc:
    """One call.

    Attributes:
        path: HTTP/2's `:path`, for example `/google.devtools.artifactregistry.v1.ArtifactRegistry/GetTag`.
        rules: the HTTP rule and its additional bindings, `{"method", "uri", "body"}` each.
    """

    path: str
    rules: tuple[Mapping[str, str], ...]
    request: type[Message]
    answer: type[Message]


def name(kind: type[Message]) -> str:
    """Return a message type's full name, for example `google.longrunning.Operation`."""
    return str(cast(Any, kind.DESCRIPTOR).full_name)


def find(path: str, host: str) -> Rpc | None:
    """Return the call with a path on a host, or None if the packages have none."""
    service, _, method = path.removeprefix("/").rpartition("/")
    if service in _SHARED:
        calls = {key: call for one, (at, _) in _SERVICES.items() if at == host for key, call in _calls(one).items()}
        return calls.get(method) or _operation(host, path, method)
    if service not in _SERVICES or _SERVICES[service][0] != host:
        return None
    return _calls(service).get(method)


@functools.cache
def _calls(service: str) -> dict[str, Rpc]:
    module = importlib.import_module(f"{_SERVICES[service][1]}.transports.rest")
    transport = getattr(module, f"{service.rpartition('.')[2]}RestTransport")
    found = {}
    for entry in vars(transport).values():
        if not isinstance(entry, type) or not hasattr(entry, "_get_http_options"):
            continue
        types: dict[str, Any] = entry.__call__.__annotations__
        method = entry.__name__.removeprefix("_")
        rules = tuple(entry._get_http_options())
        found[method] = Rpc(
            f"/{service}/{method}", rules, _plain(types["request"]), _plain(types.get("return") or _Empty)
        )
    return found


def answer(host: str, verb: str, path: str) -> Descriptor | None:
    """Return the message type of a REST call's answer, or None if the packages have no such call."""
    for method, pattern, kind in _patterns(host):
        if method == verb and pattern.fullmatch(path):
            return kind
    return None


@functools.cache
def _patterns(host: str) -> list[tuple[str, re.Pattern[str], Descriptor]]:
    return [
        (rule["method"].upper(), _pattern(rule["uri"]), cast(Any, rpc.answer).DESCRIPTOR)
        for service, (at, _) in _SERVICES.items()
        if at == host
        for rpc in _calls(service).values()
        for rule in rpc.rules
    ]


def _pattern(uri: str) -> re.Pattern[str]:
    """Return a rule's template, with variables such as `{name=projects/*}` and `{name}`, as an expression."""
    pieces = re.split(r"\{\w+(?:\.\w+)*(?:=([^}]*))?\}", uri)
    text = "".join(_variable(piece or "*") if place % 2 else re.escape(piece) for place, piece in enumerate(pieces))
    return re.compile(text)


def _variable(template: str) -> str:
    return re.escape(template).replace(r"\*\*", ".+").replace(r"\*", "[^/:]+")


def _plain(kind: Any) -> type[Message]:
    """Return the protobuf class behind proto-plus' wrapper, or the class itself."""
    plain: type[Message] = kind.pb() if hasattr(kind, "pb") else kind
    return plain


def _operation(host: str, path: str, method: str) -> Rpc | None:
    versions = {one.split(".")[-2] for one, (at, _) in _SERVICES.items() if at == host}
    if method not in _OPERATIONS or len(versions) != 1:
        return None
    verb, request, answer = _OPERATIONS[method]
    rule = {"method": verb, "uri": f"/{versions.pop()}/{{name=**}}"}
    if verb == "post":
        rule = {**rule, "uri": f"{rule['uri']}:cancel", "body": "*"}
    return Rpc(path, (rule,), request, answer)
