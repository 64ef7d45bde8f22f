"""The console script, as a process."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main
from cli.run.plans import BadRequest
from cli.world.starter import World

ROOT = Path(__file__).resolve().parents[2]


def workbook(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=ROOT,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_env_is_ready_for_eval(world: World) -> None:
    printed = workbook("env", "--home", str(world.home))
    assert printed.returncode == 0, printed.stderr
    assert all(line.startswith(("export ", "unset ")) for line in printed.stdout.splitlines())
    shell = subprocess.run(
        [
            "sh",
            "-c",
            'eval "$1"; printf "%s" "$PROJECT_ID $HTTPS_PROXY ${CLOUDSDK_CORE_PROJECT-unset}"',
            "sh",
            printed.stdout,
        ],
        env=dict(os.environ) | {"CLOUDSDK_CORE_PROJECT": "mine"},
        capture_output=True,
        text=True,
        check=True,
    )
    project, proxy, _ = shell.stdout.split()
    assert project == world.info.project_id
    assert proxy == f"http://127.0.0.1:{world.info.edge_port}"


def test_env_unsets_foreign_settings(world: World) -> None:
    printed = workbook("env", "--home", str(world.home), environment={"CLOUDSDK_CORE_PROJECT": "mine"})
    assert "unset CLOUDSDK_CORE_PROJECT" in printed.stdout.splitlines()


def test_env_puts_our_own_gcloud_on_the_path_where_there_is_no_other(world: World, tmp_path: Path) -> None:
    own = tmp_path / "gcloud-cli"
    (own / "google-cloud-sdk/bin").mkdir(parents=True)
    (own / "google-cloud-sdk/bin/gcloud").write_text("#!/bin/sh\n")
    (own / "google-cloud-sdk/bin/gcloud").chmod(0o755)
    (tmp_path / "bin").mkdir()
    if docker := shutil.which("docker"):
        (tmp_path / "bin/docker").symlink_to(docker)
    # Without the programs that the set-up may have unpacked for this clone, whose folder is on the PATH too.
    homes = {"WORKBOOK_GCLOUD_HOME": str(own), "WORKBOOK_ENGINE_HOME": str(tmp_path / "engine")}
    with_none = {**homes, "PATH": str(tmp_path / "bin")}
    printed = workbook("env", "--home", str(world.home), environment=with_none)
    assert f"export PATH={tmp_path}/bin:{own}/google-cloud-sdk/bin" in printed.stdout.splitlines()
    # And nothing of it where the user has one.
    (tmp_path / "bin/gcloud").symlink_to("/bin/true")
    printed = workbook("env", "--home", str(world.home), environment=with_none)
    assert str(own) not in printed.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl isn't installed")
def test_a_curl_in_that_shell_reaches_google_in_the_sandbox(world: World, environment: dict[str, str]) -> None:
    answered = subprocess.run(
        [
            "curl",
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "https://artifactregistry.googleapis.com/v1/projects/x/locations",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answered.stdout in ("401", "403"), answered.stderr


def test_env_and_status_say_what_to_do_when_nothing_runs(tmp_path: Path) -> None:
    printed = workbook("env", "--home", str(tmp_path))
    assert printed.returncode == 1
    assert printed.stdout == ""
    assert "workbook start" in printed.stderr
    assert workbook("status", "--home", str(tmp_path)).returncode == 1


def test_start_status_stop(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "world"))
    started = workbook("start", "--port", "0", *home)
    assert started.returncode == 0, started.stderr
    assert workbook("status", *home).returncode == 0
    assert workbook("stop", *home).stdout == "The sandbox has stopped.\n"
    assert workbook("stop", *home).stdout == "No sandbox was running.\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--only", "77"), "no notebook"),
        (("run", "--only", ","), "names no notebook"),
        (("run", "--target", "gcp"), "PROJECT="),
        (("run", "--target", "moon"), "sandbox or gcp"),
        (("run", "-p", "novalue"), "NAME=VALUE"),
    ],
)
def test_a_bad_request_is_one_message_and_exit_2(arguments: tuple[str, ...], says: str) -> None:
    refused = workbook(*arguments)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=1.5", 1.5), ("a=true", True), ("a=us-central1", "us-central1"), ("a=", ""), ("a=b=c", "b=c")],
)
def test_parameters_get_their_type(text: str, value: object) -> None:
    assert main.read_parameter(text) == ("a", value)
    assert type(main.read_parameter(text)[1]) is type(value)


def test_a_parameter_without_a_name_is_refused() -> None:
    with pytest.raises(BadRequest):
        main.read_parameter("=1")


def test_exported_lines_are_quoted() -> None:
    value = "a 'b' $c"
    assert main.export_lines({"B": value, "A": None}) == ["unset A", f"export B={shlex.quote(value)}"]
