"""`python -m sandbox`: it starts when it can, says why when it cannot, and survives being killed."""

from __future__ import annotations

import ast
import contextlib
import itertools
import logging
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from cli.world import starter
from sandbox.__main__ import main
from sandbox.doors import log_lines


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
    assert ran.returncode == 4
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
def test_a_clock_that_is_no_moment(tmp_path: Path, capsys: pytest.CaptureFixture[str], clock: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--home", str(tmp_path), "--port", "0", "--clock", clock])
    assert "--clock" in capsys.readouterr().err


def test_a_localhost_that_leads_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: only)
    assert main(["--home", str(tmp_path), "--port", "0"]) == 3
    assert "localhost leads to ::1 and not to 127.0.0.1" in capsys.readouterr().err


def _limited(home: Path, soft: int, hard: int) -> list[str]:
    limits = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"'
    return ["sh", "-c", limits, "sh", sys.executable, "-m", "sandbox", "--home", str(home), "--port", "0"]


def test_too_few_files_are_said_before_anything_is_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = _limited(home, 64, 64)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 3
    assert "may open 64 files, and needs 1024" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (home / "state").exists()


def test_a_low_limit_of_files_that_may_be_raised_is_raised(tmp_path: Path) -> None:
    with subprocess.Popen(_limited(tmp_path, 64, 2048), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline().startswith("ready ")
            assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (1024, 2048)
        finally:
            child.terminate()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[starter.World]:
    """A sandbox that began with an empty admin token."""
    home = tmp_path_factory.mktemp("opened")
    (home / "admin-token").write_text("")
    yield starter.start(home, project="ml-workbook-opened", port=0)
    starter.stop(home)


def test_the_host_may_be_an_address_in_brackets(opened: starter.World) -> None:
    for host, status in (("[::1]", 200), (f"[::1]:{opened.info.port}", 200), ("[::2]", 421)):
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"{opened.url}/", headers={"Host": host}, timeout=10).status_code == status
    with socket.create_connection(("127.0.0.1", opened.info.port), timeout=10) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: storage.googleapis.com\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 400 ")


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


def test_a_state_folder_of_a_newer_sandbox_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "world.db")) as rows, rows:
        rows.execute("PRAGMA user_version = 999")
    rows.close()
    assert main(["--home", str(tmp_path), "--port", "0"]) == 3
    assert "newer sandbox (schema 999" in capsys.readouterr().err


def test_what_does_not_belong_into_the_folders_does_not_stop_a_start(tmp_path: Path) -> None:
    starter.start(tmp_path, project="ml-workbook-odd", port=0)
    starter.stop(tmp_path)
    (tmp_path / "port").write_text("not a number\n")
    (tmp_path / "state" / "uploads" / "a folder" / "in it").mkdir(parents=True)
    starter.start(tmp_path, port=0)
    starter.stop(tmp_path)
    assert list((tmp_path / "state" / "uploads").iterdir()) == []
    # `start` without a port looks at the file.
    (tmp_path / "port").write_text("99999999\n")
    starter.start(tmp_path)
    starter.stop(tmp_path)


def test_an_empty_admin_token_is_made_anew_and_opens_nothing(opened: starter.World) -> None:
    assert len((opened.home / "admin-token").read_text()) > 40
    with requests.Session() as session:
        session.trust_env = False
        for header in ("Bearer ", "Bearer", ""):
            answer = session.get(f"{opened.url}/_sandbox/status", headers={"Authorization": header}, timeout=10)
            assert answer.status_code == 401, header


def test_a_request_forges_no_line_of_the_log(tmp_path: Path) -> None:
    paths = ("%0a2026-01-01%20forged", "%0d%0aforged", "%1b[2Jforged", "%e2%80%a8forged", "%c2%85f")
    opened = starter.start(tmp_path, project="ml-workbook-log", port=0)
    try:
        with requests.Session() as session:
            session.trust_env = False
            for path, host in itertools.product(paths, ("", "storage.googleapis.com/", "v2/a-docker.pkg.dev/")):
                session.get(f"{opened.url}/{host}x{path}", timeout=10)
    finally:
        starter.stop(tmp_path)
    log = (tmp_path / "sandbox.log").read_bytes().decode()
    assert "x\\" in log
    assert not any(re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", line) for line in log.split("\n"))
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:|ready |  |$", line) for line in log.split("\n"))
    assert not any(re.match(r"2026-01-01 forged|forged", line) for line in log.split("\n"))


def test_a_traceback_in_the_log_begins_no_line_as_a_record_does() -> None:
    record = logging.LogRecord("sandbox", logging.ERROR, "", 0, "failed", None, None)
    try:
        raise ValueError("x\n2026-01-01 00:00:00,000 INFO forged")
    except ValueError:
        record.exc_info = sys.exc_info()
    told = log_lines.Formatter("%(asctime)s %(levelname)s %(message)s").format(record)
    assert all(line.startswith("  ") for line in told.splitlines()[1:])


def test_secrets_are_readable_by_their_owner_only(opened: starter.World) -> None:
    for name in ("learner-key.json", "admin-token", "ca/ca.key"):
        assert (opened.home / name).stat().st_mode & 0o077 == 0, name
    assert (opened.home / "state").stat().st_mode & 0o077 == 0


def test_google_s_clients_are_not_loaded_for_their_messages() -> None:
    # They are half of the start. That a client can still be had in a process of ours, every other test shows.
    program = "import sys, sandbox.__main__; print([name for name in sys.modules if '.services.' in name])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = ast.literal_eval(told.stdout)
    assert [name for name in loaded if not name.startswith("sandbox.")] == []
