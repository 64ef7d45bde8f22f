"""Call the sandbox's own APIs for the console's pages, as the user who is signed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from sandbox import calls
from sandbox.api.principal import Principal
from sandbox.apis import APIS
from sandbox.artifact_registry import blobs
from sandbox.iam import policies
from sandbox.state.world import World

# cosign's attachments to an image, by the extension of their tag.
_COSIGN: Final = {"sig": "signature (cosign)", "att": "attestation (cosign)", "sbom": "SBOM (cosign)"}


@dataclass(frozen=True)
class Reader:
    """The APIs as one principal sees them, with Google's refusals for what the principal may not read."""

    world: World
    principal: Principal

    def get(self, service: str, path: str, **query: str | int) -> dict[str, Any]:
        """Call a method by GET and return its JSON.

        Args:
            service: the host without `.googleapis.com`.
            path: the path, whose variables are quoted by `quoted`.

        Raises:
            ApiError: as for a client.
        """
        return json_of(self._answer(service, "GET", path, query, b""))

    def post(self, service: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call a method that reads by POST, such as getIamPolicy and entries.list. Raises ApiError as for a client."""
        return json_of(self._answer(service, "POST", path, {}, json.dumps(body or {}).encode()))

    def text(self, service: str, path: str, **query: str | int) -> str:
        """Call a method that returns a file, and return it as text. Raises ApiError as for a client."""
        answer = self._answer(service, "GET", path, query, b"")
        return bytes(answer.body).decode(errors="replace") if isinstance(answer, Response) else ""

    def manifest(self, repository: str, digest: str) -> dict[str, Any]:
        """Return a manifest of a repository, which is empty without the right to pull."""
        allowed = self._may_pull(repository)
        with self.world.reading() as rows:
            there = allowed and blobs.find(rows, repository, digest) is not None
        found: dict[str, Any] = json.loads(blobs.read(self.world, digest)) if there else {}
        return found

    def attached(self, repository: str, package: str, digest: str) -> list[dict[str, str]]:
        """Return a manifest's attachments, by `subject` or by cosign's tags, or none without the right to pull.

        Args:
            package: the escaped name, such as `team%2Fapp`.
        """
        by_tag = [f"{digest.replace(':', '-')}.{ending}" for ending in _COSIGN]
        of = (repository, unquote(package))
        with self.world.reading() as rows:
            if not self._may_pull(repository):
                return []
            found = rows.execute(
                "SELECT digest, artifact_type, media_type, create_time, '' AS tag FROM versions"
                " WHERE repository = ? AND package = ? AND subject = ? AND subject != '' UNION ALL"
                " SELECT versions.digest, artifact_type, media_type, versions.create_time, tags.id FROM tags"
                " JOIN versions USING (repository, package, digest)"
                " WHERE repository = ? AND package = ? AND tags.id IN (?, ?, ?)"
                " ORDER BY 4, 1",
                (*of, digest, *of, *by_tag),
            ).fetchall()
        return [
            {
                "digest": row["digest"],
                "kind": _COSIGN.get(row["tag"].rpartition(".")[2]) or row["artifact_type"] or row["media_type"],
                "time": row["create_time"],
            }
            for row in found
        ]

    def _may_pull(self, repository: str) -> bool:
        wanted = "artifactregistry.repositories.downloadArtifacts"
        return policies.decide(self.world, self.principal.member, wanted, repository).allowed

    def _answer(
        self, service: str, verb: str, path: str, query: Mapping[str, str | int], content: bytes
    ) -> Mapping[str, Any] | Response:
        host = f"{service}.googleapis.com"
        api = next(api for api in APIS if api.serves(host))
        found = api.find(verb, path)
        if found is None:
            raise LookupError(f"{verb} {path} is no method of {api.service}")
        scope = {
            "type": "http",
            "method": verb,
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(query).encode(),
            "headers": [(b"host", host.encode())],
        }
        parsed = calls.ParsedRequest(Request(scope), api, found[0], host, found[1], content)
        return calls.make_as(self.world, parsed, self.principal)


def json_of(answer: Mapping[str, Any] | Response) -> dict[str, Any]:
    """Return an answer's JSON."""
    found: dict[str, Any] = json.loads(bytes(answer.body)) if isinstance(answer, Response) else dict(answer)
    return found


def quoted(*segments: str) -> str:
    """Join the segments of a path, quoting each whole, because a package's name may contain a slash."""
    return "/".join(quote(segment, safe="") for segment in segments)
