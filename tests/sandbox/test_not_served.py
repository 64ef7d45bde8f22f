"""What the sandbox does not do is refused at once, with a sentence, also where gcloud asks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from google.auth.transport.requests import AuthorizedSession

from helpers import target
from tests.sandbox.in_process import Learner

PLACE = ("--location=us-central1", "--repository=none")
DOES_NOT = "The workbook's sandbox does not do this: "
AR = "https://artifactregistry.googleapis.com/v1/projects"


def test_everybody_else_is_told_501(session: AuthorizedSession, in_world: target.Target) -> None:
    url = f"{AR}/{in_world.project_id}/locations/us-central1/repositories/none/attachments"
    answer = session.get(url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, 501)
    assert answer.json()["error"]["message"].startswith(DOES_NOT)
    agent = {"User-Agent": "google-cloud-sdk gcloud/537.0.0 command/gcloud.artifacts.attachments.list"}
    told = session.get(url, headers=agent).json()["error"]
    assert (told["code"], told["status"]) == (400, "UNIMPLEMENTED")
    assert told["message"] == answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["gcr.io", "eu.gcr.io"])
@pytest.mark.parametrize("door", ["https://{host}", "http://127.0.0.1:5001/{host}"], ids=["edge", "port"])
def test_gcr_io_is_refused_where_gcloud_and_docker_read_it(learner: Learner, host: str, door: str) -> None:
    base = door.format(host=host)
    ping = learner.session.get(f"{base}/v2/")
    assert ping.status_code == 401
    assert ping.headers["www-authenticate"] == f'Bearer realm="{base}/v2/token",service="{host}"'
    for path in ("/v2/token", "/v2/a-project/app/tags/list", "/v2/a-project/app/manifests/v1"):
        refused = learner.session.get(f"{base}{path}")
        [error] = refused.json()["errors"]
        assert (refused.status_code, error["code"]) == (403, "DENIED")
        assert error["message"].startswith(f"{DOES_NOT}images of {host}.")


@pytest.mark.gcloud
@pytest.mark.parametrize(
    "command",
    [
        ("artifacts", "attachments", "list", *PLACE),
        ("artifacts", "rules", "list", *PLACE),
        ("artifacts", "files", "delete", "a-file", "--quiet", *PLACE),
        ("builds", "worker-pools", "list", "--region=us-central1"),
        ("run", "jobs", "list", "--region=us-central1"),
        ("container", "images", "list", "--repository=gcr.io/a-project"),
    ],
    ids=lambda command: "-".join(command[:3]),
)
def test_gcloud_asks_once_and_shows_the_sentence(command: tuple[str, ...], gcloud: Path, in_world: object) -> None:
    del in_world
    done = subprocess.run(
        [gcloud, *command, "--verbosity=error", "--log-http"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    told = " ".join((done.stdout + done.stderr).split())
    assert DOES_NOT in told, told
    assert done.returncode != 0
    assert "network connectivity" not in told
    assert "gcloud crashed" not in told
    asked = [line for line in done.stderr.splitlines() if line.startswith("uri: ")]
    assert len(asked) == len(set(asked)), asked


def test_developer_connect_names_what_connects_a_repository(learner: Learner) -> None:
    url = "https://developerconnect.googleapis.com/v1/projects/{project}/locations/us-central1/connections"
    for verb in ("GET", "POST"):
        refused = learner.ask(verb, url, status=501)["error"]["message"]
        assert refused.startswith(f"{DOES_NOT}{verb} developerconnect.googleapis.com/v1/projects/")
        assert "`gcloud builds connections create github` and `gcloud builds repositories create`" in refused
