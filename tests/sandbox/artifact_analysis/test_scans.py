"""Scan pushed images and lists of packages through the real registry and API, and read the occurrences."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
import requests
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import artifactregistry_v1 as ar
from google.protobuf import json_format
from grafeas.grafeas_v1 import types

from helpers import names, registry, scans, target
from helpers.checks import eventually
from sandbox.artifact_analysis import automatic_scans, occurrences
from sandbox.artifact_analysis.on_demand_scanning import API as ON_DEMAND
from sandbox.artifact_registry import catalog
from sandbox.iam import policies
from sandbox.state import projects as sandbox_projects
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.sandbox.artifact_analysis.scanned_images import DJANGO, DPKG, OS_RELEASE, SERVICES, occurrences_of, push
from tests.sandbox.conftest import done


def test_findings_of_a_push_have_layer_path_and_scores(
    repository: names.Repository, session: AuthorizedSession
) -> None:
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
    occurrence = next(
        one for one in occurrences_of(session, digest, "VULNERABILITY") if one["noteName"].endswith("CVE-2025-64459")
    )
    scores = occurrence["vulnerability"]["cvssv3"]
    assert (scores["baseScore"], scores["exploitabilityScore"], scores["impactScore"]) == (9.1, 3.9, 5.2)
    [located] = occurrence["vulnerability"]["packageIssue"][0]["fileLocation"]
    below, above = (
        hashlib.sha256(gzip.decompress(registry._layer(files))).hexdigest() for files in (OS_RELEASE | DPKG, DJANGO)
    )
    assert located["layerDetails"]["diffId"] == above
    chain = hashlib.sha256(f"sha256:{below} sha256:{above}".encode()).hexdigest()
    assert located["layerDetails"]["chainId"] == f"sha256:{chain}"
    # glibc: the distribution's "unimportant" has precedence over a score of 9.8.
    libc = scans.find(found.findings, "CVE-2019-1010022")
    assert libc is not None
    assert (libc.severity, libc.score, libc.fixable) == ("MINIMAL", 9.8, False)
    for kind in ("DISCOVERY", "VULNERABILITY"):
        occurrences = occurrences_of(session, digest, kind)
        assert occurrences
        for one in occurrences:
            json_format.ParseDict(one, types.Occurrence.pb(types.Occurrence()))
            assert re.fullmatch(r"projects/[^/]+/locations/us-central1/occurrences/[0-9a-f-]{36}", one["name"])


def test_digest_is_scanned_once_and_moving_a_tag_starts_no_scan(
    repository: names.Repository, session: AuthorizedSession
) -> None:
    first = push(repository, OS_RELEASE | DPKG)
    scans.wait(first, 30)
    [before] = occurrences_of(session, first, "DISCOVERY")
    second = push(repository, OS_RELEASE | DPKG, tag="v2")
    scans.wait(second, 30)
    client = ar.ArtifactRegistryClient(transport="rest")
    tag = ar.Tag(name=f"{first.image.resource}/tags/v1", version=second.resource)
    client.update_tag(tag=tag)
    client.delete_version(name=first.resource).result()
    assert occurrences_of(session, first, "DISCOVERY") == [before]
    assert len(occurrences_of(session, second, "DISCOVERY")) == 1


def test_disabled_repository_or_api_is_not_scanned(repository: names.Repository, session: AuthorizedSession) -> None:
    client = ar.ArtifactRegistryClient(transport="rest")
    url = f"https://artifactregistry.googleapis.com/v1/{repository.resource}"
    mask = {"updateMask": "vulnerabilityScanningConfig.enablementConfig"}
    for value, state in (("DISABLED", "SCANNING_DISABLED"), ("INHERITED", "SCANNING_ACTIVE")):
        body = {"vulnerabilityScanningConfig": {"enablementConfig": value}}
        assert session.patch(url, params=mask, json=body).status_code == 200
        config = client.get_repository(name=repository.resource).vulnerability_scanning_config
        assert config.enablement_state.name == state
        digest = push(repository, OS_RELEASE | DPKG, tag=value.lower())
        assert bool(occurrences_of(session, digest, "DISCOVERY")) is (value == "INHERITED")
    service = f"https://serviceusage.googleapis.com/v1/{repository.project.resource}/services/{SERVICES[3]}"
    assert session.post(f"{service}:disable", json={}).status_code == 200
    unscanned = push(repository, OS_RELEASE | DPKG, tag="off")
    assert session.post(f"{service}:enable", json={}).status_code == 200
    # Images that were pushed while the API was disabled are not scanned after it is enabled.
    assert scans.read(unscanned).status == ""
    with pytest.raises(scans.ScanMissing, match="hasn't begun"):
        scans.wait(unscanned, 0.3)


def test_unsupported_or_damaged_image_has_no_successful_scan(repository: names.Repository) -> None:
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
        "config": registry.push_blob(image, json.dumps(config).encode(), kind),
        "layers": [registry.push_blob(image, b"no archive" * 200, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    broken = registry.put_manifest(image, "v1", body, registry.MANIFEST)
    found = scans.wait(broken, 30)
    assert (found.status, found.findings) == ("FINISHED_FAILED", ())
    assert "not a tar archive" in found.reason
    away = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "size": 5}
    away |= {"digest": f"sha256:{'1' * 64}", "urls": ["https://example.com/layer"]}
    foreign = scans.wait(registry.put_manifest(image, "v2", {**body, "layers": [away]}, registry.MANIFEST), 30)
    assert foreign.status == "FINISHED_FAILED"
    assert foreign.reason.endswith("a layer of the image is not in the registry")


def test_index_is_scanned_by_its_linux_amd64_image(repository: names.Repository) -> None:
    image = repository.image("multi")
    amd64 = registry.push(image.tag("amd64"), [OS_RELEASE | DPKG, DJANGO])
    arm64 = registry.push(image.tag("arm64"), [{"labels.txt": "arm"}], architecture="arm64")
    index = registry.push_index(image.tag("v1"), {"linux/arm64": arm64, "linux/amd64": amd64})
    found = scans.wait(index, 30)
    assert found.succeeded
    assert scans.find(found.findings, "CVE-2025-64459") is not None
    only_arm = registry.push_index(image.tag("v2"), {"linux/arm64": arm64})
    assert scans.wait(only_arm, 30).status == "FINISHED_UNSUPPORTED"


def test_interrupted_scan_is_repeated_at_the_next_start(tmp_path: Path) -> None:
    """The pending scan is stored in the push's own transaction, so the next start finds it."""
    first = World(tmp_path / "state", Clock())
    first.watchers.append(automatic_scans.Scanner(first).on_version)
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

    # The scan fails, since the manifest's blob does not exist.
    assert eventually(lambda: status().startswith("FINISHED") and status(), 20) == "FINISHED_FAILED"
    scanner.stop()
    second.close()


def test_occurrences_are_filtered_paged_and_summarized(
    repository: names.Repository, session: AuthorizedSession
) -> None:
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


def test_other_projects_occurrences_are_forbidden(session: AuthorizedSession, repository: names.Repository) -> None:
    answer = session.get("https://containeranalysis.googleapis.com/v1/projects/not-a-project-of-yours/occurrences")
    assert answer.status_code == 403
    with pytest.raises(exceptions.Forbidden):
        list(scans.client().list_occurrences(parent="projects/not-a-project-of-yours"))


def test_scan_of_the_extractors_packages_finds_vulnerabilities(
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
    # The fix is in a later security update than the one in the image.
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


def test_disabled_api_and_anonymous_caller_are_refused(session: AuthorizedSession, in_world: target.Target) -> None:
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
