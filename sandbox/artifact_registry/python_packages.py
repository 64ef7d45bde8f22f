"""`repositories.pythonPackages`: one for each version of a package.

Source: facts/artifact-registry.md 1.1; names and addresses as in
https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.pythonPackages.
unverified: which of a version's files the address names; here it is the first by name.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sandbox.api import lists
from sandbox.api.methods import Call
from sandbox.artifact_registry import catalog, repositories
from sandbox.artifact_registry.names import REPOSITORY_PATH, escape, method, unescape
from sandbox.errors import not_found

_PACKAGES = (
    "SELECT versions.*, (SELECT MIN(name) FROM package_files WHERE package_files.repository = versions.repository"
    " AND package_files.package = versions.package AND package_files.version = versions.digest) AS file"
    " FROM versions WHERE repository = ?"
)


def _render(row: sqlite3.Row, repository: catalog.Repository) -> dict[str, Any]:
    return {
        "name": f"{repository.name}/pythonPackages/{escape(row['package'])}:{escape(row['digest'])}",
        "uri": f"{repository.uri}/{row['file']}",
        "packageName": row["package"],
        "version": row["digest"],
        "createTime": row["create_time"],
        "updateTime": row["update_time"],
    }


def _list(call: Call) -> dict[str, Any]:
    repository = repositories.of_format(call, "PYTHON")
    source = lists.Source(_PACKAGES, (repository.name,), ("package", "digest"))
    with call.world.reading() as rows:
        found, token = lists.read(rows, source, call.query)
    return lists.answer("pythonPackages", [_render(row, repository) for row in found], token)


def _get(call: Call) -> dict[str, Any]:
    repository = repositories.of_format(call, "PYTHON")
    package, _, version = unescape(call.params["python_package"]).partition(":")
    with call.world.reading() as rows:
        found = rows.execute(
            f"{_PACKAGES} AND package = ? AND digest = ?", (repository.name, package, version)
        ).fetchone()
    if found is None:
        raise not_found()
    return _render(found, repository)


METHODS = (
    method("pythonPackages.list", "GET", REPOSITORY_PATH + "/pythonPackages", _list, "pythonpackages.list"),
    method(
        "pythonPackages.get",
        "GET",
        REPOSITORY_PATH + "/pythonPackages/{python_package}",
        _get,
        "pythonpackages.get",
    ),
)
