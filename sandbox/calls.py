"""Make one call of a Google API: identify the caller, check the permissions, and call the method's function."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import BinaryIO

from starlette.requests import Request

from sandbox.api import parameters
from sandbox.api.methods import Answer, Api, Call, Method
from sandbox.api.principal import ANONYMOUS, Principal
from sandbox.errors import ApiError, invalid_token, unauthenticated
from sandbox.iam import admission, policies, scopes, tokens
from sandbox.redaction import redact
from sandbox.state import projects
from sandbox.state.world import World

log = logging.getLogger("sandbox")


@dataclass(frozen=True)
class ParsedRequest:
    """A request for a known method, with its body read; `Call` has the same fields.

    Attributes:
        host: Google's name of the host.
        params: the variables of the method's path, decoded once.
    """

    request: Request
    api: Api
    method: Method
    host: str
    params: dict[str, str]
    content: bytes
    body: BinaryIO | None = None


class RequestRecord:
    """Fields for the request log, filled in while the call is handled."""

    def __init__(self) -> None:
        self.method = ""
        self.principal = "anonymous"
        self.body = b""


def identify(world: World, request: Request, api: Api, record: RequestRecord) -> Principal:
    """Return the caller of a method that is not open to all.

    Raises:
        ApiError: UNAUTHENTICATED for an anonymous caller.
    """
    principal = _principal(world, request, api, record)
    if principal.anonymous:
        raise unauthenticated()
    return principal


def make(world: World, parsed: ParsedRequest, record: RequestRecord) -> Answer:
    """Authenticate the caller, then call `make_as`.

    Raises:
        ApiError: in the words of Google's front end, or of the method.
    """
    header = parsed.request.headers.get("authorization", "")
    if parsed.method.open_to_all and header.lower().startswith("basic "):
        # This is the name of an OAuth client, and not the caller's: RFC 6749, section 2.3.1.
        return make_as(world, parsed, ANONYMOUS)
    identified = _principal if parsed.method.open_to_all else identify
    return make_as(world, parsed, identified(world, parsed.request, parsed.api, record))


def make_as(world: World, parsed: ParsedRequest, principal: Principal) -> Answer:
    """Find the project, check that the API is enabled and the call is allowed, then make it.

    Raises:
        ApiError: in the words of Google's front end, or of the method.
    """
    request, api, method, params = parsed.request, parsed.api, parsed.method, parsed.params
    project = None
    if params.get("project", "-") != "-":
        project = projects.find(world, params["project"])
        if project is None:
            raise (
                _denied(api, method, method.permissions[0], params)
                if method.permissions
                else ApiError("PERMISSION_DENIED", f"Permission denied on resource project {params['project']}.")
            )
        params = {**params, "project": project.id}
        if project.state != "ACTIVE" and not api.sees_deleted:
            raise _project_deleted(project)
        if api.needs_enabling:
            admission.require_api(world, project, api.service, api.title)
    _check_quota_project(world, request, principal)
    for permission in method.permissions:
        decision = policies.decide(world, principal.member, permission, method.resource.format(**params))
        if not decision.allowed:
            raise _denied(api, method, permission, params)
    parameters.check(method.id, request.query_params)
    parameters.check_message(method.id, parsed.content)
    call = Call(
        world,
        method,
        principal,
        parsed.host,
        params,
        request.query_params,
        parsed.content,
        project,
        request.headers,
        parsed.body,
    )
    return method.handle(call)


def _principal(world: World, request: Request, api: Api, record: RequestRecord) -> Principal:
    header = request.headers.get("authorization")
    if header is None and (token := request.query_params.get("access_token")):
        header = f"Bearer {token}"
    try:
        principal = tokens.authenticate(world, header, api.service)
    except tokens.InvalidToken as reason:
        log.info("refused a credential: %s", redact(str(reason)))
        raise invalid_token() from None
    record.principal = principal.email or "anonymous"
    scopes.require(principal.scopes, api.service, record.method, request.method)
    return principal


def _check_quota_project(world: World, request: Request, principal: Principal) -> None:
    """Require serviceusage.services.use on a quota project that the client names.

    Source: https://cloud.google.com/docs/quotas/set-quota-project and the reason USER_PROJECT_DENIED.
    """
    named = request.headers.get("x-goog-user-project") or request.query_params.get("userProject")
    if not named:
        return
    project = projects.find(world, named)
    permission = "serviceusage.services.use"
    if project is None or not policies.decide(world, principal.member, permission, f"projects/{project.id}").allowed:
        raise ApiError(
            "PERMISSION_DENIED",
            f"Caller does not have required permission to use project {named}. Grant the caller the "
            f"roles/serviceusage.serviceUsageConsumer role, or a custom role with the {permission} permission.",
            [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "USER_PROJECT_DENIED",
                    "domain": "googleapis.com",
                    "metadata": {"consumer": f"projects/{named}"},
                }
            ],
        )


def _denied(api: Api, method: Method, permission: str, params: dict[str, str]) -> ApiError:
    return (method.denial or api.denial)(
        permission, f"//{api.service}/{(method.shown or method.resource).format(**params)}"
    )


def _project_deleted(project: projects.Project) -> ApiError:
    """Return the 403 of a project that is being deleted; for 30 days it can still be read and undeleted.

    The reason is from google/api/error_reason.proto. # unverified: the sentence
    """
    return ApiError(
        "PERMISSION_DENIED",
        f"Project #{project.number} has been deleted.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "CONSUMER_INVALID",
                "domain": "googleapis.com",
                "metadata": {"consumer": f"projects/{project.number}"},
            }
        ],
    )
