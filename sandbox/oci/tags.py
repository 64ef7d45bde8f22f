"""List the tags of an image, with Google's extension, and the images that a caller may read."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.responses import JSONResponse, Response

from sandbox.artifact_registry.image_names import Image, location_of
from sandbox.errors import RegistryError
from sandbox.iam import policies
from sandbox.oci import remotes
from sandbox.oci.address import Address, RegistryCall
from sandbox.oci.rights import DOWNLOAD, may
from sandbox.oci.token import Caller
from sandbox.state.world import World

_SEE_PROJECT = "resourcemanager.projects.get"


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise RegistryError("UNSUPPORTED", f"n must be a number from 0, not {text[:40]!r}", http_status=400)
    return int(text)


def page(names: Sequence[str], n: str | None, last: str | None, here: str) -> tuple[list[str], dict[str, str]]:
    """Return the page of names after `last`, and a Link header if more follow. Spec: "Listing Tags", RFC 5988.

    Args:
        names: all names, in any order. The page has the specification's case-insensitive order.
        here: URL of the list without a query.

    Raises:
        RegistryError: UNSUPPORTED (400) if n is not a number.
    """
    count = _count(n)
    rest = sorted(names, key=lambda name: (name.lower(), name))
    if last is not None:
        rest = [name for name in rest if (name.lower(), name) > (last.lower(), last)]
    if count is None or count >= len(rest):
        return rest, {}
    shown = rest[:count]
    if not shown:
        return [], {}
    return shown, {"Link": f'<{here}?{urlencode({"n": count, "last": shown[-1]})}>; rel="next"'}


def _milliseconds(text: str) -> str:
    return str(int(dt.datetime.fromisoformat(text).timestamp() * 1000)) if text else "0"


def _manifests(rows: sqlite3.Connection, repository: str, package: str, shown: set[str] | None) -> dict[str, Any]:
    found = rows.execute(
        "SELECT versions.digest, media_type, size, build_time, versions.create_time,"
        " json_group_array(tags.id) FILTER (WHERE tags.id IS NOT NULL) AS names"
        " FROM versions LEFT JOIN tags USING (repository, package, digest)"
        " WHERE versions.repository = ? AND versions.package = ? GROUP BY versions.digest",
        (repository, package),
    )
    manifests = {}
    for row in found:
        names = sorted(json.loads(row["names"]))
        if shown is None or shown & set(names):
            manifests[row["digest"]] = {
                "imageSizeBytes": str(row["size"]),
                "layerId": "",
                "mediaType": row["media_type"],
                "tag": names,
                "timeCreatedMs": _milliseconds(row["build_time"]),
                "timeUploadedMs": _milliseconds(row["create_time"]),
            }
    return manifests


def _children(rows: sqlite3.Connection, repository: str, package: str) -> list[str]:
    """Return the next path components of packages below a path, or of all packages if the path is empty."""
    start = f"{package}/" if package else ""
    found = rows.execute(
        "SELECT id FROM packages WHERE repository = ? AND substr(id, 1, ?) = ?", (repository, len(start), start)
    )
    return sorted({row["id"][len(start) :].partition("/")[0] for row in found})


def list_tags(call: RegistryCall, caller: Caller) -> Response:
    """Handle GET /v2/<name>/tags/list. Spec: "Listing Tags", with `child` and `manifest` as on Google's hosts.

    The extension's fields are those that ggcr's pkg/v1/google/list.go reads, and that users quote. A repository, or a
    path that is only the beginning of others, has children and no tags: `gcrane ls` and `gcrane cp -r` follow them
    (https://cloud.google.com/artifact-registry/docs/docker/copy-images).
    """
    repository = remotes.reading(call, caller).name
    package = call.image.package
    with call.world.reading() as rows:
        children = _children(rows, repository, package)
        known = rows.execute("SELECT 1 FROM packages WHERE repository = ? AND id = ?", (repository, package)).fetchone()
        if package and known is None and not children:
            # unverified: text
            raise RegistryError("NAME_UNKNOWN", f'Package "{package}" not found')
        found = rows.execute("SELECT id FROM tags WHERE repository = ? AND package = ?", (repository, package))
        names = [row["id"] for row in found]
        last = call.query.get("last")
        shown, headers = page(names, call.query.get("n"), last, call.location("tags/list"))
        # A page has only the manifests of its tags; the whole list also has untagged ones.
        manifests = _manifests(rows, repository, package, set(shown) if headers or last is not None else None)
    body = {"child": children, "manifest": manifests, "name": call.image.path, "tags": shown}
    return JSONResponse(body, headers=headers)


def catalog(world: World, address: Address, caller: Caller, n: str | None, last: str | None) -> Response:
    """Handle GET /v2/_catalog: list the images that the caller may pull, at this host or without one at all hosts.

    Not in the specification 1.1, but in docker-distribution's HTTP API V2 "Catalog". The list also requires
    `resourcemanager.projects.get` on the project (gcr-cleaner's issue 80, 2022).
    """
    wanted = location_of(address.host) if address.host else None
    with world.reading() as rows:
        found = rows.execute(
            "SELECT project, location, repositories.id AS repository, packages.id AS package FROM packages"
            " JOIN repositories ON repositories.name = packages.repository"
        ).fetchall()
    readable: dict[str, bool] = {}
    names = []
    for row in found:
        image = Image(row["location"], row["project"], row["repository"], row["package"])
        if wanted is not None and image.location != wanted:
            continue
        if image.repository not in readable:
            project = policies.decide(world, caller.principal.member, _SEE_PROJECT, f"projects/{image.project}")
            readable[image.repository] = project.allowed and may(world, caller.principal, DOWNLOAD, image)
        if readable[image.repository]:
            names.append(image.path if address.host else image.key)
    shown, headers = page(names, n, last, f"{address.base}/v2/{address.prefix}_catalog")
    return JSONResponse({"repositories": shown}, headers=headers)
