"""docs/errata.md: its rows are complete and name things that exist. Errata without another proof are proved here."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from google.cloud.artifactregistry_v1 import types

from helpers import identity, names, projects, registry, repositories, tags
from helpers.target import Target
from machine.engine import Engine

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errata.md"
COLUMNS = 7
NOT_RUN = "documented, not run: "
# The guide's gate, as a build file would hold it.
GATE = """
steps:
  - name: gcr.io/cloud-builders/gcloud
    entrypoint: bash
    args:
      - -c
      - |
        SCAN_RESULT=$(gcloud artifacts docker images scan IMAGE --format="value(response.vulnerabilityCount)")
        if [ "$SCAN_RESULT" -gt 0 ]; then exit 1; fi
"""


def rows() -> list[list[str]]:
    found = re.findall(r"^\| (\d+ \|.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [[cell.strip() for cell in row.split(" | ")] for row in found]


def test_rows_are_complete_and_numbered_without_gaps() -> None:
    assert [len(row) for row in rows()] == [COLUMNS] * len(rows())
    assert all(all(row) for row in rows())
    assert sorted(int(row[0]) for row in rows()) == list(range(1, 31))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_row_names_an_existing_test_and_cell(row: list[str]) -> None:
    proof, taught = row[5], row[6]
    if proof.startswith(NOT_RUN):
        assert len(proof) > len(NOT_RUN) + 20, "say why it can't be run"
    else:
        path, _, name = proof.strip("`").partition("::")
        assert name in {node.name for node in functions(ROOT / path)}, f"{path} has no {name}"
    link = re.fullmatch(r"\[(\d+)\]\(\.\./(notebooks/(\d\d)_\w+\.ipynb)#([\w-]+)\)", taught)
    assert link, taught
    assert int(link[1]) == int(link[3])
    cells = json.loads((ROOT / link[2]).read_text(encoding="utf-8"))["cells"]
    assert link[4] in {cell["id"] for cell in cells}, f"{link[2]} has no cell {link[4]}"


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


@pytest.fixture
def repository(in_world: Target) -> Iterator[names.Repository]:
    """An empty repository, deleted after the test."""
    projects.enable(in_world.location.project, "artifactregistry.googleapis.com")
    name = names.Repository(in_world.location, "errata")
    repositories.create(name, labels=in_world.labels)
    yield name
    repositories.delete(name)


def gcloud(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["gcloud", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud")
def test_configure_docker_writes_a_helper_and_no_date(
    environment: dict[str, str], in_world: Target, tmp_path: Path
) -> None:
    """Erratum 1."""
    ran = gcloud({**environment, "DOCKER_CONFIG": str(tmp_path)}, "auth", "configure-docker", "a.pkg.dev", "--quiet")
    assert ran.returncode == 0, ran.stderr
    # All of the file: no password, no date, nothing that could expire.
    assert json.loads((tmp_path / "config.json").read_text()) == {"credHelpers": {"a.pkg.dev": "gcloud"}}
    expires = identity.token_state().expires
    assert expires is not None
    assert 50 < (expires - datetime.now(UTC)).total_seconds() / 60 < 61


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud")
def test_list_vulnerabilities_takes_a_scan_and_no_image(environment: dict[str, str]) -> None:
    """Erratum 4."""
    image = f"us-central1-docker.pkg.dev/{environment['PROJECT_ID']}/r/i@sha256:{'0' * 64}"
    ran = gcloud(environment, "artifacts", "docker", "images", "list-vulnerabilities", image)
    assert ran.returncode != 0
    assert "Error parsing [scan]" in ran.stderr


@pytest.mark.gcloud
def test_the_answer_of_a_scan_has_one_field(gcloud: Path) -> None:
    """Erratum 5, in the message classes that gcloud ships."""
    here = next(place for place in gcloud.resolve().parents if (place / "lib" / "googlecloudsdk").is_dir())
    found = sorted(here.glob("lib/googlecloudsdk/generated_clients/apis/ondemandscanning/v1/*_messages.py"))
    [message] = [
        node
        for node in ast.walk(ast.parse(found[0].read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name == "AnalyzePackagesResponseV1"
    ]
    assert [ast.unparse(node.targets[0]) for node in message.body if isinstance(node, ast.Assign)] == ["scan"]


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud")
def test_the_guides_columns_are_empty_and_these_are_not(
    environment: dict[str, str], repository: names.Repository
) -> None:
    """Erratum 12."""
    registry.push(repository.image("app").tag("1.0.0"), [{"a.txt": "a"}])
    listed = ("artifacts", "docker", "images", "list", f"{repository}/app", "--include-tags")
    columns = "version,metadata.tag,metadata.uploadTime,tags,createTime"  # the guide's, then those that exist
    ran = gcloud(environment, *listed, f"--format=csv[no-heading]({columns})")
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"sha256:[0-9a-f]{64},,,1\.0\.0,\d{4}-\d\d-\d\dT.+", ran.stdout.strip())


def test_latest_stays_where_it_was_pushed(repository: names.Repository) -> None:
    """Erratum 13."""
    image = repository.image("app")
    first = registry.push(image.tag("latest"), [{"a.txt": "one"}])
    second = registry.push(image.tag("2.0.0"), [{"a.txt": "two"}])
    assert first != second
    assert tags.where(image) == {"latest": first, "2.0.0": second}


def test_the_guides_gate_has_four_faults() -> None:
    """Erratum 14: a second `steps:`, a variable of bash that Cloud Build refuses, no such field, no severity."""
    pasted = yaml.safe_load(f"steps:\n  - id: build\n    name: x\n{GATE}")
    assert [step.get("id") for step in pasted["steps"]] == [None]
    script = yaml.safe_load(GATE)["steps"][0]["args"][-1]
    assert re.findall(r"(?<!\$)\$([A-Z_]+)", script) == ["SCAN_RESULT"]
    # The field is empty (erratum 5), so bash's comparison fails and the gate lets everything pass.
    ran = subprocess.run(
        ["bash", "-c", f"gcloud() {{ :; }}\n{script}"], capture_output=True, text=True, check=False, timeout=20
    )
    assert ran.returncode == 0
    assert "expression expected" in ran.stderr
    assert "CRITICAL" not in script


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud")
def test_gcloud_reads_no_comment_in_a_policy_file(
    environment: dict[str, str], repository: names.Repository, tmp_path: Path
) -> None:
    """Erratum 15."""
    file = tmp_path / "policy.json"
    policy = '[{"name": "keep", "action": {"type": "Keep"}, "mostRecentVersions": {"keepCount": 5}}]\n'
    put = ("artifacts", "repositories", "set-cleanup-policies", repository.id, f"--location={repository.location}")
    file.write_text(f"// policy.json\n{policy}")
    ran = gcloud(environment, *put, f"--policy={file}")
    assert ran.returncode != 0
    assert not repositories.describe(repository).cleanup_policies
    file.write_text(policy)
    ran = gcloud(environment, *put, f"--policy={file}")
    assert ran.returncode == 0, ran.stderr
    assert list(repositories.describe(repository).cleanup_policies) == ["keep"]


@pytest.mark.gcloud
@pytest.mark.usefixtures("gcloud")
def test_a_list_with_a_location_is_no_list_of_all(
    environment: dict[str, str], repository: names.Repository, in_world: Target
) -> None:
    """Erratum 16."""
    europe = names.Repository(names.Location(in_world.location.project, "europe-west1"), "errata-europe")
    repositories.create(europe, labels=in_world.labels)
    try:
        listed = ("artifacts", "repositories", "list", "--format=value(name.basename())")
        here = gcloud(environment, *listed, f"--location={repository.location}").stdout.split()
        everywhere = gcloud(environment, *listed).stdout.split()
    finally:
        repositories.delete(europe)
    assert "errata" in here
    assert "errata-europe" not in here
    assert {"errata", "errata-europe"} <= set(everywhere)


def test_a_repository_has_one_place(repository: names.Repository) -> None:
    """Erratum 18: no field of Google's message could hold a second location."""
    fields = types.Repository.pb().DESCRIPTOR.fields_by_name
    assert "name" in fields
    assert not [name for name in fields if re.search("replic|region|location", name)]
    assert repositories.describe(repository).name.split("/")[3] == str(repository.location)


@pytest.mark.docker
def test_the_guides_image_to_tag_is_not_there(
    found_engine: Engine, environment: dict[str, str], repository: names.Repository
) -> None:
    """Erratum 21: docker knows an image only by the full name under which it was built."""
    ran = subprocess.run(
        ["docker", "tag", "ml-predictor-of-the-guide:latest", f"{repository}/ml-predictor:1.2.0"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode != 0
    assert "No such image" in ran.stderr


def test_an_image_is_a_manifest_a_configuration_and_layers(repository: names.Repository) -> None:
    """Erratum 26: two layers, a configuration and a manifest are four objects, each with its own digest."""
    image = repository.image("app")
    digest = registry.push(image.tag("1.0.0"), [{"a.txt": "one"}, {"b.txt": "two"}])
    found = registry.manifest(image.tag("1.0.0"))
    assert found.digest == digest.value
    assert len({found.digest, *found.blobs}) == 4
