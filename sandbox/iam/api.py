"""iam.googleapis.com v1: the method table of service accounts, custom roles and workload identity pools."""

from __future__ import annotations

from sandbox.api.methods import Api, ordered
from sandbox.iam import custom_roles, pool_methods, service_accounts
from sandbox.iam.denial import denial

API = Api(
    service_accounts.SERVICE,
    service_accounts.TITLE,
    ordered((*service_accounts.METHODS, *custom_roles.METHODS, *pool_methods.METHODS)),
    # As recorded for an account that does not exist (2026-08-14) and one that already exists.
    lists_errors=True,
    denial=denial,
)
