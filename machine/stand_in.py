"""Make a base image from the distribution's archive, for machines that can't reach Docker Hub.

Its name, its labels and the output call it a stand-in. It holds the system's
Python with its whole standard library, a shell and the usual small tools, laid out as the packages lay them out, with a
valid dpkg status, so that a scanner finds real packages with real versions. Packages' maintainer scripts don't run.

The packages are those that the archive offers today: the archive moves, so two images made in different weeks may
differ, just as a moving tag such as python:3.12-slim does.

Nothing on the host is changed and no root is needed: apt resolves and downloads into a temporary folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import docker
from docker.errors import APIError

from machine import package_lists, platforms, root_file_system
from machine.errors import BaseImageMissing

REPOSITORY = "workbook/python-stand-in"
# Raise it with each change of the image's contents: images of an older recipe are then replaced.
RECIPE = "1"
HOST_CA_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)
PACKAGES = (
    *("base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "findutils", "grep", "libc-bin"),
    # libgomp1 and libstdc++6 are what the wheels of numpy and scikit-learn expect to find
    *("libgomp1", "libstdc++6", "netbase", "python-is-python3", "python3", "python3-venv", "sed", "tzdata"),
)
# Only maintainer scripts need these, and none runs: apt is told that they are there, so it leaves them out.
ASSUMED = ("debconf", "dpkg", "openssl", "perl-base")
HOW_TO_GET_ONE = (
    "Connect the engine to Docker Hub, or load python:3.12-slim by hand (`docker load`), "
    "or set WORKBOOK_PYTHON_IMAGE to a Python image (3.11 or newer) that the engine can pull."
)


def find(client: docker.DockerClient) -> str | None:
    """Return the reference of the engine's stand-in if this recipe made it with the host's present CAs, else None."""
    wanted = {f"{key}={value}" for key, value in _fingerprint().items()}
    # Images built on it have its labels too, and one may be deleted during the listing, so none is inspected by itself.
    for image in client.api.images(filters={"label": sorted(wanted)}):
        for tag in sorted(image["RepoTags"] or []):
            if tag.startswith(f"{REPOSITORY}:"):
                return str(tag)
    return None


def make(client: docker.DockerClient, echo: Callable[[str], None]) -> str:
    """Make the image in the engine and return its reference, `workbook/python-stand-in:<Python version>`.

    Takes about 10 s and 25 MB of downloads. Raises BaseImageMissing where there is no apt, where the machine is
    for another platform, where the archive can't be reached, or where the engine refuses the image.
    """
    _require_apt()
    started = time.monotonic()
    echo("Making a stand-in base image from the distribution's packages: about 25 MB of downloads, 10 s.")
    with tempfile.TemporaryDirectory(prefix="workbook-base-") as folder:
        debs = _download(Path(folder), echo)
        version = _python_version(debs)
        reference = f"{REPOSITORY}:{version}"
        archive = Path(folder) / "root.tar"
        root_file_system.write(debs, archive, ca_bundle=host_ca_bundle())
        _import(client, archive, version)
    echo(
        f"{reference} is ready ({time.monotonic() - started:.0f} s). It stands in for python:3.12-slim: "
        f"Python {version} from {_os_name()} packages, not the image that Docker publishes."
    )
    return reference


def host_ca_bundle() -> bytes:
    """Return the host's bundle of CA certificates (PEM) for builds. It may be empty."""
    for path in HOST_CA_BUNDLES:
        if path.is_file():
            return path.read_bytes()
    return b""


def _fingerprint() -> dict[str, str]:
    return {
        "workbook.stand-in": "true",
        "workbook.stand-in.recipe": RECIPE,
        "workbook.stand-in.ca": hashlib.sha256(host_ca_bundle()).hexdigest()[:12],
    }


def _require_apt() -> None:
    for tool in ("apt-get", "dpkg", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise BaseImageMissing(
                f"Docker Hub can't be reached, and a stand-in needs {tool} (Debian or Ubuntu). {HOW_TO_GET_ONE}"
            )
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    if f"linux/{architecture.stdout.strip()}" != platforms.wanted():
        raise BaseImageMissing(
            f"Docker Hub can't be reached, and a stand-in is made of this machine's packages, which are for "
            f"{architecture.stdout.strip()}: the workbook's images are {platforms.wanted()}. {HOW_TO_GET_ONE}"
        )


def _download(folder: Path, echo: Callable[[str], None]) -> list[Path]:
    """Download the packages and their dependencies, by the host's package lists or, if those are stale, fresh ones."""
    (folder / "cache/archives/partial").mkdir(parents=True)
    (folder / "status").write_text("".join(_assumed_stanza(name) for name in ASSUMED))
    failed = _apt(folder, ["install", "--download-only", *PACKAGES])
    if failed is not None:
        for lists in package_lists.each(echo):
            failed = _apt(folder, ["install", "--download-only", *PACKAGES], lists)
            if failed is None:
                break
    debs = sorted((folder / "cache/archives").glob("*.deb"))
    if failed is not None or not debs:
        raise BaseImageMissing(
            f"Docker Hub can't be reached, nor can a stand-in be made: apt says {failed!r}. {HOW_TO_GET_ONE}"
        )
    return debs


def _assumed_stanza(name: str) -> str:
    provides = "Provides: debconf-2.0\n" if name == "debconf" else ""
    return (
        f"Package: {name}\nStatus: install ok installed\nMaintainer: none\nArchitecture: all\nMulti-Arch: foreign\n"
        f"Version: 99999\n{provides}Description: assumed\n\n"
    )


def _apt(folder: Path, arguments: list[str], lists: tuple[str, ...] = ()) -> str | None:
    """Run apt-get without the host's own state. Return None if it worked, else the last line of its error."""
    options = {
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache": f"{folder}/cache",
        "Dir::Cache::archives": f"{folder}/cache/archives",
        # The folder is private (0700), which the unprivileged user of apt couldn't enter.
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "APT::Keep-Downloaded-Packages": "true",
        "Debug::NoLocking": "true",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
    }
    command = ["apt-get", "-qq", "-y", *lists]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _python_version(debs: list[Path]) -> str:
    for deb in debs:
        found = re.match(r"python(3\.\d+)_", deb.name)
        if found:
            return found[1]
    raise BaseImageMissing(f"The distribution's archive offers no Python 3. {HOW_TO_GET_ONE}")


def _import(client: docker.DockerClient, archive: Path, version: str) -> None:
    about = f"Stand-in for python:3.12-slim: Python {version} from {_os_name()} packages"
    labels = {**_fingerprint(), "org.opencontainers.image.description": about}
    changes = [
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "ENV LANG=C.UTF-8",
        'CMD ["python3"]',
        *(f"LABEL {key}={json.dumps(value)}" for key, value in labels.items()),
    ]
    try:
        client.api.import_image_from_file(str(archive), repository=REPOSITORY, tag=version, changes=changes)
    except APIError as error:
        raise BaseImageMissing(f"The engine refuses the stand-in image: {error.explanation or error}.") from error


def _os_name() -> str:
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return "the distribution's"
    found = re.search(r'^NAME="?([^"\n]*?)(?: GNU/Linux)?"?$', text, re.MULTILINE)
    return found[1] if found else "the distribution's"
