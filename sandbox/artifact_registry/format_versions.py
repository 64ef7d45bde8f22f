"""`repositories.pythonPackages`, `.npmPackages` and `.mavenArtifacts`: the versions of a format's packages.

Source: facts/artifact-registry.md 1.1; google/devtools/artifactregistry/v1/artifact.proto; names and addresses as in
https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.pythonPackages.
unverified: which of a version's files the address of a Python package names; here it is the first by name.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from sandbox.api import lists
from sandbox.api.methods import Call, Method
from sandbox.artifact_registry import repositories
from sandbox.artifact_registry.catalog import Repository
from sandbox.artifact_registry.names import REPOSITORY_PATH, escape, method, unescape
from sandbox.errors import not_found

Render = Callable[[sqlite3.Row, Repository], dict[str, Any]]

_OF_VERSION = (
    "package_files WHERE package_files.repository = versions.repository"
    " AND package_files.package = versions.package AND package_files.version = versions.digest"
)
# Selected for each version in addition to its own columns
_FILE = f"SELECT MIN(name) FROM {_OF_VERSION}"  # noqa: S608 - a constant
_POM = f"SELECT MAX(name) FROM {_OF_VERSION} AND package_files.name LIKE '%.pom'"  # noqa: S608 - a constant
_TAGS = (
    "SELECT json_group_array(id) FROM (SELECT id FROM tags WHERE tags.repository = versions.repository"
    " AND tags.package = versions.package AND tags.digest = versions.digest ORDER BY id)"
)


def _package(row: sqlite3.Row, collection: str) -> dict[str, Any]:
    return {
        "name": f"{row['repository']}/{collection}/{escape(row['package'])}:{escape(row['digest'])}",
        "packageName": row["package"],
        "version": row["digest"],
        "createTime": row["create_time"],
        "updateTime": row["update_time"],
    }


def _python(row: sqlite3.Row, repository: Repository) -> dict[str, Any]:
    return _package(row, "pythonPackages") | {"uri": f"{repository.uri}/{row['extra']}"}


def _npm(row: sqlite3.Row, _repository: Repository) -> dict[str, Any]:
    tags = json.loads(row["extra"])
    return _package(row, "npmPackages") | ({"tags": tags} if tags else {})


def _maven(row: sqlite3.Row, repository: Repository) -> dict[str, Any]:
    group, _, artifact = row["package"].partition(":")
    answer = {
        "name": f"{repository.name}/mavenArtifacts/{row['package']}:{row['digest']}",
        "groupId": group,
        "artifactId": artifact,
        "version": row["digest"],
        "createTime": row["create_time"],
        "updateTime": row["update_time"],
    }
    return answer | ({"pomUri": f"{repository.uri}/{row['extra']}"} if row["extra"] else {})


def _methods(collection: str, variable: str, kind: str, extra: str, render: Render) -> tuple[Method, Method]:
    """Return the list and get methods of a collection whose names end in `PACKAGE:VERSION`."""
    query = f"SELECT versions.*, ({extra}) AS extra FROM versions WHERE repository = ?"  # noqa: S608 - from above

    def list_(call: Call) -> dict[str, Any]:
        repository = repositories.of_format(call, kind)
        source = lists.Source(query, (repository.name,), ("package", "digest"))
        with call.world.reading() as rows:
            found, token = lists.read(rows, source, call.query)
        return lists.answer(collection, [render(row, repository) for row in found], token)

    def get(call: Call) -> dict[str, Any]:
        repository = repositories.of_format(call, kind)
        package, _, version = unescape(call.params[variable]).rpartition(":")
        with call.world.reading() as rows:
            row = rows.execute(
                f"{query} AND package = ? AND digest = ?", (repository.name, package, version)
            ).fetchone()
        if row is None:
            raise not_found()
        return render(row, repository)

    path = f"{REPOSITORY_PATH}/{collection}"
    return (
        method(f"{collection}.list", "GET", path, list_, f"{collection.lower()}.list"),
        method(f"{collection}.get", "GET", f"{path}/{{{variable}}}", get, f"{collection.lower()}.get"),
    )


METHODS = (
    *_methods("npmPackages", "npm_package", "NPM", _TAGS, _npm),
    *_methods("pythonPackages", "python_package", "PYTHON", _FILE, _python),
    *_methods("mavenArtifacts", "maven_artifact", "MAVEN", _POM, _maven),
)
