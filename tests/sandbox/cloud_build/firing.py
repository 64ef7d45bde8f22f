"""What tests of triggers share: a connected repository, a trigger on it, and the builds that it begins."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import requests
from google.auth.transport.requests import AuthorizedSession

from tests.conditions import until
from tests.sandbox.conftest import ask, done, grant, learner_with, project, projects_url

REGION = "us-central1"
CONFIG = """\
steps:
  - name: gcr.io/cloud-builders/docker
    args: [version, "$SHORT_SHA", "${_WHO}"]
substitutions: {_WHO: nobody}
options: {logging: CLOUD_LOGGING_ONLY}
"""
numbers = itertools.count(1)


@contextlib.contextmanager
def learner_who_connects() -> Iterator[AuthorizedSession]:
    """Sign the learner in, with the APIs and the agent's role that a connection needs."""
    with learner_with("cloudbuild", "secretmanager") as session:
        agent = f"serviceAccount:service-{os.environ['PROJECT_NUMBER']}@gcp-sa-cloudbuild.iam.gserviceaccount.com"
        grant(session, projects_url(), "roles/secretmanager.admin", agent)
        yield session


def place(version: str = "v1") -> str:
    return f"https://cloudbuild.googleapis.com/{version}/projects/{project()}/locations/{REGION}"


def consent(session: AuthorizedSession, name: str) -> None:
    """Click both buttons."""
    with requests.Session() as browser:
        browser.trust_env = False
        for _ in range(2):
            state = ask(session, "GET", f"{place('v2')}/connections/{name}")["installationState"]
            url, _, secret = state["actionUri"].partition("?state=")
            assert browser.get(state["actionUri"], timeout=30).status_code == 200
            assert browser.post(url, data={"state": secret}, timeout=30, allow_redirects=False).status_code in (
                200,
                303,
            )
    assert ask(session, "GET", f"{place('v2')}/connections/{name}")["installationState"] == {"stage": "COMPLETE"}


def connected(session: AuthorizedSession, repository: str) -> str:
    """The resource of a repository that is connected in the 2nd generation."""
    name = f"conn-{next(numbers)}"
    ask(session, "POST", f"{place('v2')}/connections?connectionId={name}", {"githubConfig": {}})
    consent(session, name)
    url = f"{place('v2')}/connections/{name}/repositories"
    body = {"remoteUri": f"https://github.com/{repository}.git"}
    made = ask(session, "POST", f"{url}?repositoryId=app", body)
    return str(done(session, "cloudbuild.googleapis.com", made, "v2")["response"]["name"])


def trigger(session: AuthorizedSession, resource: str, push: Any = None, **more: Any) -> dict[str, Any]:
    event = {"repository": resource, **({"push": push} if push else {})}
    if pull := more.pop("pullRequest", None):
        event["pullRequest"] = pull
    body = {"name": f"t-{next(numbers)}", "filename": "cloudbuild.yaml", "repositoryEventConfig": event, **more}
    return ask(session, "POST", f"{place()}/triggers", body)


def builds_of(session: AuthorizedSession, made: dict[str, Any]) -> list[dict[str, Any]]:
    found = ask(session, "GET", f"{place()}/builds?filter=trigger_id%3D%22{made['id']}%22")
    return list(found.get("builds", []))


def begun(session: AuthorizedSession, made: dict[str, Any], count: int = 1) -> list[dict[str, Any]]:
    """The trigger's builds, newest first, as soon as there are so many."""
    until(lambda: len(builds_of(session, made)) >= count, 20)
    found = builds_of(session, made)
    assert len(found) == count
    return found
