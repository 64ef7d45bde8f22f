"""The upstreams of a repository: the one that a remote repository caches, or several of a virtual one, by priority.

https://cloud.google.com/artifact-registry/docs/repositories/remote-overview (with the table of ages) and
.../virtual-overview.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.artifact_registry import catalog, repository_modes, upstream_calls, upstream_credentials
from sandbox.artifact_registry.catalog import Repository
from sandbox.artifact_registry.upstream_calls import Credentials, Unreachable
from sandbox.iam import members, policies
from sandbox.package_hosts import machine
from sandbox.package_hosts.refusals import PackageRefusal
from sandbox.state import projects
from sandbox.state.clock import timestamp
from sandbox.state.world import World

if TYPE_CHECKING:
    import requests

READ_VIA = "artifactregistry.repositories.readViaVirtualRepository"

_MACHINES = {"PYPI": machine.pypi, "NPMJS": machine.npmjs, "MAVEN_CENTRAL": machine.maven_central}


@dataclass(frozen=True)
class Upstream:
    """The upstream of a remote repository.

    Attributes:
        address: the URL of an index, or a repository's resource name.
    """

    address: str
    credentials: Credentials | None

    @property
    def is_neighbour(self) -> bool:
        """Whether it is a repository of Artifact Registry."""
        return self.address.startswith("projects/")

    def credentials_for(self, url: str) -> Credentials | None:
        """Return the credentials for a URL that the upstream named: None if it is on another host."""
        return upstream_calls.of_same_origin(url, self.address, self.credentials)

    def url(self, path: str) -> str:
        """Return the address of a path; for a neighbour, its resource name."""
        return self.address if self.is_neighbour else f"{self.address.rstrip('/')}/{path}"

    def fetch(self, path: str, accept: str) -> requests.Response:
        """Return the upstream's answer for a path. Raises Missing and Unreachable."""
        return upstream_calls.fetch(self.url(path), accept, self.credentials)


def by_priority(world: World, repository: Repository) -> list[list[Repository]]:
    """Return a virtual repository's upstreams in groups of equal priority, the highest first.

    Leaves out the repositories that Artifact Registry's own agent may not read: in another project their policy must
    name the agent. unverified: that Google leaves them out without an error
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


def of(world: World, repository: Repository) -> Upstream:
    """Return a remote repository's upstream, with the credentials that its settings name.

    Raises:
        Unreachable: if the settings of this machine name none, or Artifact Registry may not read the secret.
    """
    config = repository.message.get("remoteRepositoryConfig", {})
    found = repository_modes.upstream(repository.format, config)
    if found in _MACHINES:
        found = world.part(_MACHINES[found])
    return Upstream(found, upstream_credentials.of(world, repository.project, config))


def kept_page(world: World, repository: Repository, path: str, age: dt.timedelta) -> tuple[Any, bool]:
    """Return the cached page of an upstream, or None, and whether it is younger than `age`."""
    with world.reading() as rows:
        row = rows.execute(
            "SELECT page, fetch_time FROM remote_pages WHERE repository = ? AND path = ?", (repository.name, path)
        ).fetchone()
    if row is None:
        return None, False
    return json.loads(row["page"]), dt.datetime.fromisoformat(row["fetch_time"]) + age > world.now()


def keep_page(world: World, repository: Repository, path: str, page: Any) -> None:
    """Cache a page of the upstream, unless the repository has been deleted meanwhile."""
    with world.writing(tick=False) as rows:
        if catalog.find_repository(rows, repository.name) is not None:
            rows.execute(
                "INSERT OR REPLACE INTO remote_pages VALUES (?, ?, ?, ?)",
                (repository.name, path, json.dumps(page), timestamp(world.now())),
            )


def unreachable(repository: Repository, error: Unreachable) -> PackageRefusal:
    """Return the refusal for an upstream that fails. # unverified: code and text."""
    return PackageRefusal(
        502, f'The upstream of the remote repository "{repository.id}" could not be read: {error}. Nothing is cached.'
    )


def refuse_upload(repository: Repository) -> None:
    """Refuse an upload to a remote or virtual repository.

    "You can't upload artifacts to a remote or virtual repository": virtual-overview, remote-overview.

    Raises:
        PackageRefusal: 400 (unverified: code and text).
    """
    if repository.mode != repository_modes.STANDARD:
        kind = repository.mode.partition("_")[0].lower()
        raise PackageRefusal(
            400, f'"{repository.id}" is a {kind} repository: artifacts are uploaded to a standard repository.'
        )
