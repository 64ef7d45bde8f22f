"""What the cleanup job leaves of a Python repository, and the index behind PYPI."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import requests

from sandbox.python_repositories import index, pages
from tests.sandbox.oci.conftest import SERVICE, Registry, serving
from tests.sandbox.python_repositories import wheels
from tests.sandbox.python_repositories.conftest import HOST


def _form(version: str) -> dict[str, str]:
    return {":action": "file_upload", "name": "ml-model", "version": version}


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
