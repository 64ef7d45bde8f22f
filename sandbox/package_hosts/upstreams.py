"""What stands behind a repository that keeps nothing of its own: one upstream, cached, or several, by priority.

A remote repository fetches an index again when it is older than the format's age, and a file once.
https://cloud.google.com/artifact-registry/docs/repositories/remote-overview (with the table of ages) and
.../virtual-overview.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.artifact_registry import catalog, repository_modes
from sandbox.artifact_registry.catalog import Repository
from sandbox.iam import members, policies
from sandbox.package_hosts.bodies import REQUEST_LIMIT
from sandbox.package_hosts.refusals import PackageRefusal
from sandbox.state import projects
from sandbox.state.clock import timestamp
from sandbox.state.world import World

if TYPE_CHECKING:
    import requests

READ_VIA = "artifactregistry.repositories.readViaVirtualRepository"
_SECONDS = (5, 60)  # to connect, and between two bytes
_PAGE_LIMIT = 64 << 20  # bytes of an index
_CHUNK = 1 << 20


class Unreachable(Exception):
    """The upstream does not answer, or answers what is no answer; the text says which."""


class Missing(Exception):
    """The upstream says that it does not have it."""


def by_priority(world: World, repository: Repository) -> list[list[Repository]]:
    """Return a virtual repository's upstreams, those of the highest priority first.

    Repositories that Artifact Registry's own agent may not read through it are left out: in another project its
    policy must name the agent. unverified: that Google leaves them out, and says nothing
    """
    wanted = repository.message.get("virtualRepositoryConfig", {}).get("upstreamPolicies", [])
    ordered = sorted(wanted, key=lambda policy: -policy.get("priority", 0))
    found: list[list[Repository]] = []
    with world.reading() as rows:
        for _, group in itertools.groupby(ordered, key=lambda policy: policy.get("priority", 0)):
            known = (catalog.find_repository(rows, policy["repository"]) for policy in group)
            found.append([one for one in known if one is not None and _may_read(world, repository, one)])
    return found


def _may_read(world: World, virtual: Repository, upstream: Repository) -> bool:
    if upstream.project == virtual.project:
        return True
    project = projects.find(world, virtual.project)
    agent = members.REGISTRY_AGENT.format(number=project.number if project else "")
    return policies.decide(world, f"serviceAccount:{agent}", READ_VIA, upstream.name).allowed


def address_of(world: World, repository: Repository) -> str:
    """Return a remote repository's upstream: the address of an index, or a repository's resource name."""
    config = repository.message.get("remoteRepositoryConfig", {})
    found = repository_modes.upstream(repository.format, config)
    return world.part(_machines_index) if found == "PYPI" else found


def _machines_index(_world: World) -> str:
    """Return the index that this machine's own pip takes; behind a company's mirror that is the mirror."""
    named = os.environ.get("PIP_INDEX_URL", "")
    if named:
        return named
    pip = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    ran = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=30)
    if ran.returncode == 0 and ran.stdout.strip():
        return ran.stdout.strip()
    default = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    ran = subprocess.run([sys.executable, "-c", default], capture_output=True, text=True, check=False, timeout=30)
    return ran.stdout.strip()


def kept_page(world: World, repository: Repository, path: str, age: dt.timedelta) -> tuple[Any, bool]:
    """Return a page of the upstream as it was kept, and whether it is still young enough; None where none was."""
    with world.reading() as rows:
        row = rows.execute(
            "SELECT page, fetch_time FROM remote_pages WHERE repository = ? AND path = ?", (repository.name, path)
        ).fetchone()
    if row is None:
        return None, False
    return json.loads(row["page"]), dt.datetime.fromisoformat(row["fetch_time"]) + age > world.now()


def keep_page(world: World, repository: Repository, path: str, page: Any) -> None:
    """Keep a page of the upstream; of a repository that has gone meanwhile nothing."""
    with world.writing(tick=False) as rows:
        if catalog.find_repository(rows, repository.name) is not None:
            rows.execute(
                "INSERT OR REPLACE INTO remote_pages VALUES (?, ?, ?, ?)",
                (repository.name, path, json.dumps(page), timestamp(world.now())),
            )


def session() -> requests.Session:
    """Return a session that reaches what this machine reaches without the sandbox."""
    # Not at the sandbox's start, which it would make longer by a tenth: most learners ask no upstream.
    import requests

    made = requests.Session()
    # The learner's proxy leads to this very sandbox; the user's own one is kept beside it.
    if proxy := os.environ.get("WORKBOOK_UPSTREAM_PROXY", ""):
        made.proxies = {"http": proxy, "https": proxy}
    made.headers["User-Agent"] = "artifact-registry-workbook"
    return made


def fetch(url: str, accept: str) -> requests.Response:
    """Return the upstream's answer with its whole body, after redirects.

    Raises:
        Missing: for 404 and 410.
        Unreachable: for every other answer than 200, and for none.
    """
    import requests

    try:
        with (
            session() as opened,
            opened.get(url, headers={"Accept": accept}, timeout=_SECONDS, stream=True) as answer,
        ):
            look(answer)
            body = b""
            for chunk in answer.iter_content(_CHUNK):
                body += chunk
                if len(body) > _PAGE_LIMIT:
                    raise Unreachable(f"an index of more than {_PAGE_LIMIT} bytes")
            answer._content = body
            return answer
    except requests.RequestException as error:
        raise Unreachable(type(error).__name__) from None


def download(url: str, path: Path) -> None:
    """Write a file of the upstream to a path. Raises as `fetch`."""
    import requests

    try:
        with session() as opened, opened.get(url, timeout=_SECONDS, stream=True) as answer, path.open("wb") as file:
            look(answer)
            size = 0
            for chunk in answer.iter_content(_CHUNK):
                size += len(chunk)
                if size > REQUEST_LIMIT:
                    raise Unreachable(f"a file of more than {REQUEST_LIMIT} bytes")
                file.write(chunk)
    except requests.RequestException as error:
        raise Unreachable(type(error).__name__) from None


def look(answer: requests.Response) -> None:
    """Raise Missing or Unreachable for every status but 200."""
    if answer.status_code in (404, 410):
        raise Missing
    if answer.status_code != HTTPStatus.OK:
        raise Unreachable(f"status {answer.status_code}")


def unreachable(repository: Repository, error: Unreachable) -> PackageRefusal:
    """# unverified: code and text."""
    return PackageRefusal(
        502, f'The upstream of the remote repository "{repository.id}" could not be read: {error}. Nothing is cached.'
    )


def refuse_upload(repository: Repository) -> None:
    """Refuse an upload to a repository that takes none.

    "You can't upload artifacts to a remote or virtual repository": virtual-overview, remote-overview.

    Raises:
        PackageRefusal: 400 (unverified: code and text).
    """
    if repository.mode != repository_modes.STANDARD:
        kind = repository.mode.partition("_")[0].lower()
        raise PackageRefusal(
            400, f'"{repository.id}" is a {kind} repository: artifacts are uploaded to a standard repository.'
        )
