"""SIGKILL at random moments of uploads of every package format: acknowledged versions survive, none is incomplete."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import itertools
import json
import os
import secrets
from pathlib import Path
from typing import Any

import pytest
import requests

from cli.world import starter
from tests.sandbox.oci.conftest import SERVICE, prepare
from tests.sandbox.package_hosts.kinds import packed
from tests.sandbox.python_repositories import wheels
from tests.sandboxes import Sandbox

KILLS = 20 if os.environ.get("WORKBOOK_SOAK") == "1" else 2
UPLOADS = 24  # that are under way around each kill
FILLER = 40_000  # bytes that no compression makes small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _filler(version: str) -> str:
    return base64.b64encode(version.encode() * (FILLER // len(version))).decode()


class Format:
    """One format of uploads: how a version is sent, and where its file is read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.repository = name.lower()

    def host(self, port: int, project: str) -> str:
        """Where the format's client goes, on the plain port."""
        return f"http://localhost:{port}/us-central1-{self.repository}.pkg.dev/{project}/{self.repository}"

    def send(self, session: requests.Session, port: int, project: str, version: str) -> bool:
        """Whether the upload was acknowledged."""
        url, content = self.host(port, project), self.content(version)
        match self.name:
            case "PYTHON":
                form = {":action": "file_upload", "name": "model", "version": version}
                file = {"content": (wheels.wheel_name("model", version), content)}
                return session.post(f"{url}/", data=form, files=file, timeout=60).status_code == 200
            case "NPM":
                body = {
                    "name": "model",
                    "dist-tags": {f"t{version.replace('.', '-')}": version},
                    "versions": {version: {"name": "model", "version": version}},
                    "_attachments": {"model.tgz": {"data": base64.b64encode(content).decode()}},
                }
                return session.put(f"{url}/model", json=body, timeout=60).status_code == 201
            case "MAVEN":
                path = f"com/example/model/{version}/model-{version}.jar"
                return session.put(f"{url}/{path}", data=content, timeout=60).status_code == 201
            case _:
                return self._send_generic(session, port, project, version)

    def _send_generic(self, session: requests.Session, port: int, project: str, version: str) -> bool:
        about = {"packageId": "model", "versionId": version, "filename": "model.bin"}
        parts = b"\r\n".join(
            b"--cut\r\nContent-Type: " + kind + b"\r\n\r\n" + content
            for kind, content in (
                (b"application/json", json.dumps(about).encode()),
                (b"application/octet-stream", self.content(version)),
            )
        )
        parent = f"projects/{project}/locations/us-central1/repositories/generic"
        answer = session.post(
            f"http://localhost:{port}/{SERVICE}/upload/v1/{parent}/genericArtifacts:create?uploadType=multipart",
            data=parts + b"\r\n--cut--\r\n",
            headers={"Content-Type": "multipart/related; boundary=cut"},
            timeout=60,
        )
        return answer.status_code == 200

    def content(self, version: str) -> bytes:
        """Return the bytes of a version's file."""
        if self.name == "PYTHON":
            return wheels.wheel("model", version, text=f"# {_filler(version)}")
        return packed("model", version) if self.name == "NPM" else f"{version} {_filler(version)}".encode()

    def file(self, version: str) -> str:
        """Return the name of a version's file in its repository."""
        return {
            "PYTHON": f"model/{wheels.wheel_name('model', version)}",
            "NPM": f"model/-/model-{version}.tgz",
            "MAVEN": f"com/example/model/{version}/model-{version}.jar",
            "GENERIC": f"model:{version}:model.bin",
        }[self.name]


FORMATS = tuple(Format(name) for name in ("PYTHON", "NPM", "MAVEN", "GENERIC"))


def _upload(one: Format, port: int, project: str, token: str, version: str) -> bool:
    with requests.Session() as session, contextlib.suppress(requests.RequestException):
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {token}"
        return one.send(session, port, project, version)
    return False


def _versions(ask: Any, parent: str, package: str) -> set[str]:
    """Return every version that the API lists."""
    found, page = set(), ""
    while True:
        answer = ask("GET", f"{parent}/packages/{package}/versions?pageSize=1000&pageToken={page}")
        found |= {one["name"].rpartition("/")[2] for one in answer.get("versions", ())}
        if not (page := answer.get("nextPageToken", "")):
            return found


def test_killed_sandbox_loses_no_acknowledged_upload(tmp_path: Path) -> None:
    project = f"ml-workbook-{secrets.token_hex(3)}"
    token = prepare(tmp_path, project)["owner"]
    server = Sandbox(tmp_path, project=project)
    repositories = f"{SERVICE}/v1/projects/{project}/locations/us-central1/repositories"
    acknowledged: dict[str, set[str]] = {one.name: set() for one in FORMATS}
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {token}"

        def ask(verb: str, path: str, body: Any = None) -> Any:
            answer = session.request(verb, f"http://localhost:{server.port}/{path}", json=body, timeout=60)
            assert answer.status_code == 200, answer.text
            return answer.json()

        try:
            server.start()
            ask("POST", f"serviceusage.googleapis.com/v1/projects/{project}/services/{SERVICE}:enable", {})
            for one in FORMATS:
                ask("POST", f"{repositories}?repositoryId={one.repository}", {"format": one.name})
            for kill in range(KILLS):
                with concurrent.futures.ThreadPoolExecutor(8) as pool:
                    uploads = {
                        pool.submit(_upload, one, server.port, project, token, f"{kill}.{number}.0"): one
                        for number, one in zip(range(UPLOADS), itertools.cycle(FORMATS), strict=False)
                    }
                    versions = dict(zip(uploads, (f"{kill}.{number}.0" for number in range(UPLOADS)), strict=True))
                    done = concurrent.futures.as_completed(uploads)
                    # In the middle of them, at another place each time, and when each format has one behind it.
                    ended: list[Format] = []
                    while len(ended) < 4 + kill % 11 or len(set(ended)) < len(FORMATS):
                        ended.append(uploads[next(done)])
                    server.kill()
                for upload, one in uploads.items():
                    if upload.result():
                        acknowledged[one.name].add(versions[upload])
                server.start()
            for one in FORMATS:
                _check(one, server.port, project, session, acknowledged[one.name], ask, repositories)
            assert not list((tmp_path / "state" / "uploads").iterdir())
        finally:
            server.kill()
    assert all(acknowledged.values())
    said = starter.check(tmp_path, repair=False)
    assert said.whole, said.lines


def _check(
    one: Format, port: int, project: str, session: requests.Session, acknowledged: set[str], ask: Any, parent: str
) -> None:
    """Check that every acknowledged version exists, and that every existing one is complete."""
    package = "com.example:model" if one.name == "MAVEN" else "model"
    kept = _versions(ask, f"{parent}/{one.repository}", package)
    assert acknowledged <= kept, one.name
    for version in kept:
        url = f"{one.host(port, project)}/{one.file(version)}"
        if one.name == "GENERIC":
            name = one.file(version).replace("/", "%2F")
            url = f"http://localhost:{port}/{parent}/{one.repository}/files/{name}:download?alt=media"
        got = session.get(url, timeout=60)
        assert (got.status_code, got.content) == (200, one.content(version)), (one.name, version)
