"""`repositories.mavenArtifacts`: one for each version of an artifact.

Source: facts/artifact-registry.md 1.1; google/devtools/artifactregistry/v1/artifact.proto, MavenArtifact.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sandbox.api import lists
from sandbox.api.methods import Call
from sandbox.artifact_registry import catalog, repositories
from sandbox.artifact_registry.names import REPOSITORY_PATH, method, unescape
from sandbox.errors import not_found

_ARTIFACTS = (
    "SELECT versions.*, (SELECT MAX(name) FROM package_files WHERE package_files.repository = versions.repository"
    " AND package_files.package = versions.package AND package_files.version = versions.digest"
    " AND package_files.name LIKE '%.pom') AS pom FROM versions WHERE repository = ?"
)


def _render(row: sqlite3.Row, repository: catalog.Repository) -> dict[str, Any]:
    group, _, artifact = row["package"].partition(":")
    answer = {
        "name": f"{repository.name}/mavenArtifacts/{row['package']}:{row['digest']}",
        "groupId": group,
        "artifactId": artifact,
        "version": row["digest"],
        "createTime": row["create_time"],
        "updateTime": row["update_time"],
    }
    return answer | ({"pomUri": f"{repository.uri}/{row['pom']}"} if row["pom"] else {})


def _list(call: Call) -> dict[str, Any]:
    repository = repositories.of_format(call, "MAVEN")
    source = lists.Source(_ARTIFACTS, (repository.name,), ("package", "digest"))
    with call.world.reading() as rows:
        found, token = lists.read(rows, source, call.query)
    return lists.answer("mavenArtifacts", [_render(row, repository) for row in found], token)


def _get(call: Call) -> dict[str, Any]:
    repository = repositories.of_format(call, "MAVEN")
    package, _, version = unescape(call.params["maven_artifact"]).rpartition(":")
    with call.world.reading() as rows:
        found = rows.execute(
            f"{_ARTIFACTS} AND package = ? AND digest = ?", (repository.name, package, version)
        ).fetchone()
    if found is None:
        raise not_found()
    return _render(found, repository)


METHODS = (
    method("mavenArtifacts.list", "GET", REPOSITORY_PATH + "/mavenArtifacts", _list, "mavenartifacts.list"),
    method(
        "mavenArtifacts.get", "GET", REPOSITORY_PATH + "/mavenArtifacts/{maven_artifact}", _get, "mavenartifacts.get"
    ),
)
