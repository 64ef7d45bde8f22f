"""Unpack the distribution's packages of `docker` and `proot` without root, for a machine that lacks them.

They are kept in the engine's home (`tools/`). Only the workbook finds them, because it adds that folder to its PATH.
apt checks what it downloads against the archive's signed lists: the system's, else those of `machine.package_lists`.
The system isn't changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from machine import package_lists, private_engine

# For each program, alternatives of packages: the first that the archive has is taken.
PACKAGES = {"docker": (("docker-cli",), ("docker.io",)), "proot": (("proot", "libtalloc2"),)}
# env removes the quotes, which keep a path with blanks in one piece.
_STARTER = """#!/usr/bin/env -S "{python}" -IS
import os, sys
command = {command!r} + sys.argv[1:]
with open("/proc/self/environ", "rb") as file:
    given = [one.split(b"=", 1) for one in file.read().split(b"\\0") if b"=" in one]
os.execve(command[0], command, dict(given))
"""


def folder() -> Path:
    """Return the folder of the programs. It may not exist yet."""
    return private_engine.home() / "tools" / "bin"


def environment(values: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the PATH with our own programs at its end; nothing if there are none."""
    path = (os.environ if values is None else values).get("PATH", "")
    if not folder().is_dir() or str(folder()) in path.split(os.pathsep):
        return {}
    return {"PATH": f"{path}{os.pathsep}{folder()}".lstrip(os.pathsep)}


def ensure(name: str, echo: Callable[[str], None]) -> bool:
    """Make sure that the program is on this process's PATH. Return False if that fails."""
    os.environ.update(environment())
    if shutil.which(name) is not None:
        return True
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        echo(f"The command {name} is missing, and can't be unpacked here: that needs apt-get and dpkg-deb.")
        return False
    echo(f"Unpacking the command {name} from the distribution's package, for the workbook alone.")

    def unpacked(options: tuple[str, ...]) -> bool:
        return any(_unpack(name, packages, options) for packages in PACKAGES[name])

    if unpacked(()) or any(unpacked(options) for options in package_lists.each(echo)):
        os.environ.update(environment())
        return shutil.which(name) is not None
    echo(f"The command {name} can't be had: apt knows none of its packages, or can't reach its archive.")
    return False


def _unpack(name: str, packages: tuple[str, ...], options: tuple[str, ...]) -> bool:
    tools = folder().parent
    tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tools) as temporary:
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *options, "download", *packages]
        done = subprocess.run(command, cwd=temporary, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            return False
        tree = Path(temporary) / "tree"
        for deb in Path(temporary).glob("*.deb"):
            if subprocess.run(["dpkg-deb", "-x", deb, tree], capture_output=True, check=False).returncode != 0:
                return False
        if not (tree / "usr/bin" / name).is_file():
            return False
        shutil.rmtree(tools / name, ignore_errors=True)
        tree.rename(tools / name)
    folder().mkdir(exist_ok=True)
    _starter(name, tools / name)
    return True


def _starter(name: str, tree: Path) -> None:
    """Put the program on our PATH. If its packages have libraries, it is started by the loader.

    A variable for the loader would reach the program's children, and a shell drops variables whose names it can't
    express, such as `log.level`. So the starter is a Python script. It passes on the original environment, because
    Python adds LC_CTYPE to its own (PEP 538).
    """
    place = folder() / name
    place.unlink(missing_ok=True)
    libraries = sorted({str(path.parent) for path in tree.glob("usr/lib/**/*.so*")})
    loaders = [
        path for path in (Path("/lib64/ld-linux-x86-64.so.2"), Path("/lib/ld-linux-aarch64.so.1")) if path.exists()
    ]
    program = str(tree / "usr/bin" / name)
    if not libraries or not loaders:
        place.symlink_to(program)
        return
    command = [str(loaders[0]), "--library-path", ":".join(libraries), program]
    place.write_text(_STARTER.format(python=sys.executable, command=command))
    place.chmod(0o755)
