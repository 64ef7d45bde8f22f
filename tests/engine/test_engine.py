"""The engine as a process, with the real `docker` command as its client."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.engine import conversations
from tests.engine.conftest import Running, ours


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("engine")
    with ours(folder) as one:
        made = one.docker("import", str(conversations.base(folder)), "base:1")
        assert made.returncode == 0, made.stderr
        yield one


def test_it_calls_itself_what_it_is(running: Running) -> None:
    told = running.docker("info", "--format", "{{.OperatingSystem}} {{.MemoryLimit}} {{.PidsLimit}}")
    assert told.stdout == "workbook engine false false\n"


def test_output_errors_and_exit_code_arrive(running: Running) -> None:
    ran = running.docker("run", "--rm", "base:1", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "out\n", "err\n")
    assert running.docker("ps", "--all", "--quiet").stdout == ""


def test_no_output_of_a_container_that_removes_itself_is_lost(running: Running) -> None:
    for _ in range(20):
        assert running.docker("run", "--rm", "base:1", "sh", "-c", "echo out").stdout == "out\n"


def test_input_arrives(running: Running) -> None:
    assert running.docker("run", "--rm", "--interactive", "base:1", "cat", text="hello").stdout == "hello"


def test_a_program_that_is_not_there_is_127(running: Running) -> None:
    ran = running.docker("run", "--rm", "base:1", "nosuch")
    assert ran.returncode == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in ran.stderr
    assert running.docker("ps", "--all", "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("program", "reason", "code"),
    [("nosuch", "No such file or directory", 127), ("/etc/passwd", "Permission denied", 126)],
)
def test_below_init_a_program_that_cannot_run_ends_its_container(
    running: Running, program: str, reason: str, code: int
) -> None:
    ran = running.docker("run", "--rm", "--init", "base:1", program)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert re.fullmatch(rf"\[FATAL tini \(\d+\)\] exec {program} failed: {reason}\n", ran.stderr)


def test_a_limit_that_it_cannot_hold_is_said(running: Running) -> None:
    ran = running.docker("run", "--rm", "--memory", "64m", "base:1", "sh", "-c", "echo ran")
    assert (ran.returncode, ran.stdout) == (0, "ran\n")
    assert "Your kernel does not support memory limit capabilities" in ran.stderr


def test_an_image_of_another_platform_is_not_run_as_if_it_were_that(running: Running) -> None:
    of = running.docker("image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", "base:1").stdout.strip()
    other = "linux/arm64" if of == "linux/amd64" else "linux/amd64"
    ran = running.docker("run", "--rm", "--pull=never", f"--platform={other}", "base:1", "sh", "-c", "echo ran")
    assert (ran.returncode, ran.stdout) == (125, "")
    assert f"does not match the specified platform: wanted {other}, actual: {of}" in ran.stderr
    assert running.docker("run", "--rm", f"--platform={of}", "base:1", "sh", "-c", "echo ran").stdout == "ran\n"


def test_what_it_does_not_do_is_refused(running: Running) -> None:
    for arguments in (("run", "--rm", "--privileged", "base:1", "ls"), ("network", "create", "one"), ("swarm", "init")):
        ran = running.docker(*arguments)
        assert ran.returncode != 0
        assert "the workbook's engine" in ran.stderr


def test_a_build_makes_what_the_dockerfile_says(running: Running, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM base:1 AS first\nWORKDIR /made\nRUN echo step > step\nFROM base:1\nARG WORD=none\n"
        'COPY --from=first /made /taken\nCOPY file /\nENV SAID="${WORD}"\n'
        'CMD ["sh", "-c", "cat /taken/step /file; echo $SAID"]\n'
    )
    built = running.docker("build", "--quiet", "--build-arg", "WORD=given", "--tag", "built:1", str(tmp_path))
    assert built.returncode == 0, built.stderr
    assert running.docker("run", "--rm", "built:1").stdout == "step\ncontent\ngiven\n"
    again = running.docker("build", "--build-arg", "WORD=given", "--tag", "built:1", str(tmp_path))
    assert again.stdout.count("Using cache") == 7, again.stdout


def test_a_path_alone_is_a_volume_that_is_filled_before_the_start_and_goes_with_its_container(
    running: Running, tmp_path: Path
) -> None:
    """`Binds: ["/weights"]`, as Docker's client for Python sends it."""
    (tmp_path / "w.txt").write_text("1 2 3")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(tmp_path / "w.txt", "w.txt")
    with contextlib.closing(docker.DockerClient(f"unix://{running.socket}")) as client:
        before = len(client.volumes.list())
        made = client.containers.create("base:1", ["/bin/cat", "/weights/w.txt"], volumes=["/weights"], read_only=True)
        assert made.put_archive("/weights", packed.getvalue())
        made.start()
        assert made.wait()["StatusCode"] == 0
        assert made.logs() == b"1 2 3"
        assert len(client.volumes.list()) == before + 1
        made.remove(v=True)
        assert len(client.volumes.list()) == before


def test_a_failed_step_says_its_code_and_leaves_no_image(running: Running, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM base:1\nRUN exit 7\n")
    built = running.docker("build", "--tag", "failed:1", str(tmp_path))
    assert built.returncode != 0
    assert "The command '/bin/sh -c exit 7' returned a non-zero code: 7" in built.stderr
    assert running.docker("images", "--quiet", "failed").stdout == ""


def test_a_saved_image_loads_again_with_the_same_id(running: Running, tmp_path: Path) -> None:
    before = running.docker("images", "--no-trunc", "--quiet", "base:1").stdout
    assert running.docker("tag", "base:1", "copy:1").returncode == 0
    assert running.docker("save", "--output", str(tmp_path / "saved.tar"), "copy:1").returncode == 0
    assert running.docker("rmi", "copy:1").returncode == 0
    assert running.docker("load", "--input", str(tmp_path / "saved.tar")).stdout == "Loaded image: copy:1\n"
    assert running.docker("images", "--no-trunc", "--quiet", "copy:1").stdout == before


def test_a_kill_leaves_no_process_and_a_clean_start(running: Running) -> None:
    for _ in range(3):
        started = running.docker("run", "--detach", "base:1", "sleep", "4711")
        assert started.returncode == 0, started.stderr
        told = running.docker("inspect", "--format", "{{.State.Pid}}", started.stdout.strip())
        pid = int(told.stdout)
        running.kill()
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            os.sched_yield()
        assert not Path(f"/proc/{pid}").exists()
        running.start()
        state = running.docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", started.stdout.strip())
        assert state.stdout == "exited 137\n"
        assert running.docker("rm", started.stdout.strip()).returncode == 0
        # Its files are deleted after the answer.
        while list((running.folder / "root/tmp").iterdir()) and time.monotonic() < deadline:
            os.sched_yield()
        assert list((running.folder / "root/tmp").iterdir()) == []
