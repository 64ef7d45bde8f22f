"""machine/install.sh: which Python it takes, and that it does nothing twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("cat", "cksum", "chmod", "dirname", "env", "grep", "id", "ls", "mv", "rm", "sh", "tail", "uname")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder that can be the whole PATH: the small tools that the script calls, no Python, no uv, no apt-get."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return folder


def _interpreter(folder: Path, name: str, *, version: str | None, has_venv: bool = True) -> Path:
    """Plant an interpreter that answers the script's questions as that version would; None is a shim that can't run."""
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


def test_the_newest_that_runs_is_chosen(tools: Path, tmp_path: Path) -> None:
    _interpreter(tmp_path / "a", "python3.11", version="3.11")
    wanted = _interpreter(tmp_path / "b", "python3.12", version="3.12")
    assert _choose(tools, tmp_path / "a", tmp_path / "b") == str(wanted)


def test_a_shim_that_does_not_run_is_skipped(tools: Path, tmp_path: Path) -> None:
    _interpreter(tmp_path / "shims", "python3.13", version=None)
    _interpreter(tmp_path / "shims", "python3.11", version=None)
    behind = _interpreter(tmp_path / "usr", "python3.11", version="3.11")
    assert _choose(tools, tmp_path / "shims", tmp_path / "usr") == str(behind)


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_a_version_outside_the_lock_is_skipped(tools: Path, tmp_path: Path, version: str) -> None:
    _interpreter(tmp_path / "a", "python3", version=version)
    assert _choose(tools, tmp_path / "a") == ""


def test_one_that_makes_environments_goes_first(tools: Path, tmp_path: Path) -> None:
    bare = _interpreter(tmp_path / "a", "python3.13", version="3.13", has_venv=False)
    assert _choose(tools, tmp_path / "a") == str(bare)
    whole = _interpreter(tmp_path / "a", "python3.12", version="3.12")
    assert _choose(tools, tmp_path / "a") == str(whole)


def test_the_learners_choice_wins(tools: Path, tmp_path: Path) -> None:
    _interpreter(tmp_path / "a", "python3.13", version="3.13")
    mine = _interpreter(tmp_path / "b", "mine", version="3.11")
    assert _choose(tools, tmp_path / "a", python=str(mine)) == str(mine)
    assert _choose(tools, tmp_path / "a", python=str(tmp_path / "nothing")) == ""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository that needs no packages, so that making its environment takes seconds."""
    folder = tmp_path / "a clone"
    (folder / "machine").mkdir(parents=True)
    shutil.copy(ROOT / "machine/install.sh", folder / "machine")
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "cli").mkdir()
    (folder / "cli/main.py").write_text("import sys\ndef main():\n    print(sys.argv[1:])\n    return 3\n")
    return folder


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


def test_it_makes_the_environment_once(clone: Path, tools: Path) -> None:
    first = _install(clone, tools)
    assert first.returncode == 0, first.stderr
    assert "with pip" in first.stdout
    done = subprocess.run([clone / ".venv/bin/workbook", "run", "a b"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "['run', 'a b']\n"), done.stderr
    mark = clone / ".venv/mark"
    mark.touch()

    second = _install(clone, tools)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert mark.exists()

    (clone / "requirements.txt").write_text("# something else\n")
    assert not _is_current(clone, tools), "a new lock needs a new environment"
    (clone / "requirements.txt").write_text("# nothing\n")
    assert _is_current(clone, tools)
    other = clone / "other.txt"
    other.write_text("# the site's\n")
    assert not _is_current(clone, tools, WORKBOOK_LOCK=str(other)), "this environment was made from another lock"

    # what an interrupted call leaves: the folder, but no stamp
    (clone / ".venv/workbook-stamp").unlink()
    assert not _is_current(clone, tools)
    assert _install(clone, tools).returncode == 0
    assert not mark.exists(), "a half-made environment is made again"


def test_a_uv_that_fails_leaves_it_to_pip(clone: Path, tools: Path) -> None:
    uv = tools / "uv"
    uv.write_text('#!/bin/sh\n[ "$1" = --version ]\n')
    uv.chmod(0o755)
    done = _install(clone, tools)
    assert done.returncode == 0, done.stderr
    assert "pip does it instead" in done.stdout
    assert (clone / ".venv/workbook-stamp").exists()


def test_a_lock_that_cannot_be_had_is_reported(clone: Path, tools: Path) -> None:
    (clone / "requirements.txt").write_text("nothing-here @ file:///nowhere/nothing-1.whl --hash=sha256:00\n")
    done = _install(clone, tools)
    assert done.returncode == 1
    assert "pip could not install requirements.txt" in done.stderr
    assert not (clone / ".venv/workbook-stamp").exists()


def test_an_environment_is_kept_until_the_new_one_is_complete(clone: Path, tools: Path) -> None:
    """A pull on a train: the lock is new and the network is gone."""
    assert _install(clone, tools).returncode == 0
    good = (clone / "requirements.txt").read_text()
    (clone / ".venv/mark").touch()
    (clone / "requirements.txt").write_text("nothing-here @ file:///nowhere/nothing-1.whl --hash=sha256:00\n")
    failed = _install(clone, tools)
    assert failed.returncode == 1
    assert "The environment from before is still there." in failed.stderr
    assert (clone / ".venv/mark").exists()
    assert (clone / ".venv/install.log").exists()
    assert subprocess.run([clone / ".venv/bin/python", "-c", ""], check=False).returncode == 0
    (clone / "requirements.txt").write_text(good)
    assert _is_current(clone, tools)
    (clone / "requirements.txt").write_text("# something else\n")
    assert _install(clone, tools).returncode == 0
    assert not (clone / ".venv/mark").exists()
    assert [path.name for path in clone.iterdir() if path.name.startswith(".venv")] == [".venv"]


def test_a_folder_that_is_no_environment_is_kept(clone: Path, tools: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    done = _install(clone, tools, WORKBOOK_VENV=str(mine))
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_without_any_python_it_says_what_is_needed(clone: Path, tools: Path) -> None:
    done = _install(clone, tools, WORKBOOK_PYTHON="")
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr


def test_on_windows_it_names_wsl(clone: Path, tools: Path) -> None:
    (tools / "uname").unlink()
    (tools / "uname").write_text("#!/bin/sh\necho MINGW64_NT-10.0\n")
    (tools / "uname").chmod(0o755)
    done = _install(clone, tools)
    assert done.returncode == 1
    assert done.stderr.startswith("On Windows the workbook runs in WSL 2")
    assert not (clone / ".venv").exists()


def test_it_goes_on_in_its_own_text_when_a_pull_changes_it(clone: Path) -> None:
    """A shell reads a script while it runs it: whatever is behind the last command, it must not come there."""
    script = clone / "machine/install.sh"
    script.write_text(script.read_text() + "\necho 'read on' \"unterminated\n")
    command = ["/bin/sh", str(script), "--is-current"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert "Unterminated" not in done.stderr
