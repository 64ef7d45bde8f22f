"""What runs on macOS too: shell scripts without GNU's own options, and processes without /proc."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from machine import leases, processes

ROOT = Path(__file__).resolve().parents[2]
# An option or a program that macOS lacks, or that means another thing there.
GNU_ONLY = {
    "readlink -f": r"\breadlink\s+-[a-z]*f",
    "realpath": r"\brealpath\s",
    "sed -i": r"\bsed\s+(-[a-zA-Z]+\s+)*-i",
    "sed -r": r"\bsed\s+(-[a-zA-Z]+\s+)*-r",
    "sed -u": r"\bsed\s+(-[a-zA-Z]+\s+)*-u",
    "date -d": r"\bdate\s+(-[a-zA-Z]+\s+)*(-d|--date)",
    "date %N": r"\bdate\s[^|;]*%[0-9]*N",
    "stat -c": r"\bstat\s+(-[a-zA-Z]+\s+)*(-c|--format)",
    "grep -P": r"\bgrep\s+-[a-zA-Z]*P",
    "xargs -r": r"\bxargs\s+-[a-z]*r",
    "cp --": r"\bcp\s+--[a-z]",
    "ln -r": r"\bln\s+-[a-z]*r",
    "mktemp --": r"\bmktemp\s+--",
    "nproc": r"\bnproc\b",
    "timeout": r"(^|[|;&(]\s*)timeout\s+[0-9-]",
    "sha256sum": r"\bsha256sum\b",
    "tac": r"(^|[|;&(]\s*)tac\b",
}


def _scripts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    # A copy without git has at least these.
    names += ["Makefile", "machine/install.sh"]
    return [ROOT / name for name in sorted(set(names)) if name == "Makefile" or name.endswith(".sh")]


def _gnu_only(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.lstrip("@\t ").startswith("#")]
    return [name for name, pattern in GNU_ONLY.items() if any(re.search(pattern, line) for line in lines)]


@pytest.mark.parametrize("path", _scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_script_needs_gnu_s_tools(path: Path) -> None:
    assert _gnu_only(path.read_text()) == []


@pytest.mark.parametrize(
    "line", ["x=$(readlink -f y)", "sed -i s/a/b/ c", "date -u -d @0", "date +%s%N", "stat -c %s a", "a | timeout 5 b"]
)
def test_option_that_macos_lacks_is_found(line: str) -> None:
    assert _gnu_only(line)


@pytest.mark.parametrize("shell", ["dash", "busybox", "bash"])
def test_set_up_is_portable_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} isn't installed")
    applet = ["sh"] if shell == "busybox" else ["--posix"] if shell == "bash" else []
    done = subprocess.run(
        [shell, *applet, "-n", ROOT / "machine/install.sh"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def no_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system whose processes only `ps` knows."""
    if shutil.which("ps") is None:
        pytest.skip("ps isn't installed")
    monkeypatch.setattr(processes, "PROC", tmp_path / "no-proc")
    monkeypatch.delattr(os, "pidfd_open", raising=False)


@pytest.mark.usefixtures("no_proc")
def test_processes_are_known_without_proc(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()", "a-mark"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    assert processes.born(child.pid) == processes.born(child.pid) is not None
    assert processes.born(os.getpid()) is not None
    assert "a-mark" in processes.command_line(child.pid)
    assert not processes.wait_gone(child.pid, 0)
    leases.write(tmp_path / "leases", "mine", child.pid)
    assert leases.living(tmp_path / "leases") == {"mine": child.pid}

    child.stdin.close()
    assert processes.wait_gone(child.pid, 30)
    # Its end was seen in there, where no Popen could see it.
    child.returncode = 0
    assert processes.born(child.pid) is None
    assert processes.command_line(child.pid) == []
    assert leases.living(tmp_path / "leases") == {}


def test_lease_in_the_other_format_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Written where only `ps` knows processes, read where /proc is there."""
    with monkeypatch.context():
        request.getfixturevalue("no_proc")
        leases.write(tmp_path / "leases", "mine", os.getpid())
    monkeypatch.undo()
    assert leases.living(tmp_path / "leases") == {"mine": os.getpid()}
    assert not processes.is_the_one(2**22 + 1, "Sat Nov 28 12:00:00 2026")


@pytest.mark.usefixtures("no_proc")
def test_zombie_counts_as_ended() -> None:
    child = subprocess.Popen(["true"])
    # It has ended and nobody has asked for its status yet.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.born(child.pid) is None
    child.wait()
