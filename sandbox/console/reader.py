"""What the pages read: the sandbox's own APIs, called in the name of whoever is signed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from sandbox import calls
from sandbox.api.principal import Principal
from sandbox.apis import APIS
from sandbox.artifact_registry import blobs
from sandbox.iam import policies
from sandbox.state.world import World


@dataclass(frozen=True)
class Reader:
    """The APIs, for one principal. It sees what the principal may see, and gets Google's refusal for the rest."""

    world: World
    principal: Principal

    def get(self, service: str, path: str, **query: str | int) -> dict[str, Any]:
        """Call a method that reads, and return its JSON.

        Args:
            service: without `.googleapis.com`.
            path: its variables quoted, as `quoted` does.

        Raises:
            ApiError: as a client would get it.
        """
        return json_of(self._answer(service, "GET", path, query, b""))

    def post(self, service: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call a method that reads by POST, as getIamPolicy and entries.list do.

        Raises:
            ApiError: as a client would get it.
        """
        return json_of(self._answer(service, "POST", path, {}, json.dumps(body or {}).encode()))

    def text(self, service: str, path: str, **query: str | int) -> str:
        """Call a method that answers with a file, and return it as text.

        Raises:
            ApiError: as a client would get it.
        """
        answer = self._answer(service, "GET", path, query, b"")
        return bytes(answer.body).decode(errors="replace") if isinstance(answer, Response) else ""

    def manifest(self, repository: str, digest: str) -> dict[str, Any]:
        """Return a manifest of a repository, as `docker manifest inspect` has it; empty without the right to pull."""
        allowed = policies.decide(
            self.world, self.principal.member, "artifactregistry.repositories.downloadArtifacts", repository
        ).allowed
        with self.world.reading() as rows:
            there = allowed and blobs.find(rows, repository, digest) is not None
        found: dict[str, Any] = json.loads(blobs.read(self.world, digest)) if there else {}
        return found

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
    """Join segments of a path, each quoted whole: a package's name may hold a slash."""
    return "/".join(quote(segment, safe="") for segment in segments)
