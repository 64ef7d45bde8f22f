"""Builds that really run: the real gcloud, plain calls, and a Docker Engine behind the sandbox."""

from __future__ import annotations

import base64
import io
import json
import secrets
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from google.auth.transport.requests import AuthorizedSession

from cli.world import starter as starter
from helpers import builds, names, target, waiting
from machine import engine as machine_engine
from sandbox import containers
from sandbox.cloud_build import builders
from tests.sandbox.cloud_build.building import (
    DOCKER,
    RUNNING,
    base,
    bash,
    config,
    finish,
    log,
    look,
    of_build,
    start,
    until,
)
from tests.sandbox.conftest import account, ask, project

TREE = Path(__file__).parents[3]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.usefixtures("found_engine", "python_image")]


def test_gcloud_streams_the_log_while_the_build_runs(
    learner: AuthorizedSession, builder: str, gcloud: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "cloudbuild.yaml").write_text(
        "steps:\n- name: gcr.io/cloud-builders/docker\n  entrypoint: bash\n"
        "  args: [-c, 'cat hello.txt; echo in $PROJECT_ID']\n"
        f"serviceAccount: projects/{project()}/serviceAccounts/{builder}\n"
        "options: {defaultLogsBucketBehavior: REGIONAL_USER_OWNED_BUCKET}\n"
    )
    (tmp_path / "hello.txt").write_text("hello from the source\n")
    ran = subprocess.run(
        [str(gcloud), "builds", "submit", "--region=us-central1", "--config=cloudbuild.yaml", "."],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    for line in ("FETCHSOURCE", "hello from the source", f"in {project()}", "DONE", "SUCCESS"):
        assert line in ran.stdout
    build = look(learner, ask(learner, "GET", f"{base()}/builds")["builds"][0]["id"])
    assert [step["status"] for step in build["steps"]] == ["SUCCESS"]
    assert {"FETCHSOURCE", "BUILD"} == set(build["timing"])


def test_gcloud_beta_shows_the_first_step_s_lines_before_the_second_ends(
    learner: AuthorizedSession,
    builder: str,
    gcloud: Path,
    tmp_path: Path,
    environment: dict[str, str],
    engine: docker.DockerClient,
) -> None:
    """The second step ends only when the test has read the first one's line, and lets it."""
    email = f"projects/{project()}/serviceAccounts/{builder}"
    body = config(email, bash("echo the first step speaks"), bash("until test -e let-go; do sleep 0.2; done"))
    (tmp_path / "cloudbuild.json").write_text(json.dumps(body))
    arguments = ["beta", "builds", "submit", "--no-source", "--region=us-central1", "--config=cloudbuild.json"]
    with subprocess.Popen(
        [str(gcloud), *arguments],
        cwd=tmp_path,
        # As in a terminal cell.
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            said = []
            for line in running.stdout:
                said.append(line)
                if "the first step speaks" in line:
                    break
            assert "the first step speaks" in said[-1], "".join(said)
            build = ask(learner, "GET", f"{base()}/builds")["builds"][0]["id"]
            for _ in waiting.attempts(60):
                step = [one for one in of_build(engine, build) if one.status == "running" and one.name.endswith("1")]
                if step and step[0].exec_run(["touch", "/workspace/let-go"]).exit_code == 0:
                    break
            rest = running.stdout.read()
            assert running.wait(timeout=60) == 0, rest
        finally:
            running.kill()
    assert "DONE" in rest


def test_steps_get_what_their_configuration_says(learner: AuthorizedSession, builder: str) -> None:
    shared = [{"name": "shared", "path": "/shared"}]
    build = finish(
        learner,
        config(
            builder,
            bash(
                'mkdir sub; echo "$COLOUR" > sub/file; echo kept > /shared/kept', env=["COLOUR=green"], volumes=shared
            ),
            bash('test "$(pwd)" = /workspace/sub; cat file; ln -s /etc/passwd "$BUILDER_OUTPUT/output"', dir="sub"),
            {"name": DOCKER, "script": "#!/usr/bin/env python3\nprint('from', 'python')"},
            {"name": DOCKER, "script": 'echo "project $PROJECT_ID"', "automapSubstitutions": True},
            bash("cat /shared/kept; printf 5.3.1 > $BUILDER_OUTPUT/output", volumes=shared, env=["BUILDER_OUTPUT=/"]),
            bash("head -c 60000 /dev/zero > $BUILDER_OUTPUT/output; exit 3", allowFailure=True),
            bash("mkdir -p $BUILDER_OUTPUT/../99; touch $BUILDER_OUTPUT/../99/output; exit 4", allowExitCodes=[4]),
        ),
    )
    assert build["status"] == "SUCCESS", log(learner, build["id"])
    assert [step["status"] for step in build["steps"]] == [*["SUCCESS"] * 5, "FAILURE", "SUCCESS"]
    assert [step.get("exitCode", 0) for step in build["steps"]] == [0, 0, 0, 0, 0, 3, 4]
    written = log(learner, build["id"])
    for text in ("Step #1: green", "Step #2: from python", f"Step #3: project {project()}", "Step #4: kept"):
        assert text in written
    # What a step put out is in the results: the first 50 KB of a file, and no file that it only points at.
    put_out = [base64.b64decode(text) for text in build["results"]["buildStepOutputs"]]
    assert put_out == [b"", b"", b"", b"", b"5.3.1", bytes(50 * 1024), b""]


def test_steps_without_a_wait_run_at_the_same_time(learner: AuthorizedSession, builder: str) -> None:
    """Each of the two waits for what the other writes: one after the other they would never end."""
    meet = "touch {0}; for i in $(seq 200); do test -e {1} && exit 0; sleep 0.1; done; exit 1"
    build = finish(
        learner,
        config(builder, bash(meet.format("a", "b"), waitFor=["-"]), bash(meet.format("b", "a"), waitFor=["-"])),
    )
    assert build["status"] == "SUCCESS"


def repository(session: AuthorizedSession) -> str:
    name = f"built-{secrets.token_hex(4)}"
    url = f"https://artifactregistry.googleapis.com/v1/projects/{project()}/locations/us-central1/repositories"
    ask(session, "POST", f"{url}?repositoryId={name}", {"format": "DOCKER"})
    return name


def image_steps(image: str) -> list[dict[str, Any]]:
    dockerfile = "printf 'FROM scratch\\nCOPY file /\\n' > Dockerfile; date +%N > file"
    return [bash(dockerfile), {"name": DOCKER, "args": ["build", "--network", "cloudbuild", "-t", image, "."]}]


def test_images_are_pushed_and_their_digests_are_in_the_results(learner: AuthorizedSession, builder: str) -> None:
    name = repository(learner)
    image = f"us-central1-docker.pkg.dev/{project()}/{name}/app:v1"
    build = finish(learner, config(builder, *image_steps(image), images=[image]))
    assert build["status"] == "SUCCESS", log(learner, build["id"])
    found = names.Digest.parse(f"{image.removesuffix(':v1')}@{build['results']['images'][0]['digest']}")
    stored = ask(learner, "GET", f"https://us-central1-docker.pkg.dev/v2/{project()}/{name}/app/tags/list")
    assert stored["tags"] == ["v1"]
    assert "localhost" not in log(learner, build["id"])
    assert str(found).startswith("us-central1-docker.pkg.dev/")


def test_an_account_that_may_not_push_pushes_nothing(learner: AuthorizedSession) -> None:
    email = account(learner, "roles/logging.logWriter")
    name = repository(learner)
    image = f"us-central1-docker.pkg.dev/{project()}/{name}/app:v1"
    build = finish(learner, config(email, *image_steps(image), images=[image]))
    assert build["status"] == "FAILURE"
    assert build["failureInfo"]["type"] == "PUSH_NOT_AUTHORIZED"
    assert [step["status"] for step in build["steps"]] == ["SUCCESS", "SUCCESS"]
    told = log(learner, build["id"])
    assert "Permission 'artifactregistry.repositories.uploadArtifacts' denied" in told
    assert "ERROR: push attempt 10 detected failure, retrying: step exited with non-zero status: 1" in told
    assert "ERROR: failed to push because we ran out of retries." in told
    assert "retry budget exhausted (10 attempts)" in build["statusDetail"]
    assert [len(digest) for digest in build["results"]["buildStepImages"]] == [71, 71]
    assert f'error pushing image "{image}": retry budget exhausted (10 attempts): step exited with' in told
    listed = f"projects/{project()}/locations/us-central1/repositories/{name}/packages"
    assert ask(learner, "GET", f"https://artifactregistry.googleapis.com/v1/{listed}") == {}


@pytest.mark.gcloud
@pytest.mark.slow
def test_the_gate_of_cloudbuild_yaml_stops_the_build_before_the_push(
    learner: AuthorizedSession, gcloud: Path, python_image: str
) -> None:
    """The step as it stands in the file, in its own builder, reading the image that the step before it made."""
    email = account(learner, "roles/cloudbuild.builds.builder", "roles/ondemandscanning.admin")
    url = f"https://serviceusage.googleapis.com/v1/projects/{project()}/services/ondemandscanning.googleapis.com:enable"
    ask(learner, "POST", url, {})
    name = repository(learner)
    image = f"us-central1-docker.pkg.dev/{project()}/{name}/app:v1"
    old = "/opt/venv/lib/python3.11/site-packages/Django-5.2.7.dist-info/METADATA"
    source = (
        f"printf 'Name: Django\\nVersion: 5.2.7\\n' > M; printf 'FROM {python_image}\\nCOPY M {old}\\n' > Dockerfile"
    )
    gate = next(
        step for step in yaml.safe_load((TREE / "cloudbuild.yaml").read_text())["steps"] if step["id"] == "gate"
    )
    steps = [bash(source), {"name": DOCKER, "args": ["build", "-t", image, "."]}, gate]
    values = {"_REGION": "us-central1", "_REPOSITORY": name, "_IMAGE": "app", "_TAG": "v1", "_GATE": "CRITICAL"}
    build = finish(learner, config(email, *steps, images=[image], substitutions=values))
    told = log(learner, build["id"])
    assert [step["status"] for step in build["steps"]] == ["SUCCESS", "SUCCESS", "FAILURE"], told
    assert build["steps"][2]["exitCode"] == 1
    assert "CVE-2025-64459" in told
    listed = f"projects/{project()}/locations/us-central1/repositories/{name}/packages"
    assert ask(learner, "GET", f"https://artifactregistry.googleapis.com/v1/{listed}") == {}


def test_an_image_that_no_step_made(learner: AuthorizedSession, builder: str) -> None:
    image = f"us-central1-docker.pkg.dev/{project()}/r/nothing:v1"
    build = finish(learner, config(builder, bash("true"), images=[image]))
    assert (build["status"], build["failureInfo"]["type"]) == ("FAILURE", "PUSH_IMAGE_NOT_FOUND")


def test_a_step_sees_its_workspace_and_nothing_of_this_machine(
    learner: AuthorizedSession, builder: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("x")
    looks = f"test ! -e {tmp_path}/secret; test ! -e {TREE}/helpers; env | cut -d= -f1 | sort; ls /builder/home"
    build = finish(learner, config(builder, bash(looks)))
    assert build["status"] == "SUCCESS", log(learner, build["id"])
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in log(learner, build["id"])


def test_gcloud_in_a_step_is_the_build_s_account(learner: AuthorizedSession, gcloud: Path) -> None:
    email = account(learner, "roles/logging.logWriter")
    step = {
        "name": "gcr.io/google.com/cloudsdktool/cloud-sdk",
        "args": ["artifacts", "repositories", "list", "--location=us-central1"],
    }
    build = finish(learner, config(email, {**step, "entrypoint": "gcloud"}))
    assert build["status"] == "FAILURE"
    assert "artifactregistry.repositories.list" in log(learner, build["id"])


def tar(*members: tuple[str, bytes], link: tuple[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            archive.addfile(member)
    return out.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        tar(("../out", b"x")),
        tar(("/etc/x", b"x")),
        tar(link=("l", "/etc")),
        tar(link=("l", "a/../../x")),
        b"no archive",
    ],
    ids=["parent", "absolute", "link", "link-up", "garbage"],
)
def test_a_source_that_leads_outside_is_refused(learner: AuthorizedSession, builder: str, archive: bytes) -> None:
    bucket = f"{project()}-sources"
    url = "https://storage.googleapis.com"
    learner.post(f"{url}/storage/v1/b?project={project()}", json={"name": bucket})
    stored = learner.post(f"{url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=s.tgz", data=archive)
    assert stored.json()["size"] == str(len(archive))
    source = {"storageSource": {"bucket": bucket, "object": "s.tgz"}}
    build = finish(learner, config(builder, bash("echo ran"), source=source))
    assert (build["status"], build["failureInfo"]["type"]) == ("FAILURE", "FETCH_SOURCE_FAILED")
    assert "steps" not in build or not build["steps"][0].get("status")


REFUSED = [
    ({"steps": []}, "no build steps specified"),
    ({"steps": [{"name": "x"}], "unknown": 1}, 'Unknown name "unknown"'),
    ({"steps": [{"name": "x", "args": ["$_A"]}]}, "is not matched in the substitution data"),
    ({"steps": [{"name": "x"}], "images": ["x:$SHORT_SHA"]}, 'invalid image name "x:": could not parse reference'),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED)
def test_google_s_words(learner: AuthorizedSession, body: dict[str, Any], sentence: str) -> None:
    error = ask(learner, "POST", f"{base()}/builds", body, 400)["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    assert sentence in error["message"]


def test_triggers(learner: AuthorizedSession, builder: str) -> None:
    github = {"name": "on-main", "filename": "cloudbuild.yaml", "github": {"owner": "a", "name": "b", "push": {}}}
    error = ask(learner, "POST", f"{base()}/triggers", github, 400)["error"]
    assert "Repository mapping does not exist" in error["message"]
    body = {"name": f"by-hand-{secrets.token_hex(3)}", "build": config(builder, bash("echo $BRANCH_NAME"))}
    body["build"]["steps"][0]["args"][1] = "echo on $BRANCH_NAME"
    made = ask(learner, "POST", f"{base()}/triggers", body)
    assert ask(learner, "GET", f"{base()}/triggers/{made['name']}") == made
    assert made in ask(learner, "GET", f"{base()}/triggers")["triggers"]
    ran = ask(learner, "POST", f"{base()}/triggers/{made['id']}:run", {"source": {"branchName": "main"}})
    build = until(learner, ran["metadata"]["build"]["id"], lambda found: found["status"] not in RUNNING)
    assert "on main" in log(learner, build["id"])
    assert build["buildTriggerId"] == made["id"]
    assert ask(learner, "DELETE", f"{base()}/triggers/{made['id']}") == {}
    ask(learner, "GET", f"{base()}/triggers/{made['id']}", status=404)


def test_the_python_client_submits_follows_and_reads(
    learner: AuthorizedSession, builder: str, tmp_path: Path, in_world: target.Target
) -> None:
    (tmp_path / "file.txt").write_text("from python\n")
    (tmp_path / "cloudbuild.yaml").write_text(
        "steps:\n- id: show\n  name: gcr.io/cloud-builders/docker\n  entrypoint: cat\n  args: [file.txt]\n"
        f"serviceAccount: projects/$PROJECT_ID/serviceAccounts/{builder}\noptions: {{logging: CLOUD_LOGGING_ONLY}}\n"
    )
    config_file = builds.read(tmp_path / "cloudbuild.yaml")
    build = builds.submit(in_world.location, config_file, [tmp_path / "file.txt"], tmp_path)
    lines: list[str] = []
    done = builds.follow(in_world.location, build, write=lines.append)
    assert done.status == "SUCCESS"
    assert lines[0].startswith("✓ show")
    assert "from python" in log(learner, build)
    assert builds.recent(in_world.location)[0].id == build


@pytest.mark.parametrize("end", ["disable", "delete"])
def test_an_account_that_ends_takes_its_builds_along(
    learner: AuthorizedSession, builder: str, engine: docker.DockerClient, end: str
) -> None:
    other = account(learner, "roles/cloudbuild.builds.builder")
    running, spared = (start(learner, config(email, bash("sleep 30"))) for email in (builder, other))
    waiting = start(learner, config(builder, bash("sleep 30")))
    for build in (running, spared):
        until(learner, build, lambda _, build=build: of_build(engine, build))
    url = f"https://iam.googleapis.com/v1/projects/{project()}/serviceAccounts/{builder}"
    ask(learner, "DELETE", url) if end == "delete" else ask(learner, "POST", f"{url}:disable", {})
    for build in (running, waiting):
        found = look(learner, build)
        assert found["status"] == "FAILURE"
        assert found["statusDetail"] == f"service account {builder} is disabled or deleted"
    until(learner, running, lambda _: not of_build(engine, running))
    assert look(learner, spared)["status"] == "WORKING"
    ask(learner, "POST", f"{base()}/builds/{spared}:cancel", {})


@pytest.mark.parametrize("name", ["a:b", "a,b", 'a"b', "a b", "ä=b"])
def test_a_path_of_this_machine_is_shown_whatever_it_holds(
    found_engine: machine_engine.Engine, python_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable, value in machine_engine.environment(found_engine).items():
        monkeypatch.setenv(variable, value)
    folder = tmp_path / name
    folder.mkdir()
    (folder / "file").write_text("shown")
    run = ["run", "--rm", "--network", "host", *builders.bind(folder / "file", "/shown"), python_image]
    if found_engine.embedded and ":" in name:
        pytest.skip("the workbook's own engine refuses a colon where it has proot alone")
    assert containers.call(*run, "cat", "/shown") == "shown"
    # Nothing that is bound is read-only under proot, which `docker info` says.
    if not found_engine.embedded:
        with pytest.raises(containers.EngineFailed):
            containers.call(*run, "sh", "-c", "echo > /shown")
