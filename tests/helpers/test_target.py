"""The environment of each world, and the two directions between docker's names and Google's."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import names, target
from helpers.target import NoTarget, SandboxInfo, Target

INFO = SandboxInfo(
    pid=1,
    port=5001,
    edge_port=5999,
    project_id="ml-workbook-lab",
    project_number="123456789012",
    region="us-central1",
    learner="learner@ml-workbook-lab.iam.gserviceaccount.com",
    billing_account="01SAND-B0XB0X-000001",
    started="2026-11-02T09:00:00Z",
)
HOME = Path("/somewhere/.sandbox")
ENGINE = {"DOCKER_HOST": "unix:///engine.sock", "DOCKER_BUILDKIT": "0"}


def sandbox(base: dict[str, str] | None = None) -> dict[str, str | None]:
    return target.sandbox_environment(
        HOME, INFO, ENGINE, run="lab", python_image="base:1", base=base or {"PATH": "/bin"}
    )


def here() -> Target:
    return target.current(target.apply(sandbox(), {"PATH": "/bin"}))


def test_names_go_to_docker_and_come_back() -> None:
    tag = names.Tag.parse("us-central1-docker.pkg.dev/ml-workbook-lab/ml-images/ml-predictor:v1")
    shown = here().docker_name(tag)
    assert shown == f"localhost:5001/{tag}"
    assert here().canonical(shown) == str(tag)


@pytest.mark.parametrize(
    ("shown", "reads"),
    [
        ("push to localhost:5001/us-central1-docker.pkg.dev/p/r", "push to us-central1-docker.pkg.dev/p/r"),
        ("docker login localhost:5001", "docker login us-central1-docker.pkg.dev"),
        ("curl http://localhost:5001/v2/", "curl https://us-central1-docker.pkg.dev/v2/"),
        ("http://localhost:5001/app-1.us-central1.run.app/", "https://app-1.us-central1.run.app/"),
        (
            "http://127.0.0.1:5001/artifactregistry.googleapis.com/v1/projects",
            "https://artifactregistry.googleapis.com/v1/projects",
        ),
        ("localhost:50010/x and mylocalhost:5001", "localhost:50010/x and mylocalhost:5001"),
        (
            "localhost:5001/us-central1-docker.pkg.dev.evil.example/x",
            "us-central1-docker.pkg.dev/us-central1-docker.pkg.dev.evil.example/x",
        ),
    ],
)
def test_canonical_removes_the_sandbox(shown: str, reads: str) -> None:
    assert here().canonical(shown) == reads
    assert not here().shows_sandbox(here().canonical(shown))


def test_shows_sandbox_looks_at_the_whole_port() -> None:
    assert here().shows_sandbox("The push refers to repository [localhost:5001/x]")
    assert not here().shows_sandbox("localhost:50011")


def test_sandbox_environment_points_every_client_at_one_bundle_and_one_proxy() -> None:
    changes = sandbox()
    assert {changes[name] for name in target.CA_VARIABLES} == {"/somewhere/.sandbox/ca/bundle.pem"}
    assert changes["SSL_CERT_DIR"] is None
    assert changes["HTTPS_PROXY"] == changes["https_proxy"] == "http://127.0.0.1:5999"
    assert changes["NO_PROXY"] == changes["no_proxy"] == "localhost,127.0.0.1"


def test_foreign_settings_are_unset_and_gclouds_python_stays() -> None:
    base = {
        "PATH": "/bin",
        "CLOUDSDK_CORE_PROJECT": "mine",
        "CLOUDSDK_PYTHON": "/usr/bin/python3",
        "GOOGLE_CLOUD_QUOTA_PROJECT": "mine",
        "DOCKER_CONTEXT": "desktop",
    }
    merged = target.apply(sandbox(base), base)
    assert "CLOUDSDK_CORE_PROJECT" not in merged
    assert "GOOGLE_CLOUD_QUOTA_PROJECT" not in merged
    assert "DOCKER_CONTEXT" not in merged
    assert merged["CLOUDSDK_PYTHON"] == "/usr/bin/python3"
    assert merged["CLOUDSDK_CONFIG"] == "/somewhere/.sandbox/gcloud"


def test_the_users_own_proxy_goes_to_the_sandbox_and_survives_nesting() -> None:
    base = {"PATH": "/bin", "HTTPS_PROXY": "http://proxy.example:3128", "REQUESTS_CA_BUNDLE": "/etc/own.pem"}
    outside = target.process_environment(base)
    assert outside["WORKBOOK_UPSTREAM_PROXY"] == "http://proxy.example:3128"
    assert outside["REQUESTS_CA_BUNDLE"] == "/etc/own.pem"
    inside = target.process_environment(target.apply(sandbox(base), base))
    assert inside["WORKBOOK_UPSTREAM_PROXY"] == "http://proxy.example:3128"
    assert "HTTPS_PROXY" not in inside
    assert "REQUESTS_CA_BUNDLE" not in inside


def test_google_has_no_proxy_and_no_ca_of_ours() -> None:
    changes = target.gcp_environment(
        HOME,
        project_id="my-project",
        project_number="1",
        run="20261102t090000z-abc123",
        engine=ENGINE,
        base={"PATH": "/bin"},
    )
    assert not set(changes) & {*target.CA_VARIABLES, "HTTPS_PROXY", "https_proxy"}
    found = target.current(target.apply(changes, {"PATH": "/bin"}))
    assert found.registry == found.registry_host == "us-central1-docker.pkg.dev"
    assert found.repository == "ml-images-20261102t090000z-abc123"
    assert found.docker_name(found.repository_name) == str(found.repository_name)
    assert found.canonical("localhost:5001") == "localhost:5001"
    assert found.owned_prefixes == ("us-central1-docker.pkg.dev/my-project/ml-images-20261102t090000z-abc123/",)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "make lab"),
        ({"WORKBOOK_TARGET": "aws"}, "sandbox or to gcp"),
        ({"WORKBOOK_TARGET": "gcp"}, "lacks PROJECT_ID"),
    ],
)
def test_no_world_says_what_to_do(environment: dict[str, str], says: str) -> None:
    with pytest.raises(NoTarget, match=says):
        target.current(environment)


def test_dockers_helper_is_found_beside_gcloud(tmp_path: Path) -> None:
    sdk, linked = tmp_path / "sdk" / "bin", tmp_path / "bin"
    sdk.mkdir(parents=True)
    linked.mkdir()
    for tool in ("gcloud", "docker-credential-gcloud"):
        (sdk / tool).write_text("#!/bin/sh\n")
        (sdk / tool).chmod(0o755)
    (linked / "gcloud").symlink_to(sdk / "gcloud")
    assert target.with_gcloud_helpers(str(linked)) == f"{linked}:{sdk}"
    assert target.with_gcloud_helpers(str(sdk)) == str(sdk)
    assert target.with_gcloud_helpers(str(tmp_path)) == str(tmp_path)


def test_incomplete_sandbox_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.json"
    path.write_text('{"pid": 1}')
    with pytest.raises(ValueError, match="port"):
        SandboxInfo.read(path)


def test_what_git_says_reads_as_on_github() -> None:
    said = "To http://localhost:5001/github.com/example.com/app.git\n   1a2b3c4..5d6e7f8  main -> main"
    assert here().canonical(said) == said.replace("http://localhost:5001/github.com", "https://github.com")
