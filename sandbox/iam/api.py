"""iam.googleapis.com v1: the method table of service accounts, custom roles and workload identity pools."""

from __future__ import annotations

from sandbox.api.methods import Api, ordered
from sandbox.iam import custom_roles, pool_methods, service_accounts
from sandbox.iam.denial import denial

API = Api(
    service_accounts.SERVICE,
    service_accounts.TITLE,
    ordered((*service_accounts.METHODS, *custom_roles.METHODS, *pool_methods.METHODS)),
    denial=denial,
)
