"""`packages.tags`: names that point to versions.

Source: facts/artifact-registry.md 1.2 and 1.4.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from google.cloud.artifactregistry_v1 import types

from sandbox.api import field_masks, lists, messages
from sandbox.api.methods import Call
from sandbox.artifact_registry import catalog, packages, repositories
from sandbox.artifact_registry.names import PACKAGE_PATH, RESOURCE, method, package_name, unescape, version_name
from sandbox.errors import ApiError, invalid, not_found

# The API's own ids may also contain ~, : and @, but docker could not pull such a tag.
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PATH = PACKAGE_PATH + "/tags/{tag}"


def render(repository: str, package: str, tag: str, digest: str) -> dict[str, str]:
    """Return a tag as JSON."""
    name = f"{package_name(repository, package)}/tags/{tag}"
    return {"name": name, "version": version_name(repository, package, digest)}


def _as_json(row: sqlite3.Row) -> dict[str, str]:
    return render(row["repository"], row["package"], row["id"], row["digest"])


def _list(call: Call) -> dict[str, Any]:
    package = packages.find(call)
    source = lists.Source(
        "SELECT * FROM tags WHERE repository = ? AND package = ?",
        (package["repository"], package["id"]),
        ("id",),
        fields={"name": lambda row: _as_json(row)["name"], "version": lambda row: _as_json(row)["version"]},
    )
    with call.world.reading() as rows:
        found, token = lists.read(rows, source, call.query)
    return lists.answer("tags", [_as_json(row) for row in found], token)


def _get(call: Call) -> dict[str, Any]:
    package = packages.find(call)
    with call.world.reading() as rows:
        digest = catalog.find_tag(rows, package["repository"], package["id"], call.params["tag"])
    if digest is None:
        raise not_found()
    return dict(render(package["repository"], package["id"], call.params["tag"], digest))


def _body(call: Call) -> tuple[str, catalog.Version]:
    """Return the id and the version of the Tag in the request body.

    Raises:
        ApiError: INVALID_ARGUMENT for a version of another package, NOT_FOUND if it does not exist.
    """
    tag = messages.render(messages.parse(types.Tag.pb(), call.json(), "tag"))
    repository, package = RESOURCE.format(**call.params), unescape(call.params["package"])
    of, _, digest = tag.get("version", "").removeprefix(f"{repository}/packages/").rpartition("/versions/")
    if unescape(of) != package:
        prefix = f"{package_name(repository, package)}/versions/"
        raise invalid(f"Invalid tag: its version must be one of the same package, {prefix}...")
    with call.world.reading() as rows:
        version = catalog.find_version(rows, repository, package, digest)
    if version is None:
        raise not_found()
    return str(tag.get("name", "")).rpartition("/")[2], version


def _create(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        repository = repositories.find(call)
        named, version = _body(call)
        tag = call.query.get("tagId") or call.query.get("tag_id") or named
        if not _ID.fullmatch(tag):
            raise invalid(f"Invalid tag id {tag[:140]!r}: letters, digits, underscores, dots and dashes, 128 at most.")
        if catalog.find_tag(rows, repository.name, version.package, tag) is not None:
            raise ApiError("ALREADY_EXISTS", "the tag already exists")  # unverified
        catalog.set_tag(rows, call.world, repository, version.package, tag, version.digest)
        return dict(render(repository.name, version.package, tag, version.digest))


def _patch(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        repository = repositories.find(call)
        before = _get(call)
        _, version = _body(call)
        field_masks.apply(types.Tag.pb().DESCRIPTOR, before, {}, field_masks.of(call), may=("version",))
        try:
            catalog.set_tag(rows, call.world, repository, version.package, call.params["tag"], version.digest)
        except catalog.TagImmutable as tag:
            raise packages.immutable(str(tag)) from None
        return dict(render(repository.name, version.package, call.params["tag"], version.digest))


def _delete(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        repository = repositories.find(call)
        try:
            if not catalog.remove_tag(rows, repository, unescape(call.params["package"]), call.params["tag"]):
                raise not_found()
        except catalog.TagImmutable as tag:
            raise packages.immutable(str(tag)) from None
        return {}


METHODS = (
    method("packages.tags.list", "GET", PACKAGE_PATH + "/tags", _list, "tags.list"),
    method("packages.tags.get", "GET", _PATH, _get, "tags.get"),
    method("packages.tags.create", "POST", PACKAGE_PATH + "/tags", _create, "tags.create"),
    method("packages.tags.patch", "PATCH", _PATH, _patch, "tags.get", "tags.update"),
    method("packages.tags.delete", "DELETE", _PATH, _delete, "tags.delete"),
)
