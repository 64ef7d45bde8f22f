"""Every way of making a root that works here (chroot, bubblewrap, proot), not only the best."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import container, jail
from engine.roots import Roots
from engine.store import Store
from tests.engine.conftest import ROOT, WAY

# The tests that make containers. The slice for `make test` has one for each kind of mount and process.
_ALL = ("test_engine.py", "test_hostile.py", "test_options.py", "test_builds.py")
_SLICE = (
    "test_engine.py::test_output_errors_and_exit_code_arrive",
    "test_engine.py::test_a_build_makes_what_the_dockerfile_says",
    "test_engine.py::test_a_path_alone_is_a_volume_that_is_filled_before_the_start_and_goes_with_its_container",
    "test_hostile.py::test_what_is_bound_and_temporary_is_in_the_root",
    "test_hostile.py::test_what_a_container_writes_to_dev_and_sys_is_its_own",
)


def _process(uid: int) -> jail.Process:
    return jail.Process(Path("/"), [], {}, uid=uid)


def test_root_s_processes_may_give_files_to_others_where_that_can_be_had() -> None:
    both = jail.Means(chroot=False, mounts=False, bwrap="bwrap", proot="proot")
    assert [both.way(_process(uid)) for uid in (0, 1000)] == ["proot", "bwrap"]
    assert jail.Means(chroot=False, mounts=False, bwrap="bwrap", proot="").way(_process(0)) == "bwrap"


def test_proot_s_bind_with_a_colon_is_refused_and_not_lost(tmp_path: Path) -> None:
    process = jail.Process(tmp_path, ["true"], {}, binds=[jail.Bind("/a:b", "/shown")])
    means = jail.Means(chroot=False, mounts=False, bwrap="", proot="proot")
    with pytest.raises(jail.Refused, match="colon: /a:b"):
        jail.start(process, means, tmp_path / "spec", None, None, None)


# Zombies, as a container with many processes leaves them.
_ENDED = """
import os
from engine import launch
for _ in range(40):
    if os.fork() == 0:
        os._exit(0)
below = launch.descendants
states = lambda: {open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] for pid in below(os.getpid())}
while states() != {"Z"}:
    os.sched_yield()
looks = []
launch.descendants = lambda pid: looks.append(pid) or below(pid)
launch._kill_below()
print(len(looks))
"""


def test_a_container_of_many_processes_ends_without_a_look_at_all_of_them_for_each() -> None:
    ran = subprocess.run([sys.executable, "-c", _ENDED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.stderr, ran.stdout) == ("", "1\n")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", jail.WAYS)
def test_the_engine_does_the_same_by(way: str) -> None:
    found = jail.means(way)
    if WAY:
        pytest.skip(f"roots are made by {WAY} alone")
    if way not in found.name:
        pytest.skip(f"no root can be made by {way} here")
    if way == jail.means().way(_process(0)):
        pytest.skip(f"{way} is what the other tests use here")
    tests = _ALL if os.environ.get("WORKBOOK_SOAK") == "1" else _SLICE
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ran = subprocess.run(
        [*command, *(f"tests/engine/{one}" for one in tests)],
        cwd=ROOT,
        env={**os.environ, "WORKBOOK_TEST_WAY": way},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


def test_a_process_that_ends_during_its_start_leaves_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended:
        def __init__(self, *_: object, on_end: Callable[[int], None], **__: object) -> None:
            self.over = threading.Event()
            on_end(7)
            self.over.set()

    monkeypatch.setattr(container, "Run", Ended)
    monkeypatch.setattr(container.Container, "process", lambda *_, **__: None)
    found = Store(tmp_path)
    state = {"Status": "created", "StartedAt": container.NEVER, "ExitCode": 0, "Error": ""}
    about = {"id": "a" * 64, "name": "a", "config": {"Cmd": ["true"]}, "host": {}, "state": state}
    means = jail.Means(chroot=True, mounts=True, bwrap="", proot="")
    one = container.Container(found, Roots(found), means, about)
    one.start()
    assert (one.about["state"]["Status"], one.about["state"]["ExitCode"]) == ("exited", 7)
