"""The container's first program, function by function: what a container gives it lies in a folder of the test's."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[2] / "image" / "entrypoint.sh"
_CALL = 'main "$@"\n'
_VETH = "7: eth0@if8: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default"
_ADDRESS = "7: eth0    inet 172.17.0.2/16 brd 172.17.255.255 scope global eth0"


def shell(folder: Path, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line with the entrypoint's functions at hand, in `folder`, whose `bin` is first on the PATH."""
    text = ENTRYPOINT.read_text(encoding="utf-8")
    assert text.endswith(_CALL)
    hidden = {"JUPYTER_TOKEN"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | variables
    environment["PATH"] = f"{folder}/bin:{environment['PATH']}"
    return subprocess.run(
        ["sh", "-c", f"{text.removesuffix(_CALL)}\n{line}\n"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def program(folder: Path, name: str, text: str) -> None:
    """Put a program of the test's in the place of one that the container has."""
    (folder / "bin").mkdir(exist_ok=True)
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """The control groups of a container, version 2, in which two processes are."""
    folder = tmp_path / "groups"
    folder.mkdir()
    (folder / "cgroup.controllers").write_text("cpu memory pids\n", encoding="utf-8")
    (folder / "cgroup.procs").write_text("1\n7\n", encoding="utf-8")
    (tmp_path / "self").write_text("0::/\n", encoding="utf-8")
    return folder


def test_processes_move_to_a_child_group_before_controllers_are_enabled(tmp_path: Path, groups: Path) -> None:
    ran = shell(tmp_path, "enable_controllers groups self")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (groups / "workbook" / "cgroup.procs").read_text() == "1\n7\n"
    assert (groups / "cgroup.subtree_control").read_text() == "+cpu\n+memory\n+pids\n"


def test_controller_that_cannot_be_enabled_is_skipped(tmp_path: Path, groups: Path) -> None:
    # A folder in a file's place refuses every write.
    (groups / "cgroup.subtree_control").mkdir()
    ran = shell(tmp_path, "enable_controllers groups self; echo went on")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "went on\n", "")


@pytest.mark.parametrize(
    ("absent", "where"),
    [("cgroup.controllers", "0::/"), ("cgroup.procs", "0::/"), ("", "0::/system.slice/docker-1.scope")],
    ids=["version 1", "nothing to write to", "the host's groups"],
)
def test_control_groups_of_the_host_are_left_alone(absent: str, where: str, tmp_path: Path, groups: Path) -> None:
    if absent:
        (groups / absent).unlink()
    (tmp_path / "self").write_text(f"{where}\n", encoding="utf-8")
    before = sorted(groups.iterdir())
    assert shell(tmp_path, "enable_controllers groups self").returncode == 0
    assert sorted(groups.iterdir()) == before


def test_published_ports_are_forwarded_to_loopback(tmp_path: Path) -> None:
    program(tmp_path, "ip", f'case "$*" in *link*type\\ veth) echo "{_VETH}" ;; *dev\\ eth0) echo "{_ADDRESS}" ;; esac')
    program(tmp_path, "socat", 'echo "$3 $4"')
    ran = shell(tmp_path, "forward_ports; wait")
    assert sorted(ran.stdout.splitlines()) == [
        "TCP4-LISTEN:5001,bind=172.17.0.2,fork,reuseaddr TCP4:127.0.0.1:5001",
        "TCP4-LISTEN:8888,bind=172.17.0.2,fork,reuseaddr TCP4:127.0.0.1:8888",
    ]


def test_ports_are_not_forwarded_on_the_hosts_network(tmp_path: Path) -> None:
    program(tmp_path, "ip", ":")
    program(tmp_path, "socat", 'echo "$*"')
    ran = shell(tmp_path, "forward_ports; wait")
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize(("token", "led"), [("", True), ("the-hub-s", False)])
def test_ports_are_not_forwarded_for_a_hubs_server(token: str, led: bool, tmp_path: Path) -> None:
    """A Hub's server listens at port 8888 of the container's address: with a relay there, it could not start."""
    program(tmp_path, "ip", f'case "$*" in *link*type\\ veth) echo "{_VETH}" ;; *dev\\ eth0) echo "{_ADDRESS}" ;; esac')
    program(tmp_path, "socat", 'echo "$3"')
    line = "cd() { :; }; enable_controllers() { :; }; main true; wait"
    ran = shell(tmp_path, line, JUPYTERHUB_API_TOKEN=token)
    assert ran.returncode == 0
    assert ("TCP4-LISTEN:8888" in ran.stdout) == led


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (Debian: iproute2)")
def test_ip_command_filters_by_kind_of_interface(tmp_path: Path) -> None:
    program(tmp_path, "socat", 'echo "$3"')
    ran = shell(tmp_path, "forward_ports; wait")
    assert ran.returncode == 0
    # Loopback is no veth, whatever else this machine has.
    assert "bind=127." not in ran.stdout


def test_token_is_made_once_and_private(tmp_path: Path) -> None:
    made = [shell(tmp_path, 'token lab/token; echo "$JUPYTER_TOKEN"').stdout for _ in range(2)]
    assert re.fullmatch(r"[0-9a-f]{48}\n", made[0])
    assert made[1] == made[0] == (tmp_path / "lab" / "token").read_text()
    assert stat.S_IMODE((tmp_path / "lab" / "token").stat().st_mode) == 0o600


def test_empty_token_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "token").touch()
    ran = shell(tmp_path, 'token lab/token; echo "$JUPYTER_TOKEN"', JUPYTER_TOKEN="")
    assert len(ran.stdout.strip()) == 48


def test_given_token_is_used_and_not_stored(tmp_path: Path) -> None:
    assert shell(tmp_path, "token lab/token; sh -c 'echo $JUPYTER_TOKEN'", JUPYTER_TOKEN="mine").stdout == "mine\n"
    assert not (tmp_path / "lab").exists()


def test_lab_is_set_up_and_gets_one_address(tmp_path: Path) -> None:
    program(tmp_path, "workbook", 'echo "workbook $*"')
    ran = shell(tmp_path, "lab --LabApp.collaborative=False", JUPYTER_TOKEN="mine")
    lines = ran.stdout.splitlines()
    # `workbook lab` gives JupyterLab its address; with two of them JupyterLab doesn't start.
    assert lines[0] == "workbook setup"
    assert lines[-1] == "workbook lab -- --no-browser --LabApp.collaborative=False"
    assert any("http://localhost:8888/lab?token=mine" in line for line in lines)


def test_failed_set_up_ends_the_container(tmp_path: Path) -> None:
    program(tmp_path, "workbook", 'echo "workbook $*"; exit 3')
    ran = shell(tmp_path, "lab", JUPYTER_TOKEN="mine")
    assert (ran.returncode, ran.stdout) == (3, "workbook setup\n")
