"""An npm repository through npm itself, Google's client, and requests that no npm would send."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.cloud import artifactregistry_v1 as ar

from tests.sandbox import package_hosting
from tests.sandbox.conftest import account, learner_with
from tests.sandbox.package_hosting import create
from tests.sandbox.package_hosts.conftest import remote as remote_of
from tests.sandbox.package_hosts.conftest import virtual as virtual_of
from tests.sandbox.package_hosts.kinds import packed
from tests.sandbox.python_repositories.conftest import token_of

HOST = "us-central1-npm.pkg.dev"
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm on the PATH")


@dataclass(frozen=True)
class Held(package_hosting.Held):
    """A repository, the learner's session, and npm with a folder of its own."""

    host = HOST
    folder: Path

    def npm(self, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
        address = self.url.removeprefix("https:")
        settings = f"registry={self.url}/\n{address}/:_authToken={token or self.session.credentials.token}\n"
        (self.folder / "npmrc").write_text(settings + "audit=false\nfund=false\nupdate-notifier=false\n")
        settings = {
            "NPM_CONFIG_USERCONFIG": str(self.folder / "npmrc"),
            "NPM_CONFIG_CACHE": str(self.folder / "cache"),
            "NPM_CONFIG_FETCH_RETRIES": "0",
        }
        return subprocess.run(
            ["npm", *arguments],
            cwd=self.folder / "work",
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def write(self, name: str, version: str) -> None:
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        (work / "package.json").write_text(json.dumps({"name": name, "version": version, "main": "index.js"}))
        (work / "index.js").write_text(f"exports.version = '{version}'\n")

    def put(self, package: str, body: Any) -> Any:
        return self.session.put(f"{self.url}/{package}", json=body)


@pytest.fixture
def held(in_world: object, tmp_path: Path) -> Iterator[Held]:
    """A new npm repository."""
    (tmp_path / "work").mkdir()
    with learner_with("artifactregistry", "iam", "iamcredentials") as session:
        yield Held(create(session, "NPM"), session, tmp_path)


def document(name: str, version: str, **change: Any) -> dict[str, Any]:
    tarball = packed(name, version)
    integrity = f"sha512-{base64.b64encode(hashlib.sha512(tarball).digest()).decode()}"
    return {
        "name": name,
        "dist-tags": {"latest": version},
        "versions": {version: {"name": name, "version": version, "dist": {"integrity": integrity}}},
        "_attachments": {f"{name}-{version}.tgz": {"data": base64.b64encode(tarball).decode()}},
    } | change


@needs_npm
@pytest.mark.parametrize("name", ["ml-model", "@team/ml-model"], ids=["plain", "scoped"])
def test_npm_publishes_installs_and_views(held: Held, name: str) -> None:
    for version in ("1.0.0", "1.1.0"):
        held.write(name, version)
        published = held.npm("publish")
        assert published.returncode == 0, published.stderr
    again = held.npm("publish")
    assert again.returncode != 0
    assert "previously published" in again.stderr
    viewed = held.npm("view", name, "versions", "dist-tags.latest", "--json")
    assert json.loads(viewed.stdout) == {"versions": ["1.0.0", "1.1.0"], "dist-tags.latest": "1.1.0"}
    shutil.rmtree(held.folder / "work")
    (held.folder / "work").mkdir()
    installed = held.npm("install", f"{name}@^1.0.0")
    assert installed.returncode == 0, installed.stderr
    module = held.folder / "work" / "node_modules" / name / "index.js"
    assert module.read_text() == "exports.version = '1.1.0'\n"
    lock = json.loads((held.folder / "work" / "package-lock.json").read_text())
    assert lock["packages"][f"node_modules/{name}"]["resolved"].startswith(f"{held.url}/{name}/-/ml-model-1.1.0")


@needs_npm
def test_npm_installs_through_a_virtual_and_a_remote_repository(held: Held) -> None:
    public = create(held.session, "NPM")
    for repository, name, version in (
        (held.id, "@team/model", "1.0.0"),
        (public, "@team/model", "9.0.0"),
        (public, "other", "2.0.0"),
    ):
        owner = Held(repository, held.session, held.folder)
        assert owner.put(name.replace("/", "%2f"), document(name, version)).status_code == 201
    remote = create(held.session, "NPM", **remote_of(held.name.replace(held.id, public)))
    members = ((held, 20), (Held(remote, held.session, held.folder), 10))
    virtual = Held(create(held.session, "NPM", **virtual_of(*members)), held.session, held.folder)
    installed = virtual.npm("install", "@team/model", "other")
    assert installed.returncode == 0, installed.stderr
    lock = json.loads((held.folder / "work" / "package-lock.json").read_text())["packages"]
    assert (lock["node_modules/@team/model"]["version"], lock["node_modules/other"]["version"]) == ("1.0.0", "2.0.0")
    assert lock["node_modules/other"]["integrity"].startswith("sha512-")
    cached = ar.ArtifactRegistryClient(transport="rest").list_npm_packages(parent=members[1][0].name)
    assert [package.package_name for package in cached] == ["other"]


@needs_npm
def test_npm_moves_dist_tags(held: Held) -> None:
    for version in ("1.0.0", "2.0.0-rc.1"):
        held.write("ml-model", version)
        tag = "next" if "-" in version else "latest"
        assert held.npm("publish", f"--tag={tag}").returncode == 0
    assert held.npm("dist-tag", "add", "ml-model@1.0.0", "stable").returncode == 0
    listed = held.npm("dist-tag", "ls", "ml-model")
    assert listed.stdout.split("\n")[:3] == ["latest: 1.0.0", "next: 2.0.0-rc.1", "stable: 1.0.0"]
    assert held.npm("dist-tag", "rm", "ml-model", "stable").returncode == 0
    assert "stable" not in held.npm("dist-tag", "ls", "ml-model").stdout
    assert held.npm("dist-tag", "add", "ml-model@9.0.0", "stable").returncode != 0


@needs_npm
def test_npm_without_a_credential_or_a_right(held: Held) -> None:
    stranger = token_of(held.session, account(held.session))
    held.write("ml-model", "1.0.0")
    for token, code in (("not-a-token", "E401"), (stranger, "E403")):
        refused = held.npm("publish", token=token)
        assert refused.returncode != 0
        assert code in refused.stderr
    missing = held.npm("view", "nothing")
    assert "E404" in missing.stderr
    assert held.session.get(f"{held.url}/ml-model").status_code == 404


def test_googles_client_lists_npm_packages(held: Held) -> None:
    assert held.put("@team%2fml-model", document("@team/ml-model", "1.0.0")).status_code == 201
    client = ar.ArtifactRegistryClient(transport="rest")
    (package,) = client.list_npm_packages(parent=held.name)
    assert (package.package_name, package.version, list(package.tags)) == ("@team/ml-model", "1.0.0", ["latest"])
    assert package.name == f"{held.name}/npmPackages/@team%2Fml-model:1.0.0"
    assert client.get_npm_package(name=package.name) == package
    (tag,) = client.list_tags(parent=f"{held.name}/packages/@team%2Fml-model")
    assert tag.version.endswith("/versions/1.0.0")
    assert client.get_repository(name=held.name).registry_uri == held.url.removeprefix("https://")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "name is not ml-model"),
        (document("other", "1.0.0"), "name is not ml-model"),
        (document("ml-model", "1.0.0", _attachments={}), "no deprecation, no unpublishing"),
        (document("ml-model", "1.0.0", versions={}), "one version with one tarball"),
        (document("ml-model", "1"), "is no version"),
        (document("ml-model", "1.0.0", **{"dist-tags": {"1.0": "1.0.0"}}), "is no dist-tag"),
        (document("ml-model", "1.0.0", _attachments={"x": {"data": "?"}}), "not in base64"),
        (document("ml-model", "1.0.0", _attachments={"x": {"data": "eA=="}}), "sha512 is another one"),
        (document("ml-model", "1.0.0", versions={"1.0.0": {"name": "x", "version": "1.0.0"}}), "manifest is not that"),
        (
            document("ml-model", "1.0.0", versions={"1.0.0": {"name": "ml-model", "version": "1.0.0"}})
            | {"_attachments": {"x": {"data": base64.b64encode(packed("other", "1.0.0")).decode()}}},
            "package.json in the tarball is not that",
        ),
    ],
    ids=["list", "name", "no-tarball", "no-version", "version", "tag", "base64", "integrity", "manifest", "inside"],
)
def test_a_document_that_does_not_fit(held: Held, body: Any, says: str) -> None:
    answer = held.put("ml-model", body)
    assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.text
    assert held.session.get(f"{held.url}/ml-model").status_code == 404


@pytest.mark.parametrize("path", ["..%2f..%2fetc", "@team%2f..%2fx", "UPPER", ".hidden", "@team", "a/-/..%2fb.tgz"])
def test_a_name_that_is_none(held: Held, path: str) -> None:
    assert held.session.get(f"{held.url}/{path}").status_code == 404
    assert held.session.put(f"{held.url}/{path}", json=document("x", "1.0.0")).status_code in (404, 405)


def test_a_version_never_changes(held: Held) -> None:
    assert held.put("ml-model", document("ml-model", "1.0.0")).status_code == 201
    again = held.put("ml-model", document("ml-model", "1.0.0"))
    assert (again.status_code, "never changes" in again.json()["error"]) == (409, True)
