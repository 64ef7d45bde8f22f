"""How the container is started: by compose.yaml, by the devcontainer, by the line in docs/container.md."""

from __future__ import annotations

import copy
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
DEVCONTAINER = ROOT / ".devcontainer" / "devcontainer.json"
PAGE = ROOT / "docs" / "container.md"
DOCKERFILE = ROOT / "image" / "Dockerfile"

Json = dict[str, Any]


def compose() -> Json:
    found: Json = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return found


def places() -> list[str]:
    """The folders of the image that are volumes."""
    found = re.search(r"^VOLUME (\[.*\])$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return [str(place) for place in json.loads(found[1])]


def wrong(about: Json) -> list[str]:
    """What would let others in, lose a learner's work, or hide the sandbox."""
    service = about["services"]["workbook"]
    found = [f"{port} is not this machine's alone" for port in service["ports"] if not port.startswith("127.0.0.1:")]
    if service["ports"] != ["127.0.0.1:8888:8888", "127.0.0.1:5001:5001"]:
        found.append("another port than the addresses that are printed")
    kept = dict(volume.split(":") for volume in service["volumes"])
    if sorted(kept.values()) != sorted(places()):
        found.append("a volume of the image without a name")
    found += [f"{name} is no volume of the file" for name in kept if name not in about["volumes"]]
    # A name without a registry would be asked for at Docker Hub; none is built and called as `make image` calls it.
    if service["image"] != "${WORKBOOK_IMAGE:-}" or f"{about['name']}-workbook" != "artifact-registry-workbook":
        found.append("an image that nobody publishes")
    if service.get("network_mode") != "bridge":
        found.append("a name server that no container inside reaches")
    if not service["privileged"]:
        found.append("no Docker Engine")
    # With it the engine would take the learner's own proxy for the sandbox's, and drop it.
    found += [f"{name} for every process" for name in service["environment"] if name == "WORKBOOK_HOME"]
    return found


def test_compose_keeps_to_its_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stdout


def test_compose_lets_nobody_else_in_and_keeps_the_work() -> None:
    assert wrong(compose()) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ports", ["8888:8888", "127.0.0.1:5001:5001"], "not this machine's alone"),
        ("ports", ["127.0.0.1:8888:8888", "127.0.0.1:5002:5001"], "another port"),
        ("volumes", ["home:/opt/workbook/.sandbox"], "without a name"),
        ("volumes", ["home:/opt/workbook/.sandbox", "other:/opt/workbook/.sandbox/engine"], "no volume of the file"),
        ("image", "artifact-registry-workbook", "nobody publishes"),
        ("network_mode", "default", "a name server"),
        ("privileged", False, "no Docker Engine"),
        ("environment", {"WORKBOOK_HOME": "/x"}, "for every process"),
    ],
    ids=["every address", "another port", "one volume", "unknown volume", "image", "network", "privilege", "world"],
)
def test_broken_compose_file_is_reported(name: str, value: object, said: str) -> None:
    about = copy.deepcopy(compose())
    about["services"]["workbook"][name] = value
    assert any(said in one for one in wrong(about))


def test_docker_run_line_has_the_options_of_compose() -> None:
    [line] = re.findall(r"^docker run (.*)$", PAGE.read_text(encoding="utf-8").replace("\\\n", ""), re.MULTILINE)
    words, service = shlex.split(line), compose()["services"]["workbook"]
    given = list(itertools.pairwise(words))
    assert "--privileged" in words
    assert [value for option, value in given if option == "-p"] == service["ports"]
    assert [value.split(":")[1] for option, value in given if option == "-v"] == places()
    assert words[-1] == "artifact-registry-workbook"


def test_devcontainer_uses_the_service_of_compose() -> None:
    about = json.loads(DEVCONTAINER.read_text(encoding="utf-8"))
    assert (DEVCONTAINER.parent / about["dockerComposeFile"]).resolve() == COMPOSE
    assert about["service"] in compose()["services"]
    # Its own command would take the place of JupyterLab's.
    assert about["overrideCommand"] is False
    workdir = re.findall(r"^WORKDIR (\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)[-1]
    assert about["workspaceFolder"] == workdir
    assert about["forwardPorts"] == [8888, 5001]
    python = about["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert python == f"{workdir}/.venv/bin/python"


def test_scripts_keep_unix_line_ends_on_windows(tmp_path: Path) -> None:
    settings = ["-c", "core.autocrlf=true", "-c", "core.eol=crlf", "-c", "advice.detachedHead=false"]
    cloned = subprocess.run(
        ["git", *settings, "clone", "--quiet", "--shared", "--depth=1", f"file://{ROOT}", str(tmp_path / "clone")],
        capture_output=True,
        text=True,
        check=False,
    )
    if cloned.returncode != 0:
        pytest.skip(f"no clone can be made here: {cloned.stderr.strip()}")
    files = [
        path for path in (tmp_path / "clone").rglob("*") if path.suffix in (".sh", ".py") or path.name == "Makefile"
    ]
    assert len(files) > 100
    assert [path.name for path in files if b"\r\n" in path.read_bytes()] == []
