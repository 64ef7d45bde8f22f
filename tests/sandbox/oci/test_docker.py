"""Sign in, push and pull with docker, and check the refusals that it shows."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import docker

    from tests.sandbox.oci.conftest import Registry

pytestmark = pytest.mark.docker

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tagged(registry: Registry, engine: docker.DockerClient, local: str) -> Iterator[Callable[[str], str]]:
    """Return a function that tags the local image with a name in the registry."""
    made: list[str] = []

    def tag(name: str) -> str:
        full = f"localhost:{registry.port}/{name}:v1"
        assert engine.images.get(local).tag(full)
        made.append(full)
        return full

    yield tag
    for full in made:
        if engine.api.images(full):
            engine.images.remove(full)


def sign_in(run: Run, registry: Registry, who: str = "owner") -> subprocess.CompletedProcess[str]:
    server = f"localhost:{registry.port}"
    return run("login", "-u", "oauth2accesstoken", "--password-stdin", server, stdin=registry.tokens[who])


def test_pushed_image_is_pulled(
    registry: Registry, run: Run, tagged: Callable[[str], str], engine: docker.DockerClient
) -> None:
    assert "Login Succeeded" in sign_in(run, registry).stdout
    name = tagged(registry.name("team/docker"))
    pushed = run("push", name)
    assert pushed.returncode == 0, pushed.stderr
    digest = registry.call("HEAD", f"{registry.name('team/docker')}/manifests/v1").headers["Docker-Content-Digest"]
    assert digest in pushed.stdout
    again = run("push", name)
    assert "Layer already exists" in again.stdout
    before = engine.images.get(name).id
    run("rmi", name)
    for reference in (name, f"{name.removesuffix(':v1')}@{digest}"):
        pulled = run("pull", reference)
        assert pulled.returncode == 0, pulled.stderr
        assert digest in pulled.stdout
    assert engine.images.get(name).id == before
    run("rmi", f"{name.removesuffix(':v1')}@{digest}")
    second = tagged(registry.name("mounted", "second"))
    assert "Mounted from" in run("push", second).stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("{host}/{project}/nope/app", 'name unknown: Repository "nope" not found'),
        ("{host}/somebody-elses/repo/app", "denied: Permission 'artifactregistry.repositories.uploadArtifacts' denied"),
        ("{host}/{project}-off/repo/app", "denied: Artifact Registry API has not been used in project"),
        ("somewhere/app", "name unknown: The name does not start with an Artifact Registry host"),
    ],
)
def test_refused_push_shows_the_reason(
    registry: Registry, run: Run, tagged: Callable[[str], str], name: str, text: str
) -> None:
    sign_in(run, registry)
    answer = run("push", tagged(name.format(host="us-central1-docker.pkg.dev", project=registry.project)))
    assert answer.returncode == 1
    assert text in answer.stderr


def test_push_without_sign_in_is_denied(registry: Registry, run: Run, tagged: Callable[[str], str]) -> None:
    answer = run("push", tagged(registry.name("docker")))
    assert answer.returncode == 1
    assert "denied: Unauthenticated request. Unauthenticated requests do not have permission" in answer.stderr


def test_push_to_an_immutable_tag_is_refused(registry: Registry, run: Run, tagged: Callable[[str], str]) -> None:
    name = registry.name("docker", "immutable")
    registry.push_manifest(name, "v1", registry.image(name, b"layer"))
    sign_in(run, registry)
    answer = run("push", tagged(name))
    assert answer.returncode == 1
    assert "manifest invalid: cannot update tag v1. The repository has enabled tag immutability" in answer.stderr


def test_login_with_an_expired_token_fails(registry: Registry, run: Run) -> None:
    answer = sign_in(run, registry, "expired")
    assert answer.returncode == 1
    assert "not authenticated: No valid credential was supplied." in answer.stderr


def test_multi_platform_index_is_pushed(registry: Registry, run: Run, tagged: Callable[[str], str]) -> None:
    sign_in(run, registry)
    name = tagged(registry.name("multi"))
    assert run("push", name).returncode == 0
    index = name.removesuffix(":v1") + ":all"
    assert run("manifest", "create", "--insecure", index, name).returncode == 0
    pushed = run("manifest", "push", "--insecure", index)
    assert pushed.returncode == 0, pushed.stderr
    shown = registry.call("GET", f"{registry.name('multi')}/manifests/all")
    assert shown.headers["Docker-Content-Digest"] == pushed.stdout.strip()
    assert len(shown.json()["manifests"]) == 1


def test_image_is_pulled_through_a_remote_and_a_virtual_repository(
    registry: Registry, run: Run, tagged: Callable[[str], str]
) -> None:
    sign_in(run, registry)
    pushed = run("push", tagged(registry.name("through")))
    assert pushed.returncode == 0, pushed.stderr
    digest = registry.call("HEAD", f"{registry.name('through')}/manifests/v1").headers["Docker-Content-Digest"]
    parent = f"projects/{registry.project}/locations/us-central1/repositories"
    upstream = {"commonRepository": {"uri": f"{parent}/ml-images"}}
    policy = {"id": "cache", "repository": f"{parent}/cache", "priority": 1}
    for name, body in (
        ("cache", {"mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": upstream}),
        ("all", {"mode": "VIRTUAL_REPOSITORY", "virtualRepositoryConfig": {"upstreamPolicies": [policy]}}),
    ):
        registry.api(
            "POST", f"artifactregistry.googleapis.com/v1/{parent}?repositoryId={name}", {"format": "DOCKER", **body}
        )
        reference = f"{registry.prefix}{registry.project}/{name}/through:v1"
        address = f"localhost:{registry.port}/{reference}"
        pulled = run("pull", address)
        assert pulled.returncode == 0, pulled.stderr
        assert digest in pulled.stdout
        run("rmi", address)
    refused = run("push", tagged(registry.name("through", "all")))
    assert refused.returncode != 0
    assert "is a virtual repository" in refused.stdout + refused.stderr
