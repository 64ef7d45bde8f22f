"""One package of each format as its upstream serves it: the same questions are asked of all."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

from tests.sandbox.package_hosts.conftest import Repository
from tests.sandbox.python_repositories import wheels


@dataclass(frozen=True)
class Kind:
    """A format.

    Attributes:
        index: path of the index of the package `model`, at the upstream and at the repository.
        missing: path of an index of a package that nobody has.
        file: path of a version's file in the repository.
        at: the same at the upstream.
        content: the bytes of that file for a version.
        listing: the bytes of the index with these versions.
        versions: those that an index names.
        put: uploads a version; gives the status.
    """

    format: str
    index: str
    missing: str
    file: str
    at: str
    content: Callable[[str], bytes]
    listing: Callable[[tuple[str, ...]], bytes]
    versions: Callable[[str], list[str]]
    put: Callable[[Repository, str], int]

    def files(self, *versions: str) -> dict[str, bytes]:
        """What an upstream serves that has these versions."""
        return {
            f"/{self.index}": self.listing(versions),
            **{f"/{self.at.format(version)}": self.content(version) for version in versions},
        }


def packed(name: str, version: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        content = json.dumps({"name": name, "version": version}).encode()
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(made.getvalue(), mtime=0)


def _integrity(content: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def _npm_listing(versions: tuple[str, ...]) -> bytes:
    said = {
        version: {
            "name": "model",
            "version": version,
            "dependencies": {},
            "dist": {"tarball": f"/files/model-{version}.tgz", "integrity": _integrity(packed("model", version))},
        }
        for version in versions
    }
    return json.dumps({"name": "model", "versions": said, "dist-tags": {"latest": versions[-1]}}).encode()


def _npm_put(repository: Repository, version: str) -> int:
    tarball = packed("model", version)
    body = {
        "name": "model",
        "dist-tags": {"latest": version},
        "versions": {version: {"name": "model", "version": version, "dist": {"integrity": _integrity(tarball)}}},
        "_attachments": {f"model-{version}.tgz": {"data": base64.b64encode(tarball).decode()}},
    }
    return repository.learner.session.put(f"{repository.url}/model", json=body).status_code


def _maven_listing(versions: tuple[str, ...]) -> bytes:
    listed = "".join(f"<version>{version}</version>" for version in versions)
    about = "<groupId>com.example</groupId><artifactId>model</artifactId>"
    return (
        f"<metadata>{about}<versioning><versions>{listed}</versions><lastUpdated>20260101000000</lastUpdated>"
        "</versioning></metadata>"
    ).encode()


def _maven_put(repository: Repository, version: str) -> int:
    path = f"com/example/model/{version}/model-{version}.jar"
    return repository.learner.session.put(f"{repository.url}/{path}", data=f"jar {version}".encode()).status_code


def _python_listing(versions: tuple[str, ...]) -> bytes:
    return "".join(
        f'<a href="/files/{wheels.wheel_name("model", version)}#sha256='
        f'{hashlib.sha256(wheels.wheel("model", version)).hexdigest()}">{wheels.wheel_name("model", version)}</a>'
        for version in versions
    ).encode()


def _python_put(repository: Repository, version: str) -> int:
    form = {":action": "file_upload", "name": "model", "version": version}
    file = {"content": (wheels.wheel_name("model", version), wheels.wheel("model", version))}
    return repository.learner.session.post(f"{repository.url}/", data=form, files=file).status_code


def _between(text: str, begin: str, end: str) -> list[str]:
    return [part.partition(end)[0] for part in text.split(begin)[1:]]


PYTHON = Kind(
    "PYTHON",
    "simple/model/",
    "simple/nothing/",
    "model/model-{}-py3-none-any.whl",
    "files/model-{}-py3-none-any.whl",
    lambda version: wheels.wheel("model", version),
    _python_listing,
    lambda text: _between(text, ">model-", "-py3"),
    _python_put,
)
NPM = Kind(
    "NPM",
    "model",
    "nothing",
    "model/-/model-{}.tgz",
    "files/model-{}.tgz",
    lambda version: packed("model", version),
    _npm_listing,
    lambda text: sorted(json.loads(text)["versions"]),
    _npm_put,
)
MAVEN = Kind(
    "MAVEN",
    "com/example/model/maven-metadata.xml",
    "com/example/nothing/maven-metadata.xml",
    "com/example/model/{0}/model-{0}.jar",
    "com/example/model/{0}/model-{0}.jar",
    lambda version: f"jar {version}".encode(),
    _maven_listing,
    lambda text: _between(text, "<version>", "</version>"),
    _maven_put,
)
KINDS = (PYTHON, NPM, MAVEN)
