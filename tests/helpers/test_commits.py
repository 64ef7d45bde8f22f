"""From a commit to a trigger with the helpers, against the real sandbox and with the real git."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from helpers import builds, commits, iam, projects, secret_store, target
from helpers.commits import GitFailed

REPOSITORY = "example.com/shipped"
CONFIG = "steps: [{name: gcr.io/cloud-builders/docker, args: [version]}]\noptions: {logging: NONE}\n"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git isn't on the PATH")


def git_settings(folder: Path) -> None:
    commits.git(folder, "init", "--quiet", "--initial-branch=main")
    commits.git(folder, "config", "user.name", "A learner")
    commits.git(folder, "config", "user.email", "learner@example.com")
    commits.git(folder, "remote", "add", "origin", f"https://github.com/{REPOSITORY}.git")


def test_a_commit_becomes_a_build(in_world: target.Target, tmp_path: Path) -> None:
    location, told = in_world.location, list[str]()
    projects.enable(location.project, "cloudbuild.googleapis.com", "secretmanager.googleapis.com")
    agent = f"serviceAccount:service-{in_world.project_number}@gcp-sa-cloudbuild.iam.gserviceaccount.com"
    iam.grant(location.project, "roles/secretmanager.admin", agent)

    for _ in range(2):
        commits.host(REPOSITORY, told.append)
    work = commits.working_copy(tmp_path / "work", [target.ROOT / "LICENSE", target.ROOT / "sample_app"])
    assert (work / "sample_app" / "train.py").is_file()
    (work / "cloudbuild.yaml").write_text(CONFIG)
    git_settings(work)
    first = commits.commit(work, "One")
    assert commits.commit(work, "Nothing changed") == first

    for _ in range(2):
        resource = commits.connect(location, "ship", REPOSITORY, told.append)
    assert [line.partition(":")[0] for line in told[-4:]] == [
        "PENDING_USER_OAUTH",
        "PENDING_INSTALL_APP",
        "ship",
        "ship",
    ]
    learner = os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
    account = Path(learner).read_text(encoding="utf-8").partition('"client_email": "')[2].partition('"')[0]
    settings = {"account": account, "substitutions": {"_A": "b"}}
    made = commits.trigger(location, "on-main", resource, push={"branch": "^main$"}, **settings)  # type: ignore[arg-type]
    again = commits.trigger(
        location,
        "on-main",
        resource,
        push={"branch": "^main$"},
        ignored=["**/*.md"],
        **settings,  # type: ignore[arg-type]
    )
    assert again["id"] == made["id"]
    assert [one.get("ignoredFiles") for one in commits.triggers(location)] == [["**/*.md"]]

    (work / "README.md").write_text("words")
    words = commits.commit(work, "Words alone")
    assert commits.check(REPOSITORY, words, "on-main") == f"see https://github.com/{REPOSITORY}/commit/{words}"
    (work / "file").write_text("more")
    sha = commits.commit(work, "Two")
    build = builds.get(location, builds.of_commit(location, sha, trigger="on-main"))
    assert build.substitutions["SHORT_SHA"] == sha[:7]
    # Events are heard in their order: the words before it have begun nothing.
    assert words not in {one.substitutions.get("COMMIT_SHA") for one in builds.recent(location)}
    with pytest.raises(TimeoutError, match=words[:7]):
        builds.of_commit(location, words, seconds=0.0)
    assert commits.check(REPOSITORY, sha, "on-main") != ""

    for _ in range(2):
        commits.disconnect(location, "ship")
    assert commits.triggers(location) == ()
    for name in secret_store.starting_with(location.project, "ship-github-oauthtoken-"):
        secret_store.delete(location.project, name)
    assert secret_store.starting_with(location.project, "ship") == ()
    for _ in range(2):
        commits.remove(REPOSITORY)


def test_a_git_that_would_go_to_github_itself_is_noticed(
    in_world: target.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a git before 2.31, which does not read it.
    monkeypatch.setenv("GIT_CONFIG_COUNT", "0")
    monkeypatch.setenv("HOME", os.environ["WORKBOOK_HOME"])
    with pytest.raises(GitFailed, match=r"git would push to https://github\.com/example\.com/else\.git itself"):
        commits.host("example.com/else")


def test_what_git_refuses_is_said(tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="not a git repository"):
        commits.git(tmp_path, "status")
