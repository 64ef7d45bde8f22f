"""`repositories.packages`: an image or another package, with all its versions and tags.

Source: facts/artifact-registry.md 1.2, 1.4 and 1.5.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from google.cloud.artifactregistry_v1 import types

from sandbox.api import field_masks, lists, messages
from sandbox.api.methods import Call
from sandbox.artifact_registry import catalog, operations, repositories
from sandbox.artifact_registry.names import PACKAGE_PATH, REPOSITORY_PATH, method, package_name, unescape
from sandbox.errors import ApiError, not_found


def find(call: Call) -> sqlite3.Row:
    """Return the row of the package in the path.

    Raises:
        ApiError: NOT_FOUND if the repository or the package does not exist.
    """
    repository = repositories.find(call)
    with call.world.reading() as rows:
        found: sqlite3.Row | None = rows.execute(
            "SELECT * FROM packages WHERE repository = ? AND id = ?",
            (repository.name, unescape(call.params["package"])),
        ).fetchone()
    if found is None:
        raise not_found()
    return found


def immutable(tag: str) -> ApiError:
    """Return the API's refusal to change an immutable tag. # unverified: the message is the registry's."""
    return ApiError("FAILED_PRECONDITION", f"cannot update tag {tag}. The repository has enabled tag immutability")


def _name(row: sqlite3.Row) -> str:
    return package_name(row["repository"], row["id"])


def _render(row: sqlite3.Row) -> dict[str, Any]:
    answer = {"name": _name(row), "createTime": row["create_time"], "updateTime": row["update_time"]}
    annotations = json.loads(row["annotations"])
    return answer | ({"annotations": annotations} if annotations else {})


def _list(call: Call) -> dict[str, Any]:
    source = lists.Source(
        "SELECT * FROM packages WHERE repository = ?",
        (repositories.find(call).name,),
        ("id",),
        {"create_time": "create_time", "update_time": "update_time"},
        {"name": _name, "annotations": lambda row: json.loads(row["annotations"])},
    )
    with call.world.reading() as rows:
        found, token = lists.read(rows, source, call.query)
    return lists.answer("packages", [_render(row) for row in found], token)


def _get(call: Call) -> dict[str, Any]:
    return _render(find(call))


def _patch(call: Call) -> dict[str, Any]:
    """Change the annotations, the only field that can change."""
    # unverified: that the package's update time stays the same
    with call.world.writing() as rows:
        package = find(call)
        body = messages.render(messages.parse(types.Package.pb(), call.json(), "package"))
        before = {"annotations": json.loads(package["annotations"])}
        after = field_masks.apply(
            types.Package.pb().DESCRIPTOR, before, body, field_masks.of(call), may=("annotations",)
        )
        rows.execute(
            "UPDATE packages SET annotations = ? WHERE repository = ? AND id = ?",
            (json.dumps(after.get("annotations", {})), package["repository"], package["id"]),
        )
        return _render(find(call))


def _delete(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        repository, package = repositories.find(call), find(call)["id"]
        try:
            catalog.remove_package(rows, repository, package)
        except catalog.TagImmutable as tag:
            raise immutable(str(tag)) from None
        return operations.finish(rows, call)


METHODS = (
    method("packages.list", "GET", REPOSITORY_PATH + "/packages", _list, "packages.list"),
    method("packages.get", "GET", PACKAGE_PATH, _get, "packages.get"),
    method("packages.patch", "PATCH", PACKAGE_PATH, _patch, "packages.update"),
    method("packages.delete", "DELETE", PACKAGE_PATH, _delete, "packages.delete"),
)
