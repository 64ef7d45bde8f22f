"""What a process lacks for a Docker Engine of its own, and what it is told: above all in a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from machine import engine


@pytest.mark.parametrize("choice", ["", "docker"])
def test_root_that_may_not_mount_is_told_why(choice: str, engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root of a container that was started without `--privileged`."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv (Debian: util-linux), can give up a capability")
    monkeypatch.setenv("WORKBOOK_ENGINE", choice)
    # Neither an engine of this machine's nor a command that would let it fall to the workbook's own.
    script = "from machine import engine; engine._candidates = lambda: []; engine.tools.ensure = lambda *_: False\n"
    ran = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", f"{script}engine.ensure(print)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "EngineMissing: this process may not mount, so no dockerd could run containers." in ran.stderr


@pytest.mark.parametrize(
    ("mounts", "are"),
    [
        ("cgroup /sys/fs/cgroup cgroup2 ro,nosuid 0 0", True),
        ("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0", False),
        # systemd mounts the folder read-only, and what is in it not
        ("tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0", False),
        ("tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup ro,pids 0 0", True),
        ("proc /proc proc rw 0 0", False),
    ],
    ids=["container", "machine", "machine of version 1", "container of version 1", "none"],
)
def test_control_groups_that_are_read_only(mounts: str, are: bool) -> None:
    assert engine.control_groups_are_read_only(mounts) is are


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_who_is_in_a_container_is_told_how_to_have_a_docker_engine_there(mark: str, tmp_path: Path) -> None:
    assert engine.way_out_of_a_container(tmp_path) == ""
    (tmp_path / mark).parent.mkdir(exist_ok=True)
    (tmp_path / mark).touch()
    assert "start it with `--privileged`" in engine.way_out_of_a_container(tmp_path)
