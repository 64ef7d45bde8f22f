"""Every command of gcloud's groups artifacts and auth that concerns Docker repositories."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth
import pytest
from google.auth.transport.requests import AuthorizedSession

from helpers import projects
from helpers.names import Project

WHOLE = os.environ.get("WORKBOOK_SOAK") == "1"
HOST = "us-central1-docker.pkg.dev"
KIND = "application/vnd.oci.image.manifest.v1+json"
PLACE = ("--location=us-central1",)

# make test has tests/sandbox/artifact_registry/test_artifacts.py, where gcloud lists, downloads and annotates.
whole = pytest.mark.skipif(not WHOLE, reason="gcloud starts slowly: make soak runs all of it")

# `run(...)`: what the command prints, as JSON where it is asked for that.
Run = Callable[..., Any]


class Refused(Exception):
    """A gcloud command failed. The text is its error output."""


@pytest.fixture
def run(in_world: object, gcloud: Path) -> Run:
    """Run gcloud as the learner."""
    projects.enable(Project(os.environ["PROJECT_ID"]), "artifactregistry.googleapis.com")

    def call(*arguments: str, stdin: str = "") -> Any:
        done = subprocess.run(
            [gcloud, *arguments], input=stdin, capture_output=True, text=True, timeout=180, check=False
        )
        if done.returncode != 0:
            raise Refused(done.stderr)
        return json.loads(done.stdout) if "--format=json" in arguments else done.stdout

    return call


@pytest.fixture
def repository(run: Run) -> Iterator[str]:
    """The id of a repository, made and deleted by gcloud."""
    made = f"r-{secrets.token_hex(4)}"
    run("artifacts", "repositories", "create", made, "--repository-format=docker", *PLACE)
    yield made
    run("artifacts", "repositories", "delete", made, *PLACE, "--quiet")


@pytest.fixture
def push(in_world: object, repository: str) -> Iterator[Callable[..., str]]:
    """Push a new image, and return its digest."""
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    with AuthorizedSession(credentials) as session:

        def digest_of(content: bytes) -> str:
            return f"sha256:{hashlib.sha256(content).hexdigest()}"

        def call(package: str, *tags: str) -> str:
            base = f"https://{HOST}/v2/{os.environ['PROJECT_ID']}/{repository}/{package}"
            content = json.dumps({"salt": secrets.token_hex(8)}).encode()
            url = f"{base}/blobs/uploads/?digest={digest_of(content)}"
            assert session.post(url, data=content).status_code == 201
            kind = "application/vnd.oci.image.config.v1+json"
            config = {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
            body = json.dumps({"schemaVersion": 2, "mediaType": KIND, "config": config, "layers": []}).encode()
            query = "&".join(f"tag={tag}" for tag in tags)
            url = f"{base}/manifests/{digest_of(body)}?{query}"
            assert session.put(url, data=body, headers={"Content-Type": KIND}).status_code == 201
            return digest_of(body)

        yield call


def ids(found: list[dict[str, Any]], key: str = "name") -> list[str]:
    """Return the last parts of names."""
    return sorted(one[key].rpartition("/")[2] for one in found)


@whole
def test_images_and_their_tags(run: Run, repository: str, push: Callable[..., str]) -> None:
    first, second = push("team/nested", "v1", "latest"), push("team/nested", "v2")
    place = f"{HOST}/{os.environ['PROJECT_ID']}/{repository}/team/nested"
    listed = run("artifacts", "docker", "images", "list", place, "--include-tags", "--format=json")
    assert {one["version"]: sorted(one["tags"]) for one in listed} == {first: ["latest", "v1"], second: ["v2"]}
    # gcloud moves a tag by deleting and creating it.
    run("artifacts", "docker", "tags", "add", f"{place}:v2", f"{place}:latest")
    tagged = run("artifacts", "docker", "tags", "list", place, "--format=json")
    pointed = {one["tag"].rpartition("/")[2]: one["version"].rpartition("/")[2] for one in tagged}
    assert pointed == {"latest": second, "v1": first, "v2": second}
    with pytest.raises(Refused, match="because it is tagged"):
        run("artifacts", "docker", "images", "delete", f"{place}@{first}", "--quiet")
    run("artifacts", "docker", "images", "delete", f"{place}@{first}", "--delete-tags", "--quiet")
    left = run("artifacts", "docker", "images", "list", place.removesuffix("/team/nested"), "--format=json")
    assert [one["version"] for one in left] == [second]


@whole
def test_one_image(run: Run, repository: str, push: Callable[..., str]) -> None:
    digest = push("app", "v1")
    place = f"{HOST}/{os.environ['PROJECT_ID']}/{repository}/app"
    for reference in (f"{place}:v1", f"{place}@{digest}"):
        shown = run("artifacts", "docker", "images", "describe", reference, "--format=json")
        assert shown["image_summary"]["digest"] == digest
    run("artifacts", "docker", "tags", "delete", f"{place}:v1", "--quiet")
    with pytest.raises(Refused):
        run("artifacts", "docker", "images", "describe", f"{place}:v1")
    run("artifacts", "docker", "images", "delete", place, "--quiet")
    assert run("artifacts", "packages", "list", f"--repository={repository}", *PLACE, "--format=json") == []


@whole
def test_packages_versions_tags_and_files(run: Run, repository: str, push: Callable[..., str], tmp_path: Path) -> None:
    push("team/nested", "v1")
    one, two = push("app", "v1"), push("app")
    place = (f"--repository={repository}", *PLACE)
    of = ("--package=app", *place)  # with a slash in it `tags create` asks for another path than the rest of gcloud
    assert ids(run("artifacts", "packages", "list", *place, "--format=json")) == ["app", "nested"]
    assert "team%2Fnested" in run("artifacts", "packages", "describe", "team/nested", *place)
    assert ids(run("artifacts", "versions", "list", *of, "--format=json")) == sorted([one, two])
    assert one in run("artifacts", "versions", "describe", one, *of)
    run("artifacts", "tags", "create", "v2", f"--version={two}", *of)
    run("artifacts", "tags", "update", "v1", f"--version={two}", *of)
    assert ids(run("artifacts", "tags", "list", *of, "--format=json")) == ["v1", "v2"]
    run("artifacts", "tags", "delete", "v1", *of, "--quiet")
    run("artifacts", "versions", "delete", one, *of, "--quiet")
    assert two in ids(run("artifacts", "files", "list", *place, "--format=json"))
    assert two in run("artifacts", "files", "describe", two, *place)
    run("artifacts", "files", "download", two, *place, f"--destination={tmp_path}", "--local-filename=manifest")
    assert json.loads((tmp_path / "manifest").read_text())["mediaType"] == KIND
    with pytest.raises(Refused, match="tagged"):
        run("artifacts", "versions", "delete", two, *of, "--quiet")
    run("artifacts", "versions", "delete", two, *of, "--delete-tags", "--quiet")
    run("artifacts", "packages", "delete", "team/nested", *place, "--quiet")
    assert run("artifacts", "packages", "list", *place, "--format=json") == []


@whole
def test_repository_is_updated(run: Run, repository: str, tmp_path: Path) -> None:
    def repositories(verb: str, *arguments: str) -> Any:
        return run("artifacts", "repositories", verb, repository, *PLACE, "--format=json", *arguments)

    repositories("update", "--description=About", "--update-labels=team=ml")
    repositories("update", "--immutable-tags")
    shown = repositories("describe")
    assert (shown["description"], shown["labels"]) == ("About", {"team": "ml"})
    assert shown["dockerConfig"] == {"immutableTags": True}
    assert repositories("update", "--no-immutable-tags").get("dockerConfig", {}) == {}
    scanning = repositories("update", "--disable-vulnerability-scanning")["vulnerabilityScanningConfig"]
    assert scanning["enablementConfig"] == "DISABLED"
    repositories("update", "--allow-vulnerability-scanning")
    policies = [
        {"name": "old", "action": {"type": "Delete"}, "condition": {"tagState": "untagged", "olderThan": "30d"}},
        {"name": "keep", "action": {"type": "Keep"}, "mostRecentVersions": {"keepCount": 10}},
    ]
    (tmp_path / "policy.json").write_text(json.dumps(policies))
    repositories("set-cleanup-policies", f"--policy={tmp_path / 'policy.json'}", "--dry-run")
    assert {one["name"] for one in repositories("list-cleanup-policies")} == {"old", "keep"}
    repositories("delete-cleanup-policies", "--policynames=old,keep")
    assert "cleanupPolicies" not in repositories("describe")
    assert "us-central1" in [one["name"] for one in run("artifacts", "locations", "list", "--format=json")]
    for place in (PLACE, ()):
        assert repository in ids(run("artifacts", "repositories", "list", *place, "--format=json"))


@whole
def test_what_is_not_waited_for_is_done_all_the_same(run: Run) -> None:
    name = f"r-{secrets.token_hex(4)}"
    run("artifacts", "repositories", "create", name, "--repository-format=docker", *PLACE, "--async")
    assert name in ids(run("artifacts", "repositories", "list", *PLACE, "--format=json"))
    run("artifacts", "repositories", "delete", name, *PLACE, "--quiet", "--async")
    assert name not in ids(run("artifacts", "repositories", "list", *PLACE, "--format=json"))


@whole
def test_policy_is_updated(run: Run, repository: str, tmp_path: Path) -> None:
    def repositories(verb: str, *arguments: str) -> Any:
        return run("artifacts", "repositories", verb, repository, *PLACE, "--format=json", *arguments)

    reader = ("--member=allUsers", "--role=roles/artifactregistry.reader")
    given = repositories("add-iam-policy-binding", *reader)
    assert given["bindings"] == [{"members": ["allUsers"], "role": "roles/artifactregistry.reader"}]
    read = repositories("get-iam-policy")
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({**read, "bindings": []}))
    assert "bindings" not in repositories("set-iam-policy", str(file))
    file.write_text(json.dumps(read))
    with pytest.raises(Refused, match="concurrent policy changes"):
        repositories("set-iam-policy", str(file))
    repositories("add-iam-policy-binding", *reader)
    assert "bindings" not in repositories("remove-iam-policy-binding", *reader)


@whole
def test_signing_in(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (account,) = run("auth", "list", "--format=json")
    assert account["status"] == "ACTIVE"
    token = run("auth", "print-access-token").strip()
    assert token.startswith("ya29.")
    run("auth", "configure-docker", HOST, "--quiet")
    assert json.loads((tmp_path / "config.json").read_text())["credHelpers"] == {HOST: "gcloud"}
    helped = json.loads(run("auth", "docker-helper", "get", stdin=HOST))
    assert helped["Username"] == "_dcgcloud_token"
    assert helped["Secret"].startswith("ya29.")
    settings = run("artifacts", "settings", "describe", "--format=json")
    assert settings["name"].endswith("/projectSettings")
