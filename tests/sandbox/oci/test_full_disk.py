"""Fill the disk of the sandbox: calls are refused completely, nothing is lost, and they succeed when there is space."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.artifact_registry.blobs import digest_of

if TYPE_CHECKING:
    import docker

    from tests.sandbox.oci.conftest import Registry

ROOT = Path(__file__).parents[3]
SERVICE = "artifactregistry.googleapis.com"
FULL = "The disk that holds the sandbox's state is full, so nothing was changed."
ON_SMALL_DISK = 'mount -t tmpfs -o size="$1" tmpfs "$2" && cp -a "$3/." "$2" && shift 3 && exec "$@"'


def on_small_disk(size: str, home: Path, content: Path, *options: str) -> list[str]:
    """Return the command of a sandbox whose home is a file system of this size, with a copy of `content`.

    Other processes can reach that file system only through `/proc/<pid>/root`.
    """
    home.mkdir()
    script = ["unshare", "--mount", "sh", "-c", ON_SMALL_DISK, "sh", size, str(home), str(content)]
    return [*script, sys.executable, "-m", "sandbox", "--home", str(home), "--port", "0", *options]


@pytest.fixture(autouse=True)
def may_mount() -> None:
    """Skip the tests if the user cannot mount a file system."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system needs root")


@dataclass(frozen=True)
class Small:
    """A registry on a small disk, with its home as other processes reach it."""

    registry: Registry
    home: Path
    log: Path


@pytest.fixture
def small(registry: Registry, tmp_path: Path, prepared: Callable[[Path, str], dict[str, str]]) -> Iterator[Small]:
    project = f"ml-workbook-{secrets.token_hex(3)}"
    content, home, log = tmp_path / "content", tmp_path / "home", tmp_path / "log"
    minted = prepared(content, project)
    command = on_small_disk("8m", home, content, "--project", project)
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, cwd=ROOT) as child,
    ):
        try:
            assert child.stdout is not None
            url = child.stdout.readline().removeprefix("ready ").strip()
            inside = Path(f"/proc/{child.pid}/root{home}")
            port = int(url.rpartition(":")[2])
            own = type(registry)(url, registry.prefix, port, inside, project, minted, registry.session)
            own.api("POST", f"serviceusage.googleapis.com/v1/projects/{project}/services/{SERVICE}:enable", {})
            own.api("POST", f"{SERVICE}/v1/{parent(own)}?repositoryId=ml-images", {"format": "DOCKER"})
            yield Small(own, inside, log)
        finally:
            child.terminate()


def parent(registry: Registry) -> str:
    return f"projects/{registry.project}/locations/us-central1/repositories"


def fill(folder: Path) -> Path:
    """Write a file that takes all the free space, and return its path."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return filler


@pytest.mark.parametrize("size", [20_000, 1 << 20], ids=["small blobs", "large blobs"])
def test_push_without_space_is_refused_completely(small: Small, size: int) -> None:
    registry, name = small.registry, small.registry.name("app")
    (reserve := small.home / "reserve").write_bytes(bytes(2 << 20))
    kept = registry.push_manifest(name, "v1", registry.image(name, secrets.token_bytes(size)))
    taken: dict[str, bytes] = {}
    for _ in range((8 << 20) // size + 1):
        content = secrets.token_bytes(size)
        answer = registry.call("POST", f"{name}/blobs/uploads/?digest={digest_of(content)}", data=content)
        if answer.status_code != 201:
            break
        taken[digest_of(content)] = content
    assert answer.status_code == 403
    (error,) = answer.json()["errors"]
    assert (error["code"], error["message"].startswith(FULL)) == ("DENIED", True)
    assert registry.call("HEAD", f"{name}/blobs/{digest_of(content)}").status_code == 404
    assert list((small.home / "state" / "uploads").iterdir()) == []
    fill(small.home)
    streamed = registry.call("POST", f"{name}/blobs/uploads/").headers["Location"]
    sent = registry.call("PATCH", streamed, data=iter([content[:100], content[100:]]))
    if sent.status_code == 202:  # a small blob is written when its digest is named
        sent = registry.call("PUT", f"{streamed}?digest={digest_of(content)}")
    assert (sent.status_code, sent.json()["errors"][0]["code"]) == (403, "DENIED")
    manifest = registry.call("PUT", f"{name}/manifests/v2", data=registry.call("GET", f"{name}/manifests/v1").content)
    assert manifest.status_code in (201, 403)
    there = registry.call("HEAD", f"{name}/manifests/v2").status_code
    assert there == (200 if manifest.status_code == 201 else 404)
    for digest, whole in taken.items():
        assert registry.call("GET", f"{name}/blobs/{digest}").content == whole
    assert registry.call("HEAD", f"{name}/manifests/v1").headers["Docker-Content-Digest"] == kept
    reserve.unlink()
    assert registry.push_blob(name, content) == digest_of(content)
    assert registry.call("GET", f"{name}/blobs/{digest_of(content)}").content == content
    assert "Traceback" not in small.log.read_text()


def test_api_call_without_space_is_refused(small: Small) -> None:
    registry = small.registry
    url = f"{registry.base}/{SERVICE}/v1/{parent(registry)}"
    filler = fill(small.home)
    refused = 0
    for number in range(200):
        body = {"format": "DOCKER", "description": "x" * 900}
        answer = registry.call("POST", f"{url}?repositoryId=r-{number}", json=body)
        if answer.status_code != 200:
            refused += 1
            assert answer.status_code == 400, answer.text
            error = answer.json()["error"]
            assert (error["status"], error["message"].startswith(FULL)) == ("FAILED_PRECONDITION", True)
            if refused > 20:
                break
    assert refused
    there = {
        one["name"].rpartition("/")[2] for one in registry.call("GET", f"{url}?pageSize=1000").json()["repositories"]
    }
    assert f"r-{number}" not in there
    filler.unlink()
    assert registry.call("POST", f"{url}?repositoryId=r-{number}", json={"format": "DOCKER"}).status_code == 200
    assert registry.call("GET", f"{url}/r-{number}").status_code == 200
    assert "Traceback" not in small.log.read_text()


@pytest.mark.docker
def test_docker_reports_a_full_disk_immediately(
    small: Small, run: Callable[..., subprocess.CompletedProcess[str]], engine: docker.DockerClient, local: str
) -> None:
    server = f"localhost:{small.registry.port}"
    login = run("login", "-u", "oauth2accesstoken", "--password-stdin", server, stdin=small.registry.tokens["owner"])
    assert login.returncode == 0, login.stderr
    name = f"{server}/{small.registry.name('app')}:v1"
    assert engine.images.get(local).tag(name)
    try:
        filler = fill(small.home)
        refused = run("push", name)
        assert refused.returncode == 1
        assert f"denied: {FULL}" in refused.stderr
        assert "Retrying" not in refused.stdout
        filler.unlink()
        pushed = run("push", name)
        assert pushed.returncode == 0, pushed.stderr
    finally:
        engine.images.remove(name)


def test_start_without_space_is_refused(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    command = on_small_disk("64k", tmp_path / "home", tmp_path / "content")
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert ran.returncode == 3
    assert "The sandbox cannot start: " in ran.stderr
    assert "port" not in ran.stderr
    assert "Traceback" not in ran.stderr
