"""machine/install.sh: which Python it chooses, when it makes an environment, and when it keeps one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("cat", "cksum", "chmod", "dirname", "env", "grep", "id", "ls", "mv", "rm", "sh", "tail", "uname")
UNREACHABLE = "nothing-here @ file:///nowhere/nothing-1.whl --hash=sha256:00\n"  # a lock


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder that can be the whole PATH: the small tools that the script calls, no Python, no uv, no apt-get."""
    return _link_tools(tmp_path)


def _link_tools(parent: Path) -> Path:
    folder = parent / "tools"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return folder


def _interpreter(folder: Path, name: str, *, version: str | None, has_venv: bool = True) -> Path:
    """Write a program that answers the script like this version of Python, or a shim that can't run for None."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    if version is None:
        path.write_text("#!/bin/sh\necho 'not installed' >&2\nexit 127\n")
    else:
        numbers = tuple(int(part) for part in version.split("."))
        fits = 0 if (3, 11) <= numbers <= (3, 13) else 1
        path.write_text(
            f'#!/bin/sh\ncase "$2" in *version_info*) exit {fits};; *ensurepip*) exit {int(not has_venv)};; esac\n'
            "exit 9\n"
        )
    path.chmod(0o755)
    return path


def _choose(*folders: Path, python: str = "") -> str:
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "machine/install.sh"), "--choose-python"],
        env={"PATH": ":".join(str(folder) for folder in folders), "WORKBOOK_PYTHON": python},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_newest_python_that_runs_is_chosen(tools: Path, tmp_path: Path) -> None:
    _interpreter(tmp_path / "a", "python3.11", version="3.11")
    wanted = _interpreter(tmp_path / "b", "python3.12", version="3.12")
    assert _choose(tools, tmp_path / "a", tmp_path / "b") == str(wanted)


def test_shim_that_does_not_run_is_skipped(tools: Path, tmp_path: Path) -> None:
    _interpreter(tmp_path / "shims", "python3.13", version=None)
    _interpreter(tmp_path / "shims", "python3.11", version=None)
    behind = _interpreter(tmp_path / "usr", "python3.11", version="3.11")
    assert _choose(tools, tmp_path / "shims", tmp_path / "usr") == str(behind)


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_version_outside_the_lock_is_skipped(tools: Path, tmp_path: Path, version: str) -> None:
    _interpreter(tmp_path / "a", "python3", version=version)
    assert _choose(tools, tmp_path / "a") == ""


def test_python_with_venv_is_preferred(tools: Path, tmp_path: Path) -> None:
    bare = _interpreter(tmp_path / "a", "python3.13", version="3.13", has_venv=False)
    assert _choose(tools, tmp_path / "a") == str(bare)
    whole = _interpreter(tmp_path / "a", "python3.12", version="3.12")
    assert _choose(tools, tmp_path / "a") == str(whole)


def test_workbook_python_is_preferred(tools: Path, tmp_path: Path) -> None:
    _interpreter(tmp_path / "a", "python3.13", version="3.13")
    mine = _interpreter(tmp_path / "b", "mine", version="3.11")
    assert _choose(tools, tmp_path / "a", python=str(mine)) == str(mine)
    assert _choose(tools, tmp_path / "a", python=str(tmp_path / "nothing")) == ""


def _make_clone(folder: Path) -> Path:
    """Write a repository that needs no packages, so that making its environment takes seconds."""
    (folder / "machine").mkdir(parents=True)
    shutil.copy(ROOT / "machine/install.sh", folder / "machine")
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "cli").mkdir()
    (folder / "cli/main.py").write_text("import sys\ndef main():\n    print(sys.argv[1:])\n    return 3\n")
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository without an environment."""
    return _make_clone(tmp_path / "a clone")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository with an environment, made where there was half of one, and the output. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("installed")
    clone = _make_clone(folder / "a clone")
    (clone / ".venv").mkdir()
    (clone / ".venv/mark").touch()
    done = _install(clone, _link_tools(folder))
    assert done.returncode == 0, done.stderr
    return clone, done.stdout


def _install(clone: Path, tools: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if not name.startswith("WORKBOOK_")}
    return subprocess.run(
        [str(clone / "machine/install.sh")],
        env={**base, "PATH": str(tools), "WORKBOOK_PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def _is_current(clone: Path, tools: Path, **variables: str) -> bool:
    command = ["/bin/sh", str(clone / "machine/install.sh"), "--is-current"]
    return subprocess.run(command, env={"PATH": str(tools), **variables}, check=False).returncode == 0


def test_half_made_environment_is_made_again_with_the_command(installed: tuple[Path, str]) -> None:
    clone, output = installed
    assert "with pip" in output
    assert not (clone / ".venv/mark").exists()
    done = subprocess.run([clone / ".venv/bin/workbook", "run", "a b"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "['run', 'a b']\n"), done.stderr


def test_second_call_changes_nothing(installed: tuple[Path, str], tools: Path) -> None:
    clone, _ = installed
    before = (clone / ".venv").stat()
    second = _install(clone, tools)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert (clone / ".venv").stat() == before


def test_environment_is_stale_with_another_lock_or_without_a_stamp(installed: tuple[Path, str], tools: Path) -> None:
    clone, _ = installed
    lock, stamp = clone / "requirements.txt", clone / ".venv/workbook-stamp"
    other = tools / "other.txt"
    other.write_text("# the site's\n")
    assert _is_current(clone, tools)
    assert not _is_current(clone, tools, WORKBOOK_LOCK=str(other))
    content = lock.read_text()
    lock.write_text("# something else\n")
    assert not _is_current(clone, tools)
    lock.write_text(content)
    assert _is_current(clone, tools)
    kept = stamp.rename(tools / "stamp")
    assert not _is_current(clone, tools), "an interrupted call leaves the folder without a stamp"
    kept.rename(stamp)
    assert _is_current(clone, tools)


def test_failed_update_keeps_the_environment(installed: tuple[Path, str], tools: Path) -> None:
    """A pull on a train: the lock is new and the network is gone."""
    clone, _ = installed
    lock = clone / "requirements.txt"
    good = lock.read_text()
    lock.write_text(UNREACHABLE)
    failed = _install(clone, tools)
    assert failed.returncode == 1
    assert "The environment from before is still there." in failed.stderr
    assert (clone / ".venv/install.log").exists()
    done = subprocess.run([clone / ".venv/bin/workbook"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "[]\n"), done.stderr
    lock.write_text(good)
    assert _is_current(clone, tools)


def test_update_replaces_the_environment_by_pip_if_uv_fails(
    installed: tuple[Path, str], clone: Path, tools: Path
) -> None:
    uv = tools / "uv"
    uv.write_text('#!/bin/sh\n[ "$1" = --version ]\n')
    uv.chmod(0o755)
    shutil.copytree(installed[0], clone, symlinks=True, dirs_exist_ok=True)
    (clone / ".venv/mark").touch()
    (clone / "requirements.txt").write_text("# something else\n")
    done = _install(clone, tools)
    assert done.returncode == 0, done.stderr
    assert "pip does it instead" in done.stdout
    assert _is_current(clone, tools)
    assert not (clone / ".venv/mark").exists()
    assert [path.name for path in clone.iterdir() if path.name.startswith(".venv")] == [".venv"]


def test_lock_that_cannot_be_installed_is_reported(clone: Path, tools: Path) -> None:
    (clone / "requirements.txt").write_text(UNREACHABLE)
    done = _install(clone, tools)
    assert done.returncode == 1
    assert "pip could not install requirements.txt" in done.stderr
    assert not (clone / ".venv/workbook-stamp").exists()


def test_folder_that_is_no_environment_is_kept(clone: Path, tools: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    done = _install(clone, tools, WORKBOOK_VENV=str(mine))
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_without_a_python_the_versions_are_named(clone: Path, tools: Path) -> None:
    done = _install(clone, tools, WORKBOOK_PYTHON="")
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr


def test_on_windows_wsl_is_named(clone: Path, tools: Path) -> None:
    (tools / "uname").unlink()
    (tools / "uname").write_text("#!/bin/sh\necho MINGW64_NT-10.0\n")
    (tools / "uname").chmod(0o755)
    done = _install(clone, tools)
    assert done.returncode == 1
    assert done.stderr.startswith("On Windows the workbook runs in WSL 2")
    assert not (clone / ".venv").exists()


def test_text_added_during_a_run_is_not_executed(clone: Path) -> None:
    """A shell reads a script while it runs it, so a pull may change what comes after the last command."""
    script = clone / "machine/install.sh"
    script.write_text(script.read_text() + "\necho 'read on' \"unterminated\n")
    command = ["/bin/sh", str(script), "--is-current"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert "Unterminated" not in done.stderr
