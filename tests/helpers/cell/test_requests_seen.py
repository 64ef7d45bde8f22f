"""What a cell asked of Google, told afterwards: from the sandbox's list, and from gcloud's log."""

from __future__ import annotations

import subprocess

import pytest

from helpers import names, projects, repositories, workbook
from helpers.cell import requests_seen
from helpers.target import Target


def test_a_call_is_told_with_its_body_and_without_what_is_always_the_same(in_world: Target) -> None:
    projects.enable(in_world.location.project, "artifactregistry.googleapis.com")
    start = requests_seen.mark()
    repositories.create(names.Repository(in_world.location, "told"), description="x", labels=in_world.labels)
    end = requests_seen.mark(start)
    repositories.exists(names.Repository(in_world.location, "told-later"))
    [call, poll] = requests_seen.between(start, end)
    place = in_world.location.resource
    assert call.line == f"200  POST   artifactregistry.googleapis.com/v1/{place}/repositories?repositoryId=told"
    assert poll.line.startswith(f"200  GET    artifactregistry.googleapis.com/v1/{place}/operations/")
    assert '"description": "x"' in call.body
    assert requests_seen.text([call]) == f"{call.line}\n     {call.body}"
    assert requests_seen.between(end, end) == ()


def test_requests_are_those_of_the_cell_before(
    in_world: Target, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "_cells", workbook._Cells())
    book = workbook.begin(0)
    with pytest.raises(workbook.NotReady, match="There is no cell before this one"):
        book.requests()
    for ask in ((), ("told-twice",), ()):
        workbook._cells.begins()
        for name in ask:
            repositories.exists(names.Repository(in_world.location, name))
    capsys.readouterr()
    book.requests()
    assert capsys.readouterr().out.rstrip().endswith("/repositories/told-twice")


def test_a_push_reads_the_same_in_whatever_order_its_layers_went() -> None:
    place = "/v2/us-central1-docker.pkg.dev/p/r/i"
    digest = f"sha256:{'a' * 64}"
    asked = [
        ("HEAD", f"{place}/blobs/{digest}", 404),
        ("POST", f"{place}/blobs/uploads/", 202),
        ("PUT", f"/artifacts-uploads/namespaces/p/repositories/r/uploads/ab.cd?digest={digest}", 201),
        ("HEAD", f"{place}/blobs/{digest}", 200),
        ("PUT", f"{place}/manifests/1.0.0", 201),
    ]
    calls = [
        requests_seen._as_call(
            {"verb": verb, "host": "", "path": path.partition("?")[0], "query": "", "status": status, "body": None}
        )
        for verb, path, status in asked
    ]
    assert calls[0].host == "us-central1-docker.pkg.dev"
    told = requests_seen.text(calls)
    assert told == requests_seen.text([*reversed(calls), *calls])
    assert [line.split()[:2] for line in told.splitlines()] == [
        ["200", "HEAD"],
        ["404", "HEAD"],
        ["202", "POST"],
        ["201", "PUT"],
        ["201", "PUT"],
    ]
    assert told.splitlines()[-1].endswith("/manifests/1.0.0")
    assert "uploads/…" in told


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud")
def test_on_google_gcloud_s_own_log_tells(
    environment: dict[str, str], in_world: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real gcloud writes it, in the sandbox; only the place where it is looked for is Google's."""
    start = requests_seen.mark()
    asked = ["gcloud", "projects", "describe", in_world.project_id]
    subprocess.run(asked, env=environment, check=True, capture_output=True, timeout=120)
    end = requests_seen.mark(start)
    [seen] = requests_seen.between(start, end)
    monkeypatch.setenv("WORKBOOK_TARGET", "gcp")
    [logged] = requests_seen.between(start, end)
    assert (
        logged.line
        == seen.line
        == f"200  GET    cloudresourcemanager.googleapis.com/v1/{in_world.location.project.resource}"
    )
    assert requests_seen.text(requests_seen.between(end, requests_seen.mark())) == "No request was seen."
