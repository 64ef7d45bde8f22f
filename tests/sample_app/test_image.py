"""The image: its user, its size, which layers a change of the code replaces, and how it runs with nothing writable."""

import io
import json
import os
import posixpath
import shutil
import socket
import subprocess
import tarfile
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from helpers import waiting
from machine.engine import Engine, environment
from tests.sample_app.conftest import DEADLINE, ROOT

pytestmark = [pytest.mark.docker, pytest.mark.slow]

CALL = """
import http.client, json, os, sys
connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]), timeout=5)
method, path, body = sys.argv[1:]
connection.request(method, path, body or None, {"Content-Type": "application/json"} if body else {})
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""


@dataclass(frozen=True)
class Layer:
    """A layer's digest before compression, its size in bytes after gzip -6, and the Dockerfile's line that made it."""

    digest: str
    size: int
    made_by: str


def copy_context(target: Path) -> Path:
    shutil.copytree(ROOT / "sample_app", target / "sample_app", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, target / name)
    return target


def build(engine: docker.DockerClient, context: Path, base: str, version: str) -> str:
    """Build with the classic builder and return the image's id. Raises `docker.errors.BuildError`."""
    image, _ = engine.images.build(
        path=str(context),
        platform="linux/amd64",
        # An engine without a bridge can reach the package index only like this.
        network_mode="host",
        buildargs={
            "PYTHON_IMAGE": base,
            "VERSION": version,
            "REVISION": "0123abc",
            "SOURCE": "https://example.com/source",
        },
        labels={"workbook-test": "sample-app"},
        rm=True,
    )
    assert image.id is not None
    return image.id


def layers(engine: docker.DockerClient, image: str, known: Sequence[Layer] = ()) -> list[Layer]:
    """Return the layers of an image. The size of a known layer is reused, because compression takes seconds."""
    sizes = {layer.digest: layer.size for layer in known}
    saved = io.BytesIO(b"".join(engine.images.get(image).save()))
    with tarfile.open(fileobj=saved) as archive:

        def read(name: str) -> bytes:
            member = archive.getmember(name)
            if member.issym():
                return read(posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
            file = archive.extractfile(member)
            assert file is not None
            return file.read()

        manifest = json.loads(read("manifest.json"))[0]
        config = json.loads(read(manifest["Config"]))
        made = [step.get("created_by", "") for step in config["history"] if not step.get("empty_layer")]
        digests = config["rootfs"]["diff_ids"]
        for digest, name in zip(digests, manifest["Layers"], strict=True):
            if digest not in sizes:
                gzip = zlib.compressobj(6, zlib.DEFLATED, 31)
                sizes[digest] = len(gzip.compress(read(name))) + len(gzip.flush())
    return [Layer(digest, sizes[digest], line) for digest, line in zip(digests, made, strict=True)]


def call(container: Container, method: str, path: str, body: str = "") -> tuple[int, str]:
    """Call the server from inside its container, so that the test needs no port and no network."""
    code, output = container.exec_run(["python", "-c", CALL, method, path, body])
    assert code == 0, output.decode()
    status, text = json.loads(output)
    return status, text


def wait_until_healthy(container: Container) -> None:
    """Wait for the engine's own health check. Fails after ``DEADLINE`` seconds, with the container's log."""
    for _ in waiting.attempts(DEADLINE):
        container.reload()
        if container.health == "healthy":
            return
    pytest.fail(f"not healthy within {DEADLINE:.0f} s:\n{container.logs().decode()}")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_context(tmp_path_factory.mktemp("context") / "tree")


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient, python_image: str, context: Path) -> str:
    return build(engine, context, python_image, "v1")


@pytest.fixture(scope="module")
def own_layers(engine: docker.DockerClient, image: str) -> list[Layer]:
    return layers(engine, image)


@pytest.fixture(scope="module")
def config(engine: docker.DockerClient, image: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.api.inspect_image(image)["Config"]
    return found


def network(found: Engine) -> dict[str, Any]:
    """Return options for no network and a chosen port, or for the host's network with the workbook's own engine."""
    if not found.embedded:
        return {"network_mode": "none", "environment": {"PORT": "9090"}}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {"network_mode": "host", "environment": {"PORT": str(probe.getsockname()[1])}}


@pytest.fixture(scope="module")
def container(engine: docker.DockerClient, found_engine: Engine, image: str) -> Iterator[Container]:
    """A container with nothing writable, no capability and no network, on a chosen port."""
    running = engine.containers.run(
        image,
        detach=True,
        name=f"workbook-test-{uuid.uuid4().hex[:8]}",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        **network(found_engine),
        labels={"workbook-test": "sample-app"},
    )
    try:
        wait_until_healthy(running)
        yield running
    finally:
        running.remove(force=True)


def test_image_is_smaller_than_150_mb(own_layers: list[Layer]) -> None:
    print(*(f"{layer.size:>12,}  {layer.made_by[:80]}" for layer in own_layers), sep="\n")
    assert sum(layer.size for layer in own_layers) < 150_000_000


def test_layers_above_the_base_are_smaller_than_20_mb(
    engine: docker.DockerClient, own_layers: list[Layer], python_image: str
) -> None:
    base = engine.api.inspect_image(python_image)["RootFS"]["Layers"]
    assert [layer.digest for layer in own_layers[: len(base)]] == base
    assert sum(layer.size for layer in own_layers[len(base) :]) < 20_000_000


def test_changed_line_of_code_changes_only_the_last_layer(
    engine: docker.DockerClient, own_layers: list[Layer], python_image: str, tmp_path: Path
) -> None:
    changed_tree = copy_context(tmp_path / "tree")
    views = changed_tree / "sample_app" / "app" / "predictor" / "views.py"
    before = views.read_text(encoding="utf-8")
    after = before.replace("Send the values with POST.", "Send the four lengths with POST.")
    assert after != before
    views.write_text(after, encoding="utf-8")
    new = layers(engine, build(engine, changed_tree, python_image, "v2"), own_layers)
    assert [layer.digest for layer in new[:-1]] == [layer.digest for layer in own_layers[:-1]]
    assert new[-1].digest != own_layers[-1].digest
    assert new[-1].size < 100_000


def test_new_version_changes_no_layer(
    engine: docker.DockerClient, image: str, python_image: str, context: Path
) -> None:
    again = engine.api.inspect_image(build(engine, context, python_image, "v3"))
    assert again["RootFS"] == engine.api.inspect_image(image)["RootFS"]
    assert again["Config"]["Labels"]["org.opencontainers.image.version"] == "v3"


def test_image_has_the_standard_labels(config: dict[str, Any]) -> None:
    prefix = "org.opencontainers.image."
    labels = {name.removeprefix(prefix): text for name, text in config["Labels"].items() if name.startswith(prefix)}
    assert labels == {
        "title": "ml-predictor",
        "description": "Names an iris from four lengths",
        "version": "v1",
        "revision": "0123abc",
        "source": "https://example.com/source",
        "licenses": "Apache-2.0",
    }


def test_container_runs_as_a_numbered_user(config: dict[str, Any], container: Container) -> None:
    assert config["User"] == "10001:10001"
    code, output = container.exec_run(["python", "-c", "import os; print(os.getuid(), os.getgid())"])
    assert (code, output) == (0, b"10001 10001\n")


def test_image_contains_no_trainer_and_no_installer(container: Container) -> None:
    look = "import importlib.util as u; print([n for n in ('sklearn', 'scipy', 'numpy', 'pip') if u.find_spec(n)])"
    code, output = container.exec_run(["python", "-c", look])
    assert (code, output) == (0, b"[]\n")


def test_health_and_predict_work_with_nothing_writable(container: Container, flower: dict[str, float]) -> None:
    assert call(container, "GET", "/health") == (200, '{"status": "ok", "model_version": "v1"}')
    status, text = call(container, "POST", "/predict", json.dumps(flower))
    assert status == 200
    assert json.loads(text)["prediction"] == "setosa"
    assert json.loads(text)["model_version"] == "v1"
    assert call(container, "POST", "/predict", "{}")[0] == 400
    assert call(container, "GET", "/")[0] == 200


def test_healthz_is_not_found(container: Container) -> None:
    assert call(container, "GET", "/healthz")[0] == 404


def test_each_event_is_logged_as_one_line_of_json(container: Container) -> None:
    call(container, "GET", "/health")
    lines = container.logs(stdout=True, stderr=False).decode().splitlines()
    assert any(json.loads(line)["message"] == "GET /health 200" for line in lines)
    assert container.logs(stdout=False, stderr=True) == b""


def test_container_stops_on_sigterm(engine: docker.DockerClient, found_engine: Engine, image: str) -> None:
    running = engine.containers.run(image, detach=True, **network(found_engine), labels={"workbook-test": "sample-app"})
    try:
        wait_until_healthy(running)
        running.stop(timeout=int(DEADLINE))
        assert running.wait()["StatusCode"] == 0
    finally:
        running.remove(force=True)


def test_buildkit_builds_the_image(
    context: Path, found_engine: Engine, engine: docker.DockerClient, python_image: str
) -> None:
    if found_engine.embedded:
        pytest.skip("the workbook's own engine has no BuildKit")
    clients = [path for path in ("/usr/bin/docker", shutil.which("docker")) if path and Path(path).exists()]
    said = ["no docker on the PATH"]
    for client in clients:
        built = subprocess.run(
            [client, "build", "-q", "--network=host", f"--build-arg=PYTHON_IMAGE={python_image}", str(context)],
            env={**os.environ, **environment(found_engine), "DOCKER_BUILDKIT": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode == 0:
            found = engine.api.inspect_image(built.stdout.strip())
            assert found["Config"]["User"] == "10001:10001"
            assert found["Config"]["Cmd"] == ["gunicorn"]
            return
        said.append(built.stderr.strip())
    if all("buildx component is missing" in text for text in said[1:]):
        pytest.skip(f"no client here can drive BuildKit: {said[-1]}")
    pytest.fail("\n".join(said))
