"""Trusting one repository on GitHub from Python: made once, brought back after a deletion, and never for everybody."""

from __future__ import annotations

import secrets

import pytest
from google.api_core import exceptions

from helpers import access, federation, projects, target
from helpers.transport import rest

GITHUB = "https://token.actions.githubusercontent.com"


def test_a_pool_is_made_once_and_comes_back(in_world: target.Target) -> None:
    project, pool = in_world.location.project, federation.pool_id(secrets.token_hex(4))
    projects.enable(project, "iam.googleapis.com")
    assert federation.pool_state(project, pool) == ""
    made = federation.create_pool(project, pool, in_world.run)
    body = {"attributeMapping": {"google.subject": "assertion.sub"}, "oidc": {"issuerUri": GITHUB}}
    url = f"https://iam.googleapis.com/v1/{made}/providers"
    with pytest.raises(exceptions.BadRequest, match="must reference one of the provider's claims"):
        rest.call("POST", url, params={"workloadIdentityPoolProviderId": "actions"}, json=body)
    provider = federation.trust_github(project, pool, "actions", "example.com/models")
    assert provider == f"{made}/providers/actions"
    assert federation.trust_github(project, pool, "actions", "example.com/models") == provider
    deployer = access.account(project, "deployer", secrets.token_hex(4))
    access.create_account(deployer, in_world.run)
    member = federation.repository_member(made, "example.com/models")
    assert access.grant(deployer, federation.USER, member)
    assert [one.member for one in access.bindings(deployer)] == [member]
    federation.delete_pool(project, pool)
    federation.delete_pool(project, pool)
    assert federation.pool_state(project, pool) == "DELETED"
    assert federation.create_pool(project, pool, in_world.run) == made
    assert federation.pool_state(project, pool) == "ACTIVE"
