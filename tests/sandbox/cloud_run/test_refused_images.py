"""Images that Cloud Run refuses before anything exists. No engine is needed: nothing gets as far as a container."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account

from tests.sandbox.conftest import SCOPES, account, ask, learner_with, project

KNATIVE = "https://us-central1-run.googleapis.com/apis/serving.knative.dev/v1/namespaces"
V2 = "https://run.googleapis.com/v2/projects"


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    with learner_with("run", "artifactregistry", "iam") as session:
        yield session


def deploy(session: AuthorizedSession, version: str, name: str, image: str, status: int) -> dict[str, Any]:
    if version == "v2":
        url = f"{V2}/{project()}/locations/us-central1/services?serviceId={name}"
        return ask(session, "POST", url, {"template": {"containers": [{"image": image}]}}, status)
    body = {"metadata": {"name": name}, "spec": {"template": {"spec": {"containers": [{"image": image}]}}}}
    return ask(session, "POST", f"{KNATIVE}/{project()}/services", body, status)


def is_there(session: AuthorizedSession, name: str) -> bool:
    return session.get(f"{V2}/{project()}/locations/us-central1/services/{name}").status_code == 200


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("image", ["ghcr.io/example/app:1", "localhost:5001/a/b/c:1", "quay.io/a/b", "evil-gcr.io/a/b"])
def test_an_image_of_another_registry_makes_nothing(learner: AuthorizedSession, version: str, image: str) -> None:
    name = f"s-{secrets.token_hex(4)}"
    said = deploy(learner, version, name, image, 400)["error"]["message"]
    assert said.startswith("spec.template.spec.containers[0].image: Expected an image path like [host/]repo-path")
    assert f"docker.io but obtained {image}." in said
    assert not is_there(learner, name)


@pytest.mark.parametrize(
    "image",
    ["gcr.io/a/b", "eu.gcr.io/a/b", "docker.io/library/nginx", "nginx", "library/nginx:1", "us-docker.pkg.dev/a/b/c"],
)
def test_a_registry_that_cloud_run_takes(learner: AuthorizedSession, image: str) -> None:
    image = image.replace("pkg.dev/a/", f"pkg.dev/{project()}/")
    name = f"s-{secrets.token_hex(4)}"
    deploy(learner, "v2", name, image, 200)
    assert is_there(learner, name)
    ask(learner, "DELETE", f"{V2}/{project()}/locations/us-central1/services/{name}")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_who_deploys_must_be_able_to_read_the_image(learner: AuthorizedSession, version: str) -> None:
    repository = f"r-{secrets.token_hex(4)}"
    url = f"https://artifactregistry.googleapis.com/v1/projects/{project()}/locations/us-central1/repositories"
    ask(learner, "POST", f"{url}?repositoryId={repository}", {"format": "DOCKER"})
    email = account(learner, "roles/run.developer", "roles/iam.serviceAccountUser")
    iam = f"https://iam.googleapis.com/v1/projects/{project()}/serviceAccounts/{email}"
    key = json.loads(base64.b64decode(ask(learner, "POST", f"{iam}/keys", {})["privateKeyData"]))
    name, image = f"s-{secrets.token_hex(4)}", f"us-central1-docker.pkg.dev/{project()}/{repository}/app:v1"
    with AuthorizedSession(service_account.Credentials.from_service_account_info(key, scopes=SCOPES)) as deployer:
        refused = deploy(deployer, version, name, image, 403)["error"]
        assert refused["message"] == "The caller does not have permission"
        assert not is_there(learner, name)
        policy = {"bindings": [{"role": "roles/artifactregistry.reader", "members": [f"serviceAccount:{email}"]}]}
        ask(learner, "POST", f"{url}/{repository}:setIamPolicy", {"policy": policy})
        deploy(deployer, version, name, image, 200)
    assert is_there(learner, name)


@pytest.mark.parametrize(
    ("template", "container", "word"),
    [
        ({"run.googleapis.com/vpc-access-connector": "c"}, {}, "vpc-access-connector"),
        ({"run.googleapis.com/cloudsql-instances": "p:r:i"}, {}, "cloudsql-instances"),
        ({"run.googleapis.com/execution-environment": "gen2"}, {}, "execution-environment"),
        ({}, {"resources": {"limits": {"nvidia.com/gpu": "1"}}}, "nvidia.com/gpu"),
        ({}, {"resources": {"requests": {"cpu": "1"}}}, "requests"),
    ],
    ids=["connector", "sql", "generation", "gpu", "requests"],
)
def test_what_nothing_would_act_on_is_refused_by_name(
    learner: AuthorizedSession, template: dict[str, str], container: dict[str, Any], word: str
) -> None:
    name = f"s-{secrets.token_hex(4)}"
    one = {"image": "docker.io/library/nginx", **container}
    body = {
        "metadata": {"name": name},
        "spec": {"template": {"metadata": {"annotations": template}, "spec": {"containers": [one]}}},
    }
    refused = ask(learner, "POST", f"{KNATIVE}/{project()}/services", body, 501)
    assert word in refused["error"]["message"]
    assert not is_there(learner, name)


def test_binary_authorization_is_refused_by_name(learner: AuthorizedSession) -> None:
    annotations = {"run.googleapis.com/binary-authorization": "default"}
    body = {
        "metadata": {"name": "guarded", "annotations": annotations},
        "spec": {"template": {"spec": {"containers": [{"image": "docker.io/library/nginx"}]}}},
    }
    refused = ask(learner, "POST", f"{KNATIVE}/{project()}/services", body, 501)
    assert "binary-authorization" in refused["error"]["message"]
    assert not is_there(learner, "guarded")
