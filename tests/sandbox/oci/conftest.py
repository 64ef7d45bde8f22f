"""Start a registry for tests: a sandbox in its own process, with a principal for each role."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest
import requests

from cli.world import starter as starter
from machine import engine as machine_engine
from sandbox import seed
from sandbox.iam import policies, tokens
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

if TYPE_CHECKING:
    import docker

HOST = "us-central1-docker.pkg.dev"
SERVICE = "artifactregistry.googleapis.com"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ROLES = {"reader": "reader", "writer": "writer", "repoadmin": "repoAdmin"}


@dataclass(frozen=True)
class Registry:
    """A registry under one of its addresses.

    Attributes:
        base: the URL before `/v2/`.
        prefix: the part of an image's name before `PROJECT/REPOSITORY/IMAGE`.
        tokens: access tokens by principal: owner, reader, writer, repoadmin, nobody, expired.
    """

    base: str
    prefix: str
    port: int
    home: Path
    project: str
    tokens: dict[str, str]
    session: requests.Session = field(default_factory=requests.Session)

    def name(self, image: str, repository: str = "ml-images") -> str:
        """Return the specification's `<name>` of an image."""
        return f"{self.prefix}{self.project}/{repository}/{image}"

    def call(self, method: str, path: str, *, who: str = "owner", **options: Any) -> requests.Response:
        """Send a request and follow one redirect, without the credential.

        Args:
            method: the HTTP method.
            path: a path relative to `/v2/`; or one with a leading slash, like a Location; or a whole URL.
            who: the principal; empty for no credential.
            **options: options of `requests`.
        """
        url = urljoin(self.base, path) if path.startswith(("http", "/")) else f"{self.base}/v2/{path}"
        more = options.pop("headers", {})
        headers = {**({"Authorization": f"Bearer {self.tokens[who]}"} if who else {}), **more}
        options |= {"timeout": 30, "allow_redirects": False}
        answer = self.session.request(method, url, headers=headers, **options)
        if answer.status_code != 302:
            return answer
        return self.session.request(method, urljoin(url, answer.headers["Location"]), headers=more, **options)

    def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> str:
        """Push a blob in one request, and return its digest."""
        digest = digest_of(content, algorithm)
        answer = self.call("POST", f"{name}/blobs/uploads/?digest={digest}", data=content)
        assert answer.status_code == 201, answer.text
        return digest

    def push_manifest(self, name: str, reference: str, body: dict[str, Any] | bytes, kind: str = "") -> str:
        """Push a manifest, and return its digest."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = kind or json.loads(content)["mediaType"]
        answer = self.call("PUT", f"{name}/manifests/{reference}", data=content, headers={"Content-Type": kind})
        assert answer.status_code == 201, answer.text
        return answer.headers["Docker-Content-Digest"]

    def image(self, name: str, *layers: bytes, **more: Any) -> dict[str, Any]:
        """Push the layers and a new config of an image, and return its manifest."""
        config = json.dumps({"created": "2026-10-01T08:00:00.123456789Z", "salt": secrets.token_hex(4)}).encode()
        entries = [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": self.push_blob(name, x), "size": len(x)}
            for x in layers
        ]
        kind = "application/vnd.oci.image.config.v1+json"
        described = {"mediaType": kind, "digest": self.push_blob(name, config), "size": len(config)}
        return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": entries, **more}

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call an API as the owner, and return the response."""
        url = f"http://localhost:{self.port}/{path}"
        answer = requests.request(
            method, url, json=body, headers={"Authorization": f"Bearer {self.tokens['owner']}"}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def prepare(home: Path, project: str) -> dict[str, str]:
    """Fill a world before its process starts, and return access tokens by principal."""
    home.mkdir(parents=True, exist_ok=True)
    world = World(home / "state", Clock())
    about = seed.prepare(world, home, project, "us-central1")
    made = {"owner": f"serviceAccount:{about['learner']}"}
    with world.writing() as rows:
        for name in (*ROLES, "nobody"):
            email = projects.add_service_account(rows, world, project, f"test-{name}", name)
            made[name] = f"serviceAccount:{email}"
        projects.create(rows, world, f"{project}-off", "No API enabled", {})
        policies.grant(rows, world, f"projects/{project}-off", "roles/owner", made["owner"])
    minted = {name: tokens.mint(world, member) for name, member in made.items()}
    minted["expired"] = tokens.mint(world, made["owner"], lifetime=-1)
    world.close()
    return minted


@pytest.fixture
def prepared() -> Callable[[Path, str], dict[str, str]]:
    """Return `prepare`, for tests that start their own sandbox."""
    return prepare


@contextlib.contextmanager
def serving(home: Path) -> Iterator[Registry]:
    """Start a registry in `home`, with repositories ml-images, second, public and immutable."""
    project = f"ml-workbook-{secrets.token_hex(3)}"
    minted = prepare(home, project)
    opened = starter.start(home, project=project, port=0)
    found = Registry(opened.url, f"{HOST}/", opened.info.port, home, project, minted)
    found.session.trust_env = False
    parent = f"{SERVICE}/v1/projects/{project}/locations/us-central1/repositories"
    try:
        found.api("POST", f"serviceusage.googleapis.com/v1/projects/{project}/services/{SERVICE}:enable", {})
        for name in ("ml-images", "second", "public"):
            found.api("POST", f"{parent}?repositoryId={name}", {"format": "DOCKER"})
        body = {"format": "DOCKER", "dockerConfig": {"immutableTags": True}}
        found.api("POST", f"{parent}?repositoryId=immutable", body)
        accounts = f"@{project}.iam.gserviceaccount.com"
        granted = [
            {"role": f"roles/artifactregistry.{role}", "members": [f"serviceAccount:test-{name}{accounts}"]}
            for name, role in ROLES.items()
        ]
        for name in ("ml-images", "immutable", "second"):
            found.api("POST", f"{parent}/{name}:setIamPolicy", {"policy": {"bindings": granted}})
        everybody = {"role": "roles/artifactregistry.reader", "members": ["allUsers"]}
        found.api("POST", f"{parent}/public:setIamPolicy", {"policy": {"bindings": [everybody]}})
        yield found
    finally:
        found.session.close()
        starter.stop(home)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Return the shared registry under the address that docker uses."""
    with serving(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(params=["host in the name", "host before /v2", "edge"])
def door(request: pytest.FixtureRequest, registry: Registry) -> Iterator[Registry]:
    """Return the shared registry under each of its three addresses."""
    session = requests.Session()
    session.trust_env = False
    base, prefix = registry.base, registry.prefix
    if request.param == "host before /v2":
        base, prefix = f"{registry.base}/{HOST}", ""
    if request.param == "edge":
        base, prefix = f"https://{HOST}", ""
        edge = json.loads((registry.home / "sandbox.json").read_text())["edge_port"]
        session.proxies = {"https": f"http://127.0.0.1:{edge}"}
        session.verify = str(registry.home / "ca" / "ca.pem")
    with session:
        yield Registry(base, prefix, registry.port, registry.home, registry.project, registry.tokens, session)


@pytest.fixture
def fresh(registry: Registry) -> str:
    """Return the `<name>` of a new image."""
    return registry.name(f"image-{secrets.token_hex(4)}")


@pytest.fixture
def run(found_engine: machine_engine.Engine, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `docker` with a new configuration folder."""
    if shutil.which("docker") is None:
        pytest.skip("docker isn't on the PATH")
    environment = {**os.environ, **machine_engine.environment(found_engine), "DOCKER_CONFIG": str(tmp_path / "docker")}

    def call(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *args], env=environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    return call


@pytest.fixture(scope="module")
def local(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build an image of one file without a base image, and return its tag."""
    folder = tmp_path_factory.mktemp("context")
    (folder / "file").write_bytes(secrets.token_bytes(300_000))
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY file /file\nCMD ["/file"]\n')
    tag = f"registry-test-{secrets.token_hex(4)}"
    engine.images.build(path=str(folder), tag=tag, rm=True)
    yield tag
    engine.images.remove(tag, force=True)
