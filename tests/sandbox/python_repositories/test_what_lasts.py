"""What a Python repository keeps through SIGKILL, what the cleanup job leaves of it, and the index behind PYPI."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import re
import secrets
import signal
import time
from pathlib import Path

import pytest
import requests

from cli.world import starter
from sandbox.python_repositories import index, pages
from tests.sandbox.oci.conftest import SERVICE, Registry, prepare, serving
from tests.sandbox.python_repositories import wheels
from tests.sandbox.python_repositories.conftest import HOST

KILLS = 20 if os.environ.get("WORKBOOK_SOAK") else 3
FILES = 40  # uploads that are under way around each kill


def _form(version: str) -> dict[str, str]:
    return {":action": "file_upload", "name": "ml-model", "version": version}


def _content(version: str) -> bytes:
    return wheels.wheel("ml-model", version, text="# " + version * 20_000)


def _upload(url: str, token: str, version: str) -> bool:
    """Whether the upload was acknowledged."""
    files = {"content": (wheels.wheel_name("ml-model", version), _content(version))}
    with requests.Session() as session, contextlib.suppress(requests.RequestException):
        session.trust_env = False
        answer = session.post(
            f"{url}/", data=_form(version), files=files, auth=("oauth2accesstoken", token), timeout=30
        )
        return answer.status_code == 200
    return False


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sandbox_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    project = f"ml-workbook-{secrets.token_hex(3)}"
    token = prepare(tmp_path, project)["owner"]
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {token}"
    acknowledged: set[str] = set()
    try:
        for kill in range(KILLS):
            info = starter.start(tmp_path, project=project, port=0).info
            url = f"http://localhost:{info.port}/{HOST}/{project}/packages"
            if not kill:
                api = f"http://localhost:{info.port}/serviceusage.googleapis.com/v1/projects/{project}/services"
                assert session.post(f"{api}/{SERVICE}:enable", json={}).status_code == 200
                parent = f"http://localhost:{info.port}/{SERVICE}/v1/projects/{project}/locations/us-central1"
                made = session.post(f"{parent}/repositories?repositoryId=packages", json={"format": "PYTHON"})
                assert made.status_code == 200, made.text
            versions = [f"{kill}.{number}" for number in range(FILES)]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                uploads = {pool.submit(_upload, url, token, version): version for version in versions}
                # In the middle of them, at another place each time.
                done = concurrent.futures.as_completed(uploads)
                for _ in range(3 + kill % 7):
                    next(done)
                os.kill(info.pid, signal.SIGKILL)
            acknowledged |= {version for upload, version in uploads.items() if upload.result()}
        info = starter.start(tmp_path, project=project, port=0).info
        url = f"http://localhost:{info.port}/{HOST}/{project}/packages"
        found = pages.read(session.get(f"{url}/simple/ml-model/").content, "text/html")
        kept = {entry["file"].split("-")[1] for entry in found}
        assert acknowledged <= kept
        for version in kept:
            got = session.get(f"{url}/ml-model/{wheels.wheel_name('ml-model', version)}")
            assert (got.status_code, got.content) == (200, _content(version))
        assert not list((tmp_path / "state" / "uploads").iterdir())
    finally:
        session.close()
        starter.stop(tmp_path)
    said = starter.check(tmp_path, repair=False)
    assert said.whole, said.says


def _repository(far: Registry, name: str, **body: object) -> str:
    repositories = f"{SERVICE}/v1/projects/{far.project}/locations/us-central1/repositories"
    far.api("POST", f"{repositories}?repositoryId={name}", {"format": "PYTHON", **body})
    return f"http://localhost:{far.port}/{HOST}/{far.project}/{name}"


def test_pypi_is_what_the_machines_own_pip_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path / "mirror") as mirror:
        url = _repository(mirror, "mirror")
        everybody = {"bindings": [{"role": "roles/artifactregistry.reader", "members": ["allUsers"]}]}
        path = f"{SERVICE}/v1/projects/{mirror.project}/locations/us-central1/repositories/mirror:setIamPolicy"
        mirror.api("POST", path, {"policy": everybody})
        file = (wheels.wheel_name("sampleproject", "4.0.0"), wheels.wheel("sampleproject", "4.0.0"))
        form = _form("4.0.0") | {"name": "sampleproject"}
        assert mirror.call("POST", f"{url}/", data=form, files={"content": file}).status_code == 200
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        with serving(tmp_path / "near") as near:
            preset = {"pythonRepository": {"publicRepository": "PYPI"}}
            cache = _repository(near, "cache", mode="REMOTE_REPOSITORY", remoteRepositoryConfig=preset)
            got = near.call("GET", f"{cache}/sampleproject/{file[0]}")
            assert (got.status_code, got.content) == (200, file[1])


def test_the_cleanup_job_deletes_versions_of_packages(tmp_path: Path) -> None:
    with serving(tmp_path) as far:
        url = _repository(far, "packages")
        for version in ("1.0", "1.1", "1.2"):
            file = (wheels.wheel_name("ml-model", version), wheels.wheel("ml-model", version))
            assert far.call("POST", f"{url}/", data=_form(version), files={"content": file}).status_code == 200
        policies = {
            "recent": {"id": "recent", "action": "KEEP", "mostRecentVersions": {"keepCount": 1}},
            "old": {"id": "old", "action": "DELETE", "condition": {"olderThan": "86400s"}},
        }
        path = f"{SERVICE}/v1/projects/{far.project}/locations/us-central1/repositories/packages"
        far.api("PATCH", f"{path}?updateMask=cleanupPolicies", {"cleanupPolicies": policies})
        token = (tmp_path / "admin-token").read_text().strip()
        moved = requests.post(
            f"http://localhost:{far.port}/_sandbox/clock:advance",
            json={"seconds": 3 * 86400},
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
        assert moved.status_code == 200, moved.text
        page = far.call("GET", f"{url}/simple/ml-model/").text
        assert re.findall(r"-([0-9.]+)-py3-none-any.whl</a>", page) == ["1.2"]


def test_a_page_of_ten_thousand_files_is_read_back_as_it_was_written() -> None:
    links = [index.Link(f"ml_model-{number}.0-py3-none-any.whl", f"{number:064x}", ">=3.8") for number in range(10_000)]
    started = time.perf_counter()
    page = index.page("ml-model", links)
    print(f"10,000 links: {1000 * (time.perf_counter() - started):.0f} ms")
    assert [entry["file"] for entry in pages.read(page.encode(), "text/html")] == [link.file for link in links]
    assert [entry["sha256"] for entry in pages.read(page.encode(), "text/html")] == [link.sha256 for link in links]
