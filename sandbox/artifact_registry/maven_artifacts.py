"""`repositories.mavenArtifacts`: one for each version of an artifact.

Source: facts/artifact-registry.md 1.1; google/devtools/artifactregistry/v1/artifact.proto, MavenArtifact.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sandbox.artifact_registry import catalog, format_versions

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


def _rendered(
    _rows: sqlite3.Connection, found: Sequence[sqlite3.Row], repository: catalog.Repository
) -> list[dict[str, Any]]:
    return [_render(row, repository) for row in found]


METHODS = format_versions.methods("mavenArtifacts", "maven_artifact", "MAVEN", _ARTIFACTS, _rendered)
