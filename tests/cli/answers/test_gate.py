"""`workbook gate` and `workbook advisories refresh` as commands, against the real sandbox and a real web server."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli.answers.gate import Options, gate
from helpers import names, projects, registry, repositories, scans, target
from helpers.names import Project
from helpers.transport import clients

Workbook = Callable[..., subprocess.CompletedProcess[str]]
OLD = {
    "usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n',
    "opt/Django-5.2.7.dist-info/METADATA": "Name: Django\nVersion: 5.2.7\n",
}
LATER = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
EARLIER = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
REASON = "the flawed part is never called here"


@pytest.fixture
def repository(in_world: target.Target) -> Iterator[names.Repository]:
    services = ("artifactregistry", "containeranalysis", "ondemandscanning", "containerscanning")
    projects.enable(Project(in_world.project_id), *(f"{name}.googleapis.com" for name in services))
    made = names.Repository(in_world.location, f"gate-{secrets.token_hex(3)}")
    repositories.create(made)
    yield made
    repositories.delete(made)


def push(repository: names.Repository, files: dict[str, str], tag: str = "v1") -> names.Tag:
    pushed = repository.image("app").tag(tag)
    registry.push(pushed, [files, {"etc/own": secrets.token_hex(8)}])
    return pushed


def test_the_exit_status_is_the_verdict(repository: names.Repository, workbook: Workbook) -> None:
    old = push(repository, OLD)
    mended = push(repository, {**OLD, "opt/Django-5.2.7.dist-info/METADATA": "Name: Django\nVersion: 5.2.19\n"}, "v2")
    blocked = workbook("gate", str(old), "--only-fixable")
    assert blocked.returncode == 1, blocked.stderr
    assert "CVE-2025-64459" in blocked.stdout
    assert "The advisories are of 2026-07-23" in blocked.stdout
    passed = workbook("gate", str(mended))
    assert passed.returncode == 0, passed.stdout + passed.stderr
    # By digest, with both exceptions, as JSON.
    digest = old.image.digest(registry.manifest(old).digest)
    allow = [f"--allow={cve} until {LATER}: {REASON}" for cve in ("CVE-2025-64459", "CVE-2026-4277")]
    spared = workbook("gate", str(digest), *allow, "--format=json")
    assert spared.returncode == 0, spared.stdout
    assert json.loads(spared.stdout)["verdict"] == "passed"
    said: list[str] = []
    ended = (allow[0].removeprefix("--allow="), f"CVE-2026-4277 until {EARLIER}: {REASON}")
    assert gate(Options(str(digest), allow=ended), said.append, said.append) == 1
    assert f"its exception ended on {EARLIER}" in said[0]


def test_a_scan_on_demand_opens_the_gate_of_its_own_image_only(
    repository: names.Repository, workbook: Workbook
) -> None:
    image = repository.image("app").tag("v1")
    parent = f"https://ondemandscanning.googleapis.com/v1/{repository.project.resource}/locations/us"

    def scan(*packages: dict[str, str]) -> str:
        opened = clients.session()
        body = {"packages": packages, "resourceUri": str(image)}
        begun = opened.post(f"{parent}/scans:analyzePackages", json=body, timeout=30).json()
        answer = opened.get(f"https://ondemandscanning.googleapis.com/v1/{begun['name']}", timeout=30)
        name: str = answer.json()["response"]["scan"]
        return name

    clean = scan()
    assert scans.on_demand(clean).resource == str(image)
    old = scans.on_demand(scan({"package": "Django", "version": "5.2.7", "packageType": "PYPI"}))
    assert old.resource == str(image)
    assert old.provenance.startswith("The advisories are of 2026-07-23")
    assert workbook("gate", str(image), "--scan", clean).returncode == 0
    said: list[str] = []
    assert gate(Options(f"{image.image}:v2", scan=clean), said.append, said.append) == 2
    assert said == [f"Could not tell: that scan is of {image}, not of {image.image}:v2."]


def test_what_cannot_be_told_is_status_2(repository: names.Repository, workbook: Workbook, tmp_path: Path) -> None:
    bare = push(repository, {"labels.txt": "setosa"}, "bare")
    scans.wait(bare.image.digest(registry.manifest(bare).digest), 30)
    for asked in (
        Options(str(bare)),
        Options(f"{repository}/app:nosuch"),
        Options(f"{repository}/app"),
        Options("nonsense"),
        Options(str(bare), block="WORST"),
        Options(str(bare), allow=("CVE-2025-64459",)),
        Options(str(bare), allow_file=tmp_path / "missing.json"),
        Options(str(bare), output="xml"),
        Options(str(bare), scan=f"{repository.project.resource}/locations/us/scans/nosuch"),
        Options(f"{repository}/app@sha256:{'0' * 64}", seconds=0.2),
    ):
        said: list[str] = []
        assert gate(asked, said.append, said.append) == 2, (asked, said)
        assert len(said) == 1
        assert len(said[0]) > 20
    # The command line gives the same, without a traceback.
    for arguments in ((str(bare),), (f"{repository}/app:nosuch",)):
        ran = workbook("gate", *arguments)
        assert ran.returncode == 2, (arguments, ran.stdout, ran.stderr)
        assert "Traceback" not in ran.stderr, arguments


def test_sarif_of_an_unscanned_image_is_a_failed_run(repository: names.Repository, workbook: Workbook) -> None:
    bare = push(repository, {"labels.txt": "setosa"}, "bare")
    ran = workbook("gate", str(bare), "--format", "sarif")
    assert ran.returncode == 2
    [run] = json.loads(ran.stdout)["runs"]
    assert run["invocations"] == [{"executionSuccessful": False, "exitCode": 2}]


# --- refresh ----------------------------------------------------------------------------------------------------------


def archive(*records: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for record in records:
            made.writestr(f"{record['id']}.json", json.dumps(record))
    return file.getvalue()


def record(identifier: str, ecosystem: str, name: str, **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": ecosystem, "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "6.0"}]}],
    }
    return {"id": identifier, "aliases": [f"CVE-{identifier}"], "details": "long text", "affected": [affected], **more}


@pytest.fixture
def served() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server on loopback, and what it has: path → content."""
    content: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = content.get(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", content
    server.shutdown()
    thread.join()
    server.server_close()


def test_refresh_takes_what_concerns_the_image_and_the_next_scan_uses_it(
    repository: names.Repository, environment: dict[str, str], workbook: Workbook, served: tuple[str, dict[str, bytes]]
) -> None:
    url, content = served
    content["/PyPI/all.zip"] = archive(
        record("2027-1", "PyPI", "django"),
        record("2027-2", "npm", "lodash"),
        record("2027-3", "PyPI", "x", withdrawn="y"),
    )
    content["/Debian/all.zip"] = archive(record("2027-4", "Debian:12", "glibc"), record("2027-5", "Debian:11", "glibc"))
    home = Path(environment["WORKBOOK_HOME"])
    try:
        ran = workbook("advisories", "refresh", "--home", str(home), "--url", url)
        assert ran.returncode == 0, ran.stderr
        assert "PyPI: 1 advisories, of today." in ran.stdout
        kept = json.loads((home / "advisories" / "pypi.json").read_text())
        assert [one["id"] for one in kept["advisories"]] == ["2027-1"]
        assert "details" not in kept["advisories"][0]
        pushed = push(repository, OLD, "fresh")
        found = scans.wait(pushed.image.digest(registry.manifest(pushed).digest), 30)
        assert [one.id for one in found.findings] == ["CVE-2027-1"]
        assert found.advisories is not None
        assert found.advisories.date() == datetime.now(UTC).date()
    finally:
        for file in (home / "advisories").glob("*"):
            file.unlink()


@pytest.mark.parametrize("broken", [b"", b"no archive", archive({"id": "x", "affected": [{"package": None}]})])
def test_a_refresh_that_fails_changes_nothing(
    workbook: Workbook, served: tuple[str, dict[str, bytes]], tmp_path: Path, broken: bytes
) -> None:
    url, content = served
    content["/PyPI/all.zip"] = broken
    ran = workbook("advisories", "refresh", "--home", str(tmp_path), "--url", url)
    assert ran.returncode == 1
    assert "go on with the snapshot that is there" in ran.stderr
    assert not list(tmp_path.rglob("*.json"))
