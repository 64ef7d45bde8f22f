"""`repositories.pythonPackages`: one for each version of a package.

Source: facts/artifact-registry.md 1.1; names and addresses as in
https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.pythonPackages.
unverified: which of a version's files the address names; here it is the first by name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sandbox.artifact_registry import catalog, format_versions
from sandbox.artifact_registry.names import escape

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


def _rendered(
    _rows: sqlite3.Connection, found: Sequence[sqlite3.Row], repository: catalog.Repository
) -> list[dict[str, Any]]:
    return [_render(row, repository) for row in found]


METHODS = format_versions.methods("pythonPackages", "python_package", "PYTHON", _PACKAGES, _rendered)
