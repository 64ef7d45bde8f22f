"""Write and read the occurrences of an image other than findings: bills of materials, assessments, provenance."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from google.auth.transport.requests import AuthorizedSession
from google.protobuf import json_format
from grafeas.grafeas_v1 import types

from helpers import names, projects, registry, repositories, scans, target
from sandbox.artifact_analysis import notes, provenance, sbom
from sandbox.state import projects as sandbox_projects
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.sandbox.artifact_analysis.scanned_images import DJANGO, DPKG, OS_RELEASE, occurrences_of, packages_of, push

SERVICES = ("artifactregistry", "containeranalysis", "containerscanning")
LAYER = {
    "usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n',
    "opt/venv/lib/python3.11/site-packages/Django-5.2.7.dist-info/METADATA": "Name: Django\nVersion: 5.2.7\n",
}
CVE = "CVE-2025-64459"


@pytest.fixture
def image(in_world: target.Target) -> Iterator[names.Digest]:
    """Push an image, and return its digest after its scan has a finding."""
    projects.enable(in_world.location.project, *(f"{name}.googleapis.com" for name in SERVICES))
    repository = names.Repository(in_world.location, f"notes-{secrets.token_hex(3)}")
    repositories.create(repository)
    pushed = registry.push(repository.image("app").tag("v1"), [LAYER, {"etc/own": secrets.token_hex(8)}])
    scans.wait(pushed, 30)
    yield pushed
    repositories.delete(repository)


def base(image: names.Digest, version: str = "v1") -> str:
    return f"https://containeranalysis.googleapis.com/{version}/{image.image.repository.project.resource}"


def ask(session: AuthorizedSession, verb: str, url: str, status: int = 200, **options: Any) -> dict[str, Any]:
    answer = session.request(verb, url, **options)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def listed(session: AuthorizedSession, image: names.Digest, kind: str) -> list[dict[str, Any]]:
    query = {"filter": f'kind="{kind}" AND resourceUrl="https://{image}"', "pageSize": "1000"}
    found: list[dict[str, Any]] = ask(session, "GET", f"{base(image)}/occurrences", params=query).get("occurrences", [])
    for one in found:
        json_format.ParseDict(one, types.Occurrence.pb(types.Occurrence()), ignore_unknown_fields=True)
    return found


# --- bills of materials -----------------------------------------------------------------------------------------------


def test_exported_bill_is_in_a_bucket_and_referenced(
    image: names.Digest, session: AuthorizedSession, in_world: target.Target
) -> None:
    for _ in range(2):
        ask(session, "POST", f"{base(image, 'v1beta1')}/resources/https://{image}:exportSBOM", json={})
    [reference] = listed(session, image, "SBOM_REFERENCE")
    payload = reference["sbomReference"]["payload"]
    assert payload["_type"] == "https://in-toto.io/Statement/v0.1"
    assert payload["subject"] == [
        {"name": str(image), "digest": {"sha256": image.value.removeprefix("sha256:")}},
    ]
    predicate = payload["predicate"]
    bucket, _, name = predicate["location"].removeprefix("gs://").partition("/")
    assert bucket == f"artifactanalysis-{in_world.region}-{in_world.project_number}"
    url = f"https://storage.googleapis.com/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
    content = session.get(url, params={"alt": "media"}).content
    assert hashlib.sha256(content).hexdigest() == predicate["digest"]["sha256"]
    assert json.loads(content)["spdxVersion"] == "SPDX-2.3"
    # The sandbox does not sign, so the reference has no signatures.
    assert "signatures" not in reference["sbomReference"]


def test_exported_bills_are_attached_to_the_image(repository: names.Repository, session: AuthorizedSession) -> None:
    digest = push(repository, OS_RELEASE | DPKG, DJANGO)
    scans.wait(digest, 30)
    base = f"https://containeranalysis.googleapis.com/v1beta1/{repository.project.resource}/resources"
    answers = [session.post(f"{base}/https://{digest}:exportSBOM", json={}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    [discovery] = occurrences_of(session, digest, "DISCOVERY")
    assert discovery["name"].endswith(answers[0].json()["discoveryOccurrenceId"])
    registry_base = f"https://{repository.location.host}/v2/{repository.project}/{repository.id}/app"
    listed = session.get(f"{registry_base}/referrers/{digest.value}", timeout=30).json()["manifests"]
    # The second export has the same bytes, so it adds no artifact.
    assert sorted(one["artifactType"] for one in listed) == sorted((sbom.CYCLONEDX, sbom.SPDX))
    for one in listed:
        manifest = session.get(
            f"{registry_base}/manifests/{one['digest']}", headers={"Accept": one["mediaType"]}, timeout=30
        ).json()
        assert manifest["subject"]["digest"] == digest.value
        [layer] = manifest["layers"]
        document = session.get(f"{registry_base}/blobs/{layer['digest']}", timeout=30).content
        assert packages_of(document) == {
            ("glibc", "2.36-9+deb12u14"),
            ("python3-defaults", "3.11.2-1"),
            ("half", "2.0"),
            ("Django", "5.2.7"),
        }
    # Attached artifacts are not scanned.
    assert len(occurrences_of(session, digest, "DISCOVERY")) == 1
    bare = push(repository, {"labels.txt": "setosa"}, tag="bare")
    refused = session.post(f"{base}/https://{bare}:exportSBOM", json={})
    assert refused.status_code == 400
    assert "no operating system" in refused.json()["error"]["message"]
    missing = str(digest).replace(digest.value, f"sha256:{'0' * 64}")
    assert session.post(f"{base}/https://{missing}:exportSBOM", json={}).status_code == 404
    assert session.post(f"{base}/https://example.com/x:exportSBOM", json={}).status_code == 400


def test_clients_own_bill_is_referenced(image: names.Digest, session: AuthorizedSession) -> None:
    """The requests are those of `gcloud artifacts sbom load`, which changes an existing occurrence."""
    project = image.image.repository.project
    note = f"{base(image)}/notes/sbom-cyclonedx-1-6"
    ask(session, "GET", note, 404)
    made = ask(
        session,
        "POST",
        f"{base(image)}/notes",
        params={"noteId": "sbom-cyclonedx-1-6"},
        json={"kind": "SBOM_REFERENCE", "sbomReference": {"format": "cyclonedx", "version": "1.6"}},
    )
    assert ask(session, "GET", note) == made
    assert made["name"] == f"{project.resource}/notes/sbom-cyclonedx-1-6"
    ask(session, "POST", f"{base(image)}/notes", 409, params={"noteId": "sbom-cyclonedx-1-6"}, json=made)

    def body(location: str) -> dict[str, Any]:
        predicate = {"location": location, "mimeType": "application/vnd.cyclonedx+json", "digest": {"sha256": "0" * 64}}
        payload = {"_type": "https://in-toto.io/Statement/v0.1", "predicate": predicate}
        reference = {"payload": payload, "payloadType": "application/vnd.in-toto+json"}
        return {"noteName": made["name"], "resourceUri": f"https://{image}", "sbomReference": reference}

    first = ask(session, "POST", f"{base(image)}/occurrences", json=body("gs://one/bom.json"))
    assert first["kind"] == "SBOM_REFERENCE"
    own = f'noteId="sbom-cyclonedx-1-6" AND noteProjectId="{project}"'
    found = ask(session, "GET", f"{base(image)}/occurrences", params={"filter": own})["occurrences"]
    assert found == [first]
    url = f"https://containeranalysis.googleapis.com/v1/{first['name']}"
    changed = ask(
        session, "PATCH", url, params={"updateMask": "sbom_reference,envelope"}, json=body("gs://two/bom.json")
    )
    assert changed["sbomReference"]["payload"]["predicate"]["location"] == "gs://two/bom.json"
    assert ask(session, "GET", url) == changed
    assert ask(session, "GET", f"{url}/notes") == made
    ask(session, "DELETE", url)
    ask(session, "GET", url, 404)
    ask(session, "POST", f"{base(image)}/occurrences", 404, json={**body("gs://x/y"), "noteName": f"{made['name']}x"})
    ask(session, "DELETE", note)


def test_occurrences_of_scans_cannot_be_changed(image: names.Digest, session: AuthorizedSession) -> None:
    [discovery] = listed(session, image, "DISCOVERY")
    url = f"https://containeranalysis.googleapis.com/v1/{discovery['name']}"
    for verb in ("PATCH", "DELETE"):
        assert ask(session, verb, url, 501, json={})["error"]["status"] == "UNIMPLEMENTED"
    for kind in ("attestation", "vulnerability"):
        ask(session, "POST", f"{base(image)}/notes", 501, params={"noteId": "x"}, json={kind: {}})
    attached = {"noteName": "projects/goog-vulnz/notes/CVE-1", "resourceUri": "https://x", "vulnerability": {}}
    ask(session, "POST", f"{base(image)}/occurrences", 501, json=attached)
    elsewhere = {"noteName": "projects/not-yours/notes/x", "resourceUri": "https://x", "sbomReference": {}}
    ask(session, "POST", f"{base(image)}/occurrences", 403, json=elsewhere)


# --- assessments ------------------------------------------------------------------------------------------------------


def assessment(uri: str, state: str, cve: str = CVE) -> dict[str, Any]:
    reason = {"justificationType": "VULNERABLE_CODE_NOT_IN_EXECUTE_PATH"}
    return {
        "vulnerabilityAssessment": {
            "title": "looked at",
            "product": {"id": "app", "name": "app", "genericUri": uri},
            "assessment": {"vulnerabilityId": cve, "state": state, "justification": reason},
        }
    }


def test_assessment_is_shown_until_deleted(image: names.Digest, session: AuthorizedSession) -> None:
    uri = f"https://{image}"
    both = {
        "digest": assessment(uri, "NOT_AFFECTED"),
        "image-all": assessment(uri.partition("@")[0], "AFFECTED"),
        "other": assessment(uri, "FIXED", "CVE-1999-0001"),
    }

    def state() -> dict[str, Any]:
        by_id = {one["vulnerability"]["shortDescription"]: one["vulnerability"] for one in findings()}
        assert all("vexAssessment" not in body for key, body in by_id.items() if key != CVE)
        found: dict[str, Any] = by_id[CVE].get("vexAssessment", {})
        return found

    def findings() -> list[dict[str, Any]]:
        return listed(session, image, "VULNERABILITY")

    assert state() == {}
    ask(session, "POST", f"{base(image)}/notes:batchCreate", json={"notes": both})
    assert state() == {
        "vulnerabilityId": CVE,
        "state": "NOT_AFFECTED",
        "justification": {"justificationType": "VULNERABLE_CODE_NOT_IN_EXECUTE_PATH"},
        "noteName": f"{image.image.repository.project.resource}/notes/digest",
    }
    wanted = {"filter": f'vulnerability_assessment.product.generic_uri="{uri}"'}
    mine = ask(session, "GET", f"{base(image)}/notes", params=wanted)["notes"]
    assert [one["name"].rpartition("/")[2] for one in mine] == ["digest", "other"]
    ask(session, "PATCH", f"{base(image)}/notes/digest", json=assessment(uri, "UNDER_INVESTIGATION"))
    assert state()["state"] == "UNDER_INVESTIGATION"
    ask(session, "DELETE", f"{base(image)}/notes/digest")
    assert state()["state"] == "AFFECTED"
    for name in ("image-all", "other"):
        ask(session, "DELETE", f"{base(image)}/notes/{name}")
    assert state() == {}
    ask(session, "DELETE", f"{base(image)}/notes/other", 404)
    ask(session, "POST", f"{base(image)}/notes:batchCreate", 400, json={"notes": {}})
    ask(session, "POST", f"{base(image)}/notes:batchCreate", 400, json={"notes": {"a/b": both["digest"]}})


def test_assessment_of_another_image_is_ignored() -> None:
    finding = {"kind": "VULNERABILITY", "resourceUri": "https://h/p/r/app@sha256:1", "vulnerability": {}}
    finding["vulnerability"] = {"shortDescription": CVE}
    other = assessment("https://h/p/r/application", "FIXED") | {"name": "projects/p/notes/x"}
    assert notes.assessed(finding, [other]) == finding


# --- provenance -------------------------------------------------------------------------------------------------------

DIGEST = f"sha256:{'1' * 64}"
BUILD: dict[str, Any] = {
    "id": "b-1",
    "name": "projects/12345/locations/us-central1/builds/b-1",
    "projectId": "p-123456",
    "status": "SUCCESS",
    "startTime": "2026-11-02T09:00:00.000000Z",
    "finishTime": "2026-11-02T09:01:00.000000Z",
    "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "."]}],
    "substitutions": {"_TAG": "v1"},
    "sourceProvenance": {"resolvedStorageSource": {"bucket": "b", "object": "o.tgz", "generation": "7"}},
    "results": {
        "images": [
            {"name": "us-central1-docker.pkg.dev/p-123456/r/app:v1", "digest": DIGEST},
            {"name": "us-central1-docker.pkg.dev/p-123456/r/app:latest", "digest": DIGEST},
            {"name": "localhost:5000/x", "digest": f"sha256:{'2' * 64}"},
        ]
    },
}


def test_build_writes_provenance_of_each_pushed_image() -> None:
    first, second = provenance.occurrences_of(BUILD, "2026-11-02T09:01:00.000000Z")
    for one in (first, second):
        assert one["kind"] == "BUILD"
        assert one["resourceUri"] == f"https://us-central1-docker.pkg.dev/p-123456/r/app@{DIGEST}"
        json_format.ParseDict(one, types.Occurrence.pb(types.Occurrence()), ignore_unknown_fields=True)
        [statement] = one["build"].values()
        assert [subject["digest"] for subject in statement["subject"]] == [{"sha256": "1" * 64}] * 2
        payload = json.loads(base64.b64decode(one["envelope"]["payload"]))
        assert payload["_type"] == statement["_type"]
        # The provenance is not signed, and its builder is not Google's.
        assert "signatures" not in one["envelope"]
        assert "GoogleHostedWorker" not in json.dumps(one)
    old = first["build"]["intotoStatement"]["slsaProvenance"]
    assert old["recipe"]["arguments"]["steps"] == BUILD["steps"]
    assert {"uri": "gs://b/o.tgz#7"} in old["materials"]
    new = second["build"]["inTotoSlsaProvenanceV1"]["predicate"]
    assert new["buildDefinition"]["externalParameters"] == {"substitutions": {"_TAG": "v1"}}
    assert new["runDetails"]["metadata"]["invocationId"].endswith("/builds/b-1")


def test_triggered_build_has_its_commit_and_step_images() -> None:
    source = {"url": "https://github.com/acme/app.git", "revision": "c" * 40}
    pushed = {
        "sourceProvenance": {"resolvedGitSource": source},
        "buildTriggerId": "t-1",
        "serviceAccount": "projects/p-123456/serviceAccounts/builder@p-123456.iam.gserviceaccount.com",
        "substitutions": {
            "_TAG": "v1",
            "BRANCH_NAME": "main",
            "COMMIT_SHA": "c" * 40,
            "TRIGGER_BUILD_CONFIG_PATH": "ci/cloudbuild.yaml",
        },
        "results": BUILD["results"] | {"buildStepImages": [f"sha256:{'3' * 64}"]},
    }
    first, second = provenance.occurrences_of(BUILD | pushed, "2026-11-02T09:01:00.000000Z")
    builder = {"uri": f"gcr.io/cloud-builders/docker@sha256:{'3' * 64}", "digest": {"sha256": "3" * 64}}
    assert first["build"]["intotoStatement"]["slsaProvenance"]["materials"] == [
        {"uri": "https://github.com/acme/app", "digest": {"sha1": "c" * 40}},
        builder,
    ]
    predicate = second["build"]["inTotoSlsaProvenanceV1"]["predicate"]
    assert predicate["buildDefinition"]["resolvedDependencies"] == [
        {"uri": "git+https://github.com/acme/app@refs/heads/main", "digest": {"gitCommit": "c" * 40}},
        builder,
    ]
    assert predicate["buildDefinition"]["externalParameters"] == {
        "substitutions": {"_TAG": "v1"},
        "buildConfigSource": {
            "path": "ci/cloudbuild.yaml",
            "ref": "refs/heads/main",
            "repository": "git+https://github.com/acme/app",
        },
    }
    internal = predicate["buildDefinition"]["internalParameters"]
    assert internal["triggerUri"] == "projects/12345/locations/us-central1/triggers/t-1"
    account = "builder@p-123456.iam.gserviceaccount.com"
    assert internal["systemSubstitutions"] == {
        "BRANCH_NAME": "main",
        "COMMIT_SHA": "c" * 40,
        "TRIGGER_BUILD_CONFIG_PATH": "ci/cloudbuild.yaml",
        "BUILD_ID": "b-1",
        "LOCATION": "us-central1",
        "PROJECT_NUMBER": "12345",
        "SERVICE_ACCOUNT": account,
        "SERVICE_ACCOUNT_EMAIL": account,
    }
    assert predicate["runDetails"]["metadata"]["invocationId"] == (
        "https://cloudbuild.googleapis.com/v1/projects/p-123456/locations/us-central1/builds/b-1"
    )


@pytest.mark.parametrize(
    ("changed", "enabled", "count"),
    [({}, True, 2), ({}, False, 0), ({"status": "FAILURE"}, True, 0), ({"results": {"images": []}}, True, 0)],
)
def test_provenance_requires_success_and_the_api(
    tmp_path: Path, changed: dict[str, Any], enabled: bool, count: int
) -> None:
    world = World(tmp_path, Clock())
    with world.writing() as rows:
        sandbox_projects.create(rows, world, "p-123456", "p", {})
        if enabled:
            rows.execute(
                "INSERT INTO services (project, service, enable_time) VALUES ('p-123456', ?, '')", (provenance.SERVICE,)
            )
    for _ in range(2):
        provenance.record(world, BUILD | changed)
    with world.reading() as rows:
        assert rows.execute("SELECT COUNT(*) AS n FROM occurrences").fetchone()["n"] == count
    world.close()
