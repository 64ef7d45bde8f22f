"""The two kinds of refusals of the sandbox: Google's API errors and the registry's (OCI) errors.

    Refusal
    ├── ApiError        {"error": {"code", "message", "status", "details"}}       google.rpc.Status as JSON
    └── RegistryError   {"errors": [{"code", "message", "detail"}]}               OCI Distribution 1.1, "Error Codes"

Every code is listed here, and only here.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

# google.rpc.Code -> HTTP status, https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
}

# OCI Distribution 1.1 "Error Codes", the three that Artifact Registry adds (facts/artifact-registry.md 3.1), and
# distribution's UNKNOWN.
REGISTRY_STATUS = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "UNAUTHORIZED": 401,
    "DENIED": 403,
    "UNSUPPORTED": 405,
    "TOOMANYREQUESTS": 429,
    "GOOGLE_MANIFEST_DANGLING_TAG": 400,
    "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE": 400,
    "GOOGLE_MANIFEST_REFERRING_MANIFEST": 400,
    "UNIMPLEMENTED": 501,
    "UNKNOWN": 500,
}

# The reasons of https://cloud.google.com/storage/docs/json_api/v1/status-codes for these codes.
_REASONS = {
    "UNAUTHENTICATED": "authError",
    "PERMISSION_DENIED": "forbidden",
    "NOT_FOUND": "notFound",
    "ALREADY_EXISTS": "alreadyExists",
    "ABORTED": "aborted",
    "RESOURCE_EXHAUSTED": "rateLimitExceeded",
    "UNIMPLEMENTED": "notImplemented",
}

_BY_HTTP_STATUS = {304: "notModified", 412: "conditionNotMet", 416: "requestedRangeNotSatisfiable"}

ENTITY_NOT_FOUND = "Requested entity was not found."


class Refusal(Exception):
    """A refusal of the sandbox, with everything that its answer needs."""

    http_status: int
    headers: Mapping[str, str]

    def body(self) -> dict[str, Any]:
        """Return the JSON answer."""
        raise NotImplementedError


class ApiError(Refusal):
    """A refusal by a Google API.

    Args:
        status: a google.rpc.Code name, for example NOT_FOUND; decides the HTTP status.
        message: Google's sentence.
        details: google.rpc error details, each with its `@type`.
        http_status: if Google's HTTP status is not the code's usual one.
    """

    def __init__(
        self,
        status: str,
        message: str,
        details: list[dict[str, Any]] | None = None,
        *,
        http_status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details or []
        self.http_status = http_status or HTTP_STATUS[status]
        self.headers = headers or {}

    def body(self, *, listed: bool = False) -> dict[str, Any]:
        """Return the answer as Google's APIs write an error.

        Args:
            listed: also adds the list `errors` of older APIs, which `googleapis` clients read.
        """
        error: dict[str, Any] = {"code": self.http_status, "message": self.message}
        if listed:
            reason = _BY_HTTP_STATUS.get(self.http_status) or _REASONS.get(self.status, "badRequest")
            error["errors"] = [{"message": self.message, "domain": "global", "reason": reason}]
        error["status"] = self.status
        if self.details:
            error["details"] = self.details
        return {"error": error}


class RegistryError(Refusal):
    """A refusal by the registry.

    Args:
        code: a key of `REGISTRY_STATUS`; decides the HTTP status.
        message: Artifact Registry's sentence, if it is known.
        detail: the optional field `detail` of the specification.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        detail: Any = None,
        http_status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
        self.http_status = http_status or REGISTRY_STATUS[code]
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the answer as a registry writes an error; OCI distribution-spec, "Error Codes"."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return {"errors": [error]}


# The sandbox's own. After a 5xx, a client would try again for a minute and would not show the message.
_DISK_FULL = (
    "The disk that holds the sandbox's state is full, so nothing was changed. Free some space and try again: "
    "`workbook status` says where the state is, and `workbook reset` starts with an empty one."
)


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error of the operating system or of SQLite means that no space is left."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def unexpected(error: Exception, *, registry: bool) -> Refusal:
    """Return the refusal for a failure of the sandbox itself, in the registry's form or that of an API."""
    if is_disk_full(error):
        return RegistryError("DENIED", _DISK_FULL) if registry else ApiError("FAILED_PRECONDITION", _DISK_FULL)
    message = "Internal error encountered. The sandbox's log has the reason: `workbook status` says where."
    return RegistryError("UNKNOWN", message) if registry else ApiError("INTERNAL", message)


def not_found(message: str = ENTITY_NOT_FOUND) -> ApiError:
    """Return a 404 as recorded on Google (KCC's crud/_http.log, facts/artifact-registry.md 1.6)."""
    return ApiError("NOT_FOUND", message)


def invalid(message: str) -> ApiError:
    """Return a 400 INVALID_ARGUMENT."""
    return ApiError("INVALID_ARGUMENT", message)


def conflict() -> ApiError:
    """Return the 409 for a policy or a role that has changed since the caller read it."""
    sentence = "Please retry the whole read-modify-write with exponential backoff."
    return ApiError("ABORTED", f"There were concurrent policy changes. {sentence}")


def unknown_field(name: str, reason: str = "Cannot find field.", *, where: str = "") -> ApiError:
    """Return the 400 of Google's front end for an unknown field or parameter."""
    at = f" at '{where}'" if where else ""
    return invalid(f'Invalid JSON payload received. Unknown name "{name}"{at}: {reason}')


def check_fields(body: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """Refuse a body that has an unknown field.

    Args:
        where: the body's name in messages, for example `role`.

    Raises:
        ApiError: INVALID_ARGUMENT for the first unknown field by name.
    """
    if unknown := set(body).difference(known):
        raise unknown_field(min(unknown), where=where)


def unimplemented(what: str) -> ApiError:
    """Return the 501 for something that the sandbox does not do."""
    return ApiError("UNIMPLEMENTED", f"The workbook's sandbox does not do this: {what}.")


def once(refusal: ApiError) -> ApiError:
    """Return a refusal in a form after which gcloud does not try again.

    gcloud repeats a call that is answered with 5xx four times, in 31 seconds, and then blames the network; so a 501
    becomes a 400.
    """
    if refusal.status != "UNIMPLEMENTED":
        return refusal
    return ApiError(refusal.status, refusal.message, refusal.details, http_status=400, headers=refusal.headers)


def unauthenticated(message: str | None = None) -> ApiError:
    """Return the 401 of Google's API front end for a missing credential."""
    return ApiError(
        "UNAUTHENTICATED",
        message
        or "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or "
        "other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        headers={"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'},
    )


def invalid_token() -> ApiError:
    """Return the 401 for a token that is unknown, expired, forged or meant for somebody else."""
    error = unauthenticated(
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    error.headers = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'}
    return error


def permission_denied(permission: str, resource: str) -> ApiError:
    """Return the 403 of a control plane (facts/artifact-registry.md 3.1, last rows).

    Args:
        permission: for example `artifactregistry.repositories.get`.
        resource: the full resource name, `//artifactregistry.googleapis.com/projects/...`.
    """
    return ApiError(
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": resource.removeprefix("//").split("/", 1)[0],
                "metadata": {"permission": permission, "resource": resource.removeprefix("//").split("/", 1)[-1]},
            }
        ],
    )


def caller_denied(_permission: str, _resource: str) -> ApiError:
    """Return the 403 of methods that name neither permission nor resource; many public reports quote it."""
    return ApiError("PERMISSION_DENIED", "The caller does not have permission")


def service_disabled(title: str, service: str, project_number: str) -> ApiError:
    """Return the 403 of an API that is not enabled; because of its text, gcloud offers to enable the API.

    gcloud matches it in `api_lib/util/api_enablement.py:API_ENABLEMENT_REGEX` (facts/gcloud.md 3).
    """
    url = f"https://console.developers.google.com/apis/api/{service}/overview?project={project_number}"
    return ApiError(
        "PERMISSION_DENIED",
        f"{title} has not been used in project {project_number} before or it is disabled. Enable it by visiting {url} "
        "then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems "
        "and retry.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Google developers console API activation", "url": url}],
            },
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_DISABLED",
                "domain": "googleapis.com",
                "metadata": {"service": service, "consumer": f"projects/{project_number}"},
            },
        ],
    )
