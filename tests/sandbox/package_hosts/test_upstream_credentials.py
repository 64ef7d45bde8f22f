"""Name and password for an upstream, from Secret Manager: who may read the secret, and where the password goes."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.sandbox.in_process import Learner
from tests.sandbox.package_hosts.conftest import API, Repository, Upstream, create, parent, remote, upstream
from tests.sandbox.package_hosts.kinds import KINDS, PYTHON, Kind

SECRETS = "https://secretmanager.googleapis.com/v1"
PASSWORD = "right-password"
each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.format for kind in KINDS])

Json = dict[str, Any]


def _secret(learner: Learner, value: str, *, readable: bool = True) -> str:
    """The name of a new secret's version, which Artifact Registry's agent may read or not."""
    name = f"projects/{learner.project}/secrets/s-{secrets.token_hex(4)}"
    url = f"{SECRETS}/projects/{learner.project}/secrets?secretId={name.rpartition('/')[2]}"
    learner.ask("POST", url, {"replication": {"automatic": {}}})
    payload = base64.b64encode(value.encode()).decode()
    learner.ask("POST", f"{SECRETS}/{name}:addVersion", {"payload": {"data": payload}})
    if readable:
        _let_read(learner, name)
    return f"{name}/versions/1"


def _let_read(learner: Learner, name: str) -> None:
    about = learner.ask("GET", "https://cloudresourcemanager.googleapis.com/v1/projects/{project}")
    agent = f"serviceAccount:service-{about['projectNumber']}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    binding = {"role": "roles/secretmanager.secretAccessor", "members": [agent]}
    learner.ask("POST", f"{SECRETS}/{name}:setIamPolicy", {"policy": {"bindings": [binding]}})


def _signed_in(address: str, version: str, **more: Any) -> Json:
    said = {"usernamePasswordCredentials": {"username": "robot", "passwordSecretVersion": version}}
    return remote(address, upstreamCredentials=said, **more)


def _refused(learner: Learner, kind: str, body: Json, status: str = "FAILED_PRECONDITION") -> str:
    error = learner.ask("POST", parent(learner, "refused"), {"format": kind, **body}, 400)["error"]
    assert error["status"] == status
    assert learner.session.get(f"{API}/{Repository(learner, kind, 'refused').name}").status_code == 404
    return str(error["message"])


@each_kind
def test_the_upstream_is_asked_with_name_and_password(learner: Learner, kind: Kind) -> None:
    with upstream(kind.files("1.0.0"), PASSWORD) as far:
        nameless = create(learner, kind.format, remote(far.url))
        assert nameless.get(kind.index).status_code == 502
        here = create(learner, kind.format, _signed_in(far.url, _secret(learner, PASSWORD)))
        assert here.get(kind.file.format("1.0.0")).content == kind.content("1.0.0")
        told = here.about()["remoteRepositoryConfig"]["upstreamCredentials"]["usernamePasswordCredentials"]
        assert (told["username"], PASSWORD in json.dumps(here.about())) == ("robot", False)


@each_kind
def test_a_password_goes_to_the_upstreams_own_origin_alone(learner: Learner, kind: Kind) -> None:
    with upstream({f"/{kind.at.format('1.0.0')}": kind.content("1.0.0")}) as files:
        elsewhere = kind.listing(("1.0.0",)).replace(b'"/files/', f'"{files.url}/files/'.encode())
        with upstream({f"/{kind.index}": elsewhere}, PASSWORD) as far:
            here = create(learner, kind.format, _signed_in(far.url, _secret(learner, PASSWORD)))
            status = here.get(kind.file.format("1.0.0")).status_code
            # Maven's index names no addresses.
            assert status == (404 if kind.format == "MAVEN" else 200)
            assert {authorization for _, authorization in files.asked} <= {""}


def test_what_is_refused_at_creation(learner: Learner) -> None:
    with upstream(PYTHON.files("1.0.0"), PASSWORD) as far:
        hidden = _secret(learner, PASSWORD, readable=False)
        said = _refused(learner, "PYTHON", _signed_in(far.url, hidden))
        assert "Permission 'secretmanager.versions.access' denied" in said
        assert "roles/secretmanager.secretAccessor" in said
        said = _refused(learner, "PYTHON", _signed_in(far.url, _secret(learner, "wrong")))
        assert "refuses the credentials with status 401" in said
        absent = hidden.replace("/versions/1", "/versions/7")
        _let_read(learner, hidden.partition("/versions/")[0])
        assert "not found" in _refused(learner, "PYTHON", _signed_in(far.url, absent))
        learner.ask("POST", f"{SECRETS}/{hidden}:disable", {})
        assert "is in DISABLED state" in _refused(learner, "PYTHON", _signed_in(far.url, hidden))
        for version in ("", "secrets/s/versions/1", "projects/p/secrets/s"):
            said = _refused(learner, "PYTHON", _signed_in(far.url, version), "INVALID_ARGUMENT")
            assert "passwordSecretVersion" in said
        own = create(learner, "PYTHON")
        assert "takes no credentials" in _refused(learner, "PYTHON", _signed_in(own.name, hidden), "INVALID_ARGUMENT")
    gone = _signed_in(far.url, _secret(learner, PASSWORD))
    assert "could not be validated: ConnectionError" in _refused(learner, "PYTHON", gone)


def test_without_validation_the_refusal_comes_at_the_first_read(learner: Learner) -> None:
    hidden = _secret(learner, PASSWORD, readable=False)
    with upstream(PYTHON.files("1.0.0"), PASSWORD) as far:
        here = create(learner, "PYTHON", _signed_in(far.url, hidden, disableUpstreamValidation=True))
        assert far.asked == []
        answer = here.get(PYTHON.index)
        assert (answer.status_code, "may not exist" in answer.text) == (502, True)
        _let_read(learner, hidden.partition("/versions/")[0])
        assert here.get(PYTHON.index).status_code == 200
        assert "disableUpstreamValidation" not in here.about()["remoteRepositoryConfig"]


def test_a_patch_is_validated_and_takes_another_version(learner: Learner) -> None:
    with upstream(PYTHON.files("1.0.0"), PASSWORD) as far:
        here = create(learner, "PYTHON", remote(far.url))
        url = f"{API}/{here.name}?updateMask=remoteRepositoryConfig.upstreamCredentials"
        wrong = _signed_in(far.url, _secret(learner, "wrong"))
        assert learner.ask("PATCH", url, wrong, 400)["error"]["status"] == "FAILED_PRECONDITION"
        assert "upstreamCredentials" not in here.about()["remoteRepositoryConfig"]
        learner.ask("PATCH", url, _signed_in(far.url, _secret(learner, PASSWORD)))
        assert here.get(PYTHON.index).status_code == 200


@contextmanager
def _registry(*, bearer: bool) -> Iterator[tuple[Upstream, bytes]]:
    """A registry of images that has `team/model:1`, for `robot` alone."""
    config, layer = b'{"architecture": "amd64", "os": "linux"}', b"layer"
    kind = "application/vnd.oci.image"
    entries = [
        {"mediaType": f"{kind}.{name}", "size": len(content), "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
        for name, content in (("config.v1+json", config), ("layer.v1.tar", layer))
    ]
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": entries[0], "layers": entries[1:]}
    ).encode()
    blobs = {
        f"/v2/team/model/blobs/{entry['digest']}": content
        for entry, content in zip(entries, (config, layer), strict=True)
    }
    files = {"/v2/": b"{}", "/v2/team/model/manifests/1": manifest, **blobs}
    with upstream(files, PASSWORD, bearer=bearer) as far:
        yield far, manifest


@pytest.mark.parametrize("bearer", [False, True], ids=["basic", "token"])
def test_images_of_a_registry_that_wants_a_password(learner: Learner, bearer: bool) -> None:
    with _registry(bearer=bearer) as (far, manifest):
        wrong = _refused(learner, "DOCKER", _signed_in(far.url, _secret(learner, "wrong")))
        assert "status 401" in wrong
        here = create(learner, "DOCKER", _signed_in(far.url, _secret(learner, PASSWORD)))
        image = f"https://us-central1-docker.pkg.dev/v2/{learner.project}/{here.id}/team/model"
        got = learner.session.get(f"{image}/manifests/1")
        assert (got.status_code, got.content) == (200, manifest)
        for entry in (got.json()["config"], *got.json()["layers"]):
            assert len(learner.session.get(f"{image}/blobs/{entry['digest']}").content) == entry["size"]
        nameless = create(learner, "DOCKER", remote(far.url))
        image = f"https://us-central1-docker.pkg.dev/v2/{learner.project}/{nameless.id}/team/model"
        assert learner.session.get(f"{image}/manifests/1").status_code == 404
