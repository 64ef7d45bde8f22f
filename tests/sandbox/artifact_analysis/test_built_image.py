"""Scan the image that the workbook builds, and compare its inventory with dpkg's, Python's and gcloud's."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import google.auth
import pytest

from helpers import names, registry, scans, target
from machine import engine as machine_engine
from sandbox.scanner import inventory

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def built(engine: docker.DockerClient, python_image: str) -> Iterator[str]:
    """Build the sample image, and return its tag."""
    tag = f"workbook-scan-{secrets.token_hex(3)}/ml-predictor:v1"
    engine.images.build(
        path=str(ROOT),
        tag=tag,
        buildargs={"PYTHON_IMAGE": python_image},
        # The label makes the image's id unique, so that removing another image by its id does not remove this one.
        labels={"workbook-test": tag},
        platform="linux/amd64",
        rm=True,
    )
    yield tag
    engine.images.remove(tag)


@pytest.fixture(scope="module")
def layers(engine: docker.DockerClient, built: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the files of the built image's layers, lowest first."""
    folder = tmp_path_factory.mktemp("layers")
    with (folder / "image.tar").open("wb") as file:
        for chunk in engine.images.get(built).save():
            file.write(chunk)
    # tar, since tarfile has its safe filter only since 3.11.4, and Debian 12 has Python 3.11.2.
    (folder / "image").mkdir()
    subprocess.run(["tar", "-xf", folder / "image.tar", "-C", folder / "image"], check=True)
    [manifest] = json.loads((folder / "image" / "manifest.json").read_text())
    return [folder / "image" / name for name in manifest["Layers"]]


def _inventory(layers: list[Path]) -> Any:
    return inventory.read([lambda path=path: path.open("rb") for path in layers])  # type: ignore[misc]


@pytest.mark.docker
@pytest.mark.slow
def test_inventory_equals_dpkgs_and_pythons(
    engine: docker.DockerClient, built: str, layers: list[Path], tmp_path: Path
) -> None:
    found = _inventory(layers)
    if not shutil.which("dpkg-query"):
        pytest.skip("dpkg-query isn't on this machine")
    container = engine.containers.create(built)
    try:
        chunks, _ = container.get_archive("/var/lib/dpkg")
        (tmp_path / "dpkg.tar").write_bytes(b"".join(chunks))
    finally:
        container.remove(force=True)
    subprocess.run(["tar", "-xf", tmp_path / "dpkg.tar", "-C", tmp_path], check=True)
    listed = subprocess.run(
        [
            "dpkg-query",
            f"--admindir={tmp_path / 'dpkg'}",
            "-W",
            "-f",
            "${Package} ${source:Package} ${source:Version}\n",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    theirs = {tuple(line.split()) for line in listed if line}
    ours = {(binary, one.name, one.version) for one in found.packages if one.kind == "OS" for binary in one.binaries}
    assert ours == theirs
    program = "import importlib.metadata as m; print('\\n'.join(f'{d.name} {d.version}' for d in m.distributions()))"
    printed = engine.containers.run(built, ["python", "-c", program], remove=True).decode().split("\n")
    assert {(one.name, one.version) for one in found.packages if one.kind == "PYPI"} == {
        tuple(line.split()) for line in printed if line
    }


@pytest.mark.docker
@pytest.mark.gcloud
@pytest.mark.slow
def test_inventory_equals_gclouds_extractor(
    built: str, layers: list[Path], gcloud: Path, found_engine: machine_engine.Engine
) -> None:
    extractor = gcloud.resolve().parent / "local-extract"
    if not extractor.exists():
        pytest.skip("gcloud's component local-extract isn't installed")
    printed = subprocess.run(
        [
            str(extractor),
            f"--resource_uri={built}",
            "--remote=False",
            "--provide_fake_results=False",
            "--undefok=additional_package_types,skip_package_types,verbose_errors,use_scalibr",
            "--use_scalibr",
        ],
        # The extractor connects to the engine of DOCKER_HOST.
        env={**os.environ, **machine_engine.environment(found_engine)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    theirs = {(one["package_type"], one["package"].lower(), one["version"]) for one in json.loads(printed)}
    ours = {(one.kind, one.name.lower(), one.version) for one in _inventory(layers).packages}
    assert ours == theirs


@pytest.mark.docker
@pytest.mark.gcloud
@pytest.mark.slow
@pytest.mark.usefixtures("gcloud")
def test_gcloud_scans_lists_and_describes(
    repository: names.Repository, built: str, engine: docker.DockerClient, environment: dict[str, str]
) -> None:
    def gcloud(*arguments: str) -> str:
        ran = subprocess.run(
            ["gcloud", *arguments], capture_output=True, text=True, check=False, env=environment, timeout=120
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    key = environment["GOOGLE_APPLICATION_CREDENTIALS"]
    gcloud("auth", "activate-service-account", f"--key-file={key}", "--quiet")
    gcloud("config", "set", "project", str(repository.project), "--quiet")
    image = repository.image("ml-predictor")
    here = target.current()
    engine.images.get(built).tag(here.docker_name(image), tag="v1")
    engine.images.get(built).tag(str(image), tag="v1")
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    credentials.refresh(google.auth.transport.requests.Request())
    login = {"username": "oauth2accesstoken", "password": credentials.token}
    output = engine.images.push(here.docker_name(image), tag="v1", auth_config=login)
    assert "digest: sha256:" in output, output
    digest = image.digest(registry.manifest(image.tag("v1")).digest)
    pushed = scans.wait(digest, 60)
    assert pushed.succeeded
    expected = {one.id for one in pushed.findings}
    for more in ([], ["--remote"]):
        scan = gcloud("artifacts", "docker", "images", "scan", f"{image}:v1", "--format=value(response.scan)", *more)
        assert re.fullmatch(rf"{repository.project.resource}/locations/us/scans/[0-9a-f-]+", scan)
        listed = gcloud(
            *("artifacts", "docker", "images", "list-vulnerabilities", scan),
            "--format=value(vulnerability.shortDescription)",
        )
        assert set(listed.split()) == expected
    described = json.loads(
        gcloud(
            *("artifacts", "docker", "images", "describe", str(digest), "--show-package-vulnerability"),
            "--format=json",
        )
    )
    by_severity = described["package_vulnerability_summary"]["vulnerabilities"]
    assert {one["vulnerability"]["shortDescription"] for all_ in by_severity.values() for one in all_} == expected
    listed = gcloud(
        *("artifacts", "vulnerabilities", "list", f"{image}:v1"),
        "--format=value(occurrence.vulnerability.shortDescription)",
    )
    assert set(listed.split()) == expected
    shown = gcloud("artifacts", "vulnerabilities", "list", f"{image}:v1")
    assert re.search(r"Latest scan was at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", shown)
    [entry] = json.loads(
        gcloud("artifacts", "docker", "images", "list", str(repository), "--show-occurrences", "--format=json")
    )
    counted = {name: everything for name, (_, everything) in scans.counts(pushed.findings).items()}
    assert entry["vuln_counts"] == counted
    for reference in (here.docker_name(image), str(image)):
        engine.images.remove(f"{reference}:v1")
