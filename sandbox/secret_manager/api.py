"""secretmanager.googleapis.com v1: secrets and their versions.

Supports `gcloud secrets` and `gcloud run deploy --set-secrets`, but not rotation, expiry, customer-managed keys or
regions.
Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import sqlite3
from typing import Any

import google_crc32c
import msgspec

from sandbox.api import field_masks, lists, shapes
from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.errors import ApiError, check_fields, invalid, not_found, permission_denied, unimplemented
from sandbox.iam import policies
from sandbox.iam.policy_methods import policy_methods
from sandbox.secret_manager import secrets
from sandbox.secret_manager.secrets import Json, Version
from sandbox.state.clock import timestamp

SERVICE = "secretmanager.googleapis.com"

_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_MAX_BYTES = 65536  # https://cloud.google.com/secret-manager/quotas
_STATES = {"ENABLED": 1, "DISABLED": 2, "DESTROYED": 3}  # SecretVersion.State of Google's message
_FIELDS = {"name", "replication", "labels", "annotations"}


def _etag(time: str, change: int = 0) -> str:
    """Return an etag in Google's format: a time in microseconds, in hexadecimal and in quotes."""
    moment = dt.datetime.fromisoformat(time)
    return f'"1{int(moment.timestamp() * 1_000_000) + change:x}"'


def _check_etag(given: Any, now: str) -> None:
    if given and given != now:
        # unverified: the code and the sentence
        raise ApiError("FAILED_PRECONDITION", f"The etag {str(given)[:80]} is not the current one, {now}.")


def _with_etag(secret: Json) -> Json:
    return {**secret, "etag": secret.get("etag") or _etag(secret["createTime"])}


def _name(call: Call) -> str:
    return secrets.resource(call.params["project"], call.params["secret"])


def _shown(call: Call, secret: str = "") -> str:
    """Return a secret's name with the project's number, as in Google's responses."""
    return f"projects/{call.project.number}/secrets/{secret or call.params['secret']}"


def exists(call: Call) -> Json:
    """Return the secret in the path, or raise NOT_FOUND."""
    with call.world.reading() as rows:
        found = secrets.find(rows, _name(call))
    if found is None:
        raise not_found(f"Secret [{_shown(call)}] not found.")
    return found


def _version(call: Call) -> Version:
    wanted = call.params["version"]
    with call.world.reading() as rows:
        found = secrets.find_version(rows, _name(call), wanted)
    if found is None and wanted == "latest":
        # Captured on 2026-09-14, for either case; the message of secrets.get was captured on 2025-08-18.
        raise not_found(f"Secret [{_shown(call)}] not found or has no versions.")
    if found is None:
        exists(call)
        raise not_found(f"Secret Version [{_shown(call)}/versions/{wanted}] not found.")
    return found


def _render(call: Call, version: Version, state: str = "") -> Json:
    return {
        "name": f"{_shown(call, version.secret.rpartition('/')[2])}/versions/{version.number}",
        "createTime": version.create_time,
        "state": state or version.state,
        "replicationStatus": {"automatic": {}},
        "etag": _etag(version.create_time, _STATES[state or version.state]),
    }


def _create(call: Call) -> Json:
    body, secret = call.json(), call.query.get("secretId", "")
    if not _ID.fullmatch(secret):
        raise invalid(f"The provided Secret ID [{secret[:80]}] does not match the expected format [[a-zA-Z_0-9]+].")
    for field in sorted(set(body) - _FIELDS):
        raise unimplemented(f"{field} of a secret")
    if body.get("replication") != {"automatic": {}}:
        if body.get("replication"):
            raise unimplemented("secrets that are not replicated automatically, without a key of one's own")
        raise invalid("The secret has no replication policy.")  # unverified: the sentence
    created = timestamp(call.world.now())
    kept = {field: body[field] for field in ("labels", "annotations") if body.get(field)}
    made = {"name": _shown(call, secret), "replication": {"automatic": {}}, "createTime": created, **kept}
    try:
        with call.world.writing() as rows:
            name = secrets.resource(call.project.id, secret)
            secrets.add(rows, name, made)
            policies.forget(rows, name)
    except sqlite3.IntegrityError:
        raise ApiError("ALREADY_EXISTS", f"Secret [{_shown(call, secret)}] already exists.") from None
    return _with_etag(made)


def _list(call: Call) -> Json:
    if call.query.get("filter"):
        raise unimplemented("a filter over secrets")
    with call.world.reading() as rows:
        found = secrets.of_project(rows, call.project.id)
    chosen, token = lists.page(found, call.query, lambda one: str(one["name"]))
    return lists.answer("secrets", [_with_etag(one) for one in chosen], token) | {"totalSize": len(found)}


def _get(call: Call) -> Json:
    return _with_etag(exists(call))


def _patch(call: Call) -> Json:
    """Change labels and annotations, the only fields that can change here."""
    body = call.json()
    chosen = set(field_masks.paths(field_masks.of(call)))
    if not chosen:
        raise invalid("The update mask is empty.")  # unverified: the sentence
    if further := chosen - {"labels", "annotations"}:
        raise unimplemented(f"a change of a secret's {min(further)}")
    with call.world.writing() as rows:
        now = exists(call)
        _check_etag(body.get("etag"), _with_etag(now)["etag"])
        after = {key: value for key, value in now.items() if key not in chosen}
        after |= {field: body[field] for field in sorted(chosen) if body.get(field)}
        after["etag"] = _etag(timestamp(call.world.now()))
        secrets.change(rows, _name(call), after)
        return after


def _delete(call: Call) -> Json:
    with call.world.writing() as rows:
        _check_etag(call.query.get("etag"), _with_etag(exists(call))["etag"])
        secrets.remove(rows, _name(call))
        policies.forget(rows, _name(call))
        return {}


class _Payload(shapes.Shape):
    data: str | None = None
    data_crc32c: str | int | None = msgspec.field(default=None, name="dataCrc32c")


class _NewVersion(shapes.Shape):
    """A version to add, https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets/addVersion."""

    payload: _Payload | None = None
    parent: str | None = None


def _add_version(call: Call) -> Json:
    with call.world.writing() as rows:
        exists(call)
        payload = shapes.check(_NewVersion, call.json(), strict=True).get("payload", {})
        try:
            value = base64.b64decode(payload.get("data", "").translate({45: "+", 95: "/"}), validate=True)
        except ValueError:
            raise invalid("Invalid value at 'payload.data' (TYPE_BYTES), Base64 decoding failed.") from None
        if not 1 <= len(value) <= _MAX_BYTES:
            raise invalid(
                f"The payload has {len(value)} bytes; it takes 1 to {_MAX_BYTES}."
            )  # unverified: the sentence
        if "dataCrc32c" in payload and str(payload["dataCrc32c"]) != str(google_crc32c.value(value)):
            raise invalid("The payload's checksum does not match its data.")  # unverified: the sentence
        made = secrets.add_version(rows, _name(call), timestamp(call.world.now()), value)
        # Without this field, gcloud reports a damaged version.
        checked = {"clientSpecifiedPayloadChecksum": True} if "dataCrc32c" in payload else {}
        return _render(call, made) | checked


def _list_versions(call: Call) -> Json:
    exists(call)
    with call.world.reading() as rows:
        found = secrets.versions(rows, _name(call))
    chosen, token = lists.page(found, call.query, lambda one: str(one.number))
    return lists.answer("versions", [_render(call, one) for one in chosen], token) | {"totalSize": len(found)}


def _get_version(call: Call) -> Json:
    return _render(call, _version(call))


def _access(call: Call) -> Json:
    version = _version(call)
    if version.state != "ENABLED":
        name = f"{_shown(call)}/versions/{version.number}"
        raise ApiError("FAILED_PRECONDITION", f"Secret Version [{name}] is in {version.state} state.")
    payload = {"data": base64.b64encode(version.value).decode(), "dataCrc32c": str(google_crc32c.value(version.value))}
    return {"name": _render(call, version)["name"], "payload": payload}


def _switch(state: str) -> Any:
    def handle(call: Call) -> Json:
        check_fields(call.json(), ("etag", "name"))
        with call.world.writing() as rows:
            version = _version(call)
            if version.state == "DESTROYED":
                name = f"{_shown(call)}/versions/{version.number}"
                raise ApiError("FAILED_PRECONDITION", f"Secret Version [{name}] is in DESTROYED state.")
            _check_etag(call.json().get("etag"), _etag(version.create_time, _STATES[version.state]))
            secrets.set_state(rows, version, state)
            return _render(call, version, state)

    return handle


_SECRETS = "/v1/projects/{project}/secrets"
_SECRET = f"{_SECRETS}/{{secret}}"
_VERSION = f"{_SECRET}/versions/{{version}}"
_RESOURCE = "projects/{project}/secrets/{secret}"
_VERSION_RESOURCE = f"{_RESOURCE}/versions/{{version}}"
_PREFIX = "secretmanager.projects.secrets"


def _method(name: str, verb: str, path: str, handle: Any, permission: str, resource: str = _RESOURCE) -> Method:
    return Method(f"{_PREFIX}.{name}", verb, path, handle, (f"secretmanager.{permission}",), resource)


def _of_version(name: str, verb: str, path: str, handle: Any, permission: str) -> Method:
    return _method(f"versions.{name}", verb, path, handle, f"versions.{permission}", _VERSION_RESOURCE)


def _denial(permission: str, resource: str) -> ApiError:
    """Return the refusal, which names no resource since captures of 2026-09-14; older ones named it."""
    error = permission_denied(permission, resource)
    error.message = f"Permission '{permission}' denied on resource (or it may not exist)."
    return error


API = Api(
    SERVICE,
    "Secret Manager API",
    ordered(
        (
            _method("create", "POST", _SECRETS, _create, "secrets.create", "projects/{project}"),
            _method("list", "GET", _SECRETS, _list, "secrets.list", "projects/{project}"),
            _method("get", "GET", _SECRET, _get, "secrets.get"),
            _method("patch", "PATCH", _SECRET, _patch, "secrets.update"),
            _method("delete", "DELETE", _SECRET, _delete, "secrets.delete"),
            _method("addVersion", "POST", f"{_SECRET}:addVersion", _add_version, "versions.add"),
            _method("versions.list", "GET", f"{_SECRET}/versions", _list_versions, "versions.list"),
            _of_version("get", "GET", _VERSION, _get_version, "get"),
            _of_version("access", "GET", f"{_VERSION}:access", _access, "access"),
            _of_version("enable", "POST", f"{_VERSION}:enable", _switch("ENABLED"), "enable"),
            _of_version("disable", "POST", f"{_VERSION}:disable", _switch("DISABLED"), "disable"),
            _of_version("destroy", "POST", f"{_VERSION}:destroy", _switch("DESTROYED"), "destroy"),
            *policy_methods(_PREFIX, _SECRET, _RESOURCE, "secretmanager.secrets", exists=exists),
        )
    ),
    enums={"state": _STATES},
    denial=_denial,
)
