"""Compare decisions with a brute-force evaluation, and the roles with Google's published ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.iam import decisions, roles
from sandbox.iam.decisions import Binding, Grant, Policy, decide

READ, WRITE, ADMINISTER = "a.things.get", "a.things.update", "a.things.setIamPolicy"
ROLES = {
    "roles/a.reader": frozenset({READ}),
    "roles/a.writer": frozenset({READ, WRITE}),
    "roles/a.serviceAgent": frozenset({WRITE}),
    "roles/owner": frozenset({READ, WRITE, ADMINISTER}),
    "projects/p/roles/own": frozenset({ADMINISTER}),
}
GROUPS = {
    "group:team@x.org": ("user:ana@x.org", "group:inner@x.org"),
    "group:inner@x.org": ("serviceAccount:ci@p.iam.gserviceaccount.com", "group:team@x.org"),
}
CALLERS = ["", "user:ana@x.org", "user:eve@y.org", "serviceAccount:ci@p.iam.gserviceaccount.com"]
ENTRIES = [*CALLERS[1:], *GROUPS, "domain:x.org", "allUsers", "allAuthenticatedUsers"]
RESOURCES = ("projects/p/locations/l/repositories/r", "projects/p")

# Written out by hand, so that it shares nothing with the code under test.
WHO = {
    "user:ana@x.org": {"user:ana@x.org"},
    "user:eve@y.org": {"user:eve@y.org"},
    "serviceAccount:ci@p.iam.gserviceaccount.com": {"serviceAccount:ci@p.iam.gserviceaccount.com"},
    "group:team@x.org": {"user:ana@x.org", "serviceAccount:ci@p.iam.gserviceaccount.com"},
    "group:inner@x.org": {"user:ana@x.org", "serviceAccount:ci@p.iam.gserviceaccount.com"},
    "domain:x.org": {"user:ana@x.org"},
    "allUsers": set(CALLERS),
    "allAuthenticatedUsers": set(CALLERS[1:]),
}

bindings = st.builds(
    Binding, st.sampled_from([*ROLES, "roles/unknown"]), st.frozensets(st.sampled_from(ENTRIES), max_size=4)
)
policies = st.tuples(*[st.builds(Policy, st.lists(bindings, max_size=4).map(tuple)) for _ in RESOURCES])
callers = st.sampled_from(CALLERS)
wanted = st.sampled_from([READ, WRITE, ADMINISTER, "a.things.unknown"])


def allowed(caller: str, permission: str, pair: tuple[Policy, ...]) -> bool:
    return decide(caller, permission, list(zip(RESOURCES, pair, strict=True)), ROLES, GROUPS).allowed


@given(callers, wanted, policies)
def test_decision_equals_brute_force_over_all_triples(caller: str, permission: str, pair: tuple[Policy, ...]) -> None:
    triples = {
        (member, held)
        for policy in pair
        for binding in policy.bindings
        for entry in binding.members
        for member in WHO[entry]
        for held in ROLES.get(binding.role, frozenset())
    }
    assert allowed(caller, permission, pair) is ((caller, permission) in triples)


@given(callers, wanted, policies, bindings, st.sampled_from([0, 1]))
def test_added_binding_never_removes_access(
    caller: str, permission: str, pair: tuple[Policy, ...], more: Binding, place: int
) -> None:
    wider = list(pair)
    wider[place] = Policy((*pair[place].bindings, more))
    assert allowed(caller, permission, tuple(wider)) or not allowed(caller, permission, pair)


@given(callers, wanted, policies, st.sampled_from([0, 1]), st.integers(0, 3))
def test_removed_binding_never_adds_access(
    caller: str, permission: str, pair: tuple[Policy, ...], place: int, which: int
) -> None:
    kept = tuple(binding for number, binding in enumerate(pair[place].bindings) if number != which)
    narrower = list(pair)
    narrower[place] = Policy(kept)
    assert not allowed(caller, permission, tuple(narrower)) or allowed(caller, permission, pair)


@given(callers, wanted, policies)
def test_granted_by_lists_every_entry_that_grants(caller: str, permission: str, pair: tuple[Policy, ...]) -> None:
    found = decide(caller, permission, list(zip(RESOURCES, pair, strict=True)), ROLES, GROUPS)
    assert set(found.granted_by) == {
        Grant(resource, binding.role, entry)
        for resource, policy in zip(RESOURCES, pair, strict=True)
        for binding in policy.bindings
        for entry in binding.members
        if caller in WHO[entry] and permission in ROLES.get(binding.role, ())
    }


def test_grant_names_the_resource_it_comes_from() -> None:
    project = Policy((Binding("roles/a.reader", frozenset({"group:team@x.org"})),))
    found = decide("user:ana@x.org", READ, [(RESOURCES[0], Policy()), (RESOURCES[1], project)], ROLES, GROUPS)
    assert found.granted_by == (Grant("projects/p", "roles/a.reader", "group:team@x.org"),)


def test_decision_without_policies_raises() -> None:
    with pytest.raises(ValueError, match="policy of the resource"):
        decide("", READ, [], ROLES, GROUPS)


def test_domain_excludes_service_accounts_and_longer_domains() -> None:
    assert not decisions.matches("domain:p.iam.gserviceaccount.com", CALLERS[3], {})
    assert not decisions.matches("domain:x.org", "user:eve@notx.org", {})


# Google's own numbers, facts/artifact-registry.md appendix B.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("artifactregistry.reader", 33),
        ("artifactregistry.writer", 44),
        ("artifactregistry.repoAdmin", 53),
        ("artifactregistry.admin", 67),
        ("artifactregistry.createOnPushWriter", 45),
        ("artifactregistry.createOnPushRepoAdmin", 54),
        ("artifactregistry.viewer", 35),
        ("artifactregistry.serviceAgent", 5),
        ("artifactregistry.attachmentReader", 3),
        ("artifactregistry.attachmentWriter", 6),
        ("cloudbuild.builds.builder", 78),
        ("ondemandscanning.admin", 8),
        ("ondemandscanning.viewer", 6),
        ("containeranalysis.occurrences.viewer", 4),
        ("run.developer", 89),
        ("run.invoker", 3),
        ("serviceusage.serviceUsageAdmin", 24),
        ("run.serviceAgent", 33),
        ("containeranalysis.ServiceAgent", 32),
    ],
)
def test_role_has_as_many_permissions_as_googles(name: str, count: int) -> None:
    assert len(roles.PERMISSIONS[f"roles/{name}"]) == count


# facts/artifact-registry.md 3.2: operation, permission, smallest role
@pytest.mark.parametrize(
    ("permission", "role"),
    [
        ("repositories.downloadArtifacts", "reader"),
        ("repositories.uploadArtifacts", "writer"),
        ("tags.create", "writer"),
        ("tags.update", "writer"),
        ("tags.delete", "repoAdmin"),
        ("versions.delete", "repoAdmin"),
        ("packages.delete", "repoAdmin"),
        ("repositories.deleteArtifacts", "repoAdmin"),
        ("repositories.create", "admin"),
        ("repositories.update", "admin"),
        ("repositories.delete", "admin"),
        ("repositories.setIamPolicy", "admin"),
        ("repositories.getIamPolicy", "viewer"),
        ("repositories.createOnPush", "createOnPushWriter"),
    ],
)
def test_smallest_role_for_an_operation_is_the_documented_one(permission: str, role: str) -> None:
    prefix = "roles/artifactregistry."
    holders = [
        name
        for name, permissions in roles.PERMISSIONS.items()
        if f"artifactregistry.{permission}" in permissions
        and name.startswith(prefix)
        and not name.endswith(".serviceAgent")
    ]
    assert min(holders, key=lambda name: len(roles.PERMISSIONS[name])) == f"{prefix}{role}"


def test_builder_role_can_push_but_not_delete_tags() -> None:
    builder = roles.PERMISSIONS["roles/cloudbuild.builds.builder"]
    assert {"artifactregistry.repositories.uploadArtifacts", "artifactregistry.tags.update"} <= builder
    assert not {"artifactregistry.tags.delete", "artifactregistry.versions.delete"} & builder


def test_roles_that_can_read_a_repositorys_policy() -> None:
    held = {
        name for name, role in roles.ROLES.items() if "artifactregistry.repositories.getIamPolicy" in role.permissions
    }
    assert held == {
        "roles/artifactregistry.admin",
        "roles/artifactregistry.viewer",
        "roles/viewer",
        "roles/editor",
        "roles/owner",
    }


def test_basic_roles_are_nested_and_owner_cannot_impersonate() -> None:
    viewer, editor, owner = (roles.PERMISSIONS[f"roles/{name}"] for name in ("viewer", "editor", "owner"))
    assert viewer < editor < owner < roles.KNOWN
    assert "iam.serviceAccounts.getAccessToken" not in owner
    assert "artifactregistry.repositories.setIamPolicy" not in editor
    assert not [p for p in viewer if p.endswith((".delete", ".create", ".update", ".uploadArtifacts"))]


def test_every_permission_in_the_method_tables_is_in_some_role() -> None:
    from sandbox.apis import APIS

    required = {permission for api in APIS for method in api.methods for permission in method.permissions}
    assert len(required) > 30
    assert required <= roles.KNOWN, sorted(required - roles.KNOWN)
