"""Python packages: small wheels, repositories that keep, cache or put them together, and the clients that use them.

twine and pip are called as in a terminal. They find the keyring beside them, which asks for a token whenever a host
ends in `.pkg.dev`, so no credential is written anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import requests
from google.api_core import exceptions
from google.cloud.artifactregistry_v1 import types

from helpers import names, target
from helpers.transport import clients

_DAY: Final = (2026, 1, 1, 0, 0, 0)  # of every file in a wheel: the same content is the same wheel
# Settings of one's own that would ask another index beside the one that is shown.
_FOREIGN: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONSTRAINT")
_INSTALLED: Final = re.compile(r"Successfully installed .*?-(\d[^\s-]*)\s*$", re.MULTILINE)


class ClientFailed(RuntimeError):
    """twine or pip ended with an error. The message is what it said last."""


def wheel(folder: Path, name: str, version: str, source: str) -> Path:
    """Write a wheel of one module, as `python -m build` would; the same arguments give the same bytes.

    Args:
        name: of the package, `ml-model`; the module is `ml_model`.
        source: what the module says, beside `__version__`.
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
    """`https://us-central1-python.pkg.dev/PROJECT/REPOSITORY`: uploads go there with a slash, pip adds `/simple/`."""
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
    """Create a Python repository; False when it is there already.

    Args:
        upstream: the repository that it caches: a remote one.
        members: repositories with their priorities, the greater first: a virtual one.

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
    """Give a virtual repository these upstreams. Raises google.api_core.exceptions.GoogleAPICallError."""
    config = types.VirtualRepositoryConfig(upstream_policies=_policies(members))
    changed = types.Repository(name=repository.resource, virtual_repository_config=config)
    clients.artifact_registry().update_repository(
        repository=changed, update_mask={"paths": ["virtual_repository_config"]}
    )


def priorities(repository: names.Repository) -> dict[str, int]:
    """Return the upstreams of a virtual repository by their ids, each with its priority."""
    found = clients.artifact_registry().get_repository(name=repository.resource)
    policies = found.virtual_repository_config.upstream_policies
    return {one.repository.rpartition("/")[2]: one.priority for one in policies}


def upload(repository: names.Repository, *wheels: Path) -> None:
    """Upload with twine. Raises ClientFailed with what twine says, the registry's sentence included."""
    options = ("--non-interactive", "--disable-progress-bar", "--verbose", "--repository-url", f"{url(repository)}/")
    _run("twine", "upload", *options, *wheels)


def install(repository: names.Repository, package: str, folder: Path) -> str:
    """Install a package into a folder with pip, from this repository alone; gives the version. Raises ClientFailed."""
    options = ("--no-deps", "--upgrade", "--no-cache-dir", "--disable-pip-version-check")
    said = _run(*("pip", "install", *options, "--index-url", f"{url(repository)}/simple/"), "--target", folder, package)
    found = _INSTALLED.search(said)
    return found[1] if found else ""


def listed(repository: names.Repository) -> tuple[tuple[str, str], ...]:
    """Return package and version of everything that the repository keeps, sorted."""
    found = clients.artifact_registry().list_python_packages(parent=repository.resource)
    return tuple(sorted((one.package_name, one.version) for one in found))


def page(repository: names.Repository, package: str) -> tuple[str, ...]:
    """Return the files that the index names for a package; none where it has none.

    Raises:
        requests.HTTPError: for any other refusal than 404.
    """
    answer = clients.session().get(f"{url(repository)}/simple/{package}/", timeout=60)
    if answer.status_code == requests.codes.not_found:
        return ()
    answer.raise_for_status()
    return tuple(re.findall(r">([^<>]+\.(?:whl|tar\.gz))</a>", answer.text))


def settings() -> dict[str, str]:
    """Return what keeps pip's settings on this machine out of a notebook."""
    return {"PIP_CONFIG_FILE": os.devnull, "PYTHON": sys.executable, **dict.fromkeys(_FOREIGN, "")}


def _run(module: str, *arguments: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    ran = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment | {"PIP_CONFIG_FILE": os.devnull, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if ran.returncode:
        raise ClientFailed("\n".join((ran.stdout + ran.stderr).strip().splitlines()[-12:]))
    return ran.stdout


def scratch(name: str) -> Path:
    """Return a folder of this world for what a notebook makes, in `.sandbox/scratch`."""
    home = os.environ.get("WORKBOOK_HOME")
    return (Path(home) if home else target.ROOT / "runs") / "scratch" / name
