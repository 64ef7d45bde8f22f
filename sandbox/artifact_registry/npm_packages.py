"""`repositories.npmPackages`: one for each version of a package, with its dist-tags.

Source: facts/artifact-registry.md 1.1; google/devtools/artifactregistry/v1/artifact.proto, NpmPackage.
"""

from __future__ import annotations

from typing import Any

from sandbox.api import lists
from sandbox.api.methods import Call
from sandbox.artifact_registry import catalog, repositories
from sandbox.artifact_registry.names import REPOSITORY_PATH, escape, method, unescape
from sandbox.errors import not_found


def _render(version: catalog.Version) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "name": f"{version.repository}/npmPackages/{escape(version.package)}:{escape(version.digest)}",
        "packageName": version.package,
        "version": version.digest,
        "createTime": version.create_time,
        "updateTime": version.update_time,
    }
    return answer | ({"tags": list(version.tags)} if version.tags else {})


def _list(call: Call) -> dict[str, Any]:
    repository = repositories.of_format(call, "NPM")
    source = lists.Source("SELECT * FROM versions WHERE repository = ?", (repository.name,), ("package", "digest"))
    with call.world.reading() as rows:
        found, token = lists.read(rows, source, call.query)
        versions = catalog.with_tags(rows, found)
    return lists.answer("npmPackages", [_render(version) for version in versions], token)


def _get(call: Call) -> dict[str, Any]:
    repository = repositories.of_format(call, "NPM")
    package, _, version = unescape(call.params["npm_package"]).rpartition(":")
    with call.world.reading() as rows:
        found = catalog.find_version(rows, repository.name, package, version)
    if found is None:
        raise not_found()
    return _render(found)


METHODS = (
    method("npmPackages.list", "GET", REPOSITORY_PATH + "/npmPackages", _list, "npmpackages.list"),
    method("npmPackages.get", "GET", REPOSITORY_PATH + "/npmPackages/{npm_package}", _get, "npmpackages.get"),
)
