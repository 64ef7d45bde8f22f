"""Workload identity pools: their rows, and the members by which policies name their identities.

A pool belongs to a project. A deleted pool is only marked: for 30 days its name stays taken, and it can be undeleted.
Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sqlite3
from typing import Any

Json = dict[str, Any]

KEPT = dt.timedelta(days=30)
# https://cloud.google.com/iam/docs/principal-identifiers: with the project's number, not its id.
_POOL = r"projects/(?P<number>\d+)/locations/global/workloadIdentityPools/(?P<pool>[a-z0-9-]{4,32})"
_PRINCIPAL = re.compile(rf"principal://iam\.googleapis\.com/{_POOL}/subject/.+")
_PRINCIPAL_SET = re.compile(
    rf"principalSet://iam\.googleapis\.com/{_POOL}/(?:group/.+|attribute\.[a-z0-9_]{{1,100}}/.+|\*)"
)


def pool_of(member: str) -> str | None:
    """Return the resource name of the pool of `principal://…` or `principalSet://…`, or None for other members."""
    match = _PRINCIPAL.fullmatch(member) or _PRINCIPAL_SET.fullmatch(member)
    return f"projects/{match['number']}/locations/global/workloadIdentityPools/{match['pool']}" if match else None


def find(rows: sqlite3.Connection, name: str) -> Json | None:
    """Return a pool or a provider as Google's JSON, or None if there is none. Deleted ones have the state DELETED."""
    row = rows.execute("SELECT body FROM identity_pools WHERE name = ?", (name,)).fetchone()
    return json.loads(row["body"]) if row else None


def under(rows: sqlite3.Connection, parent: str) -> list[Json]:
    """Return the pools of a project's location or the providers of a pool, sorted by name."""
    found = rows.execute("SELECT body FROM identity_pools WHERE parent = ? ORDER BY name", (parent,)).fetchall()
    return [json.loads(row["body"]) for row in found]


def save(rows: sqlite3.Connection, body: Json) -> None:
    """Store a pool or a provider under its own `name`."""
    parent = body["name"].rsplit("/", 2)[0]
    rows.execute(
        "INSERT OR REPLACE INTO identity_pools (name, parent, body) VALUES (?, ?, ?)",
        (body["name"], parent, json.dumps(body)),
    )
