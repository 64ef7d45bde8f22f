"""Reads from remote and virtual repositories.

A remote repository caches its upstream: a tag for an hour, a digest permanently. A virtual one tries its upstreams by
priority and stores nothing. https://cloud.google.com/artifact-registry/docs/repositories/remote-overview,
.../virtual-overview. unverified: what Google answers while an upstream fails; here it is the cached image, or 404.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import logging
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sandbox import containers
from sandbox.artifact_registry import blobs, catalog, repository_modes, upstream_calls, upstream_credentials
from sandbox.artifact_registry.catalog import Repository, Version
from sandbox.artifact_registry.media_types import IMAGES, INDEXES
from sandbox.artifact_registry.upstream_calls import Missing, Unreachable
from sandbox.errors import RegistryError
from sandbox.oci import manifest_rules
from sandbox.oci.address import RegistryCall
from sandbox.oci.manifest_rules import is_digest
from sandbox.oci.rights import DOWNLOAD, enter
from sandbox.oci.token import Caller
from sandbox.package_hosts import bodies, upstreams
from sandbox.state.world import World

if TYPE_CHECKING:
    import requests

_TAG_AGE = dt.timedelta(hours=1)  # "Docker: list/get tags cache, 1 hour": remote-overview
_ACCEPT = ", ".join((*IMAGES, *INDEXES))

log = logging.getLogger("sandbox")


def is_plain(call: RegistryCall) -> bool:
    """Return whether a read needs no upstream."""
    with call.world.reading() as rows:
        if blobs.find(rows, call.image.repository, call.reference) is not None:
            return True
        repository = catalog.find_repository(rows, call.image.repository)
    return repository is None or repository.mode == repository_modes.STANDARD


def reading(call: RegistryCall, caller: Caller) -> Repository:
    """Return the repository to read from: the one in the path, or an upstream of a virtual one. Blocking.

    Raises:
        RegistryError: DENIED, NAME_UNKNOWN.
    """
    repository = enter(call.world, caller.principal, call.image, DOWNLOAD)
    if repository.mode == repository_modes.STANDARD:
        return repository
    is_virtual = repository.mode == repository_modes.VIRTUAL
    groups = upstreams.by_priority(call.world, repository) if is_virtual else [[repository]]
    for one in (one for group in groups for one in group):
        if one.mode == repository_modes.REMOTE:
            _fetch(call, one)
        if _holds(call, one):
            return one
    return repository


def _holds(call: RegistryCall, repository: Repository) -> bool:
    package, reference = call.image.package, call.reference
    with call.world.reading() as rows:
        if not is_digest(reference):
            known = "SELECT 1 FROM packages WHERE repository = ? AND id = ?"
            there = rows.execute(known, (repository.name, package)).fetchone() is not None
            return there if not reference else catalog.find_tag(rows, repository.name, package, reference) is not None
        version = catalog.find_version(rows, repository.name, package, reference)
        return version is not None or blobs.find(rows, repository.name, reference) is not None


def _fetch(call: RegistryCall, remote: Repository) -> None:
    """Fetch the manifest or the blob from the upstream, if it is missing or too old."""
    if not call.reference:
        return
    try:
        upstream = _Upstream(call.world, remote, call.image.package)
        if is_digest(call.reference) and call.kind == "blobs":
            if not _holds(call, remote):
                upstream.keep_blob(blobs.check_digest(call.reference))
        elif call.kind == "manifests":
            if is_digest(call.reference):
                if not _holds(call, remote):
                    upstream.keep_manifest(blobs.check_digest(call.reference))
            elif not _is_young(call, remote):
                upstream.keep_manifest(manifest_rules.check_tag(call.reference))
    except Missing:
        return
    except Unreachable as error:
        log.info("the upstream of %s could not be read: %s", remote.name, error)


def _is_young(call: RegistryCall, remote: Repository) -> bool:
    _, young = upstreams.kept_page(call.world, remote, f"{call.image.package}:{call.reference}", _TAG_AGE)
    return young and _holds(call, remote)


class _Upstream:
    """One image in a remote repository's upstream."""

    def __init__(self, world: World, remote: Repository, package: str) -> None:
        self._world = world
        self._remote = remote
        self._package = package
        config = remote.message.get("remoteRepositoryConfig", {})
        self._address = repository_modes.upstream(remote.format, config)
        self._name = package
        if self._address == "DOCKER_HUB":
            self._address = world.part(_docker_hub)
            # Docker's rule for official images
            self._name = package if "/" in package else f"library/{package}"
        self._token = ""
        self._credentials = upstream_credentials.of(world, remote.project, config)

    def keep_manifest(self, reference: str) -> None:
        """Fetch a manifest by tag or digest, and store it with the tag."""
        content, media_type = self._manifest(reference)
        manifest = manifest_rules.parse(content, media_type)
        digest = blobs.digest_of(content)
        if is_digest(reference) and digest != reference:
            raise Unreachable(f"the manifest's digest is {digest}, not {reference}")
        blobs.store(self._world, content, digest)
        name = self._remote.name
        version = Version(
            name,
            self._package,
            digest,
            manifest.media_type,
            manifest.artifact_type,
            manifest.subject,
            sum(manifest.blobs.values()),
            len(content),
            manifest.annotations,
            "",
            "",
            "",
        )
        with self._world.writing(tick=False) as rows:
            if catalog.find_repository(rows, name) is None:
                return
            blobs.record(rows, self._world, name, digest, len(content))
            here = [blob for blob in manifest.blobs if blobs.find(rows, name, blob) is not None]
            catalog.put_version(rows, self._world, version, blobs=here)
            if not is_digest(reference):
                catalog.set_tag(rows, self._world, self._remote, self._package, reference, digest)
        if not is_digest(reference):
            upstreams.keep_page(self._world, self._remote, f"{self._package}:{reference}", digest)

    def keep_blob(self, digest: str) -> None:
        """Fetch a config or a layer, and store it for the versions that refer to it."""
        name = self._remote.name
        with bodies.scratch(self._world) as part:
            size = self._blob(digest, part)
            with self._world.reading() as rows:
                versions = catalog.versions(rows, name, self._package)
            users = [one.digest for one in versions if self._refers(one.digest, digest)]
            with self._world.writing(tick=False) as rows:
                if catalog.find_repository(rows, name) is None:
                    return
                blobs.record(rows, self._world, name, digest, size)
                rows.executemany(
                    "INSERT OR IGNORE INTO version_blobs SELECT repository, package, digest, ? FROM versions"
                    " WHERE repository = ? AND package = ? AND digest = ?",
                    [(digest, name, self._package, user) for user in users],
                )

    def _refers(self, version: str, digest: str) -> bool:
        with contextlib.suppress(FileNotFoundError, ValueError, RegistryError):
            body = json.loads(blobs.read(self._world, version))
            return digest in [entry.get("digest") for entry in (body.get("config") or {}, *body.get("layers", ()))]
        return False

    @property
    def _neighbour(self) -> str:
        return self._address if self._address.startswith("projects/") else ""

    def _manifest(self, reference: str) -> tuple[bytes, str]:
        if self._neighbour:
            key = (self._neighbour, self._package)
            with self._world.reading() as rows:
                digest = reference if is_digest(reference) else catalog.find_tag(rows, *key, reference)
                found = catalog.find_version(rows, *key, digest) if digest else None
            if found is None:
                raise Missing
            return blobs.read(self._world, found.digest), found.media_type
        with self._get(f"manifests/{reference}") as answer:
            content = b""
            for chunk in answer.iter_content(upstream_calls.CHUNK):
                content += chunk
                if len(content) > manifest_rules.LIMIT:
                    raise Unreachable("a manifest of more than 4 MiB")
            return content, answer.headers.get("Content-Type", "")

    def _blob(self, digest: str, part: Path) -> int:
        """Store a blob, and return its size."""
        if self._neighbour:
            blobs.needed(self._world, digest)
            with self._world.reading() as rows:
                found = blobs.find(rows, self._neighbour, digest)
            if found is None:
                raise Missing
            return found.size
        hashed = hashlib.new(digest.partition(":")[0])
        with self._get(f"blobs/{digest}") as answer, part.open("wb") as file:
            for chunk in answer.iter_content(upstream_calls.CHUNK):
                hashed.update(chunk)
                file.write(chunk)
            size = file.tell()
        if hashed.hexdigest() != digest.partition(":")[2]:
            raise Unreachable(f"the bytes of {digest} have another digest")
        blobs.place(self._world, part, digest)
        return size

    @contextlib.contextmanager
    def _get(self, path: str) -> Iterator[requests.Response]:
        """Yield a response with status 200 and an unread body, after getting a token if the upstream wants one."""
        import requests

        url = f"{self._address.rstrip('/')}/v2/{self._name}/{path}"
        try:
            with upstream_calls.session() as session, self._request(session, url) as answer:
                challenge = answer.headers.get("WWW-Authenticate", "")
                if answer.status_code != HTTPStatus.UNAUTHORIZED or self._token:
                    upstream_calls.check_status(answer)
                    yield answer
                    return
                self._token = upstream_calls.token(session, challenge, self._credentials)
                with self._request(session, url) as allowed:
                    upstream_calls.check_status(allowed)
                    yield allowed
        except requests.RequestException as error:
            raise Unreachable(type(error).__name__) from None

    def _request(self, session: requests.Session, url: str) -> requests.Response:
        headers = {"Accept": _ACCEPT} | ({"Authorization": f"Bearer {self._token}"} if self._token else {})
        # A registry without tokens accepts the user name and the password themselves.
        basic = None if self._token else self._credentials
        return session.get(url, headers=headers, auth=basic, timeout=upstream_calls.SECONDS, stream=True)


def _docker_hub(_world: World) -> str:
    """Return where this machine's engine pulls Docker Hub's images from: its first mirror, or its index."""
    try:
        info = json.loads(containers.call("info", "--format", "{{json .}}", seconds=10))
    except containers.EngineFailed:
        info = {"ServerErrors": ["no answer"]}
    # docker 26.1 exits with 0 without an engine, and 28.2 with 1.
    if info.get("ServerErrors"):
        raise Unreachable("no Docker Engine answers, whose settings would name Docker Hub")
    mirrors = (info.get("RegistryConfig") or {}).get("Mirrors") or []
    index = urlsplit(str(mirrors[0] if mirrors else info.get("IndexServerAddress", "")))
    if not index.netloc:
        raise Unreachable("the Docker Engine's settings name no index")
    return f"{index.scheme}://{index.netloc}"
