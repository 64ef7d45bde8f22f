"""iam.googleapis.com v1: service accounts, their keys and policies.

Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts and facts/gcloud-requests.md 8a-8e.
A path may name a service account by e-mail or by unique id, and its project by id, by number or as `-`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
from typing import Any

from sandbox.api import field_masks, lists
from sandbox.api.methods import Call, Method
from sandbox.errors import ApiError, check_fields, invalid, not_found, unimplemented
from sandbox.iam import admission, keys, members, policies, standing
from sandbox.iam.policy_methods import policy_methods
from sandbox.state import projects

SERVICE = "iam.googleapis.com"
TITLE = "Identity and Access Management (IAM) API"

_ID = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])")
_MAX_KEYS = 10  # https://cloud.google.com/iam/quotas
_ETAG = "MDEwMjE5MjA="
# A request's output-only fields are ignored.
_FIELDS = frozenset(
    ("name", "projectId", "uniqueId", "email", "displayName", "etag", "description", "oauth2ClientId", "disabled")
)
_DESCRIPTION_LIMIT = 256
_DISPLAY_NAME_LIMIT = 100


def find_account(call: Call, service: str = SERVICE, title: str = TITLE) -> sqlite3.Row:
    """Return the service account in the path.

    Raises:
        ApiError: NOT_FOUND; PERMISSION_DENIED if the API is not enabled in the account's project.
    """
    with call.world.reading() as rows:
        name = policies.canonical(rows, _RESOURCE.format(**call.params))
        project, email = name.split("/")[1::2]
        row: sqlite3.Row | None = rows.execute(
            "SELECT * FROM service_accounts WHERE email = ? AND project = ?", (email, project)
        ).fetchone()
        owner = projects.find(call.world, project)
    if row is None or owner is None:
        raise not_found("Unknown service account")
    admission.require_api(call.world, owner, service, title)
    return row


def _name(row: sqlite3.Row) -> str:
    return f"projects/{row['project']}/serviceAccounts/{row['email']}"


def _render(row: sqlite3.Row) -> dict[str, Any]:
    answer = {
        "name": _name(row),
        "projectId": row["project"],
        "uniqueId": row["unique_id"],
        "email": row["email"],
        "displayName": row["display_name"],
        "description": row["description"],
        "etag": _ETAG,
        "oauth2ClientId": row["unique_id"],
        "disabled": bool(row["disabled"]),
    }
    return {key: value for key, value in answer.items() if value}


def _text(body: dict[str, Any], field: str, limit: int) -> str:
    value = body.get(field, "")
    if not isinstance(value, str) or len(value.encode()) > limit:
        raise invalid(f"Invalid value at 'service_account.{field}': a text of at most {limit} bytes.")
    return value


def _create(call: Call) -> dict[str, Any]:
    body = call.json()
    check_fields(body, ("accountId", "serviceAccount", "name"))
    account_id, details = body.get("accountId", ""), body.get("serviceAccount", {})
    if not isinstance(account_id, str) or not 6 <= len(account_id) <= 30:
        raise invalid(f'The account ID "{account_id}" does not have a length between 6 and 30.')
    if not _ID.fullmatch(account_id):
        raise invalid(
            f'The account ID "{account_id}" is not valid: lower-case letters, digits and hyphens, beginning with a '
            "letter and not ending with a hyphen."
        )
    if not isinstance(details, dict):
        raise invalid("Invalid value at 'service_account': expected an object.")
    check_fields(details, _FIELDS, "service_account")
    display_name = _text(details, "displayName", _DISPLAY_NAME_LIMIT)
    description = _text(details, "description", _DESCRIPTION_LIMIT)
    project = call.params["project"]
    email = f"{account_id}@{project}.iam.gserviceaccount.com"
    if members.is_googles(email):
        raise invalid(f'The account ID "{account_id}" is Google\'s own in this project.')
    with call.world.writing() as rows:
        if rows.execute("SELECT 1 FROM service_accounts WHERE email = ?", (email,)).fetchone():
            raise ApiError(
                "ALREADY_EXISTS", f"Service account {account_id} already exists within project projects/{project}."
            )
        projects.add_service_account(rows, call.world, project, account_id, display_name, description)
        policies.forget(rows, f"projects/{project}/serviceAccounts/{email}")
        return _render(rows.execute("SELECT * FROM service_accounts WHERE email = ?", (email,)).fetchone())


def _list(call: Call) -> dict[str, Any]:
    with call.world.reading() as rows:
        found = rows.execute(
            "SELECT * FROM service_accounts WHERE project = ? ORDER BY email", (call.params["project"],)
        ).fetchall()
    chosen, token = lists.page(found, call.query, lambda row: str(row["email"]))
    return lists.answer("accounts", [_render(row) for row in chosen], token)


def _get(call: Call) -> dict[str, Any]:
    return _render(find_account(call))


def _patch(call: Call) -> dict[str, Any]:
    """Change the fields in the mask. The response has only these fields, as recorded on Google (2025-05-23)."""
    body = call.json()
    check_fields(body, ("serviceAccount", "updateMask"))
    changes, mask = body.get("serviceAccount", {}), body.get("updateMask", "")
    if not isinstance(changes, dict) or not isinstance(mask, str):
        raise invalid("Invalid value at 'service_account' or 'update_mask': expected an object and a text.")
    check_fields(changes, _FIELDS, "service_account")
    columns = {"displayName": ("display_name", _DISPLAY_NAME_LIMIT), "description": ("description", _DESCRIPTION_LIMIT)}
    chosen = field_masks.paths(mask)
    if not chosen or not set(chosen) <= columns.keys():
        other = min(set(chosen) - columns.keys(), default="")
        # unverified: the sentence
        raise invalid(f"Invalid update mask {other[:80]!r}: displayName and description can change.")
    with call.world.writing() as rows:
        email = find_account(call)["email"]
        for field in chosen:
            column, limit = columns[field]
            statement = f"UPDATE service_accounts SET {column} = ? WHERE email = ?"  # noqa: S608 - of the table above
            rows.execute(statement, (_text(changes, field, limit), email))
        answer = _render(find_account(call))
    return {key: answer[key] for key in ("name", *columns) if key in answer}


def _delete(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        account = find_account(call)
        rows.execute("DELETE FROM service_accounts WHERE email = ?", (account["email"],))
        standing.end(rows, account["email"])
        policies.forget(rows, _name(account))
        policies.forget_member(rows, call.world, account["email"], account["unique_id"])
    call.world.end_account(account["email"])
    return {}


def _switch(call: Call, *, disabled: bool) -> dict[str, Any]:
    with call.world.writing() as rows:
        email = find_account(call)["email"]
        rows.execute("UPDATE service_accounts SET disabled = ? WHERE email = ?", (int(disabled), email))
        if disabled:
            standing.end(rows, email)
    if disabled:
        call.world.end_account(email)
    return {}


def _disable(call: Call) -> dict[str, Any]:
    return _switch(call, disabled=True)


def _enable(call: Call) -> dict[str, Any]:
    return _switch(call, disabled=False)


def _render_key(account: sqlite3.Row, key: sqlite3.Row) -> dict[str, Any]:
    return {
        "name": f"{_name(account)}/keys/{key['id']}",
        "validAfterTime": re.sub(r"\.\d+Z$", "Z", key["create_time"]),
        "validBeforeTime": key["expire_time"],
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
    }


def _create_key(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        body = call.json()
        check_fields(body, ("privateKeyType", "keyAlgorithm", "name"))
        account = find_account(call)
        kind = body.get("privateKeyType") or "TYPE_GOOGLE_CREDENTIALS_FILE"
        if kind not in ("TYPE_GOOGLE_CREDENTIALS_FILE", "TYPE_UNSPECIFIED"):
            raise unimplemented(f"keys of the type {kind}; ask for a JSON key file")
        if body.get("keyAlgorithm", "KEY_ALG_UNSPECIFIED") not in ("KEY_ALG_UNSPECIFIED", "KEY_ALG_RSA_2048"):
            raise unimplemented("keys with another algorithm than KEY_ALG_RSA_2048")
        key_id = os.urandom(20).hex()
        count = rows.execute(
            "SELECT COUNT(*) AS n FROM service_account_keys WHERE email = ?", (account["email"],)
        ).fetchone()["n"]
        if count >= _MAX_KEYS:
            raise ApiError("FAILED_PRECONDITION", "Precondition check failed.")
        content = keys.create(rows, call.world, account["project"], account["email"], key_id)
        key = rows.execute("SELECT * FROM service_account_keys WHERE id = ?", (key_id,)).fetchone()
        return _render_key(account, key) | {
            "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE",
            "privateKeyData": base64.b64encode(json.dumps(content, indent=2).encode()).decode(),
        }


def _list_keys(call: Call) -> dict[str, Any]:
    account = find_account(call)
    kinds = call.query.getlist("keyTypes")
    with call.world.reading() as rows:
        found = rows.execute(
            "SELECT * FROM service_account_keys WHERE email = ? ORDER BY create_time, id", (account["email"],)
        ).fetchall()
    # There are no SYSTEM_MANAGED keys here.
    if kinds and "USER_MANAGED" not in kinds:
        found = []
    return {"keys": [_render_key(account, key) for key in found]} if found else {}


def _find_key(call: Call) -> tuple[sqlite3.Row, sqlite3.Row]:
    account = find_account(call)
    with call.world.reading() as rows:
        key = rows.execute(
            "SELECT * FROM service_account_keys WHERE email = ? AND id = ?", (account["email"], call.params["key"])
        ).fetchone()
    if key is None:
        raise not_found(f"Service account key {call.params['key']} does not exist.")
    return account, key


def _get_key(call: Call) -> dict[str, Any]:
    if call.query.get("publicKeyType", "TYPE_NONE") not in ("TYPE_NONE", "0"):
        raise unimplemented("the public half of a key")
    return _render_key(*_find_key(call))


def _delete_key(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        _, key = _find_key(call)
        rows.execute("DELETE FROM service_account_keys WHERE id = ?", (key["id"],))
        return {}


_ACCOUNTS = "/v1/projects/{project}/serviceAccounts"
# `owner` and not `project`: it may be `-`, which is not the id of a project.
_ACCOUNT = "/v1/projects/{owner}/serviceAccounts/{account}"
_RESOURCE = "projects/{owner}/serviceAccounts/{account}"
_ID_PREFIX = "iam.projects.serviceAccounts"


def _method(name: str, verb: str, path: str, handle: Any, permission: str) -> Method:
    resource = "projects/{project}" if path == _ACCOUNTS else _RESOURCE
    return Method(f"{_ID_PREFIX}.{name}", verb, path, handle, (permission,), resource)


METHODS = (
    _method("create", "POST", _ACCOUNTS, _create, "iam.serviceAccounts.create"),
    _method("list", "GET", _ACCOUNTS, _list, "iam.serviceAccounts.list"),
    _method("get", "GET", _ACCOUNT, _get, "iam.serviceAccounts.get"),
    _method("patch", "PATCH", _ACCOUNT, _patch, "iam.serviceAccounts.update"),
    _method("delete", "DELETE", _ACCOUNT, _delete, "iam.serviceAccounts.delete"),
    _method("disable", "POST", f"{_ACCOUNT}:disable", _disable, "iam.serviceAccounts.disable"),
    _method("enable", "POST", f"{_ACCOUNT}:enable", _enable, "iam.serviceAccounts.enable"),
    *policy_methods(_ID_PREFIX, _ACCOUNT, _RESOURCE, "iam.serviceAccounts", get_verbs=("POST",), exists=find_account),
    _method("keys.create", "POST", f"{_ACCOUNT}/keys", _create_key, "iam.serviceAccountKeys.create"),
    _method("keys.list", "GET", f"{_ACCOUNT}/keys", _list_keys, "iam.serviceAccountKeys.list"),
    _method("keys.get", "GET", f"{_ACCOUNT}/keys/{{key}}", _get_key, "iam.serviceAccountKeys.get"),
    _method("keys.delete", "DELETE", f"{_ACCOUNT}/keys/{{key}}", _delete_key, "iam.serviceAccountKeys.delete"),
)
