"""`repositories.packages`, `.versions`, `.tags` and `.dockerImages`: what a repository holds.

Source: facts/artifact-registry.md 1.2, 1.4 and 1.5. Slashes inside a package's id are `%2F` in its name; on the wire
the name is escaped once more, so a path that was decoded once carries the id as it stands in the name.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from google.cloud.artifactregistry_v1 import types

from sandbox import catalog, listing, messages, operations
from sandbox.errors import ApiError, invalid, not_found
from sandbox.google.artifact_registry import repositories
from sandbox.google.artifact_registry.repositories import PATH, RESOURCE
from sandbox.methods import Call, Method

_TAG = re.compile(r"[\w][\w.-]{0,127}")
_PACKAGES = PATH + "/{repository}/packages"
_PACKAGE = _PACKAGES + "/{package}"
_TYPE = "type.googleapis.com/google.devtools.artifactregistry.v1"


def escape(package: str) -> str:
    """`team/nested` as it stands in a resource name: `team%2Fnested`."""
    return package.replace("%", "%25").replace("/", "%2F")


def unescape(package: str) -> str:
    """The inverse of `escape`."""
    return package.replace("%2F", "/").replace("%2f", "/").replace("%25", "%")


def _package_name(repository: str, package: str) -> str:
    return f"{repository}/packages/{escape(package)}"


def _image_name(version: catalog.Version) -> str:
    return f"{version.repository}/dockerImages/{escape(version.package)}@{version.digest}"


def _metadata(version: catalog.Version) -> dict[str, Any]:
    """What Version.metadata and DockerImage share; the number is a string, as every int64 in Google's JSON."""
    told = {
        "name": _image_name(version),
        "imageSizeBytes": str(version.size),
        "mediaType": version.media_type,
        "buildTime": version.build_time,
        "artifactType": version.artifact_type,
    }
    return {key: value for key, value in told.items() if value}


def _render(version: catalog.Version, *, full: bool) -> dict[str, Any]:
    package = _package_name(version.repository, version.package)
    answer: dict[str, Any] = {
        "name": f"{package}/versions/{version.digest}",
        "createTime": version.create_time,
        "updateTime": version.update_time,
        "metadata": _metadata(version),
    }
    if version.annotations:
        answer["annotations"] = dict(version.annotations)
    if full and version.tags:
        answer["relatedTags"] = [_render_tag(version, tag) for tag in version.tags[:100]]
    return answer


def _render_tag(version: catalog.Version, tag: str) -> dict[str, str]:
    package = _package_name(version.repository, version.package)
    return {"name": f"{package}/tags/{tag}", "version": f"{package}/versions/{version.digest}"}


def _docker_image(version: catalog.Version, repository: catalog.Repository) -> dict[str, Any]:
    answer: dict[str, Any] = _metadata(version) | {
        "uri": f"{repository.uri}/{version.package}@{version.digest}",
        "uploadTime": version.create_time,
        "updateTime": version.update_time,
    }
    if version.tags:
        answer["tags"] = list(version.tags)
    return answer


def _page(
    call: Call, items: list[Any], name: Callable[[Any], str], key: str, render: Callable[[Any], Any]
) -> dict[str, Any]:
    chosen, token = listing.page(items, call.query, name)
    answer: dict[str, Any] = {key: [render(item) for item in chosen]} if chosen else {}
    return answer | ({"nextPageToken": token} if token else {})


# --- packages ---------------------------------------------------------------------------------------------------------


def _package(call: Call) -> str:
    """The plain id of the package that a call names.

    Raises:
        ApiError: NOT_FOUND when repository or package is not there.
    """
    repository = repositories.find(call)
    package = unescape(call.params["package"])
    with call.world.reading() as rows:
        found = rows.execute(
            "SELECT 1 FROM packages WHERE repository = ? AND id = ?", (repository.name, package)
        ).fetchone()
    if found is None:
        raise not_found()
    return package


def _render_package(row: Mapping[str, Any]) -> dict[str, Any]:
    name = _package_name(row["repository"], row["id"])
    return {"name": name, "createTime": row["create_time"], "updateTime": row["update_time"]}


_TIMES: dict[str, Callable[[Any], Any]] = {
    "create_time": lambda item: item["createTime"],
    "update_time": lambda item: item["updateTime"],
}


def _list_packages(call: Call) -> dict[str, Any]:
    repository = repositories.find(call)
    with call.world.reading() as rows:
        found = rows.execute("SELECT * FROM packages WHERE repository = ?", (repository.name,)).fetchall()
    fields: dict[str, Callable[[Any], Any]] = {"name": lambda item: item["name"], "annotations": lambda item: {}}
    wanted = filter(listing.matcher(call.query.get("filter", ""), fields), map(_render_package, found))
    placed = listing.order(list(wanted), call.query.get("orderBy", ""), _TIMES, lambda item: item["name"])
    return _page(call, placed, lambda item: item["name"], "packages", lambda item: item)


def _get_package(call: Call) -> dict[str, Any]:
    package = _package(call)
    with call.world.reading() as rows:
        row = rows.execute(
            "SELECT * FROM packages WHERE repository = ? AND id = ?", (RESOURCE.format(**call.params), package)
        ).fetchone()
    return _render_package(row)


def _delete_package(call: Call) -> dict[str, Any]:
    repository, package = repositories.find(call), _package(call)
    with call.world.writing() as rows:
        try:
            catalog.remove_package(rows, repository, package)
        except catalog.TagImmutable as tag:
            raise _immutable(str(tag)) from None
        return _deleted(rows, call)


def _deleted(rows: Any, call: Call) -> dict[str, Any]:
    name = f"projects/{call.params['project']}/locations/{call.params['location']}/operations/{uuid.uuid4()}"
    empty = {"@type": "type.googleapis.com/google.protobuf.Empty"}
    return operations.finish(rows, call.world, name, empty, {"@type": f"{_TYPE}.OperationMetadata"})


def _immutable(tag: str) -> ApiError:
    """# unverified: the registry's sentence in the API's dialect."""
    return ApiError("FAILED_PRECONDITION", f"cannot update tag {tag}. The repository has enabled tag immutability")


# --- versions ---------------------------------------------------------------------------------------------------------


def _view(call: Call) -> bool:
    """Whether the view is FULL; the Python client sends the enum's number."""
    view = call.query.get("view", "BASIC").upper()
    if view not in ("VERSION_VIEW_UNSPECIFIED", "BASIC", "FULL", "0", "1", "2"):
        raise invalid(
            f"Invalid value at 'view' (type.googleapis.com/google.devtools.artifactregistry.v1.VersionView), \"{view}\""
        )
    return view in ("FULL", "2")


def _find_version(call: Call) -> catalog.Version:
    with call.world.reading() as rows:
        version = catalog.find_version(
            rows, RESOURCE.format(**call.params), unescape(call.params["package"]), call.params["version"]
        )
    if version is None:
        raise not_found()
    return version


def _list_versions(call: Call) -> dict[str, Any]:
    package, full = _package(call), _view(call)
    with call.world.reading() as rows:
        found = [_render(item, full=full) for item in catalog.versions(rows, RESOURCE.format(**call.params), package)]
    fields: dict[str, Callable[[Any], Any]] = {
        "name": lambda item: item["name"],
        "annotations": lambda item: item.get("annotations", {}),
    }
    wanted = filter(listing.matcher(call.query.get("filter", ""), fields), found)
    placed = listing.order(list(wanted), call.query.get("orderBy", ""), _TIMES, lambda item: item["name"])
    return _page(call, placed, lambda item: item["name"], "versions", lambda item: item)


def _get_version(call: Call) -> dict[str, Any]:
    return _render(_find_version(call), full=_view(call))


def _delete_version(call: Call) -> dict[str, Any]:
    repository, version = repositories.find(call), _find_version(call)
    force = call.query.get("force", "false").lower() in ("true", "1")
    with call.world.writing() as rows:
        try:
            catalog.remove_version(rows, repository, version.package, version.digest, force=force)
        except catalog.TagImmutable as tag:
            raise _immutable(str(tag)) from None
        except catalog.VersionTagged as tags:
            # unverified: the code and text that Google gives here are not known (facts 1.5).
            raise ApiError(
                "FAILED_PRECONDITION",
                f"cannot delete version: it is tagged ({tags}). Delete its tags first, or use force.",
            ) from None
        except catalog.VersionHasParents:
            raise ApiError(
                "FAILED_PRECONDITION", "Manifest is still referenced by one or more parent images"
            ) from None  # unverified
        return _deleted(rows, call)


def _batch_delete(call: Call) -> dict[str, Any]:
    """`versions:batchDelete`; with validateOnly it answers what would fail, and deletes nothing.

    A version that stays is named in the operation's metadata; that the others go all the same is unverified.
    """
    repository = repositories.find(call)
    body = messages.parse(types.BatchDeleteVersionsRequest.pb(), call.json(), "request")
    package = call.params["package"]
    prefix = f"{repository.name}/packages/"
    wanted: list[tuple[str, str]] = []
    for name in body.names:
        of, _, digest = name.removeprefix(prefix).partition("/versions/")
        if not name.startswith(prefix) or not digest or package not in ("-", of):
            raise invalid(f"Invalid version name {name[:300]!r}: it must begin with {prefix}{package}/versions/.")
        wanted.append((unescape(of), digest))
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
        operation = f"projects/{call.params['project']}/locations/{call.params['location']}/operations/{uuid.uuid4()}"
        empty = {"@type": "type.googleapis.com/google.protobuf.Empty"}
        metadata: dict[str, Any] = {"@type": f"{_TYPE}.BatchDeleteVersionsMetadata"}
        if failed:
            metadata["failedVersions"] = failed
        return operations.finish(rows, call.world, operation, empty, metadata)


# --- tags -------------------------------------------------------------------------------------------------------------


def _tags(call: Call, package: str) -> list[dict[str, str]]:
    with call.world.reading() as rows:
        found = catalog.versions(rows, RESOURCE.format(**call.params), package)
    return sorted((_render_tag(item, tag) for item in found for tag in item.tags), key=lambda tag: tag["name"])


def _list_tags(call: Call) -> dict[str, Any]:
    fields: dict[str, Callable[[Any], Any]] = {
        "name": lambda item: item["name"],
        "version": lambda item: item["version"],
    }
    wanted = filter(listing.matcher(call.query.get("filter", ""), fields), _tags(call, _package(call)))
    return _page(call, list(wanted), lambda item: item["name"], "tags", lambda item: item)


def _get_tag(call: Call) -> dict[str, Any]:
    wanted = f"{RESOURCE.format(**call.params)}/packages/{call.params['package']}/tags/{call.params['tag']}"
    for tag in _tags(call, _package(call)):
        if tag["name"] == wanted:
            return dict(tag)
    raise not_found()


def _tag_body(call: Call) -> tuple[str, catalog.Version]:
    """The version that a Tag in a request body points at.

    Raises:
        ApiError: INVALID_ARGUMENT for a version of another package, NOT_FOUND for one that is not there.
    """
    tag = messages.render(messages.parse(types.Tag.pb(), call.json(), "tag"))
    prefix = f"{RESOURCE.format(**call.params)}/packages/{call.params['package']}/versions/"
    if not tag.get("version", "").startswith(prefix):
        raise invalid(f"Invalid tag: its version must be one of the same package, {prefix}...")
    digest = tag["version"].removeprefix(prefix)
    with call.world.reading() as rows:
        version = catalog.find_version(rows, RESOURCE.format(**call.params), unescape(call.params["package"]), digest)
    if version is None:
        raise not_found()
    return str(tag.get("name", "")).rpartition("/")[2], version


def _create_tag(call: Call) -> dict[str, Any]:
    repository = repositories.find(call)
    named, version = _tag_body(call)
    tag = call.query.get("tagId") or call.query.get("tag_id") or named
    if not _TAG.fullmatch(tag):
        raise invalid(f"Invalid tag id {tag[:140]!r}: letters, digits, underscores, dots and dashes, 128 at most.")
    with call.world.writing() as rows:
        if catalog.find_tag(rows, repository.name, version.package, tag) is not None:
            raise ApiError("ALREADY_EXISTS", "the tag already exists")  # unverified
        catalog.set_tag(rows, call.world, repository, version.package, tag, version.digest)
    return dict(_render_tag(version, tag))


def _patch_tag(call: Call) -> dict[str, Any]:
    repository = repositories.find(call)
    _get_tag(call)
    _, version = _tag_body(call)
    with call.world.writing() as rows:
        try:
            catalog.set_tag(rows, call.world, repository, version.package, call.params["tag"], version.digest)
        except catalog.TagImmutable as tag:
            raise _immutable(str(tag)) from None
    return dict(_render_tag(version, call.params["tag"]))


def _delete_tag(call: Call) -> dict[str, Any]:
    repository = repositories.find(call)
    with call.world.writing() as rows:
        try:
            if not catalog.remove_tag(rows, repository, unescape(call.params["package"]), call.params["tag"]):
                raise not_found()
        except catalog.TagImmutable as tag:
            raise _immutable(str(tag)) from None
    return {}


# --- Docker images ----------------------------------------------------------------------------------------------------

_IMAGE_ORDER: dict[str, Callable[[Any], Any]] = {
    "upload_time": lambda item: item["uploadTime"],
    "update_time": lambda item: item["updateTime"],
    "image_size_bytes": lambda item: int(item.get("imageSizeBytes", 0)),
}


def _list_images(call: Call) -> dict[str, Any]:
    repository = repositories.find(call)
    with call.world.reading() as rows:
        found = [_docker_image(version, repository) for version in catalog.versions(rows, repository.name)]
    placed = listing.order(found, call.query.get("orderBy", ""), _IMAGE_ORDER, lambda item: item["name"])
    return _page(call, placed, lambda item: item["name"], "dockerImages", lambda item: item)


def _get_image(call: Call) -> dict[str, Any]:
    repository = repositories.find(call)
    package, _, digest = call.params["image"].rpartition("@")
    with call.world.reading() as rows:
        version = catalog.find_version(rows, repository.name, unescape(package), digest)
    if version is None:
        raise not_found()
    return _docker_image(version, repository)


_PREFIX = "artifactregistry.projects.locations.repositories"


def _method(name: str, verb: str, path: str, handle: Callable[[Call], Any], *permissions: str) -> Method:
    return Method(
        f"{_PREFIX}.{name}", verb, path, handle, tuple(f"artifactregistry.{p}" for p in permissions), RESOURCE
    )


_VERSION = _PACKAGE + "/versions/{version}"
_TAG_PATH = _PACKAGE + "/tags/{tag}"

METHODS = (
    _method("packages.list", "GET", _PACKAGES, _list_packages, "packages.list"),
    _method("packages.get", "GET", _PACKAGE, _get_package, "packages.get"),
    _method("packages.delete", "DELETE", _PACKAGE, _delete_package, "packages.delete"),
    _method("packages.versions.list", "GET", _PACKAGE + "/versions", _list_versions, "versions.list"),
    _method("packages.versions.get", "GET", _VERSION, _get_version, "versions.get"),
    _method("packages.versions.delete", "DELETE", _VERSION, _delete_version, "versions.delete"),
    _method(
        "packages.versions.batchDelete", "POST", _PACKAGE + "/versions:batchDelete", _batch_delete, "versions.delete"
    ),
    _method("packages.tags.list", "GET", _PACKAGE + "/tags", _list_tags, "tags.list"),
    _method("packages.tags.get", "GET", _TAG_PATH, _get_tag, "tags.get"),
    _method("packages.tags.create", "POST", _PACKAGE + "/tags", _create_tag, "tags.create"),
    _method("packages.tags.patch", "PATCH", _TAG_PATH, _patch_tag, "tags.get", "tags.update"),
    _method("packages.tags.delete", "DELETE", _TAG_PATH, _delete_tag, "tags.delete"),
    _method("dockerImages.list", "GET", PATH + "/{repository}/dockerImages", _list_images, "dockerimages.list"),
    _method("dockerImages.get", "GET", PATH + "/{repository}/dockerImages/{image}", _get_image, "dockerimages.get"),
)
