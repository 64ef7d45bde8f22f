"""A Maven repository through mvn itself, Google's client, and requests one by one."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.auth.transport.requests import AuthorizedSession
from google.cloud import artifactregistry_v1 as ar

from tests.sandbox import package_hosting
from tests.sandbox.conftest import learner_with, project
from tests.sandbox.package_hosting import create
from tests.sandbox.python_repositories.conftest import run

HOST = "us-central1-maven.pkg.dev"
GROUP = "com/example/models"
DEPLOY = "org.apache.maven.plugins:maven-deploy-plugin:3.1.4:deploy-file"
HOME = Path.home() / ".m2" / "repository"
PLUGIN = (
    HOME / "org" / "apache" / "maven" / "plugins" / "maven-deploy-plugin" / "3.1.4" / "maven-deploy-plugin-3.1.4.jar"
)
needs_mvn = pytest.mark.skipif(
    shutil.which("mvn") is None or not PLUGIN.is_file(), reason="needs mvn and its deploy plugin 3.1.4 on disk"
)


@dataclass(frozen=True)
class Held(package_hosting.Held):
    """A Maven repository and the learner's session."""

    host = HOST

    def put(self, path: str, content: bytes | str = b"content") -> Any:
        return self.session.put(f"{self.url}/{path}", data=content)

    def get(self, path: str) -> Any:
        return self.session.get(f"{self.url}/{path}")


@pytest.fixture
def session(in_world: object) -> Iterator[AuthorizedSession]:
    """The learner's session."""
    with learner_with("artifactregistry") as opened:
        yield opened


@pytest.fixture
def held(session: AuthorizedSession) -> Held:
    """A new Maven repository."""
    return Held(create(session, "MAVEN"), session)


def deploy(held: Held, folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    """`mvn deploy:deploy-file` over the plain port, where no JVM needs the sandbox's certificate."""
    folder.mkdir(exist_ok=True)
    jar = folder / "model.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr(zipfile.ZipInfo("model.txt", (2026, 1, 1, 0, 0, 0)), version)
    token = held.session.credentials.token
    server = f"<server><id>here</id><username>oauth2accesstoken</username><password>{token}</password></server>"
    (folder / "settings.xml").write_text(f"<settings><servers>{server}</servers></settings>")
    address = f"{os.environ['SANDBOX_URL']}/{HOST}/{project()}/{held.id}"
    return run(
        *("mvn", "--batch-mode", "--settings", folder / "settings.xml", DEPLOY),
        *("-DgroupId=com.example.models", "-DartifactId=iris", f"-Dversion={version}", "-Dpackaging=jar"),
        *(f"-Dfile={jar}", "-DrepositoryId=here", f"-Durl={address}"),
    )


@needs_mvn
def test_mvn_deploys_releases(held: Held, tmp_path: Path) -> None:
    for version in ("1.0", "1.1"):
        ran = deploy(held, tmp_path / "work", version)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    again = deploy(held, tmp_path / "work", "1.1")
    assert again.returncode == 0, "the same bytes may come again"
    (tmp_path / "work" / "model.jar").unlink()
    metadata = held.get(f"{GROUP}/iris/maven-metadata.xml").text
    assert re.findall(r"<version>(.+?)</version>", metadata) == ["1.0", "1.1"]
    assert "<release>1.1</release>" in metadata
    jar = held.get(f"{GROUP}/iris/1.1/iris-1.1.jar")
    assert (
        held.get(f"{GROUP}/iris/1.1/iris-1.1.jar.sha1").text
        == hashlib.sha1(jar.content, usedforsecurity=False).hexdigest()
    )
    assert "<artifactId>iris</artifactId>" in held.get(f"{GROUP}/iris/1.1/iris-1.1.pom").text


@needs_mvn
def test_mvn_deploys_snapshots(held: Held, tmp_path: Path) -> None:
    for _ in range(2):
        ran = deploy(held, tmp_path / "work", "2.0-SNAPSHOT")
        assert ran.returncode == 0, ran.stdout + ran.stderr
    metadata = held.get(f"{GROUP}/iris/2.0-SNAPSHOT/maven-metadata.xml").text
    assert "<buildNumber>2</buildNumber>" in metadata
    (value,) = set(re.findall(r"<value>(.+?)</value>", metadata))
    assert held.get(f"{GROUP}/iris/2.0-SNAPSHOT/iris-{value}.jar").status_code == 200


def test_googles_client_lists_maven_artifacts(held: Held) -> None:
    for ending in ("jar", "pom"):
        assert held.put(f"{GROUP}/iris/1.0/iris-1.0.{ending}").status_code == 201
    client = ar.ArtifactRegistryClient(transport="rest")
    (artifact,) = client.list_maven_artifacts(parent=held.name)
    assert (artifact.group_id, artifact.artifact_id, artifact.version) == ("com.example.models", "iris", "1.0")
    assert artifact.pom_uri == f"{HOST}/{project()}/{held.id}/{GROUP}/iris/1.0/iris-1.0.pom"
    assert client.get_maven_artifact(name=artifact.name) == artifact
    assert len(list(client.list_files(parent=held.name))) == 2


def test_a_file_and_its_checksums(held: Held) -> None:
    path = f"{GROUP}/iris/1.0/iris-1.0.jar"
    assert held.put(path).status_code == 201
    assert held.put(path).status_code == 201
    assert held.put(path, b"other").status_code == 409
    assert held.get(path).content == b"content"
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        found = hashlib.new(algorithm, b"content").hexdigest()
        assert held.get(f"{path}.{algorithm}").text == found
        assert held.put(f"{path}.{algorithm}", found).status_code == 201
        assert held.put(f"{path}.{algorithm}", "0" * 40).status_code == 400
    assert held.put(f"{GROUP}/iris/1.0/iris-1.0.pom.sha1", "0" * 40).status_code == 404


@pytest.mark.parametrize(
    ("policy", "version", "status"),
    [
        ("RELEASE", "1.0", 201),
        ("RELEASE", "1.0-SNAPSHOT", 400),
        ("SNAPSHOT", "1.0", 400),
        ("SNAPSHOT", "1.0-SNAPSHOT", 201),
    ],
)
def test_the_version_policy(session: AuthorizedSession, policy: str, version: str, status: int) -> None:
    held = Held(create(session, "MAVEN", mavenConfig={"versionPolicy": policy}), session)
    assert held.put(f"{GROUP}/iris/{version}/iris-{version}.jar").status_code == status


def test_snapshots_that_may_be_overwritten(session: AuthorizedSession) -> None:
    path = f"{GROUP}/iris/1.0-SNAPSHOT/iris-1.0-SNAPSHOT.jar"
    for allowed, status in ((False, 409), (True, 201)):
        held = Held(create(session, "MAVEN", mavenConfig={"allowSnapshotOverwrites": allowed}), session)
        assert held.put(path).status_code == 201
        assert held.put(path, b"newer").status_code == status
        assert held.get(path).content == (b"newer" if allowed else b"content")
        size = ar.ArtifactRegistryClient(transport="rest").get_repository(name=held.name).size_bytes
        assert size == len(held.get(path).content)


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "a/b",
        f"{GROUP}/iris/1.0/other-1.0.jar",
        f"{GROUP}/..%2f..%2fx/1.0/x-1.0.jar",
        "a//b/1/b-1.jar",
    ],
)
def test_a_path_that_is_none(held: Held, path: str) -> None:
    assert held.put(path).status_code in (404, 405)
    assert held.get(path).status_code == 404


def test_metadata_of_another_artifact(held: Held) -> None:
    path = f"{GROUP}/iris/maven-metadata.xml"
    named = "<metadata><groupId>com.example.models</groupId><artifactId>{}</artifactId></metadata>"
    assert held.put(path, named.format("iris")).status_code == 201
    assert held.put(path, named.format("rose")).status_code == 400
    assert held.put(path, '<!DOCTYPE a [<!ENTITY b "c">]>' + named.format("iris")).status_code == 400
    assert held.get(path).status_code == 404


@pytest.mark.gcloud
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="needs gcloud on the PATH")
def test_gcloud_tells_the_settings(held: Held) -> None:
    said = run(
        *("gcloud", "artifacts", "print-settings", "mvn", f"--project={project()}"),
        *("--location=us-central1", f"--repository={held.id}"),
    )
    assert f"{HOST}/{project()}/{held.id}" in said.stdout, said.stderr
