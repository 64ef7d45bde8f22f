"""`packages.versions`: manifests, and the versions of other packages.

Source: facts/artifact-registry.md 1.2, 1.4 and 1.5.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from google.cloud.artifactregistry_v1 import types

from sandbox.api import field_masks, lists, messages
from sandbox.api.methods import Call
from sandbox.artifact_registry import catalog, docker_images, operations, packages, repositories, tags
from sandbox.artifact_registry.names import PACKAGE_PATH, RESOURCE, TYPE, escape, method, unescape, version_name
from sandbox.errors import ApiError, invalid, not_found

_RELATED_TAGS = 100  # "up to 100": version.proto
_VIEW = "type.googleapis.com/google.devtools.artifactregistry.v1.VersionView"
_PATH = PACKAGE_PATH + "/versions/{version}"


def _render(version: catalog.Version, *, full: bool) -> dict[str, Any]:
    key = (version.repository, version.package)
    answer: dict[str, Any] = {
        "name": version_name(*key, version.digest),
        "createTime": version.create_time,
        "updateTime": version.update_time,
    }
    # unverified: what Google returns here for a package that is not an image
    if version.media_type:
        answer["metadata"] = docker_images.metadata(version)
    if version.client_annotations:
        answer["annotations"] = dict(version.client_annotations)
    if full and version.tags:
        answer["relatedTags"] = [tags.render(*key, tag, version.digest) for tag in version.tags[:_RELATED_TAGS]]
    return answer


def _view(call: Call) -> bool:
    """Return whether the view is FULL. The Python client sends the enum's number."""
    view = call.query.get("view", "BASIC").upper()
    if view not in ("VERSION_VIEW_UNSPECIFIED", "BASIC", "FULL", "0", "1", "2"):
        raise invalid(f"Invalid value at 'view' ({_VIEW}), \"{view[:200]}\"")
    return view in ("FULL", "2")


def _find(call: Call) -> catalog.Version:
    with call.world.reading() as rows:
        version = catalog.find_version(
            rows, RESOURCE.format(**call.params), unescape(call.params["package"]), unescape(call.params["version"])
        )
    if version is None:
        raise not_found()
    return version


def _name(row: sqlite3.Row) -> str:
    return version_name(row["repository"], row["package"], row["digest"])


def _list(call: Call) -> dict[str, Any]:
    package, full = packages.find(call), _view(call)
    source = lists.Source(
        "SELECT * FROM versions WHERE repository = ? AND package = ?",
        (package["repository"], package["id"]),
        ("digest",),
        {"create_time": "create_time", "update_time": "update_time"},
        {"name": _name, "annotations": lambda row: json.loads(row["client_annotations"])},
    )
    with call.world.reading() as rows:
        found, token = lists.read(rows, source, call.query)
        versions = [_render(version, full=full) for version in catalog.with_tags(rows, found)]
    return lists.answer("versions", versions, token)


def _get(call: Call) -> dict[str, Any]:
    return _render(_find(call), full=_view(call))


def _patch(call: Call) -> dict[str, Any]:
    """Change the annotations set through the API, the only field that can change."""
    with call.world.writing() as rows:
        version = _find(call)
        body = messages.render(messages.parse(types.Version.pb(), call.json(), "version"))
        before = {"annotations": dict(version.client_annotations)}
        after = field_masks.apply(
            types.Version.pb().DESCRIPTOR, before, body, field_masks.of(call), may=("annotations",)
        )
        rows.execute(
            "UPDATE versions SET client_annotations = ? WHERE repository = ? AND package = ? AND digest = ?",
            (json.dumps(after.get("annotations", {})), version.repository, version.package, version.digest),
        )
        return _render(_find(call), full=False)


def _delete(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        repository, version = repositories.find(call), _find(call)
        force = call.query.get("force", "false").lower() in ("true", "1")
        try:
            catalog.remove_version(rows, repository, version.package, version.digest, force=force)
        except catalog.TagImmutable as tag:
            raise packages.immutable(str(tag)) from None
        except catalog.VersionTagged as named:
            # unverified: Google's code and message are not known (facts 1.5).
            raise ApiError(
                "FAILED_PRECONDITION",
                f"cannot delete version: it is tagged ({named}). Delete its tags first, or use force.",
            ) from None
        except catalog.VersionHasParents as parent:
            # Two reports of 2026-02-03 quote the message from the operation: the call itself succeeds.
            return operations.fail(
                rows,
                call,
                "manifest is referenced by parent manifests: failed precondition manifest has referenced parents: "
                f"{version.package}/manifests/{parent}",
            )
        return operations.finish(rows, call)


def _batch_delete(call: Call) -> dict[str, Any]:
    """Delete versions, or with validateOnly report which ones could not be deleted.

    The operation's metadata names the versions that stay. That the others are deleted regardless is unverified.
    """
    repository = repositories.find(call)
    body = messages.parse(types.BatchDeleteVersionsRequest.pb(), call.json())
    package = unescape(call.params["package"])
    prefix = f"{repository.name}/packages/"
    wanted: list[tuple[str, str]] = []
    for name in body.names:
        of, _, digest = name.removeprefix(prefix).partition("/versions/")
        if not name.startswith(prefix) or not digest or package not in ("-", unescape(of)):
            raise invalid(
                f"Invalid version name {name[:300]!r}: it must begin with {prefix}{escape(package)}/versions/."
            )
        wanted.append((unescape(of), unescape(digest)))
    if not wanted:
        raise invalid("Request is missing the names of versions.")
    failed: list[str] = []
    with call.world.writing() as rows:
        for name, (of, digest) in zip(body.names, wanted, strict=True):
            try:
                if not catalog.remove_version(rows, repository, of, digest, force=False, dry_run=body.validate_only):
                    failed.append(name)
            except catalog.CatalogRefusal:
                failed.append(name)
        metadata: dict[str, Any] = {"@type": f"{TYPE}.BatchDeleteVersionsMetadata"}
        if failed:
            metadata["failedVersions"] = failed
        return operations.finish(rows, call, metadata=metadata)


METHODS = (
    method("packages.versions.list", "GET", PACKAGE_PATH + "/versions", _list, "versions.list"),
    method("packages.versions.get", "GET", _PATH, _get, "versions.get"),
    method("packages.versions.patch", "PATCH", _PATH, _patch, "versions.update"),
    method("packages.versions.delete", "DELETE", _PATH, _delete, "versions.delete"),
    method(
        "packages.versions.batchDelete",
        "POST",
        PACKAGE_PATH + "/versions:batchDelete",
        _batch_delete,
        "versions.delete",
    ),
)
