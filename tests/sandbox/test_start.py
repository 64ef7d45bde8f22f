"""`python -m sandbox`: it starts when it can, says why when it cannot, and survives being killed."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.world import starter as starter


def _sandbox(home: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", "--home", str(home), *more],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = _sandbox(tmp_path, "--port", str(port))
    assert ran.returncode == 3
    assert f"cannot start on port {port}" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_home_that_another_sandbox_uses(tmp_path: Path) -> None:
    starter.start(tmp_path, project="ml-workbook-locked", port=0)
    try:
        ran = _sandbox(tmp_path, "--port", "0")
    finally:
        starter.stop(tmp_path)
    assert ran.returncode == 3
    assert "another sandbox is using" in ran.stderr


@pytest.mark.parametrize("clock", ["2026-11-02T09:00:00", "yesterday"])
def test_a_clock_that_is_no_moment(tmp_path: Path, clock: str) -> None:
    ran = _sandbox(tmp_path, "--port", "0", "--clock", clock)
    assert ran.returncode == 2
    assert "--clock" in ran.stderr


def test_state_survives_a_kill(tmp_path: Path) -> None:
    first = starter.start(tmp_path, project="ml-workbook-kill", port=0)
    os.kill(first.info.pid, signal.SIGKILL)
    second = starter.start(tmp_path, project="another-name-is-ignored", port=0)
    try:
        assert second.info.project_id == "ml-workbook-kill"
        assert second.info.project_number == first.info.project_number
        assert second.info.pid != first.info.pid
    finally:
        starter.stop(tmp_path)


def test_a_state_folder_of_a_newer_sandbox_is_refused(tmp_path: Path) -> None:
    import sqlite3

    (tmp_path / "state").mkdir()
    with sqlite3.connect(tmp_path / "state" / "world.db") as rows:
        rows.execute("PRAGMA user_version = 999")
    rows.close()
    ran = _sandbox(tmp_path, "--port", "0")
    assert ran.returncode == 3
    assert "newer sandbox (schema 999" in ran.stderr


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    starter.start(tmp_path, project="ml-workbook-modes", port=0)
    starter.stop(tmp_path)
    for name in ("learner-key.json", "admin-token", "ca/ca.key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_google_s_clients_are_not_loaded_for_their_messages() -> None:
    # They are half of the start. That a client can still be had in a process of ours, every other test shows.
    program = "import sys, sandbox.__main__; print([name for name in sys.modules if '.services.' in name])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = ast.literal_eval(told.stdout)
    assert [name for name in loaded if not name.startswith("sandbox.")] == []
