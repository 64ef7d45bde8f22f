"""Whether an account's credentials are still valid. Disabling, deleting or re-creating it revokes them all.

Every account has an era, and so has the world. A credential that carries its era (a registry token) becomes invalid
when the era ends. Access tokens are rows that are deleted, and a key's JWT becomes invalid with the key.
Source: https://cloud.google.com/iam/docs/service-accounts-disable-enable
"""

from __future__ import annotations

import sqlite3

from sandbox.iam import pools
from sandbox.iam.members import service_account_exists
from sandbox.state import schema

_KIND = "serviceAccount:"


def is_active(rows: sqlite3.Connection, member: str) -> bool:
    """Return whether a member's credentials are valid; those of people and anonymous callers always are.

    A pool's are invalid while it is disabled or deleted. The state of the provider that issued them does not matter:
    https://cloud.google.com/iam/docs/manage-workload-identity-pools-providers
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
    """Return whether an enabled service account has that address and unique id."""
    statement = "SELECT 1 FROM service_accounts WHERE email = ? AND unique_id = ? AND disabled = 0"
    return rows.execute(statement, (email, unique_id)).fetchone() is not None


def era(rows: sqlite3.Connection, member: str) -> str:
    """Return the era that a credential of the member must carry. It changes when credentials are revoked."""
    keys = (_key(""), _key(member)) if member else (_key(""),)
    return ".".join(str(_count(rows, key)) for key in keys)


def end(rows: sqlite3.Connection, email: str) -> None:
    """Revoke all credentials of a service account."""
    member = f"{_KIND}{email}"
    rows.execute("DELETE FROM tokens WHERE member = ?", (member,))
    _next(rows, _key(member))


def end_all(rows: sqlite3.Connection) -> None:
    """Revoke every credential that carries an era."""
    _next(rows, _key(""))


def _key(member: str) -> str:
    return f"era:{member}"


def _count(rows: sqlite3.Connection, key: str) -> int:
    return int(schema.meta(rows, key) or 0)


def _next(rows: sqlite3.Connection, key: str) -> None:
    schema.put_meta(rows, key, str(_count(rows, key) + 1))
