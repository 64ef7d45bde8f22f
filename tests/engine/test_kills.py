"""After a kill during a build, push or run, no incomplete image or process is left, and the next start is clean."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.engine import conversations
from tests.engine.conftest import Running, ours
from tests.sandbox.oci.conftest import Registry, serving

ALL: Final = os.environ.get("WORKBOOK_SOAK") == "1"
# How many kills there are, in turn during a build, a push and a run. `make test` does the first ones.
KILLS: Final = 20
SLICE: Final = 4
_STEPS: Final = 6


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serving(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("kills")
    with ours(folder) as one:
        made = one.docker("import", str(conversations.base(folder)), "base:1")
        assert made.returncode == 0, made.stderr
        context = folder / "context"
        context.mkdir()
        steps = "".join(f"RUN echo {number} > /step-{number} && sleep 0.1\n" for number in range(_STEPS))
        (context / "Dockerfile").write_text(f"FROM base:1\nCOPY large /\n{steps}")
        server = f"localhost:{registry.port}"
        signed = one.docker(
            "login", "--username=oauth2accesstoken", "--password-stdin", server, text=registry.tokens["owner"]
        )
        assert signed.returncode == 0, signed.stderr
        yield one


def begin(running: Running, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(running.folder), "DOCKER_BUILDKIT": "0"}
    return subprocess.Popen(
        ["docker", *arguments],
        env={**environment, "DOCKER_HOST": running.host},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def kill_after(running: Running, client: subprocess.Popen[bytes], lines: int, *, is_run: bool) -> None:
    """Kill the engine when its client has printed so many lines, or ended."""
    assert client.stdout is not None
    for _ in range(lines):
        if not client.stdout.readline():
            break
    if is_run:
        # The engine, a launcher, and what it started.
        assert len(below(running.folder / "root")) > 2
    running.kill()
    client.communicate(timeout=60)


def below(folder: Path) -> set[int]:
    """Return the processes that have a path in the folder as their root or in their arguments."""
    # As the file system that it is on names it.
    end = "/".join(folder.parts[-3:])
    found = set()
    for one in Path("/proc").iterdir():
        if not one.name.isdigit() or int(one.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            told = str((one / "root").readlink()) + (one / "cmdline").read_text(errors="replace")
            if end in told + (one / "mountinfo").read_text(errors="replace"):
                found.add(int(one.name))
    return found


def check(running: Running) -> None:
    """Check that the killed engine has left nothing, and that the next one works."""
    folder = running.folder / "root"
    deadline = time.monotonic() + 30
    while below(folder) and time.monotonic() < deadline:
        os.sched_yield()
    assert below(folder) == set()
    running.start()
    assert list((folder / "tmp").iterdir()) == []
    assert running.docker("ps", "--quiet").stdout == ""
    state = json.loads((folder / "state.json").read_text())
    needed = set()
    for key, image in state["images"].items():
        needed |= {key, *(layer["digest"] for layer in image["layers"])}
    needed |= {entry["layer"]["digest"] for entry in state["cache"].values() if entry.get("layer")}
    for digest in needed:
        content = (folder / "blobs" / digest.removeprefix("sha256:")).read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
    assert {path.name for path in (folder / "blobs").iterdir()} == {one.removeprefix("sha256:") for one in needed}
    assert set(state["tags"].values()) <= state["images"].keys()
    ran = running.docker("run", "--rm", "base:1", "echo", "whole")
    assert (ran.returncode, ran.stdout) == (0, "whole\n"), ran.stderr
    for name in running.docker("ps", "--all", "--quiet").stdout.split():
        assert running.docker("rm", name).returncode == 0
    left = {path.name for path in (folder / "roots").iterdir() if not (path / "complete").exists()}
    assert left == set()


@pytest.mark.parametrize("number", range(KILLS))
def test_a_kill_leaves_nothing_unfinished(running: Running, registry: Registry, number: int) -> None:
    if number >= SLICE and not ALL:
        pytest.skip("a long one: make soak")
    kind, lines = ("build", "run", "push", "detached")[number % 4], 1 + number * 3 // 2
    (running.folder / "context/large").write_bytes(secrets.token_bytes(4 << 20))
    if kind == "build":
        client = begin(running, "build", "--tag", f"built:{number}", str(running.folder / "context"))
    elif kind == "push":
        built = running.docker("build", "--quiet", "--tag", "pushed:1", str(running.folder / "context"))
        assert built.returncode == 0, built.stderr
        name = f"localhost:{registry.port}/{registry.name(f'kill-{number}')}:v1"
        assert running.docker("tag", "pushed:1", name).returncode == 0
        client = begin(running, "push", name)
    elif kind == "run":
        program = "sleep 4711 & i=0; while :; do echo $i; i=$((i + 1)); done"
        client = begin(running, "run", "--rm", "base:1", "sh", "-c", program)
    else:
        client = begin(running, "run", "--detach", "base:1", "sh", "-c", "sleep 4711 & sleep 4711")
    kill_after(running, client, lines, is_run=kind in ("run", "detached"))
    check(running)
    if kind == "build":
        # The unfinished image has no name, and the next build makes it.
        again = running.docker("build", "--quiet", "--tag", f"built:{number}", str(running.folder / "context"))
        assert again.returncode == 0, again.stderr
        listed = running.docker("run", "--rm", f"built:{number}", "cat", *(f"/step-{n}" for n in range(_STEPS)))
        assert listed.stdout == "".join(f"{n}\n" for n in range(_STEPS))
