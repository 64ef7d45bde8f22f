"""Install packages of Debian and Ubuntu as root. Each installation is announced first."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from machine.errors import EngineMissing

OS_RELEASE = Path("/etc/os-release")
POLICY = Path("/usr/sbin/policy-rc.d")


def is_debian_like(os_release: Path = OS_RELEASE) -> bool:
    """Return whether this is Debian, Ubuntu or a derivative, with apt-get."""
    if shutil.which("apt-get") is None or not os_release.is_file():
        return False
    kinds: set[str] = set()
    for line in os_release.read_text().splitlines():
        key, _, value = line.partition("=")
        if key in ("ID", "ID_LIKE"):
            kinds.update(value.strip("\"'").split())
    return bool(kinds & {"debian", "ubuntu"})


def install_docker(echo: Callable[[str], None], *, policy: Path = POLICY) -> None:
    """Install the distribution's Docker Engine, without letting the package start its system service.

    Needs root. On a system with systemd the package enables the service, so it starts at the next boot.
    Raises EngineMissing with apt's reason when the package can't be installed.
    """
    echo(
        "Installing Docker Engine: the distribution's package docker.io, about 65 MB to download and 270 MB on disk, "
        "10 to 40 s. Its system service isn't started. (WORKBOOK_INSTALL_ENGINE=0 forbids this.)"
    )
    started = time.monotonic()
    with _services_stay_down(policy):
        packages = _packages()
        failed = _apt(["install", "--no-install-recommends", *packages]) if packages else "no such package"
        if failed is not None:
            echo("The package lists are missing or old: apt-get update first.")
            # `update` fails if one third-party source is out of reach. The installation may work all the same.
            _apt(["update"])
            failed = _apt(["install", "--no-install-recommends", *(_packages() or ["docker.io"])])
    if failed is not None:
        raise EngineMissing(
            f"Docker Engine can't be installed: apt says {failed!r}. Try `apt-get install docker.io` by hand, "
            "or point DOCKER_HOST at an engine that runs."
        )
    echo(f"Docker Engine is installed ({time.monotonic() - started:.0f} s).")


def ensure_curl(echo: Callable[[str], None]) -> None:
    """Install `curl` if it is missing, or print how to. Notebook 6 calls its service with it."""
    if shutil.which("curl") is not None:
        return
    if os.geteuid() == 0 and is_debian_like():
        echo("Installing curl from the distribution's packages, about 1 MB.")
        if _apt(["install", "--no-install-recommends", "curl"]) is not None:
            _apt(["update"])
            _apt(["install", "--no-install-recommends", "curl"])
    if shutil.which("curl") is None:
        echo("curl isn't on the PATH, and notebook 6 calls a service with it. Install it (apt-get install curl).")


def _packages() -> list[str]:
    """Return the packages to install. Newer releases have the `docker` command in a package of its own."""
    return [name for name in ("docker.io", "docker-cli") if _has_candidate(name)]


def _has_candidate(package: str) -> bool:
    done = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False, env=_plain())
    return "Candidate: " in done.stdout and "Candidate: (none)" not in done.stdout


def _apt(arguments: list[str]) -> str | None:
    """Run apt-get. Return None if that worked, else the last line of its error."""
    command = ["apt-get", "-qq", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=60", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=_plain())
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _plain() -> dict[str, str]:
    # RUNLEVEL=1 is how a package's scripts learn that services must stay down where there is no policy to ask
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}


@contextmanager
def _services_stay_down(policy: Path) -> Iterator[None]:
    """Keep packages from starting services, unless the administrator has set a policy."""
    try:
        with policy.open("x") as file:
            file.write("#!/bin/sh\n# temporary, while the workbook installs docker.io\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink(missing_ok=True)
