"""The learners' workflow for GitHub Actions: no key, deployed by digest, and no expression in a script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).parents[2] / ".github" / "workflows" / "deploy.yml"


@pytest.fixture
def workflow() -> dict[str, Any]:
    """The workflow, whose key `on` YAML 1.1 reads as true."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workflow["jobs"]["deploy"]["steps"]
    return found


def test_workflow_runs_on_main_and_by_hand_with_a_commit(workflow: dict[str, Any]) -> None:
    events = workflow[True]
    assert events["push"]["branches"] == ["main"]
    assert events["workflow_dispatch"]["inputs"]["rollback_to"]["default"] == ""


def test_workflow_signs_in_without_a_key(workflow: dict[str, Any]) -> None:
    assert workflow["jobs"]["deploy"]["permissions"] == {"contents": "read", "id-token": "write"}
    auth = next(step for step in steps(workflow) if step.get("uses", "").startswith("google-github-actions/auth@"))
    assert set(auth["with"]) == {"workload_identity_provider", "service_account", "token_format"}
    assert "secrets." not in FILE.read_text()


def test_scripts_contain_no_expression(workflow: dict[str, Any]) -> None:
    scripts = [step["run"] for step in steps(workflow) if "run" in step]
    assert scripts
    assert not any("${{" in script for script in scripts)


def test_every_action_has_a_version(workflow: dict[str, Any]) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in used)


def test_workflow_deploys_the_pushed_digest(workflow: dict[str, Any]) -> None:
    build, deploy = (step["run"] for step in steps(workflow)[-2:])
    assert 'docker push "$IMAGE:$COMMIT"' in build
    assert '--image="$IMAGE@$digest"' in deploy
    assert "--all-tags" not in build
    assert "latest" not in build + deploy


def test_rollback_builds_nothing(workflow: dict[str, Any]) -> None:
    build = next(step for step in steps(workflow) if step.get("name") == "Build and push")
    assert build["if"] == "inputs.rollback_to == ''"
