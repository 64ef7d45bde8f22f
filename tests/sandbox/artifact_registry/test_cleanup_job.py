"""Run the daily cleanup job in a world without a server, and through gcloud in a real one."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import artifactregistry_v1
from hypothesis import given, settings

from cli.world.starter import World as Opened
from helpers import names, projects, registry, repositories, target
from helpers.transport import clients
from sandbox.artifact_registry import catalog, cleanup_job
from sandbox.cloud_logging.entries import of_project
from sandbox.state import projects as rows_of_projects
from sandbox.state.clock import Clock, timestamp
from sandbox.state.world import World
from tests.sandbox.artifact_registry import cleanup_strategies as random

START = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
NAME = "projects/ml-one/locations/us-central1/repositories/ml-images"
DAY = dt.timedelta(days=1)
ALL = {"all": {"id": "all", "action": "DELETE", "condition": {}}}
OLD = {"old": {"id": "old", "action": "DELETE", "condition": {"olderThan": f"{3 * random.DAY}s"}}}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "state", Clock(START))
    with world.writing() as rows:
        rows_of_projects.create(rows, world, "ml-one", "One", {})
    yield world
    world.close()


def repository(world: World, policies: dict[str, Any], **more: Any) -> None:
    message = json.dumps({"format": "DOCKER", "cleanupPolicies": policies, **more})
    with world.writing() as rows:
        now = timestamp(world.now())
        rows.execute(
            "INSERT OR REPLACE INTO repositories VALUES (?, 'ml-one', 'us-central1', 'ml-images', ?, ?, ?)",
            (NAME, message, now, now),
        )


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def push(world: World, number: int, *tags: str, children: tuple[int, ...] = (), subject: str = "") -> str:
    with world.writing() as rows:
        found = catalog.find_repository(rows, NAME)
        assert found
        body = catalog.Version(NAME, "web", digest(number), "x", "", subject, 10, 10, {}, "", "", "")
        catalog.put_version(rows, world, body, children=[digest(child) for child in children])
        for tag in tags:
            catalog.set_tag(rows, world, found, "web", tag, digest(number))
    return digest(number)


def left(world: World) -> set[str]:
    with world.reading() as rows:
        return {found.digest for found in catalog.versions(rows, NAME)}


def entries(world: World) -> list[dict[str, Any]]:
    with world.reading() as rows:
        return of_project(rows, "ml-one")


def test_job_runs_at_midnight(state: World) -> None:
    repository(state, ALL)
    push(state, 1)
    assert cleanup_job.travel(state, dt.timedelta(hours=14)) == []
    assert left(state) == {digest(1)}
    runs = cleanup_job.travel(state, dt.timedelta(hours=2))
    assert [(run.time.hour, len(run.versions)) for run in runs] == [(0, 1)]
    assert left(state) == set()


def test_travel_runs_the_job_each_midnight(state: World) -> None:
    repository(state, OLD)
    push(state, 1)
    runs = cleanup_job.travel(state, 5 * DAY)
    assert [run.time.date().day for run in runs] == [3, 4, 5, 6, 7]
    assert [len(run.versions) for run in runs] == [0, 0, 0, 1, 0]


def test_travel_ends_at_the_requested_time(state: World) -> None:
    repository(state, ALL)
    for number in range(5):
        push(state, number)
    wanted = state.now() + 31 * DAY
    cleanup_job.travel(state, 31 * DAY)
    # The writes of the last day advance the clock a little.
    assert dt.timedelta() <= state.now() - wanted < dt.timedelta(minutes=1)


def test_travel_backwards_is_refused(state: World) -> None:
    with pytest.raises(ValueError, match="forward"):
        cleanup_job.travel(state, -DAY)


def test_clock_offset_is_stored(state: World, tmp_path: Path) -> None:
    cleanup_job.travel(state, 31 * DAY)
    with state.reading() as rows:
        kept = rows.execute("SELECT value FROM meta WHERE key = 'clock_offset'").fetchone()["value"]
    assert float(kept) == state.clock.offset.total_seconds() > 30 * random.DAY


def test_missed_days_are_made_up_for_by_one_run(state: World) -> None:
    repository(state, OLD)
    push(state, 1)
    state.clock.advance(10 * DAY)
    assert [len(run.versions) for run in cleanup_job.travel(state, dt.timedelta())] == [1]


def test_deleting_a_tagged_version_deletes_its_tags(state: World) -> None:
    repository(state, ALL)
    push(state, 1, "1.0.0", "latest")
    cleanup_job.travel(state, DAY)
    with state.reading() as rows:
        assert rows.execute("SELECT COUNT(*) FROM tags").fetchone()[0] == 0


def test_children_of_an_index_are_deleted_in_the_next_run(state: World) -> None:
    repository(state, {"u": {"action": "DELETE", "condition": {"tagState": "UNTAGGED"}}})
    push(state, 1)
    push(state, 2, children=(1,))
    cleanup_job.travel(state, DAY)
    assert left(state) == {digest(1)}
    cleanup_job.travel(state, DAY)
    assert left(state) == set()


def test_attachments_are_kept(state: World) -> None:
    repository(state, ALL)
    push(state, 1)
    push(state, 2, subject=digest(1))
    cleanup_job.travel(state, DAY)
    assert left(state) == {digest(2)}


def test_immutable_tags_keep_their_versions(state: World) -> None:
    repository(state, ALL, dockerConfig={"immutableTags": True})
    push(state, 1, "1.0.0")
    push(state, 2)
    cleanup_job.travel(state, DAY)
    assert left(state) == {digest(1)}


def test_dry_run_deletes_nothing_and_logs_the_versions(state: World) -> None:
    repository(state, ALL, cleanupPolicyDryRun=True)
    push(state, 1)
    cleanup_job.travel(state, DAY)
    assert left(state) == {digest(1)}
    (entry,) = entries(state)
    assert entry["logName"] == "projects/ml-one/logs/cloudaudit.googleapis.com%2Fdata_access"
    payload = entry["protoPayload"]
    assert payload["serviceName"] == "artifactregistry.googleapis.com"
    assert payload["methodName"] == "google.devtools.artifactregistry.v1.ArtifactRegistry.BatchDeleteVersions"
    assert payload["request"]["parent"] == f"{NAME}/packages/-"
    assert payload["request"]["validateOnly"] is True
    assert payload["request"]["names"] == [f"{NAME}/packages/web/versions/{digest(1)}"]
    assert payload["authenticationInfo"]["principalEmail"].endswith("@gcp-sa-artifactregistry.iam.gserviceaccount.com")


def test_deletion_is_logged_without_validate_only(state: World) -> None:
    repository(state, ALL)
    push(state, 1)
    cleanup_job.travel(state, 3 * DAY)
    (entry,) = entries(state)
    assert "validateOnly" not in entry["protoPayload"]["request"]


@pytest.fixture(scope="module")
def random_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Create one world for all random repositories, since a new one takes longer than a run of the job."""
    world = World(tmp_path_factory.mktemp("random") / "state", Clock(random.NOW))
    with world.writing() as rows:
        rows_of_projects.create(rows, world, "ml-one", "One", {})
    yield world
    world.close()


@settings(max_examples=40, deadline=None)
@given(random.policies(), random.repositories())
def test_job_deletes_the_same_versions_as_the_oracle(
    random_world: World, rules: dict[str, Any], versions: list[dict[str, Any]]
) -> None:
    """The random repositories are those of the test of the pure functions, but stored in the database."""
    world = random_world
    world.clock = Clock(random.NOW - dt.timedelta(seconds=1))
    with world.writing() as rows:
        catalog.remove_repository(rows, NAME)
    repository(world, rules)
    with world.writing() as rows:
        found = catalog.find_repository(rows, NAME)
        assert found
        for one in versions:
            subject = digest(0) if one["attachment"] else ""
            body = catalog.Version(NAME, one["package"], one["name"], "x", "", subject, 1, 1, {}, "", "", "")
            catalog.put_version(rows, world, body)
            rows.execute(
                "UPDATE versions SET create_time = ? WHERE package = ? AND digest = ?",
                (timestamp(one["uploaded"]), one["package"], one["name"]),
            )
            for parent in one["parents"]:
                rows.execute("INSERT INTO children VALUES (?, ?, ?, ?)", (NAME, one["package"], parent, one["name"]))
            for tag in one["tags"]:
                catalog.set_tag(rows, world, found, one["package"], tag, one["name"])
        # A tag that was set on several versions of a package is on the last of them.
        seen = cleanup_job.versions(rows, NAME)
    plain = [
        {**one, "tags": list(next(v.tags for v in seen if v.name == one["name"] and v.package == one["package"]))}
        for one in versions
    ]
    runs = cleanup_job.run(world)
    gone = {version.name for run in runs for version in run.versions}
    assert gone == random.oracle(rules, plain, world_time(runs, world), immutable=False)
    assert left(world) == {one["name"] for one in versions} - gone


def world_time(runs: list[cleanup_job.Run], world: World) -> dt.datetime:
    return runs[0].time if runs else world.now()


# --- with gcloud and a real sandbox -----------------------------------------------------------------------------------

GUIDES = """[
 {"name": "keep-last-10", "action": {"type": "KEEP", "mostRecentVersions": {"keepCount": 10}},
  "condition": {"packageName": "ml-predictor"}},
 {"name": "delete-untagged-older-than-30d", "action": {"type": "DELETE"},
  "condition": {"packageName": "ml-predictor", "olderThan": "2592000s", "tagState": "UNTAGGED"}}
]"""
WORKING = [
    {"name": "delete-old", "action": {"type": "Delete"}, "condition": {"tagState": "any", "olderThan": "30d"}},
    {
        "name": "keep-production",
        "action": {"type": "Keep"},
        "condition": {"tagState": "tagged", "tagPrefixes": ["prod"]},
    },
    {
        "name": "keep-2",
        "action": {"type": "Keep"},
        "mostRecentVersions": {"packageNamePrefixes": ["web"], "keepCount": 2},
    },
]


def gcloud_run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["gcloud", *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def stocked(in_world: target.Target) -> Iterator[names.Repository]:
    """Create a repository with six versions of `web`: each has its own tag, the oldest also the tag production."""
    projects.enable(in_world.location.project, projects.ARTIFACT_REGISTRY)
    found = names.Repository(in_world.location, "cleanup")
    repositories.create(found)
    for number in range(6):
        registry.push(found.image("web").tag(f"1.0.{number}"), [{"base": "x"}, {"app": str(number)}])
    registry.push(found.image("web").tag("production"), [{"base": "x"}, {"app": "0"}])
    yield found
    repositories.delete(found)


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud")
def test_gcloud_sets_a_policy_a_dry_run_reports_and_the_job_deletes(
    stocked: names.Repository, environment: dict[str, str], world: Opened, tmp_path: Path
) -> None:
    where = ["cleanup", f"--location={stocked.location}"]
    guides = tmp_path / "guides.json"
    guides.write_text(GUIDES)
    refused = gcloud_run(environment, "artifacts", "repositories", "set-cleanup-policies", *where, f"--policy={guides}")
    assert refused.returncode == 1
    assert "INVALID_ARGUMENT" in refused.stderr
    assert (
        "Unknown name \"packageName\" at 'repository.cleanup_policies[0].value.condition': Cannot find field."
        in refused.stderr
    )

    file = tmp_path / "policy.json"
    file.write_text(json.dumps(WORKING))
    taken = gcloud_run(
        environment, "artifacts", "repositories", "set-cleanup-policies", *where, f"--policy={file}", "--dry-run"
    )
    assert taken.returncode == 0, taken.stderr
    before = {one.image.value for one in repositories.images(stocked)}
    world.admin("clock:advance", {"seconds": 31 * random.DAY})
    assert {one.image.value for one in repositories.images(stocked)} == before

    query = (
        'protoPayload.serviceName="artifactregistry.googleapis.com" AND '
        f'protoPayload.request.parent="{stocked.resource}/packages/-" AND protoPayload.request.validateOnly=true'
    )
    read = gcloud_run(
        environment, "logging", "read", query, "--order=asc", "--limit=1", "--format=json(protoPayload.request)"
    )
    assert read.returncode == 0, read.stderr
    reported = {name.rpartition("/")[2] for name in json.loads(read.stdout)[0]["protoPayload"]["request"]["names"]}

    gcloud_run(environment, "artifacts", "repositories", "set-cleanup-policies", *where, "--no-dry-run")
    answer = world.admin("clock:advance", {"seconds": random.DAY})
    deleted = {name.partition("@")[2] for run in answer["cleanups"] for name in run["versions"]}
    after = {one.image.value: one.tags for one in repositories.images(stocked)}
    assert before - set(after) == deleted == reported
    assert {tag for tags in after.values() for tag in tags} == {"1.0.0", "production", "1.0.4", "1.0.5"}


def test_batch_delete_with_validate_only_deletes_nothing(stocked: names.Repository) -> None:
    client = artifactregistry_v1.ArtifactRegistryClient(transport="rest")
    image = stocked.image("web")
    untagged = registry.push(image.tag("2.0.0"), [{"app": "two"}])
    client.delete_tag(name=image.tag("2.0.0").resource)
    tagged = image.tag("1.0.3")
    version = client.get_tag(name=tagged.resource).version
    request = {"parent": f"{stocked.resource}/packages/-", "names": [untagged.resource, version], "validate_only": True}
    client.batch_delete_versions(request=request).result(timeout=30)
    assert untagged.value in {one.image.value for one in repositories.images(stocked)}
    operation = client.batch_delete_versions(request={**request, "validate_only": False})
    operation.result(timeout=30)
    assert list(operation.metadata.failed_versions) == [version]
    assert untagged.value not in {one.image.value for one in repositories.images(stocked)}


def test_unsupported_logging_filter_is_refused(world: Opened, in_world: target.Target) -> None:
    import requests

    opened = clients.session()
    for text in ('a=~"b.*"', "severity=~ERROR", "a!~b", "any words", "sample(insertId, 0.25)"):
        body = {"resourceNames": [f"projects/{in_world.project_id}"], "filter": text}
        answer = opened.post("https://logging.googleapis.com/v2/entries:list", json=body, timeout=30)
        assert answer.status_code == requests.codes.not_implemented, text
    body["filter"] = 'a="b" OR c="d"'
    assert opened.post("https://logging.googleapis.com/v2/entries:list", json=body, timeout=30).status_code == 200


def test_eleventh_policy_is_refused(stocked: names.Repository) -> None:
    client = artifactregistry_v1.ArtifactRegistryClient(transport="rest")
    found = client.get_repository(name=stocked.resource)
    for number in range(10):
        found.cleanup_policies[f"p{number}"] = {
            "id": f"p{number}",
            "action": "KEEP",
            "condition": {"tag_prefixes": ["x"]},
        }
    client.update_repository(repository=found, update_mask={"paths": ["cleanup_policies"]})
    found.cleanup_policies["p10"] = {"id": "p10", "action": "DELETE", "condition": {}}
    with pytest.raises(GoogleAPICallError, match="at most 10"):
        client.update_repository(repository=found, update_mask={"paths": ["cleanup_policies"]})
