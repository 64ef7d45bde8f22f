"""The repository's automation: workflows, Cloud Build, hooks and updates."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import yaml
from click.testing import CliRunner
from google.cloud.devtools.cloudbuild_v1 import types
from google.protobuf import json_format

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
OURS = [WORKFLOWS / f"{name}.yml" for name in ("test", "weekly", "real", "engines", "image")]
CLOUD_BUILD = ROOT / "cloudbuild.test.yaml"
SCHEMAS = {
    "vendor.github-workflows": OURS,
    "custom.github-workflows-require-timeout": OURS,
    "vendor.dependabot": [ROOT / ".github" / "dependabot.yml"],
    "vendor.cloudbuild": [CLOUD_BUILD, ROOT / "cloudbuild.yaml"],
}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in read(path)["jobs"].values():
        yield from job["steps"]


def verbs() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))


def wrong(command: str) -> str:
    """Return what is wrong with a workflow's command, which must be `make TARGET… [NAME=VALUE…]`."""
    words = shlex.split(command)
    if words[:1] != ["make"]:
        return f"{command!r} isn't make"
    targets = [word for word in words[1:] if "=" not in word]
    unknown = sorted(set(targets) - verbs())
    return f"the Makefile has no {', '.join(unknown)}" if unknown or not targets else ""


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_follow_their_schemas(schema: str) -> None:
    ran = CliRunner().invoke(check_jsonschema.main, ["--builtin-schema", schema, *map(str, SCHEMAS[schema])])
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_every_command_is_a_target_of_the_makefile(path: Path) -> None:
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    assert [found for command in commands if (found := wrong(command))] == []


@pytest.mark.parametrize("command", ["make nothing", "make ARGS=x", "pip install x", "make test nothing", "make"])
def test_other_command_is_refused(command: str) -> None:
    assert wrong(command)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_workflow_has_few_permissions_and_no_expression_in_scripts(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    # Actions have a version, and the checkout leaves no token behind.
    used = {step["uses"]: step.get("with", {}) for step in steps(path) if "uses" in step}
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in used)
    assert used["actions/checkout@v4"] == {"persist-credentials": False}
    assert "secrets." not in path.read_text(encoding="utf-8")
    assert not any("${{" in step["run"] for step in steps(path) if "run" in step)


def test_each_change_is_tested_on_every_python() -> None:
    workflow = read(WORKFLOWS / "test.yml")
    # YAML 1.1 reads `on` as true.
    assert set(workflow[True]) == {"push", "pull_request"}
    minimum = re.search(r'requires-python = ">=(3\.\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert minimum
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"][0] == minimum[1]
    (test,) = (step for step in steps(WORKFLOWS / "test.yml") if "run" in step)
    assert test["env"] == {"WORKBOOK_PYTHON": "${{ steps.python.outputs.python-path }}"}


def test_weekly_run_uses_the_newest_versions_and_reports_failures() -> None:
    path = WORKFLOWS / "weekly.yml"
    assert "schedule" in read(path)[True]
    assert [step["run"] for step in steps(path) if "run" in step] == ["make lock", "make test", "make doctor"]
    tells = list(steps(path))[-1]
    assert tells["if"] == "failure()"
    assert "issues.create" in tells["with"]["script"]
    assert read(path)["jobs"]["newest"]["permissions"] == {"contents": "read", "issues": "write"}


def test_real_run_is_manual_keyless_limited_and_swept() -> None:
    path = WORKFLOWS / "real.yml"
    workflow = read(path)
    assert set(workflow[True]) == {"workflow_dispatch"}
    job = workflow["jobs"]["real"]
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    assert job["environment"] == "google"
    auth = next(step for step in steps(path) if step.get("uses", "").startswith("google-github-actions/auth@"))
    assert set(auth["with"]) == {"workload_identity_provider", "service_account"}
    run, swept = (step for step in steps(path) if "run" in step)
    assert "--max-usd=" in run["run"]
    assert swept["if"] == "always()"
    assert "make sweep" in swept["run"]


def test_newest_docker_runs_everything_and_macos_the_set_up() -> None:
    jobs = read(WORKFLOWS / "engines.yml")["jobs"]
    made = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert made == {"newest-docker": ["make run ARGS=--strict"], "macos": ["make setup", "make site"]}
    (docker,) = (step for step in jobs["newest-docker"]["steps"] if "setup-docker" in step.get("uses", ""))
    assert docker["with"]["version"] == "latest"
    assert json.loads(docker["with"]["daemon-config"]) == {"features": {"containerd-snapshotter": True}}
    assert jobs["macos"]["runs-on"].startswith("macos-")
    # CONTRIBUTING says that these workflows have not been run.
    assert re.search(r"engines\.yml[^.]*\*not run here\*", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def test_published_image_is_the_one_tested_on_both_architectures() -> None:
    jobs = read(WORKFLOWS / "image.yml")["jobs"]
    (built,) = (step["with"] for step in jobs["build"]["steps"] if "build-push-action" in step.get("uses", ""))
    assert built["platforms"] == "linux/amd64,linux/arm64"
    assert built["file"] == "image/Dockerfile"
    assert (built["sbom"], built["provenance"]) == (True, "mode=max")
    # The tag is not a version until the tests have passed.
    assert built["tags"].endswith(":candidate")
    assert jobs["build"]["outputs"] == {"digest": "${{ steps.build.outputs.digest }}"}
    assert [machine.endswith("-arm") for machine in jobs["test"]["strategy"]["matrix"]["machine"]] == [False, True]
    (tried,) = (step for step in jobs["test"]["steps"] if "run" in step)
    assert tried["run"] == "make soak ARGS=tests/image"
    assert tried["env"]["WORKBOOK_IMAGE"].endswith("@${{ needs.build.outputs.digest }}")
    assert jobs["publish"]["needs"] == ["build", "test"]
    (published,) = (step for step in jobs["publish"]["steps"] if "run" in step)
    assert published["run"] == "make publish"
    assert published["env"]["DIGEST"] == "${{ needs.build.outputs.digest }}"
    may_push = [name for name, job in jobs.items() if job["permissions"].get("packages") == "write"]
    assert may_push == ["build", "publish"]
    assert re.search(r"image\.yml[^.]*\*not run here\*", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def test_every_workflow_uses_the_recorded_gcloud() -> None:
    recorded = json.loads((ROOT / "docs" / "recorded_with.json").read_text(encoding="utf-8"))["gcloud"]
    assert read(CLOUD_BUILD)["substitutions"]["_IMAGE"].endswith(f":{recorded}")
    for name in ("test.yml", "real.yml", "engines.yml"):
        (gcloud,) = (step for step in steps(WORKFLOWS / name) if "setup-gcloud" in step.get("uses", ""))
        # Notebook 7 scans with the component.
        assert gcloud["with"] == {"version": recorded, "install_components": "beta, local-extract"}


def test_cloud_build_runs_all_parts_of_the_tests_in_parallel() -> None:
    build = types.Build.pb()()
    json_format.ParseDict(read(CLOUD_BUILD), build)
    made = {step.id: shlex.join(list(step.args)[list(step.args).index("make") :]) for step in build.steps}
    assert [found for command in made.values() if (found := wrong(command))] == []
    assert made.pop("setup") == "make setup"
    assert all(list(step.wait_for) == ["setup"] for step in build.steps if step.id != "setup")
    parts = [part for command in made.values() for part in re.findall(r"tests/\w+", command)]
    folders = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/test_*.py")}
    assert len(parts) == len(set(parts))
    assert set(parts) == folders


def test_hooks_use_the_locked_tools() -> None:
    hooks = [hook for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in hooks} >= {"ruff-check", "ruff-format", "mypy"}
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in hooks)
