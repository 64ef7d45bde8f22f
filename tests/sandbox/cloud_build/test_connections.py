"""Repositories are connected: with the older app, with consent, by gcloud and by the Python client."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from google.api_core.exceptions import NotFound
from google.auth.transport.requests import AuthorizedSession
from google.cloud.devtools import cloudbuild_v2

from tests.sandbox.cloud_build.firing import (
    CONFIG,
    REGION,
    begun,
    connected,
    consent,
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


def test_the_older_app_connects_too(learner: AuthorizedSession, host: Host, clone: Make) -> None:
    repository = host.repository()
    owner, _, name = repository.partition("/")
    body = {"name": f"t-{next(numbers)}", "filename": "cloudbuild.yaml"}
    body["github"] = {"owner": owner, "name": name, "push": {"branch": "^main$"}}
    said = ask(learner, "POST", f"{place()}/triggers", body, status=400)
    assert "Repository mapping does not exist" in said["error"]["message"]
    asked = {"project": project(), "region": REGION, "repository": repository}
    assert host.world.admin("github:connect", asked) == {"repository": repository}
    made = ask(learner, "POST", f"{place()}/triggers", body)
    copy = clone(repository)
    copy.commit(**{"cloudbuild.yaml": CONFIG})
    copy.git("push", "origin", "main")
    assert begun(learner, made)[0]["substitutions"]["REPO_FULL_NAME"] == repository


def test_consent_is_asked_once_and_only_with_its_link(learner: AuthorizedSession, host: Host) -> None:
    name = f"conn-{next(numbers)}"
    url = f"{place('v2')}/connections"
    ask(learner, "POST", f"{url}?connectionId={name}", {"githubConfig": {}})
    ask(learner, "POST", f"{url}?connectionId={name}", {"githubConfig": {}}, status=409)
    other = {"remoteUri": "https://github.com/torvalds/linux.git"}
    early = ask(learner, "POST", f"{url}/{name}/repositories?repositoryId=a", other, status=400)
    assert "PENDING_USER_OAUTH" in early["error"]["message"]
    base = f"{host.world.url}/github.com"
    with requests.Session() as browser:
        browser.trust_env = False
        for path in ("/login/oauth/authorize", "/apps/google-cloud-build/installations/new"):
            for state in ("", "x", "é"):
                assert browser.post(f"{base}{path}", data={"state": state}, timeout=30).status_code == 404
                assert browser.get(f"{base}{path}", params={"state": state}, timeout=30).status_code == 404
        used = ask(learner, "GET", f"{url}/{name}")["installationState"]["actionUri"]
        consent(learner, name)
        assert browser.get(used, timeout=30).status_code == 404
    found = ask(learner, "GET", f"{url}/{name}")
    secret = found["githubConfig"]["authorizerCredential"]["oauthTokenSecretVersion"]
    assert ask(learner, "GET", f"https://secretmanager.googleapis.com/v1/{secret}")["state"] == "ENABLED"
    said = ask(learner, "POST", f"{url}/{name}/repositories?repositoryId=a", other, status=400)
    assert "not accessible" in said["error"]["message"]


@pytest.mark.gcloud
def test_gcloud_lets_a_build_run(gcloud: Path, learner: AuthorizedSession, host: Host, clone: Make) -> None:
    if not (gcloud.resolve().parents[1] / "lib/surface/alpha").is_dir():
        pytest.skip("gcloud's component alpha isn't installed, and beta approves no build of a region")
    repository = host.repository()
    resource = connected(learner, repository)
    made = trigger(learner, resource, {"branch": "^main$"}, approvalConfig={"approvalRequired": True})
    copy = clone(repository)
    copy.commit(**{"cloudbuild.yaml": CONFIG})
    copy.git("push", "origin", "main")
    build = begun(learner, made)[0]
    target = f"projects/{project()}/locations/{REGION}/builds/{build['id']}"
    command = [str(gcloud), "alpha", "builds", "approve", target, "--comment=well done"]
    subprocess.run(command, env=host.environment, capture_output=True, check=True)
    found = ask(learner, "GET", f"{place()}/builds/{build['id']}")
    assert found["approval"]["result"]["comment"] == "well done"


@pytest.mark.gcloud
def test_gcloud_connects_a_repository_and_a_push_begins_a_build(
    gcloud: Path, learner: AuthorizedSession, host: Host, clone: Make
) -> None:
    def run(*arguments: str) -> str:
        command = [str(gcloud), *arguments, f"--region={REGION}"]
        return subprocess.run(command, env=host.environment, capture_output=True, text=True, check=True).stdout

    repository = host.repository()
    name = f"conn-{next(numbers)}"
    assert "PENDING_USER_OAUTH" in run("builds", "connections", "create", "github", name)
    consent(learner, name)
    assert name in run("builds", "connections", "list")
    assert "COMPLETE" in run("builds", "connections", "describe", name)
    url = f"https://github.com/{repository}.git"
    run("builds", "repositories", "create", "app", f"--connection={name}", f"--remote-uri={url}")
    assert url in run("builds", "repositories", "list", f"--connection={name}")
    assert url in run("builds", "repositories", "describe", "app", f"--connection={name}")
    resource = f"projects/{project()}/locations/{REGION}/connections/{name}/repositories/app"
    settings = ["--branch-pattern=^main$", "--build-config=cloudbuild.yaml", "--require-approval"]
    account = f"--service-account=projects/{project()}/serviceAccounts/{learner.credentials.service_account_email}"
    create = ("builds", "triggers", "create", "github", "--name=by-gcloud")
    run(*create, f"--repository={resource}", *settings, account)
    made = ask(learner, "GET", f"{place()}/triggers/by-gcloud")
    copy = clone(repository)
    copy.commit(**{"cloudbuild.yaml": CONFIG})
    copy.git("push", "origin", "main")
    assert begun(learner, made)[0]["approval"]["state"] == "PENDING"
    run("builds", "triggers", "update", "github", "by-gcloud", "--ignored-files=**/*.md")
    changed = ask(learner, "GET", f"{place()}/triggers/by-gcloud")
    assert changed["ignoredFiles"] == ["**/*.md"]
    assert changed["repositoryEventConfig"]["push"] == {"branch": "^main$"}
    run("builds", "triggers", "delete", "by-gcloud", "--quiet")
    run("builds", "repositories", "delete", "app", f"--connection={name}", "--quiet")
    run("builds", "connections", "delete", name, "--quiet")
    assert ask(learner, "GET", f"{place('v2')}/connections/{name}", status=404)


def test_the_python_client_connects_a_repository(learner: AuthorizedSession, host: Host) -> None:
    repository = host.repository()
    resource = connected(learner, repository)
    parent = resource.rpartition("/repositories/")[0]
    client = cloudbuild_v2.RepositoryManagerClient(transport="rest")
    found = list(client.fetch_linkable_repositories(request={"connection": parent}))
    assert f"https://github.com/{repository}.git" in [one.remote_uri for one in found]
    assert [one.name for one in client.list_repositories(parent=parent)] == [resource]
    assert client.get_repository(name=resource).remote_uri == f"https://github.com/{repository}.git"
    # A delete is an operation: the client asks for it until it is done.
    client.delete_repository(name=resource).result(timeout=30)
    with pytest.raises(NotFound):
        client.get_repository(name=resource)
