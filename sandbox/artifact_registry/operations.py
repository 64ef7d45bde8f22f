"""`projects.locations.operations`: the work is finished before the first response (`sandbox.api.operations`)."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

from google.longrunning import operations_pb2

from sandbox.api import messages, operations
from sandbox.api.methods import Call, Method
from sandbox.artifact_registry.names import TYPE
from sandbox.errors import permission_denied
from sandbox.iam import policies
from sandbox.iam.decisions import ALL_AUTHENTICATED_USERS, ALL_USERS

_PATH = "/v1/projects/{project}/locations/{location}/operations/{operation}"
ALREADY_EXISTS, FAILED_PRECONDITION = 6, 9  # google/rpc/code.proto
_EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}
_METADATA = {"@type": f"{TYPE}.OperationMetadata"}


def _name(call: Call) -> str:
    return f"projects/{call.params['project']}/locations/{call.params['location']}/operations/{uuid.uuid4()}"


def finish(
    rows: sqlite3.Connection,
    call: Call,
    response: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Store a finished operation, and return it as a running one.

    Args:
        response: with its `@type`; None for Empty.
        metadata: likewise; None for OperationMetadata.
    """
    return operations.finish(rows, call.world, _name(call), response or _EMPTY, metadata or _METADATA)


def fail(rows: sqlite3.Connection, call: Call, message: str, code: int = FAILED_PRECONDITION) -> dict[str, Any]:
    """Store a failed operation, and return it as a running one."""
    error = {"code": code, "message": message}
    return operations.finish(rows, call.world, _name(call), None, _METADATA, error=error)


def _get(call: Call) -> dict[str, Any]:
    """Return an operation, if the caller may see the project's repositories or one of them in that location.

    unverified: which permission Google checks; its tables have none
    """
    parent = f"projects/{call.params['project']}/locations/{call.params['location']}"
    with call.world.reading() as rows:
        found = rows.execute(
            "SELECT name FROM repositories WHERE project = ? AND location = ?",
            (call.params["project"], call.params["location"]),
        ).fetchall()
    seen = "artifactregistry.repositories.get"
    resources = [f"projects/{call.params['project']}", *(row["name"] for row in found)]
    decisions = [policies.decide(call.world, call.principal.member, seen, name) for name in resources]
    # A public repository makes only itself visible, not the operations of its location.
    public = (ALL_USERS, ALL_AUTHENTICATED_USERS)
    if not any(grant.member not in public for decision in decisions for grant in decision.granted_by):
        raise permission_denied(seen, f"//artifactregistry.googleapis.com/{parent}")
    return operations.get(call.world, f"{parent}/operations/{call.params['operation']}")


def _cancel(call: Call) -> dict[str, Any]:
    """Do nothing, since the work is finished: "success is not guaranteed" (google/longrunning/operations.proto)."""
    _get(call)
    messages.parse(operations_pb2.CancelOperationRequest, call.json())
    return {}


METHODS = (
    Method("artifactregistry.projects.locations.operations.get", "GET", _PATH, _get),
    Method("artifactregistry.projects.locations.operations.cancel", "POST", _PATH + ":cancel", _cancel),
)
