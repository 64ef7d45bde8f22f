"""What may go into the image: the Dockerfile's rules, and what the builder is sent."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "image" / "Dockerfile"
IGNORED = ROOT / "image" / "Dockerfile.dockerignore"
# What git keeps and no container needs: how the repository itself is kept.
UNSENT = re.compile(
    r"\.ci/|\.devcontainer/|\.github/|\.editorconfig$|\.gitattributes$|\.gitignore$|\.pre-commit-config\.yaml$|compose\.yaml$"
)


def instructions(text: str) -> list[str]:
    """The instructions of a Dockerfile, one a line, without comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [line for line in joined.splitlines() if line.strip()]


def final(text: str) -> list[str]:
    """The instructions of the last stage: its layers are what is published."""
    found = instructions(text)
    return found[max(place for place, line in enumerate(found) if line.startswith("FROM ")) :]


def wrong(text: str) -> list[str]:
    """What a Dockerfile would leave in a layer, or let change without a commit."""
    every, last = instructions(text), final(text)
    found = []
    if not re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", "\n".join(every), re.MULTILINE):
        found.append("the base is not pinned by its digest")
    # The classic builder builds every stage, also those that nobody asked for: a choice belongs into one RUN.
    found += [
        f"a base of another name: {line}" for line in every if re.match(r"FROM (?!\$\{BASE\}(?: AS \w+)?$)", line)
    ]
    found += [
        f"the lists stay: {line}" for line in last if "apt-get" in line and "rm -rf /var/lib/apt/lists/*" not in line
    ]
    found += [
        f"a cache stays: {line}"
        for line in every
        if "install.sh" in line and line.startswith("RUN") and "PIP_NO_CACHE_DIR=1" not in line
    ]
    found += [
        f"a secret in a layer: {line}"
        for line in every
        if re.search(r"^(?:COPY|ADD|ARG|ENV).*(?:\.pem|\.crt|_CERT|TOKEN|PASSWORD|SECRET)", line)
    ]
    found += [
        f"read without a mount: {line}"
        for line in every
        if "/run/ca.pem" in line and "--mount=type=secret,id=ca" not in line
    ]
    # With it the engine would take the learner's own proxy for the sandbox's, and drop it.
    found += [f"a world for every process: {line}" for line in every if re.search(r"^(?:ENV|ARG).*WORKBOOK_HOME", line)]
    return found


def test_layers_keep_no_secret_and_no_cache() -> None:
    assert wrong(DOCKERFILE.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("@sha256:a29215", ":a29215", "not pinned"),
        ("FROM ${BASE}\n", "FROM gcloud-${GCLOUD}\n", "another name"),
        (" && rm -rf /var/lib/apt/lists/*", " && rm -rf", "the lists stay"),
        ("PIP_NO_CACHE_DIR=1 ", "", "a cache stays"),
        ("COPY . .", "COPY ca.pem /etc/ssl/\nCOPY . .", "a secret in a layer"),
        ("ARG GCLOUD=\n", "ARG PIP_CERT=/etc/ssl/cert\nARG GCLOUD=\n", "a secret in a layer"),
        ("RUN --mount=type=secret,id=ca,target=/run/ca.pem ", "RUN ", "read without a mount"),
        ("LANG=C.UTF-8", "LANG=C.UTF-8 WORKBOOK_HOME=/x", "a world for every process"),
    ],
    ids=["tag", "stage", "lists", "pip", "copied CA", "CA as an argument", "CA without a mount", "world"],
)
def test_broken_rule_is_reported(before: str, after: str, said: str) -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert before in text
    assert any(said in one for one in wrong(text.replace(before, after)))


def test_container_starts_stops_and_stores_as_documented() -> None:
    last = final(DOCKERFILE.read_text(encoding="utf-8"))
    said = {word: rest for word, _, rest in (line.partition(" ") for line in last)}
    # -g: a signal that reached the entrypoint alone would leave what the set-up waits for.
    assert json.loads(said["ENTRYPOINT"]) == ["/usr/bin/tini", "-g", "--", "/usr/local/bin/workbook-entrypoint"]
    assert json.loads(said["CMD"]) == ["lab"]
    assert json.loads(said["VOLUME"]) == ["/opt/workbook/.sandbox", "/opt/workbook/.sandbox/engine"]
    assert said["EXPOSE"] == "8888 5001"
    assert {"title", "description", "licenses", "version", "revision"} <= set(
        re.findall(r"org\.opencontainers\.image\.(\w+)=", said["LABEL"])
    )


def sent(folder: Path) -> set[str]:
    """The files of a folder that the builder gets."""
    lines = IGNORED.read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    return {path for path in exclude_paths(str(folder), patterns) if (folder / path).is_file()}


def test_build_context_contains_what_git_tracks(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not in a clone")
    kept = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    for name in kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sent(tmp_path) == {name for name in kept if not UNSENT.match(name)}


def test_build_context_contains_no_secret_and_nothing_generated(tmp_path: Path) -> None:
    names = [
        ".env",
        ".git/config",
        ".sandbox/learner-key.json",
        ".venv/bin/python",
        "cloudbuild.key.json",
        "helpers/.env",
        "helpers/__pycache__/x.pyc",
        "machine/ca.pem",
        "machine/private-key.json",
        "notebooks/.ipynb_checkpoints/x.ipynb",
        "runs/1/summary.json",
        "sandbox/key.json",
        "tests/.pytest_cache/x",
    ]
    for name in [*names, "helpers/kept.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sent(tmp_path) == {"helpers/kept.py"}
