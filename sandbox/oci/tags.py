"""Listings: the tags of an image with Google's extension, and the images that a caller may read."""

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
from sandbox.oci.address import Address, Ask
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
    """One page of names after `last`, and the Link header when more follow. Spec: "Listing Tags", RFC 5988.

    Args:
        names: all of them, in any order; they come out in the specification's case-insensitive order.
        here: address of the listing without a query.

    Raises:
        RegistryError: UNSUPPORTED (400) for an n that is no number.
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
    """Return the next components of the packages below a path; of all packages, for the repository itself."""
    start = f"{package}/" if package else ""
    found = rows.execute(
        "SELECT id FROM packages WHERE repository = ? AND substr(id, 1, ?) = ?", (repository, len(start), start)
    )
    return sorted({row["id"][len(start) :].partition("/")[0] for row in found})


def list_tags(ask: Ask, caller: Caller) -> Response:
    """GET /v2/<name>/tags/list. Spec: "Listing Tags"; with `child` and `manifest` as Google's hosts add them.

    The extension's fields are those that ggcr's pkg/v1/google/list.go reads, and that users quote. A repository, or a
    path that only others begin with, has no tags but children: so `gcrane ls` and `gcrane cp -r` walk
    (https://cloud.google.com/artifact-registry/docs/docker/copy-images).
    """
    repository = remotes.reading(ask, caller).name
    package = ask.image.package
    with ask.world.reading() as rows:
        children = _children(rows, repository, package)
        known = rows.execute("SELECT 1 FROM packages WHERE repository = ? AND id = ?", (repository, package)).fetchone()
        if package and known is None and not children:
            # unverified: text
            raise RegistryError("NAME_UNKNOWN", f'Package "{package}" not found')
        found = rows.execute("SELECT id FROM tags WHERE repository = ? AND package = ?", (repository, package))
        names = [row["id"] for row in found]
        last = ask.query.get("last")
        shown, headers = page(names, ask.query.get("n"), last, ask.location("tags/list"))
        # A page says what belongs to its tags; the whole list also says which manifests have none.
        manifests = _manifests(rows, repository, package, set(shown) if headers or last is not None else None)
    body = {"child": children, "manifest": manifests, "name": ask.image.path, "tags": shown}
    return JSONResponse(body, headers=headers)


def catalog(world: World, address: Address, caller: Caller, n: str | None, last: str | None) -> Response:
    """GET /v2/_catalog: images that the caller may pull, of this host, or of all where the address names none.

    No part of the specification 1.1; docker-distribution's HTTP API V2 "Catalog". Who has a role on a repository alone
    sees an empty list until `resourcemanager.projects.get` on the project comes to it (gcr-cleaner's issue 80, 2022).
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
