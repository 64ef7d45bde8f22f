"""Every command that gcloud has for builds and for Cloud Run, as far as the workbook goes, from a clean configuration.

There is an empty folder, a key, a proxy and a CA, and nothing else in the environment.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from google.auth.transport.requests import AuthorizedSession

from cli.world.starter import World
from tests.sandbox.conftest import account, ask, learner_with, project

pytestmark = [
    pytest.mark.docker,
    pytest.mark.gcloud,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="a long one: make soak"),
]

REGION = "--region=us-central1"
SERVER = """import http.server, os, sys
print("the server begins", flush=True)
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
Run = Callable[..., str]


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """The learner's session, with every API that the two tables need."""
    with learner_with("cloudbuild", "run", "artifactregistry", "iam") as session:
        yield session


@pytest.fixture
def run(gcloud: Path, world: World, environment: dict[str, str], tmp_path: Path) -> Run:
    """Run gcloud in an environment of its own; both outputs, after an exit status that is asked for."""
    clean = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
        "CLOUDSDK_PROXY_PORT": str(world.info.edge_port),
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": environment["REQUESTS_CA_BUNDLE"],
    }

    def call(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [str(gcloud), *words], env=clean, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, f"gcloud {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    call("auth", "activate-service-account", f"--key-file={environment['GOOGLE_APPLICATION_CREDENTIALS']}")
    call("config", "set", "project", environment["PROJECT_ID"])
    return call


@pytest.fixture
def repository(learner: AuthorizedSession) -> str:
    """`us-central1-docker.pkg.dev/PROJECT/REPOSITORY` of a new repository."""
    name = f"r-{secrets.token_hex(4)}"
    parent = f"projects/{project()}/locations/us-central1"
    url = f"https://artifactregistry.googleapis.com/v1/{parent}/repositories?repositoryId={name}"
    ask(learner, "POST", url, {"format": "DOCKER"})
    return f"us-central1-docker.pkg.dev/{project()}/{name}"


def test_both_tables(
    run: Run,
    learner: AuthorizedSession,
    repository: str,
    engine: docker.DockerClient,
    python_image: str,
    tmp_path: Path,
) -> None:
    builder = account(learner, "roles/cloudbuild.builds.builder")
    resource = f"projects/{project()}/serviceAccounts/{builder}"
    image = f"{repository}/server:v1"
    (tmp_path / "Dockerfile").write_text(
        f'FROM {python_image}\nCOPY server.py /server.py\nCMD ["python3", "/server.py"]\n'
    )
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / ".gcloudignore").write_text("/gcloud\n/.cache\n/.config\n")
    steps = "steps: [{name: gcr.io/cloud-builders/docker, args: [build, -t, '${_IMAGE}', .]}]\nimages: ['${_IMAGE}']\n"
    steps += f"serviceAccount: {resource}\noptions: {{defaultLogsBucketBehavior: REGIONAL_USER_OWNED_BUCKET}}\n"
    (tmp_path / "cloudbuild.yaml").write_text(steps)
    waits = "steps: [{name: gcr.io/cloud-builders/docker, entrypoint: sleep, args: ['300']}]\n"
    (tmp_path / "waits.yaml").write_text(
        f"{waits}serviceAccount: {resource}\noptions: {{logging: CLOUD_LOGGING_ONLY}}\n"
    )

    # --- builds
    streamed = run("builds", "submit", REGION, "--config=cloudbuild.yaml", f"--substitutions=_IMAGE={image}", ".")
    for line in ("FETCHSOURCE", "BUILD", "PUSH", f"Pushing {image}", "DONE", "SUCCESS"):
        assert line in streamed
    own = (f"--service-account={resource}", "--default-buckets-behavior=regional-user-owned-bucket")
    tagged = run("builds", "submit", REGION, f"--tag={repository}/server:v2", *own, ".")
    assert "SUCCESS" in tagged
    listed = run("builds", "list", REGION, '--filter=status="SUCCESS"', "--format=value(id)").split()
    assert len(listed) == 2
    assert run("builds", "list", REGION, "--limit=1", "--format=value(id)").split() == listed[:1]
    assert "SUCCESS" in run("builds", "describe", listed[0], REGION)
    assert "Successfully tagged" in run("builds", "log", listed[0], REGION)
    waiting = run("builds", "submit", REGION, "--no-source", "--config=waits.yaml", "--async", "--format=value(id)")
    build = re.findall(r"^[0-9a-f]{8}-[0-9a-f-]{27}$", waiting, re.MULTILINE)[0]
    assert "CANCELLED" in run("builds", "cancel", build, REGION)
    assert run("builds", "describe", build, REGION, "--format=value(status)").strip() == "CANCELLED"
    github = ("--repo-owner=a", "--repo-name=b", "--branch-pattern=^main$", "--build-config=cloudbuild.yaml")
    refused = run("builds", "triggers", "create", "github", "--name=on-main", REGION, *github, status=1)
    assert "Repository mapping does not exist" in refused
    url = f"https://cloudbuild.googleapis.com/v1/projects/{project()}/locations/us-central1/triggers"
    options = {"logging": "CLOUD_LOGGING_ONLY"}
    step = {"name": "gcr.io/cloud-builders/docker", "entrypoint": "true"}
    ask(
        learner,
        "POST",
        url,
        {"name": "by-hand", "build": {"steps": [step], "serviceAccount": resource, "options": options}},
    )
    assert "by-hand" in run("builds", "triggers", "list", REGION)
    assert "by-hand" in run("builds", "triggers", "describe", "by-hand", REGION)
    assert "buildTriggerId" in run("builds", "triggers", "run", "by-hand", REGION, "--branch=main")
    run("builds", "triggers", "delete", "by-hand", REGION)

    # --- run
    name = f"s-{secrets.token_hex(4)}"
    deployed = run("run", "deploy", name, f"--image={image}", REGION, "--platform=managed", "--allow-unauthenticated")
    assert "has been deployed and is serving 100 percent of traffic" in deployed
    run("run", "deploy", name, f"--image={repository}/server:v2", REGION, "--no-traffic", "--tag=next")
    assert name in run("run", "services", "describe", name, REGION)
    assert name in run("run", "services", "list", REGION)
    assert name in run("run", "services", "list")
    revisions = run("run", "revisions", "list", f"--service={name}", REGION, "--format=value(name)").split()
    assert len(revisions) == 2
    assert revisions[0] in run("run", "revisions", "describe", revisions[0], REGION)
    assert "100%" in run("run", "services", "update-traffic", name, REGION, "--to-latest")
    run("run", "services", "update", name, REGION, "--update-env-vars=COLOUR=red")
    member = ("--member=allAuthenticatedUsers", "--role=roles/run.invoker")
    assert "allAuthenticatedUsers" in run("run", "services", "add-iam-policy-binding", name, REGION, *member)
    assert "allUsers" in run("run", "services", "get-iam-policy", name, REGION)
    run("run", "services", "remove-iam-policy-binding", name, REGION, *member)
    assert "the server begins" in run("run", "services", "logs", "read", name, REGION)
    run("run", "revisions", "delete", revisions[1], REGION)
    run("run", "services", "delete", name, REGION)
    assert "Cannot find service" in run("run", "services", "describe", name, REGION, status=1)
    assert not engine.containers.list(all=True, ignore_removed=True, filters={"label": f"workbook-service={name}"})
