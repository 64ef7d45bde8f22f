"""`repositories.files`: the manifests, configs and layers of images, and the files of packages.

Source: facts/artifact-registry.md 1.1, 1.4 and Appendix A. The name of an image's file is its digest; that of another
file consists of package and file name. unverified: the names, and the owner of a layer that several versions share.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from typing import Any
from urllib.parse import unquote

from starlette.responses import FileResponse

from sandbox.api import lists
from sandbox.api.methods import Answer, Call
from sandbox.artifact_registry import integrity, repositories
from sandbox.artifact_registry.names import REPOSITORY_PATH, escape_file, method, package_name, version_name
from sandbox.errors import not_found

_PATH = REPOSITORY_PATH + "/files/{file}"
# Blobs of an unfinished push are not files yet. `owners` is [[package, digest], ...], sorted.
_FILES = """
SELECT * FROM (SELECT kept.repository, kept.digest AS name, kept.digest, kept.create_time, blobs.size, (
    SELECT json_group_array(json_array(package, digest)) FROM (
        SELECT versions.package, versions.digest FROM versions
            WHERE versions.repository = kept.repository AND versions.digest = kept.digest
        UNION ALL SELECT versions.package, versions.digest FROM version_blobs JOIN versions
            ON versions.repository = version_blobs.repository AND versions.package = version_blobs.package
            AND versions.digest = version_blobs.version
            WHERE version_blobs.blob = kept.digest AND version_blobs.repository = kept.repository
        ORDER BY 1, 2)) AS owners
FROM repository_blobs AS kept JOIN blobs ON blobs.digest = kept.digest
WHERE kept.repository = ?1 AND NOT EXISTS (
    SELECT 1 FROM package_files WHERE package_files.repository = kept.repository AND blob = kept.digest)
UNION ALL SELECT repository, name, blob, package_files.create_time, blobs.size, json_array(json_array(package, version))
FROM package_files JOIN blobs ON blobs.digest = blob WHERE repository = ?1) WHERE owners != '[]'
"""


def _name(row: sqlite3.Row) -> str:
    return f"{row['repository']}/files/{escape_file(row['name'])}"


def _owners(row: sqlite3.Row) -> tuple[str, ...]:
    """Return the versions that need the file, then their packages: gcloud filters by either."""
    owners = json.loads(row["owners"])
    versions = [version_name(row["repository"], package, digest) for package, digest in owners]
    return (*versions, *dict.fromkeys(package_name(row["repository"], package) for package, _ in owners))


def _render(row: sqlite3.Row) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "name": _name(row),
        "sizeBytes": str(row["size"]),
        "createTime": row["create_time"],
        "updateTime": row["create_time"],
        "owner": _owners(row)[0],
    }
    algorithm, _, value = row["digest"].partition(":")
    # Hash.HashType has only SHA256 and MD5 (google/devtools/artifactregistry/v1/file.proto).
    if algorithm == "sha256":
        answer["hashes"] = [{"type": "SHA256", "value": base64.b64encode(bytes.fromhex(value)).decode()}]
    return answer


def _list(call: Call) -> dict[str, Any]:
    source = lists.Source(
        _FILES,
        (repositories.find(call).name,),
        ("name",),
        {"create_time": "create_time", "update_time": "create_time", "size_bytes": "size"},
        {"name": _name, "owner": _owners, "annotations": lambda row: {}},
    )
    with call.world.reading() as rows:
        found, token = lists.read(rows, source, call.query)
    return lists.answer("files", [_render(row) for row in found], token)


def _find(call: Call) -> sqlite3.Row:
    with call.world.reading() as rows:
        found: sqlite3.Row | None = rows.execute(
            f"{_FILES} AND name = ?2",
            (repositories.find(call).name, unquote(call.params["file"])),
        ).fetchone()
    if found is None:
        raise not_found()
    return found


def _get(call: Call) -> dict[str, Any]:
    return _render(_find(call))


def _download(call: Call) -> Answer:
    """Return the file or a range of it with `alt=media`; otherwise the empty DownloadFileResponse."""
    file = _find(call)
    if call.query.get("alt") != "media":
        return {}
    path = integrity.path_of(call.world, file["digest"])
    try:
        integrity.require(call.world, file["digest"])
    except FileNotFoundError:
        raise not_found() from None
    return FileResponse(path, media_type="application/octet-stream", headers={"ETag": f'"{file["digest"]}"'})


METHODS = (
    method("files.list", "GET", REPOSITORY_PATH + "/files", _list, "files.list"),
    method("files.get", "GET", _PATH, _get, "files.get"),
    method("files.download", "GET", _PATH + ":download", _download, "files.download"),
)
