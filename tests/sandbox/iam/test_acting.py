"""Check acting as a service account: every role, with every kind of account, in every spelling of its name.

The expected results are data here: the roles with `iam.serviceAccounts.actAs` are from Google's reference of roles
(https://cloud.google.com/iam/docs/roles-permissions), and the exemption of Cloud Build's legacy account is from
https://cloud.google.com/build/docs/cloud-build-service-account-updates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from sandbox.errors import ApiError
from sandbox.iam import acting, members, policies, roles, standing, tokens
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

OWN, OTHERS = "ml-own", "ml-others"
HOLDS_ACT_AS = {"roles/owner", "roles/editor", "roles/iam.serviceAccountUser"}
# The project of each account. Google's agents and the legacy accounts of Cloud Build have none of the two.
ACCOUNTS = {
    "own": OWN,
    "own default": OWN,
    "other": OTHERS,
    "other default": OTHERS,
    "own legacy": "",
    "other legacy": "",
    **{f"own agent {place}": "" for place in range(4)},
    **{f"other agent {place}": "" for place in range(4)},
    "missing": "",
    "of a project that is not there": "",
}
SPELLINGS = ("email", "capitals", "id", "own project", "own number", "other project", "other number", "dash")


@dataclasses.dataclass
class Place:
    """A world with two projects: the emails and unique ids by account, and the project numbers by project id."""

    world: World
    emails: dict[str, str]
    ids: dict[str, str]
    numbers: dict[str, str]

    def project(self, project_id: str) -> projects.Project:
        found = projects.find(self.world, project_id)
        assert found is not None
        return found

    def named(self, account: str, spelling: str) -> str:
        email = self.emails[account]
        parent = {"dash": "-", "own project": OWN, "own number": self.numbers[OWN]}
        parent |= {"other project": OTHERS, "other number": self.numbers[OTHERS]}
        if spelling in parent:
            return f"projects/{parent[spelling]}/serviceAccounts/{email}"
        return {"email": email, "capitals": email.upper(), "id": self.ids.get(account, email)}[spelling]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    world = World(tmp_path_factory.mktemp("acting") / "state", Clock())
    with world.writing() as rows:
        for name in (OWN, OTHERS):
            projects.create(rows, world, name, name, {})
        emails = {"own": projects.add_service_account(rows, world, OWN, "runner", "")}
        emails["other"] = projects.add_service_account(rows, world, OTHERS, "runner", "")
        found = rows.execute("SELECT email, unique_id FROM service_accounts").fetchall()
        numbers = {row["id"]: row["number"] for row in rows.execute("SELECT id, number FROM projects")}
    agents = [members.REGISTRY_AGENT, members.RUN_AGENT, members.BUILD_AGENT, members.ANALYSIS_AGENT]
    for whose, project in (("own", OWN), ("other", OTHERS)):
        emails[f"{whose} default"] = members.COMPUTE_ACCOUNT.format(number=numbers[project])
        emails[f"{whose} legacy"] = members.BUILD_ACCOUNT.format(number=numbers[project])
        emails |= {f"{whose} agent {at}": one.format(number=numbers[project]) for at, one in enumerate(agents)}
    emails["missing"] = f"nobody@{OWN}.iam.gserviceaccount.com"
    emails["of a project that is not there"] = members.COMPUTE_ACCOUNT.format(number="999999999999")
    by_email = {row["email"]: row["unique_id"] for row in found}
    ids = {name: by_email[email] for name, email in emails.items() if email in by_email}
    yield Place(world, emails, ids, numbers)
    world.close()


def fits(place: Place, account: str, spelling: str) -> bool:
    """Return whether a spelling names the account: a project in the name must be the account's own."""
    named = {"own project": OWN, "own number": OWN, "other project": OTHERS, "other number": OTHERS}.get(spelling)
    return named is None or named == ACCOUNTS[account]


@pytest.mark.parametrize("project", [OWN, OTHERS])
@pytest.mark.parametrize("role", sorted(roles.PERMISSIONS))
def test_role_on_a_project_allows_acting_as_its_accounts_only(place: Place, role: str, project: str) -> None:
    with place.world.writing() as rows:
        holder = f"holder-{sorted(roles.PERMISSIONS).index(role)}"
        member = f"serviceAccount:{projects.add_service_account(rows, place.world, project, holder, '')}"
        policies.grant(rows, place.world, f"projects/{project}", role, member)
    wrong = []
    for account, owner in ACCOUNTS.items():
        for spelling in SPELLINGS:
            expected = role in HOLDS_ACT_AS and owner == project and fits(place, account, spelling)
            answer = acting.check(place.world, member, place.named(account, spelling))
            if answer != (place.emails[account] if expected else None):
                wrong.append((account, spelling, answer))
    assert not wrong


def test_role_on_an_account_allows_acting_as_that_account_only(place: Place) -> None:
    member = "user:ana@example.com"
    with place.world.writing() as rows:
        policies.grant(
            rows,
            place.world,
            f"projects/{OWN}/serviceAccounts/{place.emails['own']}",
            "roles/iam.serviceAccountUser",
            member,
        )
    opened = {
        (account, spelling)
        for account in ACCOUNTS
        for spelling in SPELLINGS
        if acting.check(place.world, member, place.named(account, spelling))
    }
    assert opened == {("own", spelling) for spelling in SPELLINGS if fits(place, "own", spelling)}


def test_build_runs_as_its_projects_legacy_account_without_permission(place: Place) -> None:
    project = place.project(OWN)
    for spelling in ("email", "own project", "own number", "dash"):
        assert acting.check(place.world, "user:ben@example.com", place.named("own legacy", spelling), builds_of=project)
    for spelling in SPELLINGS:
        named = place.named("other legacy", spelling)
        assert acting.check(place.world, "user:ben@example.com", named, builds_of=project) is None
    named = place.named("own legacy", "other project")
    assert acting.check(place.world, "user:ben@example.com", named, builds_of=project) is None


@pytest.mark.parametrize("named", ["", "/", "projects//serviceAccounts/", "a/b", "projects/-/serviceAccounts/a/keys/b"])
def test_invalid_account_name_is_refused(place: Place, named: str) -> None:
    with place.world.writing() as rows:
        policies.grant(rows, place.world, f"projects/{OWN}", "roles/owner", "user:chen@example.com")
    assert acting.check(place.world, "user:chen@example.com", named) is None


def test_disabled_account_cannot_be_acted_as_and_gets_no_token(place: Place) -> None:
    with place.world.writing() as rows:
        email = projects.add_service_account(rows, place.world, OWN, "disabled", "")
        rows.execute("UPDATE service_accounts SET disabled = 1 WHERE email = ?", (email,))
        policies.grant(rows, place.world, f"projects/{OWN}", "roles/owner", "user:chen@example.com")
    with pytest.raises(ApiError, match="is disabled"):
        acting.check(place.world, "user:chen@example.com", email)
    # A caller without the permission does not learn that the account exists.
    assert acting.check(place.world, "user:nobody@example.com", email) is None
    with pytest.raises(tokens.InvalidToken, match="disabled"):
        tokens.mint(place.world, f"serviceAccount:{email}")


def test_recreated_account_has_another_unique_id_and_era(place: Place) -> None:
    def unique_id() -> str:
        with place.world.reading() as rows:
            row = rows.execute("SELECT unique_id FROM service_accounts WHERE email = ?", (email,)).fetchone()
        return str(row["unique_id"])

    with place.world.writing() as rows:
        email = projects.add_service_account(rows, place.world, OWN, "again", "")
        era = standing.era(rows, f"serviceAccount:{email}")
    before = unique_id()
    with place.world.writing() as rows:
        rows.execute("DELETE FROM service_accounts WHERE email = ?", (email,))
        standing.end(rows, email)
        projects.add_service_account(rows, place.world, OWN, "again", "")
    assert unique_id() != before
    with place.world.reading() as rows:
        assert standing.era(rows, f"serviceAccount:{email}") != era
        assert not standing.is_same(rows, email, before)
        assert standing.is_same(rows, email, unique_id())
