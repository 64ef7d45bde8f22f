"""What `workbook real --check` says of a project that isn't ready: the row, the mend, and nothing changed.

The sandbox stands where Google would, and each failure is made to happen in it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.readiness import checks, needs, org_policies
from cli.readiness.report import ADMINISTRATOR, READY, YOU, Readiness, Row
from cli.run import plans
from cli.world.starter import World
from helpers import iam, projects
from helpers.names import Project
from helpers.target import Target
from helpers.transport import rest

Workbook = Callable[..., subprocess.CompletedProcess[str]]
BILLING = "https://cloudbilling.googleapis.com/v1/projects/{}/billingInfo"
# They only read, though with POST.
READS = (":testIamPermissions", ":getIamPolicy", ":generateAccessToken", "/token")
OURS = (*needs.BEFORE, "orgpolicy.googleapis.com", "iam.googleapis.com", "iamcredentials.googleapis.com")


@pytest.fixture
def project(in_world: Target, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which everything is as it should be. gcloud is out of sight: it has a test of its own."""
    monkeypatch.setenv("PATH", "/nonexistent")
    found = in_world.location.project
    projects.enable(found, *OURS, "artifactregistry.googleapis.com", "cloudbuild.googleapis.com")
    return found


def look(project: Project, only: str = "", region: str = "us-central1") -> Readiness:
    return checks.check(project, region, plans.choose(only))


def row(found: Readiness, name: str) -> Row:
    return next(one for one in found.rows if one.check == name)


@pytest.fixture
def as_somebody(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Act as a new account that has the roles, and no others, on the project; gives its member."""
    made: list[iam.ServiceAccount] = []
    key = Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"])

    def act(*roles: str) -> str:
        account = iam.account(project, "somebody", str(tmp_path))
        iam.create_account(account, "x")
        made.append(account)
        learner = json.loads(key.read_text())
        iam.grant(account, "roles/iam.serviceAccountTokenCreator", f"serviceAccount:{learner['client_email']}")
        for role in roles:
            iam.grant(project, role, account.member)
        file = tmp_path / "somebody.json"
        url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        about = {"type": "impersonated_service_account", "service_account_impersonation_url": url, "delegates": []}
        file.write_text(json.dumps(about | {"source_credentials": learner}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        return account.member

    yield act
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    for account in made:
        iam.revoke_all(project, account.member)
        iam.delete_account(account)


def changes(world: World, since: int) -> list[str]:
    """The calls since then that changed something."""
    asked: list[dict[str, Any]] = world.admin(f"requests?since={since}")["requests"]
    return [
        f"{one['verb']} {one['host']}{one['path']}"
        for one in asked
        if one["verb"] != "GET" and not one["path"].endswith(READS)
    ]


def last(world: World) -> int:
    return max((one["number"] for one in world.admin("requests")["requests"]), default=0)


def test_a_project_in_which_all_is_well_is_ready(project: Project) -> None:
    found = look(project)
    assert found.code == READY, found.text()
    assert {one.state for one in found.rows} <= {"ok", "note"}
    assert found.text().endswith("Ready. Nothing was changed.")
    assert "run.googleapis.com" in row(found, "APIs").found


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud", "project")
def test_the_command_says_it_as_text_and_json_and_changes_nothing(
    workbook: Workbook, world: World, environment: Mapping[str, str]
) -> None:
    before = last(world)
    told = workbook("real", "--check", "--json", "--project", world.info.project_id)
    assert told.returncode == READY, told.stdout + told.stderr
    rows = {one["check"]: one for one in json.loads(told.stdout)["rows"]}
    assert rows["sign-in of gcloud"]["found"] == world.info.learner
    assert changes(world, before) == []
    wrong = workbook("real", "--check", "--project", "not-mine-at-all", PATH="/nonexistent")
    assert wrong.returncode == YOU
    assert "gcloud projects list" in wrong.stdout
    assert workbook("real").returncode == 2
    assert changes(world, before) == []


def test_an_api_that_is_off(project: Project, world: World) -> None:
    name = "cloudresourcemanager.googleapis.com"
    rest.call("POST", f"https://serviceusage.googleapis.com/v1/{project.resource}/services/{name}:disable", json={})
    before = last(world)
    found = look(project)
    assert found.code == YOU
    wrong = row(found, "APIs needed at once")
    assert wrong.mend == f"gcloud services enable {name} --project={project}"
    assert changes(world, before) == []
    projects.enable(project, name)
    assert look(project).code == READY


def test_a_role_that_is_missing(project: Project, world: World, as_somebody: Callable[..., str]) -> None:
    member = as_somebody("roles/viewer", "roles/artifactregistry.writer", "roles/resourcemanager.projectIamAdmin")
    before = last(world)
    found = look(project, "04")
    # Who may grant roles mends it alone.
    assert found.code == YOU
    wrong = row(found, "role roles/artifactregistry.admin")
    assert wrong.state == "you"
    assert "artifactregistry.repositories.create" in wrong.found
    assert f"--member={member} --role=roles/artifactregistry.admin" in wrong.mend
    # Without the right to enable APIs, those that are off are somebody else's.
    assert row(look(project, "07"), "APIs").state == "administrator"
    assert changes(world, before) == []


def test_a_role_that_only_an_administrator_can_grant(project: Project, as_somebody: Callable[..., str]) -> None:
    as_somebody("roles/viewer", "roles/serviceusage.serviceUsageAdmin")
    found = look(project, "02")
    assert found.code == ADMINISTRATOR
    assert row(found, "role roles/artifactregistry.admin").state == "administrator"
    assert "Paste this report" in found.text()


def test_billing_that_is_off(project: Project, world: World, as_somebody: Callable[..., str]) -> None:
    url = BILLING.format(project)
    account = rest.call("GET", url)["billingAccountName"]
    rest.call("PUT", url, json={"billingAccountName": ""})
    try:
        before = last(world)
        found = look(project)
        assert found.code == YOU
        number = account.partition("/")[2]
        assert row(found, "billing").mend == f"gcloud billing projects link {project} --billing-account={number}"
        assert changes(world, before) == []
    finally:
        rest.call("PUT", url, json={"billingAccountName": account})
    assert look(project).code == READY


def test_billing_that_you_may_not_link(project: Project, as_somebody: Callable[..., str]) -> None:
    url = BILLING.format(project)
    account = rest.call("GET", url)["billingAccountName"]
    key = os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
    rest.call("PUT", url, json={"billingAccountName": ""})
    try:
        as_somebody("roles/viewer")
        assert row(look(project), "billing").state == "administrator"
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key)
            rest.call("PUT", url, json={"billingAccountName": account})


def test_a_quota_of_nothing_is_for_an_administrator(project: Project, world: World) -> None:
    metric = "cloudbuild.googleapis.com/concurrent_public_pool_build_cpus"
    asked = {"project": project.id, "metric": metric}
    world.admin("quotas", asked | {"limit": 0, "region": "us-central1"})
    try:
        before = last(world)
        found = look(project, "06")
        assert found.code == ADMINISTRATOR
        wrong = row(found, "quota Concurrent CPUs of the default pool per region")
        assert wrong.found == f"{metric} is 0 in us-central1"
        assert "quotas?project=" in wrong.mend
        assert changes(world, before) == []
        # It is that region's, and that notebook's.
        assert look(project, "06", "europe-west1").code == READY
        assert look(project, "02").code == READY
    finally:
        world.admin("quotas", asked | {"limit": 20, "region": "us-central1"})
    assert look(project, "06").code == READY


def test_a_policy_that_bites_is_for_an_administrator(project: Project, world: World) -> None:
    for constraint, rules, only, says in (
        ("gcp.resourceLocations", [{"values": {"allowedValues": ["in:eu-locations"]}}], "02", "in us-central1"),
        ("iam.disableServiceAccountCreation", [{"enforce": True}], "09", "needed by notebook 9"),
        ("iam.allowedPolicyMemberDomains", [{"values": {"allowedValues": ["C0abc"]}}], "06", "may be public"),
        ("gcp.restrictServiceUsage", [{"values": {"deniedValues": ["run.googleapis.com"]}}], "06", "run.google"),
        ("iam.workloadIdentityPoolProviders", [{"values": {"allowedValues": ["https://x"]}}], "11", "without a key"),
        ("run.allowedIngress", [{"values": {"allowedValues": ["internal"]}}], "06", "can't be reached"),
    ):
        world.admin("policies", {"project": project.id, "constraint": constraint, "rules": rules})
        try:
            before = last(world)
            found = look(project, only)
            assert found.code == ADMINISTRATOR, constraint
            wrong = row(found, f"policy {constraint}")
            assert says in wrong.found
            assert f"gcloud org-policies describe {constraint}" in wrong.mend
            assert changes(world, before) == []
        finally:
            world.admin("policies", {"project": project.id, "constraint": constraint, "rules": []})
    # No notebook makes a key.
    assert "iam.disableServiceAccountKeyCreation" not in org_policies.CONSTRAINTS
    assert look(project).code == READY


def test_a_policy_in_nobodys_way_is_no_finding() -> None:
    question = org_policies.Question("us-central1", ("run.googleapis.com",), {"x.create": (2,)})
    for values in (["us-central1"], ["in:us-locations"], ["in:us-central1-locations", "europe-west1"]):
        assert org_policies.conflict("gcp.resourceLocations", [{"values": {"allowedValues": values}}], question) == ""
    assert org_policies.conflict("gcp.resourceLocations", [{"denyAll": True}], question) != ""
    assert org_policies.conflict("iam.disableServiceAccountCreation", [{"enforce": True}], question) == ""
    assert org_policies.conflict("gcp.resourceLocations", [{"allowAll": True}], question) == ""


@pytest.mark.parametrize("region", ["us-centrall1", "us", "Texas"])
def test_a_region_that_isnt_there(project: Project, world: World, region: str) -> None:
    before = last(world)
    found = look(project, "02", region)
    assert found.code == YOU
    assert region in row(found, "region").found
    assert "gcloud artifacts locations list" in row(found, "region").mend
    assert changes(world, before) == []


def test_a_sign_in_that_has_expired(
    project: Project, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "adc.json"
    login = {"type": "authorized_user", "client_id": "x", "client_secret": "x", "refresh_token": "an-old-one"}
    file.write_text(json.dumps(login))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    before = last(world)
    found = look(project)
    assert found.code == YOU
    (only,) = found.rows
    assert only.mend == "gcloud auth application-default login"
    assert "an-old-one" not in found.text()
    assert changes(world, before) == []


def test_a_role_says_which_notebooks_use_which_of_its_permissions() -> None:
    [run] = [need for need in needs.roles(plans.choose("06,10")) if need.role == "roles/run.admin"]
    assert run.uses == {"run.services.create": (6, 10), "run.services.setIamPolicy": (6,)}
    assert run.notebooks(["run.services.setIamPolicy"]) == (6,)
    assert needs.roles(plans.choose("00")) == ()
