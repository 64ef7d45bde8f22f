"""Scanning through the real registry, Google's clients and gcloud: pushed images, scans on demand, what is refused."""

from __future__ import annotations

import gzip
import hashlib
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
import requests
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import artifactregistry_v1 as ar
from google.protobuf import json_format
from grafeas.grafeas_v1 import types

from helpers import names, projects, registry, repositories, scans, target
from helpers.checks import eventually
from helpers.names import Project
from machine import engine as machine_engine
from sandbox.artifact_analysis import automatic_scans, occurrences, sbom
from sandbox.artifact_analysis.on_demand_scanning import API as ON_DEMAND
from sandbox.artifact_registry import catalog
from sandbox.iam import policies
from sandbox.scanner import inventory
from sandbox.state import projects as sandbox_projects
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.sandbox.conftest import done
from tests.sandbox.scanner.test_layers import STATUS

SERVICES = (
    "artifactregistry.googleapis.com",
    "containeranalysis.googleapis.com",
    "ondemandscanning.googleapis.com",
    "containerscanning.googleapis.com",
)
OS_RELEASE = {"usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n'}
DPKG = {"var/lib/dpkg/status": STATUS.decode()}
DJANGO = {"opt/venv/lib/python3.11/site-packages/Django-5.2.7.dist-info/METADATA": "Name: Django\nVersion: 5.2.7\n"}
ROOT = Path(__file__).parents[3]


@pytest.fixture
def repository(in_world: target.Target) -> Iterator[names.Repository]:
    """A repository that is scanned, in a project where the four APIs are enabled."""
    projects.enable(Project(in_world.project_id), *SERVICES)
    made = names.Repository(in_world.location, f"scan-{secrets.token_hex(3)}")
    repositories.create(made)
    yield made
    repositories.delete(made)


def push(repository: names.Repository, *layers: dict[str, str], name: str = "app", tag: str = "v1") -> names.Digest:
    # A file of its own in each image: the same content would be the same digest, which is scanned once.
    own = {"etc/own": secrets.token_hex(8)}
    return registry.push(repository.image(name).tag(tag), [*layers, own])


def raw(session: AuthorizedSession, digest: names.Digest, kind: str) -> list[dict[str, Any]]:
    answer = session.get(
        f"https://containeranalysis.googleapis.com/v1/{digest.image.repository.project.resource}/occurrences",
        params={"filter": f'kind="{kind}" AND resourceUrl="https://{digest}"', "pageSize": "1000"},
    )
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json().get("occurrences", [])
    return found


def test_a_push_is_scanned_and_the_findings_say_where(repository: names.Repository, session: AuthorizedSession) -> None:
    digest = push(repository, OS_RELEASE | DPKG, DJANGO)
    found = scans.wait(digest, 30)
    assert found.succeeded
    assert found.provenance.startswith("The advisories are of 2026-07-23")
    critical = {one.id for one in found.findings if one.severity == "CRITICAL"}
    assert critical == {"CVE-2025-64459", "CVE-2026-4277"}
    finding = scans.find(found.findings, "CVE-2025-64459")
    assert finding is not None
    [place] = finding.affected
    assert (place.package, place.version, place.fixed, place.kind) == ("Django", "5.2.7", "5.2.8", "PYPI")
    assert place.path == f"/{next(iter(DJANGO))}"
    assert place.layer == 1
    assert place.line == f"COPY {next(iter(DJANGO))}"
    told = next(one for one in raw(session, digest, "VULNERABILITY") if one["noteName"].endswith("CVE-2025-64459"))
    scores = told["vulnerability"]["cvssv3"]
    assert (scores["baseScore"], scores["exploitabilityScore"], scores["impactScore"]) == (9.1, 3.9, 5.2)
    [located] = told["vulnerability"]["packageIssue"][0]["fileLocation"]
    below, above = (
        hashlib.sha256(gzip.decompress(registry._layer(files))).hexdigest() for files in (OS_RELEASE | DPKG, DJANGO)
    )
    assert located["layerDetails"]["diffId"] == above
    chain = hashlib.sha256(f"sha256:{below} sha256:{above}".encode()).hexdigest()
    assert located["layerDetails"]["chainId"] == f"sha256:{chain}"
    # glibc: a distribution's "unimportant" stands above a score of 9.8.
    libc = scans.find(found.findings, "CVE-2019-1010022")
    assert libc is not None
    assert (libc.severity, libc.score, libc.fixable) == ("MINIMAL", 9.8, False)
    for kind in ("DISCOVERY", "VULNERABILITY"):
        occurrences = raw(session, digest, kind)
        assert occurrences
        for one in occurrences:
            json_format.ParseDict(one, types.Occurrence.pb(types.Occurrence()))
            assert re.fullmatch(r"projects/[^/]+/locations/us-central1/occurrences/[0-9a-f-]{36}", one["name"])


def test_a_digest_is_scanned_once_and_a_tag_that_moves_starts_nothing(
    repository: names.Repository, session: AuthorizedSession
) -> None:
    first = push(repository, OS_RELEASE | DPKG)
    scans.wait(first, 30)
    [before] = raw(session, first, "DISCOVERY")
    second = push(repository, OS_RELEASE | DPKG, tag="v2")
    scans.wait(second, 30)
    client = ar.ArtifactRegistryClient(transport="rest")
    tag = ar.Tag(name=f"{first.image.resource}/tags/v1", version=second.resource)
    client.update_tag(tag=tag)
    client.delete_version(name=first.resource).result()
    assert raw(session, first, "DISCOVERY") == [before]
    assert len(raw(session, second, "DISCOVERY")) == 1


def test_a_repository_that_does_not_take_part_and_a_project_without_the_api(
    repository: names.Repository, session: AuthorizedSession
) -> None:
    client = ar.ArtifactRegistryClient(transport="rest")
    url = f"https://artifactregistry.googleapis.com/v1/{repository.resource}"
    mask = {"updateMask": "vulnerabilityScanningConfig.enablementConfig"}
    for value, state in (("DISABLED", "SCANNING_DISABLED"), ("INHERITED", "SCANNING_ACTIVE")):
        body = {"vulnerabilityScanningConfig": {"enablementConfig": value}}
        assert session.patch(url, params=mask, json=body).status_code == 200
        config = client.get_repository(name=repository.resource).vulnerability_scanning_config
        assert config.enablement_state.name == state
        digest = push(repository, OS_RELEASE | DPKG, tag=value.lower())
        assert bool(raw(session, digest, "DISCOVERY")) is (value == "INHERITED")
    service = f"https://serviceusage.googleapis.com/v1/{repository.project.resource}/services/{SERVICES[3]}"
    assert session.post(f"{service}:disable", json={}).status_code == 200
    unscanned = push(repository, OS_RELEASE | DPKG, tag="off")
    assert session.post(f"{service}:enable", json={}).status_code == 200
    # What was there before is not scanned when the API comes back.
    assert scans.read(unscanned).status == ""
    with pytest.raises(scans.ScanMissing, match="hasn't begun"):
        scans.wait(unscanned, 0.3)


def test_what_has_no_operating_system_or_is_damaged_is_no_success(repository: names.Repository) -> None:
    bare = scans.wait(push(repository, {"labels.txt": "setosa"}), 30)
    assert (bare.status, bare.findings) == ("FINISHED_UNSUPPORTED", ())
    assert "no operating system" in bare.reason
    alpine = push(repository, {"etc/os-release": "ID=alpine\n", "lib/apk/db/installed": "P:musl\n"}, name="alpine")
    assert scans.wait(alpine, 30).status == "FINISHED_UNSUPPORTED"
    image = repository.image("broken")
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    kind = "application/vnd.oci.image.config.v1+json"
    body = {
        "schemaVersion": 2,
        "mediaType": registry.MANIFEST,
        "config": registry._blob(image, json.dumps(config).encode(), kind),
        "layers": [registry._blob(image, b"no archive" * 200, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    broken = registry._put(image, "v1", body, registry.MANIFEST)
    found = scans.wait(broken, 30)
    assert (found.status, found.findings) == ("FINISHED_FAILED", ())
    assert "not a tar archive" in found.reason
    away = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "size": 5}
    away |= {"digest": f"sha256:{'1' * 64}", "urls": ["https://example.com/layer"]}
    foreign = scans.wait(registry._put(image, "v2", {**body, "layers": [away]}, registry.MANIFEST), 30)
    assert foreign.status == "FINISHED_FAILED"
    assert foreign.reason.endswith("a layer of the image is not in the registry")


def test_an_index_is_scanned_by_its_linux_amd64_image(repository: names.Repository) -> None:
    image = repository.image("multi")
    amd64 = registry.push(image.tag("amd64"), [OS_RELEASE | DPKG, DJANGO])
    arm64 = registry.push(image.tag("arm64"), [{"labels.txt": "arm"}], architecture="arm64")
    index = registry.push_index(image.tag("v1"), {"linux/arm64": arm64, "linux/amd64": amd64})
    found = scans.wait(index, 30)
    assert found.succeeded
    assert scans.find(found.findings, "CVE-2025-64459") is not None
    only_arm = registry.push_index(image.tag("v2"), {"linux/arm64": arm64})
    assert scans.wait(only_arm, 30).status == "FINISHED_UNSUPPORTED"


def test_filters_pages_notes_and_the_summary(repository: names.Repository, session: AuthorizedSession) -> None:
    digest = push(repository, OS_RELEASE | DPKG, DJANGO)
    found = scans.wait(digest, 30)
    base = f"https://containeranalysis.googleapis.com/v1/{repository.project.resource}"
    mine = f'has_prefix(resourceUrl, "https://{repository}/app@")'

    def count(text: str, where: str = "/occurrences") -> int:
        answer = session.get(base + where, params={"filter": text, "pageSize": "1000"})
        assert answer.status_code == 200, answer.text
        return len(answer.json().get("occurrences", []))

    everything = len(found.findings)
    assert count(f'{mine} AND kind="VULNERABILITY"') == everything
    assert count(f"({mine}) AND ((kind = VULNERABILITY) OR (kind = DISCOVERY))") == everything + 1
    assert count(f'{mine} AND kind="VULNERABILITY"', "/locations/us-central1/occurrences") == everything
    assert count(f'{mine} AND kind="VULNERABILITY"', "/locations/europe-west1/occurrences") == 0
    assert count(f'{mine} AND vulnerability.effective_severity="CRITICAL"') == 2
    assert count(f'{mine} AND NOT vulnerability.effectiveSeverity="CRITICAL" AND kind!="DISCOVERY"') == everything - 2
    assert count(f'{mine} AND noteId="CVE-2025-64459"') == 1
    assert count(f"{mine} AND vulnerability.cvssScore >= 9") == 3
    for text in ("kind=", "(kind=X", "kind ~ X", "has_prefix(kind)", "AND", "(" * 200, 'kind="X" )'):
        answer = session.get(f"{base}/occurrences", params={"filter": text})
        assert answer.status_code == 400, text
        assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    names_seen = []
    token = ""
    while True:
        query = {"filter": mine, "pageSize": "5", "pageToken": token}
        page = session.get(f"{base}/occurrences", params=query).json()
        names_seen += [one["name"] for one in page["occurrences"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert len(names_seen) == len(set(names_seen)) == everything + 1
    one = session.get(f"https://containeranalysis.googleapis.com/v1/{names_seen[-1]}").json()
    note = session.get(f"https://containeranalysis.googleapis.com/v1/{one['name']}/notes").json()
    assert note == session.get(f"https://containeranalysis.googleapis.com/v1/{one['noteName']}").json()
    json_format.ParseDict(note, types.Note.pb(types.Note()))
    summary = session.get(f"{base}/occurrences:vulnerabilitySummary", params={"filter": mine}).json()["counts"]
    assert summary[0]["severity"] == "CRITICAL"
    assert sum(int(entry["totalCount"]) for entry in summary) == everything
    assert sum(int(entry.get("fixableCount", 0)) for entry in summary) == sum(one.fixable for one in found.findings)
    missing = session.get(f"{base}/occurrences/00000000-0000-0000-0000-000000000000")
    assert missing.status_code == 404


def test_a_scan_on_demand_takes_what_the_extractor_sends(
    repository: names.Repository, session: AuthorizedSession
) -> None:
    parent = f"https://ondemandscanning.googleapis.com/v1/{repository.project.resource}/locations/us"
    cpe = "cpe:/o:debian:debian_linux:12"
    packages = [
        {"package": "glibc", "version": "2.36-9+deb12u3", "cpeUri": cpe, "packageType": "OS", "hashDigest": ""},
        {"package": "Django", "version": "5.2.7", "cpeUri": cpe, "packageType": "PYPI", "hashDigest": ""},
        {"package": "lodash", "version": "4.17.4", "cpeUri": cpe, "packageType": "NPM", "hashDigest": ""},
    ]
    body = {"packages": packages, "resourceUri": "some/image:v1"}
    begun = session.post(f"{parent}/scans:analyzePackages", json=body).json()
    operation = done(session, "ondemandscanning.googleapis.com", begun)
    assert set(operation["response"]) == {"@type", "scan"}
    assert operation == session.get(f"https://ondemandscanning.googleapis.com/v1/{operation['name']}").json()
    found = scans.on_demand(operation["response"]["scan"])
    assert found.resource == "some/image:v1"
    assert {one.affected[0].package for one in found.findings} == {"glibc", "Django"}
    # A fix that came in a later security update than the image has.
    assert any(one.affected[0].fixed.startswith("2.36-9+deb12u") for one in found.findings)
    for wrong in (
        {"packages": packages},
        {"packages": "x", "resourceUri": "r"},
        {"packages": [{"package": "p"}], "resourceUri": "r"},
        {"packages": [{"package": "p", "version": "1", "nosuch": 1}], "resourceUri": "r"},
        {"packages": [{"package": "p", "version": "1", "packageType": "APK"}], "resourceUri": "r"},
        {"packages": [1], "resourceUri": "r"},
        {"nosuch": 1, "packages": [], "resourceUri": "r"},
    ):
        answer = session.post(f"{parent}/scans:analyzePackages", json=wrong)
        assert answer.status_code == 400, answer.text
    elsewhere = parent.replace("/us", "/us-central1")
    assert session.post(f"{elsewhere}/scans:analyzePackages", json=body).status_code == 403
    with pytest.raises(scans.ScanMissing, match="scan again"):
        scans.on_demand(f"{repository.project.resource}/locations/us/scans/nosuch")


def test_the_apis_must_be_enabled_and_roles_decide(session: AuthorizedSession, in_world: target.Target) -> None:
    project = f"projects/{in_world.project_id}"
    service = f"https://serviceusage.googleapis.com/v1/{project}/services/{ON_DEMAND.service}"
    session.post(f"{service}:disable", json={})
    answer = session.post(
        f"https://ondemandscanning.googleapis.com/v1/{project}/locations/us/scans:analyzePackages", json={}
    )
    session.post(f"{service}:enable", json={})
    assert answer.status_code == 403
    assert answer.json()["error"]["details"][1]["reason"] == "SERVICE_DISABLED"
    anonymous = requests.get(
        f"{os.environ['SANDBOX_URL']}/containeranalysis.googleapis.com/v1/{project}/occurrences", timeout=10
    )
    assert anonymous.status_code == 401


def test_a_scan_that_a_stop_cut_short_is_taken_up_again(tmp_path: Path) -> None:
    """Noted in the push's own transaction, so the next start finds it."""
    first = World(tmp_path / "state", Clock())
    noticing = automatic_scans.Scanner(first)
    first.watchers.append(noticing.noticed)
    name = "projects/p-123456/locations/us-central1/repositories/r"
    with first.writing() as rows:
        sandbox_projects.create(rows, first, "p-123456", "p", {})
        policies.grant(rows, first, "projects/p-123456", "roles/owner", "user:a@example.com")
        now = "2026-01-01T00:00:00.000000Z"
        rows.execute("INSERT INTO services VALUES ('p-123456', ?, ?)", (automatic_scans.SERVICE, now))
        rows.execute(
            "INSERT INTO repositories VALUES (?, 'p-123456', 'us-central1', 'r', '{}', ?, ?)", (name, now, now)
        )
        version = catalog.Version(
            repository=name,
            package="app",
            digest=f"sha256:{'0' * 64}",
            media_type="application/vnd.oci.image.manifest.v1+json",
            artifact_type="",
            subject="",
            size=1,
            manifest_size=1,
            annotations={},
            build_time="",
            create_time="",
            update_time="",
        )
        catalog.put_version(rows, first, version)
    key = occurrences.name_of(
        "projects/p-123456/locations/us-central1",
        f"https://us-central1-docker.pkg.dev/p-123456/r/app@sha256:{'0' * 64}",
        "DISCOVERY",
    )
    with first.reading() as rows:
        pending = automatic_scans.get(rows, key)
    assert pending is not None
    assert pending["discovery"]["analysisStatus"] == "PENDING"
    first.close()

    second = World(tmp_path / "state", Clock())
    scanner = automatic_scans.Scanner(second)
    scanner.start()

    def status() -> str:
        with second.reading() as rows:
            found = automatic_scans.get(rows, key)
        return str(found["discovery"]["analysisStatus"]) if found else ""

    # The manifest's blob was never there: the scan ends, and not well.
    assert eventually(lambda: status().startswith("FINISHED") and status(), 20) == "FINISHED_FAILED"
    scanner.stop()
    second.close()


# --- the image that the workbook builds -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(engine: docker.DockerClient, python_image: str) -> Iterator[str]:
    """The sample image, named as gcloud's extractor finds it."""
    tag = f"workbook-scan-{secrets.token_hex(3)}/ml-predictor:v1"
    engine.images.build(
        path=str(ROOT),
        tag=tag,
        buildargs={"PYTHON_IMAGE": python_image},
        # An id of its own: who removes another image by its id doesn't remove this one.
        labels={"workbook-test": tag},
        platform="linux/amd64",
        rm=True,
    )
    yield tag
    engine.images.remove(tag)


@pytest.fixture(scope="module")
def layers(engine: docker.DockerClient, built: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The built image's layers as files, lowest first."""
    folder = tmp_path_factory.mktemp("layers")
    with (folder / "image.tar").open("wb") as file:
        for chunk in engine.images.get(built).save():
            file.write(chunk)
    # tar, not tarfile: its safe filter came to 3.11 only with 3.11.4, and Debian has 3.11.2.
    (folder / "image").mkdir()
    subprocess.run(["tar", "-xf", folder / "image.tar", "-C", folder / "image"], check=True)
    [manifest] = json.loads((folder / "image" / "manifest.json").read_text())
    return [folder / "image" / name for name in manifest["Layers"]]


def _inventory(layers: list[Path]) -> Any:
    return inventory.read([lambda path=path: path.open("rb") for path in layers])  # type: ignore[misc]


@pytest.mark.docker
@pytest.mark.slow
def test_the_inventory_is_dpkg_s_and_python_s(
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
    said = {tuple(line.split()) for line in listed if line}
    ours = {(binary, one.name, one.version) for one in found.packages if one.kind == "OS" for binary in one.binaries}
    assert ours == said
    program = "import importlib.metadata as m; print('\\n'.join(f'{d.name} {d.version}' for d in m.distributions()))"
    printed = engine.containers.run(built, ["python", "-c", program], remove=True).decode().split("\n")
    assert {(one.name, one.version) for one in found.packages if one.kind == "PYPI"} == {
        tuple(line.split()) for line in printed if line
    }


@pytest.mark.docker
@pytest.mark.gcloud
@pytest.mark.slow
def test_the_inventory_is_the_one_of_gcloud_s_extractor(
    built: str, layers: list[Path], gcloud: Path, found_engine: machine_engine.Engine
) -> None:
    extractor = gcloud.resolve().parent / "local-extract"
    if not extractor.exists():
        pytest.skip("gcloud's component local-extract isn't installed")
    said = subprocess.run(
        [
            str(extractor),
            f"--resource_uri={built}",
            "--remote=False",
            "--provide_fake_results=False",
            "--undefok=additional_package_types,skip_package_types,verbose_errors,use_scalibr",
            "--use_scalibr",
        ],
        # The extractor asks the engine by itself, and the private one is where DOCKER_HOST says.
        env={**os.environ, **machine_engine.environment(found_engine)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    theirs = {(one["package_type"], one["package"].lower(), one["version"]) for one in json.loads(said)}
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
    said = engine.images.push(here.docker_name(image), tag="v1", auth_config=login)
    assert "digest: sha256:" in said, said
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


def test_a_stranger_reads_nothing(session: AuthorizedSession, repository: names.Repository) -> None:
    answer = session.get("https://containeranalysis.googleapis.com/v1/projects/not-a-project-of-yours/occurrences")
    assert answer.status_code == 403
    with pytest.raises(exceptions.Forbidden):
        list(scans.client().list_occurrences(parent="projects/not-a-project-of-yours"))


# --- bills of materials -----------------------------------------------------------------------------------------------


def test_a_bill_of_materials_stands_beside_the_image(repository: names.Repository, session: AuthorizedSession) -> None:
    digest = push(repository, OS_RELEASE | DPKG, DJANGO)
    scans.wait(digest, 30)
    base = f"https://containeranalysis.googleapis.com/v1beta1/{repository.project.resource}/resources"
    answers = [session.post(f"{base}/https://{digest}:exportSBOM", json={}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    [discovery] = raw(session, digest, "DISCOVERY")
    assert discovery["name"].endswith(answers[0].json()["discoveryOccurrenceId"])
    registry_base = f"https://{repository.location.host}/v2/{repository.project}/{repository.id}/app"
    listed = session.get(f"{registry_base}/referrers/{digest.value}", timeout=30).json()["manifests"]
    # Twice the same bytes are one artifact.
    assert sorted(one["artifactType"] for one in listed) == sorted((sbom.CYCLONEDX, sbom.SPDX))
    for one in listed:
        manifest = session.get(
            f"{registry_base}/manifests/{one['digest']}", headers={"Accept": one["mediaType"]}, timeout=30
        ).json()
        assert manifest["subject"]["digest"] == digest.value
        [layer] = manifest["layers"]
        document = session.get(f"{registry_base}/blobs/{layer['digest']}", timeout=30).content
        assert set(sbom.packages(document)) == {
            ("glibc", "2.36-9+deb12u14"),
            ("python3-defaults", "3.11.2-1"),
            ("half", "2.0"),
            ("Django", "5.2.7"),
        }
    # What is attached is not scanned, and does not stand for the image.
    assert len(raw(session, digest, "DISCOVERY")) == 1
    bare = push(repository, {"labels.txt": "setosa"}, tag="bare")
    refused = session.post(f"{base}/https://{bare}:exportSBOM", json={})
    assert refused.status_code == 400
    assert "no operating system" in refused.json()["error"]["message"]
    missing = str(digest).replace(digest.value, f"sha256:{'0' * 64}")
    assert session.post(f"{base}/https://{missing}:exportSBOM", json={}).status_code == 404
    assert session.post(f"{base}/https://example.com/x:exportSBOM", json={}).status_code == 400


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        (inventory.Package("PYPI", "Zope.Interface", "7.0+local"), "pkg:pypi/zope-interface@7.0%2Blocal"),
        (
            inventory.Package("OS", "zlib", "1:1.2.13.dfsg-1"),
            "pkg:deb/debian/zlib@1%3A1.2.13.dfsg-1?arch=source&distro=debian-12",
        ),
        (
            inventory.Package("OS", "gcc-12", "12.2.0-14~x"),
            "pkg:deb/debian/gcc-12@12.2.0-14~x?arch=source&distro=debian-12",
        ),
    ],
)
def test_package_urls(package: inventory.Package, expected: str) -> None:
    assert sbom.purl(package, inventory.OperatingSystem("debian", "12")) == expected


def test_a_bill_names_each_package_once_and_is_the_same_every_time() -> None:
    twice = (
        inventory.Package("PYPI", "django", "5.2.7", 1, "/opt/a/METADATA"),
        inventory.Package("PYPI", "django", "5.2.7", 1, "/opt/b/METADATA"),
        inventory.Package("OS", "libstdc++", "1:2~3+4", 0, "/var/lib/dpkg/status"),
    )
    read = inventory.Inventory(inventory.OperatingSystem("debian", "12"), twice)
    subject = sbom.Subject("us-central1-docker.pkg.dev/p/r/i", f"sha256:{'0' * 64}")
    for write in (sbom.cyclonedx, sbom.spdx):
        document = write(read, subject, "2026-11-02T09:00:00.000000Z")
        assert document == write(read, subject, "2026-11-02T09:00:00.000000Z")
        assert len(list(sbom.packages(document))) == 3
    parsed = json.loads(sbom.spdx(read, subject, "2026-11-02T09:00:00.000000Z"))
    assert parsed["creationInfo"]["created"] == "2026-11-02T09:00:00Z"
    ids = [one["SPDXID"] for one in parsed["packages"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", one) for one in ids)
