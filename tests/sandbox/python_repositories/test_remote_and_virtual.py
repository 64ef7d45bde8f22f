"""Remote repositories, which cache an upstream, and virtual ones, which put several together."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import conftest as shared
from tests.sandbox.conftest import ask, project
from tests.sandbox.oci.conftest import SERVICE, Registry, serving
from tests.sandbox.package_hosting import API, create
from tests.sandbox.python_repositories import wheels
from tests.sandbox.python_repositories.conftest import HOST, Held, pip, plain, run, token_of

Made = Callable[..., Held]


@pytest.fixture
def other(held: Held) -> Made:
    """Make another repository beside `held`."""

    def made(**body: Any) -> Held:
        return Held(create(held.session, **body), held.session)

    return made


def remote_of(address: str) -> dict[str, Any]:
    return {"mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": {"commonRepository": {"uri": address}}}


def virtual_of(*upstreams: tuple[Held, int]) -> dict[str, Any]:
    policies = [
        {"id": f"policy-{place}", "repository": one.name, "priority": priority}
        for place, (one, priority) in enumerate(upstreams)
    ]
    return {"mode": "VIRTUAL_REPOSITORY", "virtualRepositoryConfig": {"upstreamPolicies": policies}}


def versions(held: Held, package: str) -> list[str]:
    answer = held.session.get(f"{held.url}/simple/{package}/")
    assert answer.status_code in (200, 404), answer.text
    return re.findall(r"-([0-9.]+)-py3-none-any.whl</a>", answer.text)


def installed(held: Held, package: str, folder: Path) -> str:
    ran = pip("install", "--index-url", f"{held.url}/simple/", "--target", folder, package)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return (folder / f"{package}.py").read_text()


def test_dependency_confusion(held: Held, other: Made, tmp_path: Path) -> None:
    public = other()
    assert held.upload("sampleproject", "1.0").status_code == 200
    assert public.upload("sampleproject", "99.0").status_code == 200
    assert public.upload("another", "1.0").status_code == 200
    remote = other(**remote_of(public.name))
    level = other(**virtual_of((held, 10), (remote, 10)))
    assert installed(level, "sampleproject", tmp_path / "attacked") == 'VERSION = "99.0"\n'
    safe = other(**virtual_of((remote, 10), (held, 20)))
    assert installed(safe, "sampleproject", tmp_path / "safe") == 'VERSION = "1.0"\n'
    assert versions(safe, "another") == ["1.0"]
    stolen = f"{safe.url}/sampleproject/{wheels.wheel_name('sampleproject', '99.0')}"
    assert held.session.get(stolen).status_code == 404


def test_neither_takes_an_upload(held: Held, other: Made) -> None:
    for made, kind in ((other(**remote_of(held.name)), "remote"), (other(**virtual_of((held, 1))), "virtual")):
        answer = made.upload("ml-model", "1.0")
        assert (answer.status_code, f"is a {kind} repository" in answer.text) == (400, True)


def test_an_upstream_in_another_sandbox_is_asked_once(held: Held, other: Made, tmp_path: Path) -> None:
    with serving(tmp_path / "far") as far:
        remote = other(**remote_of(_public(far)))
        assert held.session.get(f"{remote.url}/simple/").text.count("<a ") == 0
        assert versions(remote, "sampleproject") == ["1.0", "2.0"]
        assert installed(remote, "sampleproject", tmp_path / "first") == 'VERSION = "2.0"\n'
        assert held.session.get(f"{remote.url}/simple/not-there/").status_code == 404
    # It is gone: what was cached is served, and nothing else.
    assert installed(remote, "sampleproject", tmp_path / "second") == 'VERSION = "2.0"\n'
    assert remote.get("packages").json()["packages"][0]["name"] == f"{remote.name}/packages/sampleproject"
    missing = held.session.get(f"{remote.url}/sampleproject/{wheels.wheel_name('sampleproject', '1.0')}")
    assert (missing.status_code, "could not be read" in missing.text) == (502, True)
    assert held.session.get(f"{remote.url}/simple/never-asked/").status_code == 502


def _public(far: Registry) -> str:
    """The address of a repository of another sandbox, which everybody may read, with two versions."""
    repositories = f"{SERVICE}/v1/projects/{far.project}/locations/us-central1/repositories"
    far.api("POST", f"{repositories}?repositoryId=packages", {"format": "PYTHON"})
    everybody = {"bindings": [{"role": "roles/artifactregistry.reader", "members": ["allUsers"]}]}
    far.api("POST", f"{repositories}/packages:setIamPolicy", {"policy": everybody})
    url = f"http://localhost:{far.port}/{HOST}/{far.project}/packages"
    for version in ("1.0", "2.0"):
        form = {":action": "file_upload", "name": "sampleproject", "version": version}
        file = (wheels.wheel_name("sampleproject", version), wheels.wheel("sampleproject", version))
        assert far.call("POST", f"{url}/", data=form, files={"content": file}).status_code == 200
    return url


def test_who_may_read_through_a_virtual_repository(held: Held, other: Made) -> None:
    assert held.upload("ml-model", "1.0").status_code == 200
    virtual = other(**virtual_of((held, 1)))
    reader = shared.account(held.session)
    policy = {"bindings": [{"role": "roles/artifactregistry.reader", "members": [f"serviceAccount:{reader}"]}]}
    ask(held.session, "POST", f"{API}/{virtual.name}:setIamPolicy", {"policy": policy})
    token = token_of(held.session, reader)
    assert plain(f"{virtual.url}/simple/ml-model/", token).status_code == 200
    assert plain(f"{held.url}/simple/ml-model/", token).status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"mode": "REMOTE_REPOSITORY"}, 400, "needs pythonRepository (PYPI) or commonRepository.uri"),
        (remote_of("ftp://example.com/simple"), 400, "is no address of an upstream"),
        (remote_of("projects/p/locations/us-central1/repositories/nothing"), 400, "There is no repository"),
        (remote_of("https://example.com") | {"mode": "STANDARD_REPOSITORY"}, 400, "not supported for the mode"),
    ],
    ids=["no upstream", "not https", "not there", "wrong mode"],
)
def test_a_mode_that_is_refused(held: Held, body: dict[str, Any], status: int, says: str) -> None:
    parent = f"{API}/projects/{project()}/locations/us-central1/repositories?repositoryId=r-{secrets.token_hex(4)}"
    error = ask(held.session, "POST", parent, {"format": "PYTHON", **body}, status)["error"]
    assert says in error["message"]


@pytest.mark.gcloud
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="needs gcloud on the PATH")
def test_gcloud_makes_them(held: Held, tmp_path: Path) -> None:
    where = (f"--project={project()}", "--location=us-central1", "--repository-format=python")
    suffix = secrets.token_hex(3)
    ran = run(
        *("gcloud", "artifacts", "repositories", "create", f"remote-{suffix}", *where, "--mode=remote-repository"),
        f"--remote-python-repo={held.name}",
    )
    assert ran.returncode == 0, ran.stderr
    policies = tmp_path / "policies.json"
    policies.write_text(f'[{{"id": "own", "repository": "{held.name}", "priority": 100}}]')
    ran = run(
        *("gcloud", "artifacts", "repositories", "create", f"virtual-{suffix}", *where, "--mode=virtual-repository"),
        f"--upstream-policy-file={policies}",
    )
    assert ran.returncode == 0, ran.stderr
    assert held.upload("ml-model", "1.0").status_code == 200
    for name in (f"remote-{suffix}", f"virtual-{suffix}"):
        assert versions(Held(name, held.session), "ml-model") == ["1.0"]
