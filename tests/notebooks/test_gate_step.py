"""The gates of notebook 7 and cloudbuild.yaml work: bash runs both on real scans."""

from __future__ import annotations

import contextlib
import io
import json
import re
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from google.cloud.devtools.cloudbuild_v1 import types
from google.protobuf import json_format

from helpers import names, projects, target
from helpers.names import Project

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "07_scan_for_vulnerabilities.ipynb"
CONFIG = Path(__file__).parents[2] / "cloudbuild.yaml"
METADATA = "opt/venv/lib/python3.11/site-packages/Django-{0}.dist-info/METADATA"


def _steps() -> dict[str, dict[str, Any]]:
    """Return the two steps by where they are from."""
    built = yaml.safe_load(CONFIG.read_text())["steps"]
    return {"notebook": _step(), "file": next(step for step in built if step["id"] == "gate")}


def _step() -> dict[str, Any]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    source = "".join(next(cell for cell in cells if cell["id"] == "right-step")["source"])
    block = re.search(r"```yaml\n(.*?)```", source, re.DOTALL)
    assert block
    [step] = yaml.safe_load(block[1])
    found: dict[str, Any] = step
    return found


def _substituted(text: str, values: dict[str, str]) -> str:
    """Substitute like Cloud Build: `$$` is one dollar, and an unknown name is an error."""
    return re.sub(
        r"\$\$|\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", lambda match: "$" if match[0] == "$$" else values[match[1]], text
    )


def test_googles_schema_accepts_the_step() -> None:
    build = json_format.ParseDict({"steps": [_step()]}, types.Build.pb()())
    assert build.steps[0].id == "gate"


@pytest.fixture(scope="module")
def images(engine: docker.DockerClient, python_image: str, environment: dict[str, str]) -> Iterator[names.Image]:
    """Two images in the engine: `old` has a Django with CRITICAL findings, `mended` one without."""
    location = names.Location(names.Project(environment["PROJECT_ID"]), environment["REGION"])
    image = names.Repository(location, f"step-{secrets.token_hex(3)}").image("app")
    for tag, version in (("old", "5.2.7"), ("mended", "5.2.19")):
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            dockerfile = f"FROM {python_image}\nCOPY METADATA /{METADATA.format(version)}\n"
            for name, text in (("Dockerfile", dockerfile), ("METADATA", f"Name: Django\nVersion: {version}\n")):
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        context.seek(0)
        name = f"{image}:{tag}"
        engine.images.build(fileobj=context, custom_context=True, tag=name, labels={"workbook-test": name}, rm=True)
    yield image
    for tag in ("old", "mended"):
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.images.remove(f"{image}:{tag}")


@pytest.mark.docker
@pytest.mark.gcloud
@pytest.mark.slow
@pytest.mark.usefixtures("gcloud")
@pytest.mark.parametrize(
    ("where", "tag", "gate", "status", "says"),
    [
        ("notebook", "old", "", 1, "CVE-2025-64459"),
        ("notebook", "mended", "", 0, "Passed"),
        ("notebook", "no", "", 1, ""),
        ("file", "old", "CRITICAL", 1, "CVE-2025-64459"),
        ("file", "mended", "CRITICAL", 0, "Passed"),
        ("file", "no", "CRITICAL", 1, ""),
        ("file", "mended", "critical", 2, "Could not tell"),
    ],
)
def test_step_blocks_passes_or_stops_by_the_scan(
    where: str,
    tag: str,
    gate: str,
    status: int,
    says: str,
    images: names.Image,
    environment: dict[str, str],
    in_world: target.Target,
) -> None:
    projects.enable(Project(in_world.project_id), "ondemandscanning.googleapis.com")
    values = {
        "_REGION": images.repository.location.id,
        "PROJECT_ID": in_world.project_id,
        "_REPOSITORY": images.repository.id,
        "_IMAGE": images.path,
        "_TAG": tag,
        "_GATE": gate,
    }
    step = _steps()[where]
    ran = subprocess.run(
        [step["entrypoint"], *(_substituted(one, values) for one in step["args"])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == status, ran.stdout + ran.stderr
    assert says in ran.stdout
    assert ("Passed" in ran.stdout) is (status == 0)
