"""A slow sandbox: changes take effect later by its own clock, which repeated requests advance."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path

import google.auth
import pytest
import requests
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.readiness import needs
from cli.world.starter import World as Started
from helpers import iam, projects, registry, repositories, scans
from helpers.cell import documents
from helpers.names import Project, Repository
from helpers.target import Target
from helpers.transport import rest
from sandbox.api import operations
from sandbox.iam import policies
from sandbox.state import pace
from sandbox.state import projects as rows_of_projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

START = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
PROJECT = "projects/ml-one"
READER, ANA = "roles/artifactregistry.reader", "user:ana@example.com"
PULL = "artifactregistry.repositories.downloadArtifacts"


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[World]:
    """Open a slow world with a fixed clock, without a server."""
    world = World(tmp_path / "state", Clock(START))
    with world.writing(tick=False) as rows:
        rows_of_projects.create(rows, world, "ml-one", "One", {})
    world.pace = pace.SLOW
    yield world
    world.close()


def bind(world: World, *members: str) -> None:
    policies.set_policy(world, PROJECT, {"bindings": [{"role": READER, "members": list(members)}] if members else []})


def allowed(world: World) -> bool:
    return policies.decide(world, ANA, PULL, PROJECT).allowed


def decisions_until(world: World, wanted: bool) -> int:
    """Return the number of decisions until the result is the wanted one."""
    number = 1
    while allowed(world) is not wanted:
        number += 1
        assert number < 20
    return number


def test_grant_and_revocation_take_effect_after_two_minutes(slow: World) -> None:
    bind(slow, ANA)
    with slow.reading() as rows:
        assert policies.get_policy(rows, PROJECT)["bindings"]
    assert decisions_until(slow, True) == 5  # four steps of 30 s
    bind(slow)
    assert allowed(slow)
    assert decisions_until(slow, False) > 1


def test_decision_without_pending_change_does_not_move_the_clock(slow: World) -> None:
    before = slow.now()
    assert not allowed(slow)
    assert slow.now() == before


def test_grant_takes_effect_by_passing_time(slow: World) -> None:
    bind(slow, ANA)
    slow.clock.advance(slow.pace.propagation)
    assert allowed(slow)


@pytest.fixture(scope="module")
def random_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Create one world for all random changes, since a new one takes longer than an example."""
    world = World(tmp_path_factory.mktemp("pace") / "state", Clock(START))
    with world.writing(tick=False) as rows:
        rows_of_projects.create(rows, world, "ml-one", "One", {})
    # Without a step, decisions do not move the clock.
    world.pace = pace.Pace(propagation=dt.timedelta(seconds=120))
    yield world
    world.close()


@settings(deadline=None, max_examples=30)
@given(changes=st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=8), wait=st.integers(0, 300))
def test_effective_policy_is_the_one_of_two_minutes_ago(
    random_world: World, changes: list[tuple[bool, int]], wait: int
) -> None:
    world = random_world
    with world.writing(tick=False) as rows:
        policies.forget(rows, PROJECT)
    written = [(world.now(), False)]
    for granted, seconds in changes:
        world.clock.advance(dt.timedelta(seconds=seconds))
        bind(world, *((ANA,) if granted else ()))
        written.append((world.now(), granted))
    world.clock.advance(dt.timedelta(seconds=wait))
    in_effect = [granted for moment, granted in written if moment <= world.now() - world.pace.propagation]
    assert allowed(world) is (in_effect[-1] if in_effect else False)


def test_googles_own_grants_take_effect_immediately(slow: World) -> None:
    bind(slow, "user:ben@example.com")
    with slow.writing() as rows:
        policies.grant(rows, slow, PROJECT, READER, ANA)
    assert allowed(slow)


def test_deleted_resource_has_no_past_policy(slow: World) -> None:
    bind(slow, ANA)
    slow.clock.advance(slow.pace.propagation)
    bind(slow)
    with slow.writing() as rows:
        policies.forget(rows, PROJECT)
    assert not allowed(slow)


def test_slow_operation_is_done_at_the_third_poll(slow: World) -> None:
    with slow.writing() as rows:
        begun = operations.finish(rows, slow, "operations/one", {"@type": "x"}, {"@type": "y"})
    assert begun == {"name": "operations/one", "metadata": {"@type": "y"}}
    polls = [operations.get(slow, "operations/one") for _ in range(4)]
    assert [one.get("done", False) for one in polls] == [False, False, True, True]
    assert polls[-1]["response"] == {"@type": "x"}
    assert not [one for one in polls if "pollsLeft" in one]


def test_operation_is_done_at_the_first_poll(slow: World) -> None:
    slow.pace = pace.AT_ONCE
    with slow.writing() as rows:
        full = operations.finish(rows, slow, "operations/two", {"@type": "x"}, {"@type": "y"}, begun={"@type": "z"})
        bare = operations.finish(rows, slow, "operations/three", {"@type": "x"}, {"@type": "y"}, begun={})
    assert full == {"name": "operations/two", "metadata": {"@type": "z"}}
    assert bare == {"name": "operations/three"}
    polled = {"name": "operations/two", "done": True, "response": {"@type": "x"}, "metadata": {"@type": "y"}}
    assert operations.get(slow, "operations/two") == polled


def test_switching_back_the_pace_takes_effect_immediately(slow: World) -> None:
    bind(slow, ANA)
    slow.pace = pace.AT_ONCE
    assert allowed(slow)


@pytest.mark.parametrize("fixed", [START, None])
def test_wait_until_ends_when_the_clock_is_moved(fixed: dt.datetime | None) -> None:
    clock = Clock(fixed)
    waiting = threading.Thread(target=clock.wait_until, args=(clock.now() + dt.timedelta(days=1), threading.Event()))
    waiting.start()
    clock.advance(dt.timedelta(days=2))
    waiting.join(timeout=30)
    assert not waiting.is_alive()


def test_wait_until_ends_when_stopping() -> None:
    stopping = threading.Event()
    clock = Clock(START)
    waiting = threading.Thread(target=clock.wait_until, args=(START + dt.timedelta(days=1), stopping))
    waiting.start()
    stopping.set()
    waiting.join(timeout=30)
    assert not waiting.is_alive()


# --- with a real sandbox and the helpers of the notebooks -------------------------------------------------------------


@pytest.fixture
def here(world: Started, in_world: Target) -> Iterator[Target]:
    """Return the learner's environment, in a sandbox that is slow during the test."""
    assert world.admin("pace", {"slow": True})["slow"]
    yield in_world
    assert not world.admin("pace", {"slow": False})["slow"]


def test_helpers_wait_for_api_operation_grant_and_scan(here: Target) -> None:
    project = Project(here.project_id)
    # Like gcloud, which waits only for the operation.
    _enable_only(project, "artifactregistry.googleapis.com")
    with pytest.raises(exceptions.Forbidden, match="enabled this API recently"):
        repositories.list_in(here.location)
    apis = ("artifactregistry", "containerscanning", "containeranalysis", "iam")
    projects.enable(project, *(f"{name}.googleapis.com" for name in apis))
    scratch = Repository(here.location, "slowly")
    repositories.create(scratch, labels=here.labels)
    image = registry.push(scratch.image("labels").tag("1"), [{"labels.txt": "setosa\n"}])
    assert scans.read(image).status == "PENDING"
    assert scans.wait(image).status == "FINISHED_UNSUPPORTED"
    robot = iam.account(project, "slow", here.run)
    iam.create_account(robot, here.run)
    iam.grant(
        robot, "roles/iam.serviceAccountTokenCreator", f"serviceAccount:learner@{project}.iam.gserviceaccount.com"
    )
    assert not iam.permitted(robot, "iam.serviceAccounts.getAccessToken")
    questions = 1
    while not iam.permitted(robot, "iam.serviceAccounts.getAccessToken"):
        questions += 1
        assert questions < 20
    repositories.delete(scratch)


# APIs that notebooks enable and do not call, or only to create resources
NOT_CALLED = {
    f"{name}.googleapis.com"
    for name in ("binaryauthorization", "cloudtrace", "containerscanning", "iamcredentials", "sts")
}


def test_helpers_wait_for_every_api_of_the_notebooks(here: Target) -> None:
    wanted = set(needs.apis(documents.notebooks()))
    assert wanted - NOT_CALLED == projects._PROBES.keys()
    project = Project(here.project_id)
    for service in wanted:
        url = f"https://serviceusage.googleapis.com/v1/{project.resource}/services/{service}:disable"
        rest.call("POST", url, json={"disableDependentServices": True})
    projects.enable(project, *sorted(wanted))
    for service, question in projects._PROBES.items():
        # Any response but "enabled recently" shows that the API accepts calls.
        with contextlib.suppress(exceptions.NotFound):
            rest.call("GET", f"https://{service}/{question.format(project=project.resource)}")


def _enable_only(project: Project, service: str) -> None:
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    url = f"https://serviceusage.googleapis.com/v1/{project.resource}/services/{service}:enable"
    with AuthorizedSession(credentials) as opened:
        operation = opened.post(url, json={}, timeout=30).json()
        while not operation.get("done"):
            operation = opened.get(f"https://serviceusage.googleapis.com/v1/{operation['name']}", timeout=30).json()


def test_invalid_pace_is_refused(world: Started) -> None:
    assert world.admin("pace") == {
        "slow": False,
        "propagationSeconds": 0.0,
        "polls": 1,
        "scanSeconds": 0.0,
        "stepSeconds": 0.0,
    }
    token = (world.home / "admin-token").read_text().strip()
    with requests.Session() as session:
        session.trust_env = False
        for body in ({}, {"slow": 1}, {"slow": True, "polls": 3}, []):
            url = f"{world.url}/_sandbox/pace"
            refused = session.post(url, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30)
            assert refused.status_code == 400
