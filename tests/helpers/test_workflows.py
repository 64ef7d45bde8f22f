"""Workflows from Python: variables, a run followed to its end, and a fork that Google does not trust."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from helpers import access, commits, federation, projects, target, workflows

WORKFLOW = """
name: Sign in
on: push
permissions: {id-token: write}
jobs:
  sign-in:
    runs-on: ubuntu-latest
    steps:
      - uses: google-github-actions/auth@v2
        with:
          workload_identity_provider: ${{ vars.PROVIDER }}
          service_account: ${{ vars.DEPLOYER }}
          token_format: access_token
      - run: echo "signed in"
"""


@pytest.fixture
def repository() -> str:
    return f"example.com/app-{secrets.token_hex(4)}"


def pushed(folder: Path, repository: str, text: str) -> str:
    """Push a workflow to a new repository; the commit."""
    commits.host(repository, lambda _: None)
    folder.joinpath(".github/workflows").mkdir(parents=True)
    folder.joinpath(".github/workflows/sign-in.yml").write_text(text)
    commits.git(folder, "init", "--quiet", "--initial-branch=main")
    commits.git(folder, "config", "user.name", "A learner")
    commits.git(folder, "config", "user.email", "learner@example.com")
    commits.git(folder, "remote", "add", "origin", f"https://github.com/{repository}.git")
    commits.git(folder, "add", "--all")
    commits.git(folder, "commit", "--quiet", "--message=Sign in")
    commits.git(folder, "push", "--quiet", "origin", "main")
    return commits.git(folder, "rev-parse", "HEAD")


@pytest.mark.docker
@pytest.mark.usefixtures("python_image")
def test_a_run_signs_in_and_its_fork_does_not(in_world: target.Target, repository: str, tmp_path: Path) -> None:
    project = in_world.location.project
    projects.enable(project, "iam.googleapis.com", "iamcredentials.googleapis.com")
    pool = federation.create_pool(project, federation.pool_id(secrets.token_hex(4)), in_world.run)
    provider = federation.trust_github(project, pool.rpartition("/")[2], "actions", repository)
    deployer = access.account(project, "deployer", secrets.token_hex(4))
    access.create_account(deployer, in_world.run)
    access.grant(deployer, federation.USER, federation.repository_member(pool, repository))
    values = {"PROVIDER": provider, "DEPLOYER": str(deployer)}
    commits.host(repository, lambda _: None)
    workflows.set_variables(repository, values, lambda _: None)
    said: list[str] = []
    run = workflows.follow(repository, pushed(tmp_path, repository, WORKFLOW), said.append)
    assert said == ["✓ Run google-github-actions/auth@v2", '✓ Run echo "signed in"']
    assert (run.conclusion, run.said("Created credentials")[:7]) == ("success", "Created")
    stranger = workflows.fork(repository, "main", values, said.append)
    assert stranger is not None
    assert stranger.conclusion == "failure"
    assert "The given credential is rejected by the attribute condition." in stranger.log
    workflows.remove_fork(repository)
    workflows.remove_fork(repository)
    commits.remove(repository, lambda _: None)


def test_a_workflow_that_is_refused_says_why(in_world: target.Target, repository: str, tmp_path: Path) -> None:
    sha = pushed(tmp_path, repository, WORKFLOW.replace("google-github-actions/auth@v2", "docker/bake-action@v6"))
    with pytest.raises(workflows.RunFailed, match="docker/bake-action@v6 is an action that the workbook's sandbox"):
        workflows.follow(repository, sha, lambda _: None)
    commits.remove(repository, lambda _: None)


def test_what_github_refuses_is_raised(in_world: target.Target, repository: str) -> None:
    with pytest.raises(workflows.GitHubRefused, match="404"):
        workflows.set_variables(repository, {"A": "b"}, lambda _: None)
