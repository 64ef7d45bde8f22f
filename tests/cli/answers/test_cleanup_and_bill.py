"""`workbook cleanup preview` and `workbook bill` as processes: text, JSON and exit status."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers import names, projects, registry, repositories, target

Workbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stocked(in_world: target.Target) -> Iterator[names.Repository]:
    projects.enable(in_world.location.project, projects.ARTIFACT_REGISTRY)
    found = names.Repository(in_world.location, f"verbs-{secrets.token_hex(3)}")
    repositories.create(found)
    for tag in ("1.0.0", "sha-0000001", "production"):
        registry.push(found.image("web").tag(tag), [{"base": "x"}, {"app": tag}])
    yield found
    repositories.delete(found)


def test_the_projects_own_policy_needs_nobody(stocked: names.Repository, workbook: Workbook) -> None:
    ran = workbook("cleanup", "preview", "cleanup-policy.json", str(stocked))
    assert ran.returncode == 0, ran.stderr
    assert "kept by keep-releases" in ran.stdout
    assert "0 of 3 versions would be deleted." in ran.stdout


def test_a_policy_that_takes_production_ends_with_3_and_says_so_in_json(
    stocked: names.Repository, workbook: Workbook, tmp_path: Path
) -> None:
    file = tmp_path / "policy.json"
    file.write_text('[{"name": "all", "action": {"type": "Delete"}, "condition": {"tagState": "any"}}]')
    ran = workbook("cleanup", "preview", str(file), str(stocked), "--json")
    assert ran.returncode == 3, ran.stderr
    said = json.loads(ran.stdout)
    assert {one["fate"] for one in said["versions"]} == {"delete"}
    assert any("web:production" in line for line in said["warnings"])
    assert len(repositories.images(stocked)) == 3


def test_a_file_with_fields_in_the_wrong_place_ends_with_1_and_the_mended_file(
    stocked: names.Repository, workbook: Workbook, tmp_path: Path
) -> None:
    file = tmp_path / "guide.json"
    file.write_text(
        '[{"name": "keep", "action": {"type": "KEEP", "mostRecentVersions": {"keepCount": 10}},'
        ' "condition": {"packageName": "web"}}]'
    )
    ran = workbook("cleanup", "preview", str(file), str(stocked))
    assert ran.returncode == 1
    mended = json.loads(ran.stdout.partition("probably meant:")[2])
    assert mended[0]["mostRecentVersions"] == {"packageNamePrefixes": ["web"], "keepCount": 10}


def test_a_name_that_is_no_repository_ends_with_2(workbook: Workbook) -> None:
    ran = workbook("cleanup", "preview", "cleanup-policy.json", "ml-images")
    assert ran.returncode == 2
    assert "LOCATION-docker.pkg.dev/PROJECT/REPOSITORY" in ran.stderr


def test_a_repository_that_is_not_there_ends_with_1(stocked: names.Repository, workbook: Workbook) -> None:
    ran = workbook("cleanup", "preview", "cleanup-policy.json", f"{stocked}-not-there")
    assert ran.returncode == 1
    assert "404" in ran.stdout


def test_the_bill_counts_googles_bytes(stocked: names.Repository, workbook: Workbook) -> None:
    ran = workbook("bill", "--json")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["storedBytes"] == sum(one.size_bytes for one in repositories.list_in(stocked.location))
    assert all(item["source"] and item["asOf"] for item in said["items"])
    assert "Total: $0.00 a month" in workbook("bill").stdout
