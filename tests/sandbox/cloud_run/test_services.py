"""Services that really run: deployed through the API that gcloud uses, called through the front end."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import google.auth
import pytest
import requests
from google.api_core.exceptions import GoogleAPICallError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import run_v2
from google.oauth2 import service_account

from helpers import deploys, names, secret_store, sweep, target
from tests.sandbox.conftest import SCOPES, account, learner_with, project

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.usefixtures("found_engine")]


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """The learner's session, with every API that services need."""
    with learner_with("run", "artifactregistry", "iam", "secretmanager") as session:
        yield session


def ask(url: str, **more: Any) -> requests.Response:
    return requests.request(more.pop("method", "GET"), url, timeout=60, **more)


def told(url: str, **more: Any) -> dict[str, Any]:
    answer = ask(url, **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_service_answers_with_google_s_headers(in_world: target.Target, image: names.Digest, name: str) -> None:
    service = deploys.deploy(in_world.location, name, image, environment={"COLOUR": "green"})
    deploys.open_to_all(in_world.location, name)
    host = f"{name}-{os.environ['PROJECT_NUMBER']}.us-central1.run.app"
    assert service.url == f"{os.environ['SANDBOX_URL']}/{host}"
    found = told(f"{service.url}/a/b%20c?x=1", method="POST", data="body")
    assert (found["path"], found["method"], found["body"]) == ("/a/b%20c?x=1", "POST", "body")
    assert found["headers"]["Host"] == host
    assert found["headers"]["X-Forwarded-Proto"] == "https"
    assert found["headers"]["X-Forwarded-Prefix"] == f"/{host}"
    assert found["env"]["K_SERVICE"] == name
    assert found["env"]["K_REVISION"] == service.revision
    assert found["env"]["COLOUR"] == "green"
    away = ask(f"{service.url}/away", allow_redirects=False)
    assert away.headers["Location"] == f"/{host}/there"
    # Through the edge it is Google's own address.
    assert told(f"https://{host}/plain")["path"] == "/plain"


def test_sweep_deletes_a_service_before_the_image_that_it_runs(
    in_world: target.Target, own_image: names.Digest, name: str
) -> None:
    deploys.deploy(in_world.location, name, own_image, run=in_world.run)
    found = [one for one in sweep.find(in_world) if one.kind in ("service", "container", "image")]
    assert {one.kind for one in found} >= {"service", "image"}
    sweep.remove(found)
    assert sweep.find_local(in_world) == ()
    assert deploys.describe(in_world.location, name) is None


def test_paths_that_google_s_front_end_keeps(in_world: target.Target, image: names.Digest, name: str) -> None:
    service = deploys.deploy(in_world.location, name, image)
    deploys.open_to_all(in_world.location, name)
    assert ask(f"{service.url}/healthz").status_code == 404
    assert ask(f"{service.url}/health").status_code == 200


def test_a_private_service_wants_an_identity_token(in_world: target.Target, image: names.Digest, name: str) -> None:
    service = deploys.deploy(in_world.location, name, image)
    assert ask(service.url).status_code == 403
    key = os.environ["GOOGLE_APPLICATION_CREDENTIALS"]

    def token(audience: str) -> str:
        credentials = service_account.IDTokenCredentials.from_service_account_file(key, target_audience=audience)
        credentials.refresh(Request())
        return str(credentials.token)

    good = {"Authorization": f"Bearer {token(service.url)}"}
    found = told(service.url, headers=good)
    assert found["headers"]["authorization"].endswith(".SIGNATURE_REMOVED_BY_GOOGLE")
    assert ask(service.url, headers={"Authorization": f"Bearer {token('https://example.com')}"}).status_code == 401
    access, _ = google.auth.default(scopes=SCOPES)
    access.refresh(Request())
    assert ask(service.url, headers={"Authorization": f"Bearer {access.token}"}).status_code == 401


def test_broken_revisions_leave_the_traffic_where_it_was(
    in_world: target.Target, image: names.Digest, name: str, learner: AuthorizedSession
) -> None:
    where = in_world.location
    first = deploys.deploy(where, name, image, environment={"COLOUR": "blue"})
    deploys.open_to_all(where, name)
    with pytest.raises(
        deploys.NotDeployed, match="failed to start and listen on the port defined provided by the PORT"
    ):
        deploys.deploy(where, name, image, environment={"MODE": "gone"})
    gone = image.image.digest(f"sha256:{'0' * 64}")
    with pytest.raises(deploys.NotDeployed, match=r"Image '.*' not found"):
        deploys.deploy(where, name, gone)
    now = deploys.describe(where, name)
    assert now is not None
    assert not now.ready
    assert now.traffic == {first.revision: 100}
    assert told(now.url)["env"]["COLOUR"] == "blue"
    assert [ready for _, ready, _ in deploys.revisions(where, name)] == [False, False, True]
    second = deploys.deploy(where, name, image, environment={"COLOUR": "red"})
    assert told(second.url)["env"]["COLOUR"] == "red"
    rolled = deploys.route(where, name, {first.revision: 100})
    assert rolled.traffic == {first.revision: 100}
    assert told(rolled.url)["env"]["COLOUR"] == "blue"
    split = deploys.route(where, name, {first.revision: 50, second.revision: 50})
    seen = {told(split.url)["env"]["COLOUR"] for _ in range(60)}
    assert seen == {"blue", "red"}
    entries = learner.post(
        "https://logging.googleapis.com/v2/entries:list",
        json={
            "resourceNames": [f"projects/{project()}"],
            "filter": f'resource.type=cloud_run_revision AND resource.labels.service_name="{name}" '
            "AND severity>=DEFAULT",
        },
    ).json()["entries"]
    assert any("asked /" in entry["textPayload"] for entry in entries)
    assert any("no server here" in entry["textPayload"] for entry in entries)


def test_a_secret_in_the_environment(
    in_world: target.Target, image: names.Digest, name: str, learner: AuthorizedSession
) -> None:
    """Read as the revision's account, whenever an instance starts; nobody who looks at the service sees it."""
    where, here = in_world.location, in_world.location.project
    secret, email = f"key-{secrets.token_hex(4)}", account(learner)
    assert secret_store.put(here, secret, b"first", in_world.run) == 1
    asked = {"TOKEN": f"{secret}:latest"}
    shown = f"projects/{os.environ['PROJECT_NUMBER']}/secrets/{secret}/versions/latest"
    refused = re.escape(f"Permission denied on secret: {shown} for Revision service account {email}. ")
    with pytest.raises(deploys.NotDeployed, match=refused):
        deploys.deploy(where, name, image, account=email, secrets=asked)
    secret_store.let_read(here, secret, f"serviceAccount:{email}")
    service = deploys.deploy(where, name, image, account=email, secrets=asked, environment={"COLOUR": "red"})
    deploys.open_to_all(where, name)
    assert told(service.url)["env"]["TOKEN"] == "first"
    assert deploys.variables(where, name) == {"COLOUR": "red", "TOKEN": f"secret {secret}:latest"}
    client = run_v2.ServicesClient(transport="rest")
    seen = client.get_service(name=f"{where.resource}/services/{name}").template.containers[0].env
    assert next(one for one in seen if one.name == "TOKEN").value_source.secret_key_ref.secret == secret
    with pytest.raises(deploys.NotDeployed, match="was not found"):
        deploys.deploy(where, name, image, account=email, secrets={"TOKEN": f"{secret}:7"})
    secret_store.delete(here, secret)


def knative(in_world: target.Target, name: str, image: names.Digest, **container: Any) -> tuple[str, dict[str, Any]]:
    """Where services are made, and the body of a new one."""
    url = f"https://us-central1-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{project()}/services"
    template = {"spec": {"containers": [{"image": str(image), **container}]}}
    meta = {"name": name, "namespace": in_world.project_id}
    return url, {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"template": template},
    }


def settled(session: AuthorizedSession, url: str) -> dict[str, Any]:
    """The Ready condition of a service, as soon as it is one."""
    deadline = time.monotonic() + 120
    pause = threading.Event()
    while True:
        found = session.get(url).json()["status"]["conditions"]
        ready: dict[str, Any] = next(entry for entry in found if entry["type"] == "Ready")
        if ready["status"] != "Unknown":
            return ready
        assert time.monotonic() < deadline
        pause.wait(0.2)


def test_a_deaf_container_meets_its_startup_probe(
    in_world: target.Target, image: names.Digest, name: str, learner: AuthorizedSession
) -> None:
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
    url, body = knative(in_world, name, image, env=[{"name": "MODE", "value": "deaf"}], startupProbe=probe)
    assert learner.post(url, json=body).status_code == 200
    assert "failed the configured startup probe checks" in settled(learner, f"{url}/{name}")["message"]
    revisions = learner.get(url.replace("/services", "/revisions")).json()["items"]
    mine = next(one for one in revisions if one["metadata"]["labels"]["serving.knative.dev/service"] == name)
    assert mine["spec"]["containers"][0]["startupProbe"] == probe


@pytest.mark.parametrize(
    ("container", "status", "words"),
    [
        ({"startupProbe": {"periodSeconds": 241, "tcpSocket": {}}}, 400, "periodSeconds"),
        ({"startupProbe": {"periodSeconds": 1, "timeoutSeconds": 2, "tcpSocket": {}}}, 400, "timeoutSeconds"),
        ({"startupProbe": {"periodSeconds": 240, "failureThreshold": 3, "tcpSocket": {}}}, 400, "600"),
        ({"startupProbe": {"periodSeconds": 5}}, 400, "exactly one"),
        ({"startupProbe": {"grpc": {"port": 1}}}, 501, "gRPC"),
        ({"livenessProbe": {"httpGet": {"path": "/"}}}, 501, "livenessProbe"),
        ({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {}}}]}, 501, "configMapKeyRef"),
        ({"env": [{"name": "A", "valueFrom": {}}]}, 400, "secret_key_ref"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "p:s", "key": "1"}}}]}, 501, "another project"),
    ],
)
def test_a_specification_that_is_refused(
    in_world: target.Target, name: str, learner: AuthorizedSession, container: dict[str, Any], status: int, words: str
) -> None:
    image = names.Repository(in_world.location, "none").image("server").digest(f"sha256:{'0' * 64}")
    url, body = knative(in_world, name, image, **container)
    answer = learner.post(url, json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


def test_an_image_that_the_agent_may_not_pull(
    in_world: target.Target, image: names.Digest, name: str, learner: AuthorizedSession
) -> None:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{project()}"
    policy = learner.post(f"{url}:getIamPolicy").json()
    kept = [entry for entry in policy["bindings"] if entry["role"] != "roles/run.serviceAgent"]
    assert len(kept) < len(policy["bindings"])
    changed = learner.post(f"{url}:setIamPolicy", json={"policy": {"bindings": kept, "etag": policy["etag"]}})
    assert changed.status_code == 200, changed.text
    try:
        with pytest.raises(deploys.NotDeployed, match="must have permission to read the image"):
            deploys.deploy(in_world.location, name, image)
    finally:
        learner.post(f"{url}:setIamPolicy", json={"policy": {"bindings": policy["bindings"]}})


def test_a_change_of_traffic_alone_makes_no_revision(
    learner: AuthorizedSession, in_world: target.Target, image: names.Digest, name: str
) -> None:
    """Also not for a client that leaves out a list which is empty, as gcloud does."""
    where = in_world.location
    deploys.deploy(where, name, image)
    base = f"https://{where.id}-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{where.project}/services"
    service = learner.get(f"{base}/{name}").json()
    [container] = service["spec"]["template"]["spec"]["containers"]
    container.pop("env", None)
    assert learner.put(f"{base}/{name}", json=service).status_code == 200
    [(first, _, _)] = deploys.revisions(where, name)
    assert deploys.route(where, name, {first: 100}).revision == first
    assert len(deploys.revisions(where, name)) == 1


def test_a_moved_tag_changes_nothing(in_world: target.Target, own_image: names.Digest, name: str) -> None:
    """The digest is the tag's at deployment, and the service outlives the image in the registry."""
    where = in_world.location
    service = deploys.deploy(where, name, own_image)
    deploys.open_to_all(where, name)
    assert deploys.revisions(where, name)[0][2] == own_image.value
    credentials, _ = google.auth.default(scopes=SCOPES)
    with AuthorizedSession(credentials) as session:
        base = f"https://artifactregistry.googleapis.com/v1/{own_image.image.repository.resource}"
        assert session.delete(base).status_code == 200
    assert told(service.url)["env"]["K_SERVICE"] == name


def test_scaled_to_zero_and_started_again(
    in_world: target.Target, image: names.Digest, name: str, engine: docker.DockerClient
) -> None:
    service = deploys.deploy(in_world.location, name, image)
    deploys.open_to_all(in_world.location, name)
    running = engine.containers.list(filters={"label": f"workbook-service={name}"})
    assert len(running) == 1
    running[0].remove(force=True)
    assert told(service.url)["env"]["K_SERVICE"] == name
    deploys.delete(in_world.location, name)
    assert not engine.containers.list(all=True, filters={"label": f"workbook-service={name}"})
    assert ask(service.url).status_code == 404


def test_the_python_client_reads_and_deletes(in_world: target.Target, image: names.Digest, name: str) -> None:
    service = deploys.deploy(in_world.location, name, image)
    client = run_v2.ServicesClient(transport="rest")
    full = f"{in_world.location.resource}/services/{name}"
    found = client.get_service(name=full)
    assert found.uri == service.url
    assert found.latest_ready_revision == f"{full}/revisions/{service.revision}"
    assert found.template.containers[0].image == str(image)
    assert full in [one.name for one in client.list_services(parent=in_world.location.resource)]
    client.delete_service(name=full).result(timeout=30)
    assert deploys.describe(in_world.location, name) is None


def test_the_python_client_deploys(in_world: target.Target, image: names.Digest, name: str) -> None:
    client = run_v2.ServicesClient(transport="rest")
    container = run_v2.Container(image=str(image), env=[run_v2.EnvVar(name="COLOUR", value="blue")])
    service = run_v2.Service(template=run_v2.RevisionTemplate(containers=[container]))
    request = {"parent": in_world.location.resource, "service": service, "service_id": name}
    made = client.create_service(request=request).result(timeout=60)
    deploys.open_to_all(in_world.location, name)
    assert told(made.uri)["env"]["COLOUR"] == "blue"
    made.template.containers[0].env[0].value = "red"
    changed = client.update_service(service=made).result(timeout=60)
    assert told(changed.uri)["env"]["COLOUR"] == "red"
    made.template.containers[0].image = f"{image.image}:nothing"
    with pytest.raises(GoogleAPICallError, match="not found"):
        client.update_service(service=made).result(timeout=60)


def test_gcloud_from_deployment_to_deletion(
    learner: AuthorizedSession,
    in_world: target.Target,
    image: names.Digest,
    name: str,
    gcloud: Path,
    environment: dict[str, str],
) -> None:
    def run(*arguments: str, status: int = 0) -> str:
        ran = subprocess.run(
            [str(gcloud), "run", *arguments, "--region=us-central1", "--quiet"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ran.returncode == status, ran.stdout
        return ran.stdout

    tagged = f"{image.image}:v1"
    assert "has been deployed and is serving" in run("deploy", name, f"--image={tagged}", "--allow-unauthenticated")
    described = run("services", "describe", name, "--format=value(status.latestReadyRevisionName,status.url)")
    first, url = described.split()
    assert told(f"{url}/predict", method="POST", data="{}")["path"] == "/predict"
    secret = f"key-{secrets.token_hex(4)}"
    secret_store.put(in_world.location.project, secret, b"first", in_world.run)
    more = [f"--set-secrets=TOKEN={secret}:latest", "--set-env-vars=COLOUR=red", "--memory=256Mi", "--concurrency=4"]
    more += ["--startup-probe=httpGet.path=/ready,periodSeconds=2,failureThreshold=30"]
    assert "Permission denied on secret" in run("deploy", name, f"--image={tagged}", *more, status=1)
    default = f"serviceAccount:{os.environ['PROJECT_NUMBER']}-compute@developer.gserviceaccount.com"
    secret_store.let_read(in_world.location.project, secret, default)
    # The same again: what was refused is made anew.
    run("deploy", name, f"--image={tagged}", *more, "--labels=again=1")
    assert told(url)["env"]["COLOUR"] == "red"
    assert told(url)["env"]["TOKEN"] == "first"
    assert "100%" in run("services", "update-traffic", name, f"--to-revisions={first}=100")
    assert told(url)["env"]["COLOUR"] is None
    listed = json.loads(run("revisions", "list", f"--service={name}", "--format=json"))
    assert {one["status"]["imageDigest"].rpartition("@")[2] for one in listed} == {image.value}
    assert name in run("services", "list")
    run("services", "remove-iam-policy-binding", name, "--member=allUsers", "--role=roles/run.invoker")
    assert ask(url).status_code == 403
    run("services", "delete", name)
    assert "Cannot find service" in run("services", "describe", name, status=1)


def test_a_service_answers_while_others_wait(in_world: target.Target, image: names.Digest, name: str) -> None:
    service = deploys.deploy(in_world.location, name, image)
    deploys.open_to_all(in_world.location, name)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(f"{service.url}/many").status_code)) for _ in range(20)
    ]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20
    assert time.monotonic() - begun < 20
