"""Build the workbook's image and run containers of it, on an engine that runs privileged containers.

`--privileged` requests CAP_SYS_RESOURCE, which a machine without it can't grant. There the tests use a runtime that
removes this capability from each container's description.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from machine import engine, private_engine, processes, stand_in
from tests.soak import roots

ROOT: Final = Path(__file__).parents[2]
LABEL: Final = "workbook-test=image"
BASE: Final = "workbook-test/debian:trixie"
_SYS_RESOURCE: Final = 24
_RUNTIME: Final = """#!{python}
import json, os, sys
for option in ("--bundle", "--process"):
    if option in sys.argv:
        path = sys.argv[sys.argv.index(option) + 1]
        path = os.path.join(path, "config.json") if option == "--bundle" else path
        with open(path) as file:
            whole = json.load(file)
        for names in (whole["process"] if option == "--bundle" else whole).get("capabilities", {{}}).values():
            if "CAP_SYS_RESOURCE" in names:
                names.remove("CAP_SYS_RESOURCE")
        with open(path, "w") as file:
            json.dump(whole, file)
os.execvp("runc", ["runc", *sys.argv[1:]])
"""


def docker(*arguments: str, seconds: float = 120) -> str:
    """Return the output of a `docker` command that must succeed."""
    ran = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL
    )
    assert ran.returncode == 0, f"docker {' '.join(arguments)}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout.strip()


def ensure_runtime(found: engine.Engine, folder: Path) -> list[str]:
    """Return the options of `docker run` that a privileged container needs on this machine."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    bounding = re.search(r"^CapBnd:\s*([0-9a-f]+)", status, re.MULTILINE)
    assert bounding
    if int(bounding[1], 16) >> _SYS_RESOURCE & 1 or not found.private:
        return []
    runtime = folder / "without-sys-resource"
    runtime.write_text(_RUNTIME.format(python=sys.executable), encoding="utf-8")
    runtime.chmod(0o755)
    settings = private_engine.home() / "config.json"
    settings.write_text(json.dumps({"runtimes": {"less": {"path": str(runtime)}}}), encoding="utf-8")
    daemon = processes.with_arguments(f"--config-file={settings}")
    assert daemon
    # On SIGHUP dockerd reads the runtimes again.
    os.kill(daemon, signal.SIGHUP)
    return ["--runtime=less"]


def image(folder: Path) -> str:
    """Return the image that WORKBOOK_IMAGE names, or build one on a base from Debian's packages."""
    chosen = os.environ.get("WORKBOOK_IMAGE", "")
    if chosen:
        docker("pull", "--quiet", chosen, seconds=1200)
        return chosen
    if not docker("images", "--quiet", BASE):
        _import_base()
    bundle = folder / "ca.pem"
    bundle.write_bytes(stand_in.host_ca_bundle())
    name = "workbook-test/image"
    options = [f"--build-arg=BASE={BASE}", f"--secret=id=ca,src={bundle}", "--network=host", f"--tag={name}"]
    docker("build", "--quiet", "--file=image/Dockerfile", *options, str(ROOT), seconds=1200)
    return name


def _import_base() -> None:
    """Make the base image from Debian's packages, which needs no Docker Hub and adds no CA of this machine."""
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "trixie", "-", roots.mirror()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as made:
        subprocess.run(["docker", "import", "--message=debian", "-", BASE], stdin=made.stdout, check=True, timeout=600)
    assert made.returncode == 0


def local_options(folder: Path) -> list[str]:
    """Return options that give a container this machine's CAs, and the archive of gcloud if one is set."""
    bundle = folder / "machine.pem"
    bundle.write_bytes(stand_in.host_ca_bundle())
    options = [f"--volume={bundle}:/etc/ssl/certs/ca-certificates.crt:ro", f"--label={LABEL}"]
    archive = os.environ.get("WORKBOOK_GCLOUD_ARCHIVE", "")
    if archive:
        options += [f"--volume={archive}:/archive.tar.gz:ro", "--env=WORKBOOK_GCLOUD_ARCHIVE=/archive.tar.gz"]
    return options


@contextlib.contextmanager
def volumes() -> Iterator[list[str]]:
    """Yield the options that mount two new volumes, and remove the volumes afterwards."""
    name = f"workbook-test-{uuid.uuid4().hex[:8]}"
    try:
        yield [
            f"--volume={name}-home:/opt/workbook/.sandbox",
            f"--volume={name}-engine:/opt/workbook/.sandbox/engine",
        ]
    finally:
        subprocess.run(["docker", "volume", "rm", f"{name}-home", f"{name}-engine"], capture_output=True, check=False)


@contextlib.contextmanager
def container(options: Sequence[str], arguments: Sequence[str]) -> Iterator[str]:
    """Run a container with these options, and its image and command; yield its id, and remove it afterwards."""
    found = docker("run", "--detach", *options, *arguments)
    try:
        yield found
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", found], capture_output=True, check=False)


def published(found: str, port: int) -> str:
    """Return the address on this machine at which a container's port is published."""
    return f"http://{docker('port', found, f'{port}/tcp').splitlines()[0]}"


def status(address: str) -> int:
    """Return the status of a GET, or 0 without a response."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def missing() -> str:
    """Return why no image can be built or run on this machine, or an empty string."""
    if shutil.which("docker") is None:
        return "there is no `docker` command"
    buildx = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    if buildx.returncode != 0:
        return "docker has no buildx (Debian 13: docker-buildx)"
    return "" if os.environ.get("WORKBOOK_IMAGE") else roots.missing()
