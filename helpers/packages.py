"""Python packages: small wheels, standard, remote and virtual repositories, and the clients that use them.

twine and pip run as in a terminal. They use the installed keyring, which gets a token for hosts that end in `.pkg.dev`,
so no credential is written anywhere.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import docker
import docker.errors
import google.auth.transport.requests
import requests
from google.api_core import exceptions
from google.cloud.artifactregistry_v1 import types

from helpers import images, names, target
from helpers.transport import clients

_DAY: Final = (2026, 1, 1, 0, 0, 0)  # of every file in a wheel, so that the same content gives the same wheel
# Settings of the user that would add another index.
_FOREIGN: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONSTRAINT")
_INSTALLED: Final = re.compile(r"Successfully installed .*?-(\d[^\s-]*)\s*$", re.MULTILINE)
# An access token, or its stand-in in a demonstration.
_TOKEN: Final = re.compile(rb"ya29\.[\w-]{8,}|a-token-that-opens-nothing")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


class ClientFailed(RuntimeError):
    """twine or pip failed. The message is the registry's, or the last lines of the output."""


def wheel(folder: Path, name: str, version: str, source: str) -> Path:
    """Write a wheel of one module, as `python -m build` would. The same arguments give the same bytes.

    Args:
        name: the package's name, such as `ml-model` for the module `ml_model`.
        source: the module's code after `__version__`.
    """
    module = re.sub(r"[-_.]+", "_", name).lower()
    about = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": f'__version__ = "{version}"\n\n{source}',
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: >=3.8\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: workbook\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listed = "".join(f"{path},sha256={_record(text)},{len(text.encode())}\n" for path, text in files.items())
    files[f"{about}/RECORD"] = f"{listed}{about}/RECORD,,\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, _DAY), text)
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{module}-{version}-py3-none-any.whl"
    made.write_bytes(content.getvalue())
    return made


def _record(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def url(repository: names.Repository) -> str:
    """Return `https://us-central1-python.pkg.dev/PROJECT/REPOSITORY`, to which twine adds `/` and pip `/simple/`."""
    return f"https://{repository.location}-python.pkg.dev/{repository.project}/{repository.id}"


def create(
    repository: names.Repository,
    *,
    labels: Mapping[str, str],
    upstream: names.Repository | None = None,
    members: Mapping[names.Repository, int] | None = None,
    description: str = "",
    seconds: float = 120.0,
) -> bool:
    """Create a Python repository. Return False if it exists already.

    Args:
        upstream: for a remote repository, the repository that it caches.
        members: for a virtual repository, its upstream repositories with their priorities, of which the greatest wins.

    Raises:
        google.api_core.exceptions.Forbidden: without the right or the API.
    """
    wanted = types.Repository(
        format_=types.Repository.Format.PYTHON, description=description, labels=dict(labels), **_mode(upstream, members)
    )
    try:
        clients.artifact_registry().create_repository(
            parent=repository.location.resource, repository=wanted, repository_id=repository.id
        ).result(timeout=seconds)  # type: ignore[no-untyped-call]
    except exceptions.Conflict:
        return False
    return True


def _mode(upstream: names.Repository | None, members: Mapping[names.Repository, int] | None) -> dict[str, Any]:
    modes = types.Repository.Mode
    if upstream is not None:
        common = types.RemoteRepositoryConfig.CommonRemoteRepository(uri=upstream.resource)
        config = types.RemoteRepositoryConfig(common_repository=common)
        return {"mode": modes.REMOTE_REPOSITORY, "remote_repository_config": config}
    if members is not None:
        together = types.VirtualRepositoryConfig(upstream_policies=_policies(members))
        return {"mode": modes.VIRTUAL_REPOSITORY, "virtual_repository_config": together}
    return {"mode": modes.STANDARD_REPOSITORY}


def _policies(members: Mapping[names.Repository, int]) -> list[types.UpstreamPolicy]:
    return [
        types.UpstreamPolicy(id=one.id, repository=one.resource, priority=priority) for one, priority in members.items()
    ]


def prioritise(repository: names.Repository, members: Mapping[names.Repository, int]) -> None:
    """Set a virtual repository's upstreams. Raises google.api_core.exceptions.GoogleAPICallError."""
    config = types.VirtualRepositoryConfig(upstream_policies=_policies(members))
    changed = types.Repository(name=repository.resource, virtual_repository_config=config)
    clients.artifact_registry().update_repository(
        repository=changed, update_mask={"paths": ["virtual_repository_config"]}
    )


def priorities(repository: names.Repository) -> dict[str, int]:
    """Return the priorities of a virtual repository's upstreams by their ids."""
    found = clients.artifact_registry().get_repository(name=repository.resource)
    policies = found.virtual_repository_config.upstream_policies
    return {one.repository.rpartition("/")[2]: one.priority for one in policies}


def upload(repository: names.Repository, *wheels: Path) -> None:
    """Upload wheels with twine. Raises ClientFailed."""
    options = ("--non-interactive", "--disable-progress-bar", "--verbose", "--repository-url", f"{url(repository)}/")
    _run("twine", "upload", *options, *wheels)


def install(repository: names.Repository, package: str, folder: Path) -> str:
    """Install a package into a folder with pip, from this repository only, and return its version.

    Raises ClientFailed.
    """
    options = ("--no-deps", "--upgrade", "--no-cache-dir", "--disable-pip-version-check")
    where = ("--index-url", f"{url(repository)}/simple/", "--target", folder)
    found = _INSTALLED.search(_run("pip", "install", *options, *where, package))
    return found[1] if found else ""


def listed(repository: names.Repository) -> tuple[tuple[str, str], ...]:
    """Return the package and version of each stored package, sorted."""
    found = clients.artifact_registry().list_python_packages(parent=repository.resource)
    return tuple(sorted((one.package_name, one.version) for one in found))


def page(repository: names.Repository, package: str) -> tuple[str, ...]:
    """Return the files that the index lists for a package. Raises requests.HTTPError for refusals other than 404."""
    answer = clients.session().get(f"{url(repository)}/simple/{package}/", timeout=60)
    if answer.status_code == requests.codes.not_found:
        return ()
    answer.raise_for_status()
    return tuple(re.findall(r">([^<>]+\.(?:whl|tar\.gz))</a>", answer.text))


def _run(module: str, *arguments: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    ran = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment | {"PIP_CONFIG_FILE": os.devnull, "COLUMNS": "500"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if ran.returncode:
        raise ClientFailed(_reason(_COLOUR.sub("", ran.stdout + ran.stderr)))
    return ran.stdout


def _reason(output: str) -> str:
    """Return the registry's message, which twine prints after the status, or else the last lines."""
    found = re.search(r"^\s*(\d{3} [A-Z][A-Za-z ]+)\s*\nINFO +(.+)$", output, re.MULTILINE)
    return f"{found[1].strip()}: {found[2].strip()}" if found else "\n".join(output.strip().splitlines()[-6:])


def scratch(name: str) -> Path:
    """Return the path of a folder for a notebook's files, in `.sandbox/scratch`."""
    home = os.environ.get("WORKBOOK_HOME")
    return (Path(home) if home else target.ROOT / "runs") / "scratch" / name


def no_secret_mount() -> str:
    """Return why a build can't mount a secret and reach the repository, or "" if it can."""
    found = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    if found.returncode:
        return "this Docker has no BuildKit (`docker buildx`), and so no secret mounts"
    address = os.environ.get("SANDBOX_URL", "")
    if not address:
        return ""
    look = f"import urllib.request; urllib.request.urlopen({address!r}, timeout=5)"
    image = os.environ["PYTHON_IMAGE"]
    command = ["docker", "run", "--rm", "--network", "host", image, "python", "-c", look]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return "a build of this engine can't reach the sandbox"
    return ""


def write_pip_conf(path: Path, repository: names.Repository) -> None:
    """Write pip's configuration for a build, with an access token in the index's address, readable only by the user.

    In the sandbox the address is its plain port's, which a build reaches on the machine's own network.
    """
    session = clients.session()
    session.credentials.refresh(google.auth.transport.requests.Request())
    scheme, _, host = url(repository).partition("://")
    if sandbox := os.environ.get("SANDBOX_URL", ""):
        scheme, _, address = sandbox.partition("://")
        host = f"{address}/{host}"
    path.touch(mode=0o600)
    token = session.credentials.token
    path.write_text(f"[global]\nindex-url = {scheme}://oauth2accesstoken:{token}@{host}/simple/\n", encoding="utf-8")


def tokens_in(image: str) -> tuple[str, ...] | None:
    """Return which of "history" and "layers" of an image contain a token, or None if there is no such image."""
    with contextlib.closing(images.engine()) as client, tempfile.TemporaryFile() as saved:
        try:
            found = client.images.get(image)
        except docker.errors.ImageNotFound:
            return None
        history = json.dumps([found.history(), found.attrs]).encode()
        for chunk in found.save():
            saved.write(chunk)
        saved.seek(0)
        with tarfile.open(fileobj=saved) as archive:
            layers = any(_TOKEN.search(content) for content in _layers(archive))
    return tuple(place for place, there in (("history", _TOKEN.search(history)), ("layers", layers)) if there)


def _layers(archive: tarfile.TarFile) -> Iterator[bytes]:
    """Yield the uncompressed content of each layer of a saved image, which are the files that aren't JSON."""
    for entry in archive:
        opened = archive.extractfile(entry) if entry.isfile() else None
        content = opened.read() if opened else b""
        if content[:1] not in (b"{", b"["):
            yield gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def remove_images(name: str) -> None:
    """Remove all tags of an image from the engine, if there are any and an engine answers."""
    with contextlib.suppress(docker.errors.DockerException), contextlib.closing(images.engine()) as client:
        for found in client.images.list(name):
            for tag in found.tags:
                client.images.remove(tag)
