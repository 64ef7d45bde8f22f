"""Whether an account's credentials still count: one that is disabled, deleted or made anew ends all that it had.

Every account has an era, and so has the world. A credential that carries its era (a registry token) ends when the era
does; an access token is a row, which is deleted with it; a key's JWT ends with the key.
Source: https://cloud.google.com/iam/docs/service-accounts-disable-enable
"""

from __future__ import annotations

import sqlite3

from sandbox.iam import pools
from sandbox.iam.members import service_account_exists

_KIND = "serviceAccount:"


def is_active(rows: sqlite3.Connection, member: str) -> bool:
    """Whether credentials of a member count. People's and anonymous callers' always do.

    Those of a pool that is disabled or deleted grant nothing until it is back; what became of the provider that they
    came by does not matter: https://cloud.google.com/iam/docs/manage-workload-identity-pools-providers
    """
    if (pool := pools.pool_of(member.partition("\n")[0])) is not None:
        found = pools.find(rows, pool) or {}
        return found.get("state") == "ACTIVE" and not found.get("disabled")
    if not member.startswith(_KIND):
        return True
    email = member.removeprefix(_KIND)
    row = rows.execute("SELECT disabled FROM service_accounts WHERE email = ?", (email,)).fetchone()
    return not row["disabled"] if row else service_account_exists(rows, email)


def is_same(rows: sqlite3.Connection, email: str, unique_id: str) -> bool:
    """Whether a service account of that name and unique id is there, and not disabled."""
    asked = "SELECT 1 FROM service_accounts WHERE email = ? AND unique_id = ? AND disabled = 0"
    return rows.execute(asked, (email, unique_id)).fetchone() is not None


def era(rows: sqlite3.Connection, member: str) -> str:
    """Return what a credential of the member has to carry.

    It changes when the member's credentials, or everybody's, end.
    """
    keys = (_key(""), _key(member)) if member else (_key(""),)
    return ".".join(str(_count(rows, key)) for key in keys)


def end(rows: sqlite3.Connection, email: str) -> None:
    """End all credentials of a service account."""
    member = f"{_KIND}{email}"
    rows.execute("DELETE FROM tokens WHERE member = ?", (member,))
    _next(rows, _key(member))


def end_all(rows: sqlite3.Connection) -> None:
    """End the credentials of everybody that carry an era."""
    _next(rows, _key(""))


def _key(member: str) -> str:
    return f"era:{member}"


def _count(rows: sqlite3.Connection, key: str) -> int:
    row = rows.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return int(row["value"]) if row else 0


def _next(rows: sqlite3.Connection, key: str) -> None:
    rows.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, str(_count(rows, key) + 1)))
