"""The types of method tables: an `Api`, its `Method`s, and a `Call` of one.

Each service's package defines an `Api`; `sandbox.apis` lists the APIs, and `sandbox.app` serves them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import unquote

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response

from sandbox.api import strict_json
from sandbox.api.principal import Principal
from sandbox.errors import ApiError, invalid, permission_denied
from sandbox.state.projects import Project
from sandbox.state.world import World

Answer = Mapping[str, Any] | Response


@dataclass(frozen=True)
class Call:
    """One authorised call of a method.

    Attributes:
        params: the path's variables, decoded; a project number is already replaced by the project id.
        content: the whole body; empty if it is in `body`.
        named_project: the project in the path, if it has one.
        body: a large body of a method that `spills`, in a file that is deleted after the call.
    """

    world: World
    method: Method
    principal: Principal
    host: str
    params: Mapping[str, str]
    query: QueryParams
    content: bytes
    named_project: Project | None
    headers: Headers = field(default_factory=Headers)
    body: BinaryIO | None = None

    @property
    def project(self) -> Project:
        """The project in the path.

        Raises:
            LookupError: if the method's path has none, which is a mistake in the method table.
        """
        if self.named_project is None:
            raise LookupError(f"{self.method.id} names no project")
        return self.named_project

    def json(self) -> dict[str, Any]:
        """Return the request body, a JSON object; an empty body is an empty object.

        Raises:
            ApiError: INVALID_ARGUMENT if it is not a JSON object.
        """
        if self.body is not None:
            raise invalid("Invalid JSON payload received. It is too large.")  # unverified: the sentence
        if not self.content.strip():
            return {}
        return strict_json.loads_object(self.content)


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        id: Google's method id, for example `artifactregistry.projects.locations.repositories.create`.
        verb: GET, POST, PATCH, PUT or DELETE.
        path: with variables in braces; `{name}` is one segment, `{name**}` is any number of them.
        handle: runs in a thread.
        permissions: all are required, on `resource`; if empty, any authenticated principal may call the method.
        resource: the resource whose policy decides, with the path's variables in braces.
        shown: the resource that a refusal names, if it is another one.
        denial: returns a 403 of this method, if it differs from the API's.
        open_to_all: also callable without credentials (the token endpoint).
        spills: whether a large body is kept in a file and not in memory.
        body_limit: bytes of one request, if it differs from the API's.
    """

    id: str
    verb: str
    path: str
    handle: Callable[[Call], Answer]
    permissions: tuple[str, ...] = ()
    resource: str = "projects/{project}"
    open_to_all: bool = False
    shown: str = ""
    denial: Callable[[str, str], ApiError] | None = None
    spills: bool = False
    body_limit: int = 0
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pieces = re.split(r"\{(\w+(?:\*\*)?)\}", self.path)
        expression = "".join(_variable(piece) if place % 2 else re.escape(piece) for place, piece in enumerate(pieces))
        object.__setattr__(self, "pattern", re.compile(expression))


def _variable(name: str) -> str:
    return f"(?P<{name.removesuffix('**')}>.+)" if name.endswith("**") else f"(?P<{name}>[^/]+?)"


@dataclass(frozen=True)
class Api:
    """One Google API: its host names and methods.

    Attributes:
        service: name in Service Usage, for example `artifactregistry.googleapis.com`.
        title: the API's name in Google's messages, for example `Artifact Registry API`.
        methods: those with a verb after a colon come first, since a variable would also match `name:verb`.
        regional: also served at `SERVICE.REGION.rep.googleapis.com` and `REGION-SERVICE`.
        needs_enabling: False for the few APIs that work in every project.
        body_limit: bytes of one request.
        sees_deleted: whether it still serves projects that are marked for deletion.
        lists_errors: whether a refusal also has the list of errors of older APIs.
        enums: the numbers of enum values by field name, for an API without a message package.
        denial: returns a 403, given the permission and the full resource name.
    """

    service: str
    title: str
    methods: tuple[Method, ...]
    regional: bool = False
    needs_enabling: bool = True
    body_limit: int = 16 * 1024 * 1024
    sees_deleted: bool = False
    lists_errors: bool = False
    enums: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    denial: Callable[[str, str], ApiError] = permission_denied

    def serves(self, host: str) -> bool:
        """Return whether a host name belongs to this API."""
        if host == self.service:
            return True
        if not self.regional:
            return False
        name = self.service.removesuffix(".googleapis.com")
        region = r"[a-z]+(-[a-z]+[0-9]+)?"
        return bool(re.fullmatch(rf"{name}\.{region}\.rep\.googleapis\.com|{region}-{name}\.googleapis\.com", host))

    def find(self, verb: str, raw: str) -> tuple[Method, dict[str, str]] | None:
        """Return the method for a verb and an undecoded path, and the path's decoded variables.

        A variable may contain an escaped slash (`packages/team%2Fapp`), and a client may escape the colon of a verb.
        """
        for path in dict.fromkeys((raw, raw.replace("%3A", ":"), unquote(raw))):
            for method in self.methods:
                if method.verb == verb and (match := method.pattern.fullmatch(path)):
                    values = match.groupdict()
                    decoded = path == unquote(raw)
                    return method, values if decoded else {key: unquote(value) for key, value in values.items()}
        return None


def ordered(methods: Iterable[Method]) -> tuple[Method, ...]:
    """Return methods with a custom verb (`:setIamPolicy`) before those without, otherwise in the same order."""
    return tuple(sorted(methods, key=lambda method: ":" not in method.path.rsplit("/", 1)[-1]))
