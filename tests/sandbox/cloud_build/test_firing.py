"""A push begins builds by itself: real git at the Git host, triggers over REST, and what the builds then say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.auth.transport.requests import AuthorizedSession

from helpers import builds, names
from tests.conditions import until
from tests.sandbox.cloud_build.firing import (
    CONFIG,
    REGION,
    begun,
    builds_of,
    connected,
    learner_who_connects,
    numbers,
    place,
    trigger,
)
from tests.sandbox.conftest import ask, project
from tests.sandbox.git_hosting import Clone, Host

Make = Callable[..., Clone]


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    with learner_who_connects() as session:
        yield session


@pytest.fixture(scope="module")
def resources() -> list[str]:
    """The repository that this file's refusals share, as soon as one of them has connected it."""
    return []


@pytest.fixture
def resource(resources: list[str], host: Host, learner: AuthorizedSession) -> str:
    """The resource of a connected repository that no test pushes to."""
    if not resources:
        resources.append(connected(learner, host.repository()))
    return resources[0]


@pytest.fixture
def work(host: Host, clone: Make, learner: AuthorizedSession) -> tuple[Clone, str]:
    """A working copy with a configuration, and the resource of its repository."""
    repository = host.repository()
    made = clone(repository)
    made.commit(**{"cloudbuild.yaml": CONFIG})
    made.git("push", "--quiet", "origin", "main")
    return made, connected(learner, repository)


def test_a_push_begins_a_build_that_says_where_it_is_from(
    learner: AuthorizedSession,
    host: Host,
    work: tuple[Clone, str],
) -> None:
    copy, resource = work
    made = trigger(learner, resource, {"branch": "^main$"}, substitutions={"_WHO": "me"}, tags=["mine"])
    sha = copy.commit()
    copy.git("push", "origin", "main")
    build = begun(learner, made)[0]
    full_name = copy.repository
    source = {"url": f"https://github.com/{full_name}.git", "revision": sha}
    assert build["source"] == {"gitSource": source}
    assert build["sourceProvenance"] == {"resolvedGitSource": source}
    assert build["buildTriggerId"] == made["id"]
    assert build["tags"] == ["mine", f"trigger-{made['id']}"]
    assert build["substitutions"] == {
        "TRIGGER_NAME": made["name"],
        "TRIGGER_BUILD_CONFIG_PATH": "cloudbuild.yaml",
        "COMMIT_SHA": sha,
        "REVISION_ID": sha,
        "SHORT_SHA": sha[:7],
        "REPO_NAME": full_name.partition("/")[2],
        "REPO_FULL_NAME": full_name,
        "BRANCH_NAME": "main",
        "REF_NAME": "main",
        "_WHO": "me",
    }
    assert build["steps"][0]["args"] == ["version", sha[:7], "me"]
    assert "warnings" not in build
    checks = host.api("GET", f"/repos/{full_name}/commits/{sha}/check-runs")["check_runs"]
    assert [(one["name"], one["app"]["slug"], one["external_id"]) for one in checks] == [
        (f"{made['name']} ({project()})", "google-cloud-build", build["id"])
    ]


def test_only_what_matches_fires(learner: AuthorizedSession, work: tuple[Clone, str]) -> None:
    copy, resource = work
    on_main = trigger(learner, resource, {"branch": "^main$"})
    on_topic = trigger(learner, resource, {"branch": "^main$", "invertRegex": True})
    on_tag = trigger(learner, resource, {"tag": "^v"})
    on_docs = trigger(learner, resource, {"branch": ".*"}, includedFiles=["docs/**"])
    off = trigger(learner, resource, {"branch": ".*"}, disabled=True)
    copy.commit("nothing to build [skip ci]")
    copy.git("push", "origin", "main")
    first = copy.commit()
    copy.git("push", "origin", "main")
    assert [one["substitutions"]["COMMIT_SHA"] for one in begun(learner, on_main)] == [first]
    second = copy.commit(**{"docs/a": "text"})
    copy.git("push", "origin", "main")
    copy.git("tag", "v1")
    copy.git("push", "origin", "v1")
    assert [one["substitutions"]["TAG_NAME"] for one in begun(learner, on_tag)] == ["v1"]
    assert [one["substitutions"]["COMMIT_SHA"] for one in begun(learner, on_main, 2)] == [second, first]
    assert [one["substitutions"]["COMMIT_SHA"] for one in begun(learner, on_docs)] == [second]
    assert builds_of(learner, on_topic) == builds_of(learner, off) == []
    copy.git("push", "origin", "main:topic")
    assert begun(learner, on_topic)[0]["substitutions"]["BRANCH_NAME"] == "topic"


def test_pull_requests_fire_and_a_forks_needs_a_comment(
    learner: AuthorizedSession,
    host: Host,
    clone: Make,
    work: tuple[Clone, str],
) -> None:
    copy, resource = work
    repository = copy.repository
    control = {"branch": "^main$", "commentControl": "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"}
    made = trigger(learner, resource, pullRequest=control)
    copy.git("switch", "--quiet", "--create", "topic")
    first = copy.commit()
    copy.git("push", "--quiet", "origin", "topic")
    pull = {"title": "a topic", "head": "topic", "base": "main"}
    host.api("POST", f"/repos/{repository}/pulls", pull, status=201)
    opened = begun(learner, made)[0]["substitutions"]
    assert {
        key: opened[key] for key in ("COMMIT_SHA", "BRANCH_NAME", "_HEAD_BRANCH", "_BASE_BRANCH", "_PR_NUMBER")
    } == {
        "COMMIT_SHA": first,
        "BRANCH_NAME": "topic",
        "_HEAD_BRANCH": "topic",
        "_BASE_BRANCH": "main",
        "_PR_NUMBER": "1",
    }
    second = copy.commit()
    copy.git("push", "--quiet", "origin", "topic")
    assert begun(learner, made, 2)[0]["substitutions"]["COMMIT_SHA"] == second

    fork = host.api("POST", f"/repos/{repository}/forks", login="mallory", status=202)["full_name"]
    theirs = clone(fork, login="mallory")
    theirs.git("pull", "--quiet", "origin", "main")
    third = theirs.commit()
    theirs.git("push", "--quiet", "origin", "main:evil")
    pull = {"title": "from a fork", "head": "mallory:evil", "base": "main", "body": "/gcbrun"}
    host.api("POST", f"/repos/{repository}/pulls", pull, login="mallory", status=201)
    comments = f"/repos/{repository}/issues/2/comments"
    host.api("POST", comments, {"body": "/gcbrun"}, login="mallory", status=201)
    host.api("POST", comments, {"body": "looks good: /gcbrun"}, status=201)
    build = begun(learner, made, 3)[0]
    assert build["substitutions"]["COMMIT_SHA"] == third
    assert build["substitutions"]["_HEAD_REPO_URL"] == f"https://github.com/{fork}"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("steps: [", "failed unmarshalling build config cloudbuild.yaml: yaml: "),
        ("steps:\n  - nme: x\n", 'Unknown name "nme"'),
        ("- steps", "it is no build"),
        ("steps: []", "no build steps specified"),
        ("a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", "too large"),
    ],
    ids=["no-yaml", "unknown-field", "no-build", "no-steps", "many-aliases"],
)  # fmt: skip
def test_a_configuration_that_cannot_be_read_is_a_failed_build(
    learner: AuthorizedSession, work: tuple[Clone, str], config: str, says: str
) -> None:
    copy, resource = work
    made = trigger(learner, resource, {"branch": "^main$"})
    copy.commit(**{"cloudbuild.yaml": config})
    copy.git("push", "origin", "main")
    build = begun(learner, made)[0]
    assert build["status"] == "FAILURE"
    assert says in build["statusDetail"]


def test_a_file_that_is_not_there_is_a_failed_build(learner: AuthorizedSession, work: tuple[Clone, str]) -> None:
    copy, resource = work
    made = trigger(learner, resource, {"branch": "^main$"}, filename="ci/other.yaml")
    copy.commit()
    copy.git("push", "origin", "main")
    assert "ci/other.yaml" in begun(learner, made)[0]["statusDetail"]


def test_a_trigger_runs_by_hand_at_a_branch_a_tag_or_a_commit(
    learner: AuthorizedSession, work: tuple[Clone, str]
) -> None:
    copy, resource = work
    made = trigger(learner, resource, {"branch": "^release$"})
    sha = copy.git("rev-parse", "HEAD")
    url = f"{place()}/triggers/{made['name']}:run"
    for source in ({"branchName": "main"}, {"commitSha": sha}, {"commitSha": sha[:10]}):
        body = {"source": {**source, "substitutions": {"_WHO": "somebody"}}, "triggerId": made["name"]}
        build = ask(learner, "POST", url, body)["metadata"]["build"]
        assert build["substitutions"]["COMMIT_SHA"] == sha
        assert build["substitutions"]["_WHO"] == "somebody"
    for source in ({"branchName": "nowhere"}, {"tagName": "main"}, {"commitSha": "0" * 40}, {"branchName": "--all"}):
        said = ask(learner, "POST", url, {"source": source, "triggerId": made["name"]}, status=400)
        assert "not found" in said["error"]["message"]


def test_a_build_that_a_push_began_is_run_once_more(learner: AuthorizedSession, work: tuple[Clone, str]) -> None:
    copy, resource = work
    made = trigger(learner, resource, {"branch": "^main$"}, tags=["mine"])
    copy.commit()
    copy.git("push", "origin", "main")
    first = begun(learner, made)[0]
    url = f"{place()}/builds/{first['id']}"
    until(lambda: ask(learner, "GET", url)["status"] not in ("QUEUED", "WORKING"))
    again = ask(learner, "POST", f"{url}:retry", {})["metadata"]["build"]
    assert again["id"] != first["id"]
    for field in ("source", "sourceProvenance", "buildTriggerId", "tags", "substitutions"):
        assert again[field] == first[field], field


def test_an_approval_comes_first(learner: AuthorizedSession, host: Host, work: tuple[Clone, str]) -> None:
    copy, resource = work
    made = trigger(learner, resource, {"branch": "^main$"}, approvalConfig={"approvalRequired": True})
    copy.commit()
    copy.git("push", "origin", "main")
    build = begun(learner, made)[0]
    assert (build["status"], build["approval"]["state"]) == ("PENDING", "PENDING")
    url = f"{place()}/builds/{build['id']}"
    ask(learner, "POST", f"{url}:approve", {"approvalResult": {}}, status=400)
    ask(learner, "POST", f"{url}:approve", {"approvalResult": {"decision": "APPROVED", "comment": "looks good"}})
    approved = ask(learner, "GET", url)
    assert approved["approval"]["state"] == "APPROVED"
    assert approved["approval"]["result"]["comment"] == "looks good"
    assert approved["status"] != "PENDING"
    ask(learner, "POST", f"{url}:approve", {"approvalResult": {"decision": "REJECTED"}}, status=400)
    copy.commit()
    copy.git("push", "origin", "main")
    other = begun(learner, made, 2)[0]
    url = f"{place()}/builds/{other['id']}"
    ask(learner, "POST", f"{url}:approve", {"approvalResult": {"decision": "REJECTED"}})
    rejected = ask(learner, "GET", url)
    assert (rejected["status"], rejected["approval"]["state"]) == ("CANCELLED", "REJECTED")


def test_a_patch_changes_what_its_mask_names(learner: AuthorizedSession, resource: str) -> None:
    made = trigger(learner, resource, {"branch": "^main$"}, description="kept")
    # gcloud sends the event it knows nothing of as an empty object, and leaves it out of the mask.
    url = f"{place()}/triggers/{made['id']}"
    body = {"ignoredFiles": ["**/*.md"], "repositoryEventConfig": {}}
    after = ask(learner, "PATCH", f"{url}?updateMask=ignored_files", body)
    assert after == {**made, "ignoredFiles": ["**/*.md"]}
    assert ask(learner, "PATCH", f"{url}?updateMask=id", {"id": "mine"}, status=400)
    assert ask(learner, "PATCH", f"{url}?updateMask=nothing", {}, status=400)
    assert ask(learner, "GET", url) == after
    # Without a mask all of it is replaced.
    bare = ask(
        learner, "PATCH", url, {"filename": "other.yaml", "repositoryEventConfig": made["repositoryEventConfig"]}
    )
    assert (bare["name"], bare["filename"]) == (made["name"], "other.yaml")
    assert "description" not in bare
    url = f"{place()}/triggers/{made['name']}"
    for mask in ("filename", "nonsense", "repositoryEventConfig.push"):
        ask(learner, "PATCH", f"{url}?updateMask={mask}", {}, status=400)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"repositoryEventConfig": {"push": {"branch": "(?!main)"}}}, 400),
        ({"repositoryEventConfig": {"push": {"branch": "main", "tag": "v"}}}, 400),
        ({"repositoryEventConfig": {"push": {"branch": "main"}, "pullRequest": {"branch": "main"}}}, 400),
        ({"repositoryEventConfig": {}}, 400),
        ({"repositoryEventConfig": {"push": {"branch": "main"}}, "includedFiles": ["[a"]}, 400),
        ({"repositoryEventConfig": {"push": {"branch": "main"}, "repository": "projects/p/nonsense"}}, 404),
        ({"github": {"owner": "acme", "name": "app", "push": {"branch": "main"}}}, 400),
        ({"pubsubConfig": {"topic": "projects/p/topics/t"}}, 501),
        ({"webhookConfig": {"secret": "projects/p/secrets/s/versions/1"}}, 501),
        ({"sourceToBuild": {"uri": "https://github.com/a/b", "ref": "refs/heads/main"}}, 501),
        ({"gitFileSource": {"path": "x"}}, 501),
        ({"autodetect": True}, 501),
        ({"filter": "true"}, 501),
    ],
    ids=str,
)
def test_what_is_refused(learner: AuthorizedSession, resource: str, body: dict[str, Any], status: int) -> None:
    event = body.get("repositoryEventConfig")
    if event is not None:
        body = {**body, "repositoryEventConfig": {"repository": resource, **event}}
    asked = {"name": f"t-{next(numbers)}", "filename": "cloudbuild.yaml", **body}
    if "autodetect" in body or "gitFileSource" in body:
        del asked["filename"]
    ask(learner, "POST", f"{place()}/triggers", asked, status=status)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.usefixtures("engine", "python_image")
def test_the_build_runs_on_the_pushed_commit(learner: AuthorizedSession, host: Host, work: tuple[Clone, str]) -> None:
    copy, resource = work
    made = trigger(learner, resource, {"branch": "^main$"})
    config = """\
steps:
  - id: look
    name: gcr.io/cloud-builders/docker
    entrypoint: bash
    args: [-ec, "cat word; cat .git/HEAD; grep -r localhost .git && exit 3; exit 4"]
options: {logging: CLOUD_LOGGING_ONLY}
"""
    sha = copy.commit("a word", **{"cloudbuild.yaml": config, "word": "swordfish\n"})
    copy.git("push", "origin", "main")
    location = names.Location(names.Project(project()), REGION)
    build_id = builds.of_commit(location, sha, trigger=made["name"])
    told: list[str] = []
    with pytest.raises(builds.BuildFailed, match="non-zero status: 4"):
        builds.follow(location, build_id, write=told.append)
    # What the container said, beside what Cloud Build says of its end.
    assert [line.strip() for line in told if "swordfish" in line] == ["swordfish"], told
    assert sha in [line.strip() for line in told]
    assert told[-1] == f"The whole log: gcloud builds log {build_id} --region={REGION}"
    assert f"HEAD is now at {sha[:7]} a word" in builds.log(location, build_id)
    checks = host.api("GET", f"/repos/{copy.repository}/commits/{sha}/check-runs")["check_runs"]
    assert [(one["status"], one["conclusion"]) for one in checks] == [("completed", "failure")]
