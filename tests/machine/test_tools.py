"""Programs unpacked without root: with the system's lists of packages, else with lists of the workbook's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from machine import tools

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb isn't here: no Debian")
# Stands in for apt, which would need an archive: it has the package where `lists` says so.
_APT = """#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
*" update")
    for part in "$@"; do
        case "$part" in Dir::State=*) : >"${part#Dir::State=}/lists/main_Packages" ;; esac
    done
    exit 0 ;;
*Dir::State=*) [ "$LISTS" = own ] || exit 100 ;;
*) [ "$LISTS" = system ] || exit 100 ;;
esac
case "$*" in
*" docker-cli" | *" proot libtalloc2") cp "$DEB" . ;;
*) exit 100 ;;
esac
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an apt-get with one package first on the PATH; gives its log."""
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: docker-cli\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: x\n"
    )
    program = tree / "usr/bin/docker"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho it runs\n")
    program.chmod(0o755)
    (program.parent / "proot").symlink_to("docker")
    subprocess.run(["dpkg-deb", "--build", tree, tmp_path / "docker.deb"], check=True, capture_output=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text(_APT)
    (programs / "apt-get").chmod(0o755)
    for name in ("dpkg-deb", "sh", "cp", "tar"):
        (programs / name).symlink_to(shutil.which(name) or "")
    log = tmp_path / "log"
    log.write_text("")
    for name, value in (("LOG", log), ("DEB", tmp_path / "docker.deb"), ("PATH", programs)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(tools.private_engine, "home", lambda: tmp_path / "engine")
    return log


@pytest.mark.parametrize("lists", ["system", "own"])
def test_ensure_unpacks_the_program_from_the_lists_that_have_it(
    apt: Path, lists: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTS", lists)
    assert tools.ensure("docker", lambda text: None)
    found = shutil.which("docker")
    assert found is not None
    assert subprocess.run([found], capture_output=True, text=True, check=True).stdout == "it runs\n"
    assert ("update" in apt.read_text()) is (lists == "own")
    assert os.environ["PATH"].endswith(str(tools.folder()))


def test_program_with_libraries_gets_all_variables_and_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools.private_engine, "home", lambda: tmp_path / "with a blank")
    tree = tools.folder().parent / "env"
    for name in ("usr/bin", "usr/lib"):
        (tree / name).mkdir(parents=True)
    (tree / "usr/lib/libx.so.1").touch()
    shutil.copy(shutil.which("env") or "", tree / "usr/bin/env")
    tools.folder().mkdir()
    tools._starter("env", tree)
    given = {"log.level": "debug", "a-b": "c", "PLAIN": "it's"}
    command = [tools.folder() / "env", "--null", "two words=$HOME"]
    ran = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
    assert sorted(ran.stdout.split("\0")) == ["", "PLAIN=it's", "a-b=c", "log.level=debug", "two words=$HOME"]


def test_lists_that_were_fetched_serve_the_next_program_too(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTS", "own")
    assert tools.ensure("docker", lambda text: None)
    assert tools.ensure("proot", lambda text: None)
    assert apt.read_text().count(" update\n") == 1


def test_lists_in_which_a_package_is_not_found_are_fetched_anew(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTS", "none")
    for _ in range(2):
        assert not tools.ensure("docker", lambda text: None)
    assert apt.read_text().count(" update\n") == 2


def test_ensure_where_no_list_has_it_says_so(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTS", "none")
    said: list[str] = []
    assert not tools.ensure("docker", said.append)
    assert "can't be had" in said[-1]
    assert not tools.folder().exists()
