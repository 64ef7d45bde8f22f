"""The part of GitHub's REST API that a pipeline uses: repositories, commits with their checks, pull requests.

Source: https://docs.github.com/en/rest (version 2022-11-28). Other calls are answered with 501.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.api import strict_json
from sandbox.doors import request_body
from sandbox.git_host import checks, git, pull_requests, repositories, transport
from sandbox.git_host.repositories import Refused, Repository
from sandbox.state.world import World

_DOCS = "https://docs.github.com/rest"
_BODY = 256 * 1024  # bytes


class Failed(Exception):
    """A refusal with GitHub's status and message."""

    def __init__(self, status: int, message: str, errors: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"message": message, "documentation_url": _DOCS, "status": str(status)}
        if errors:
            self.body["errors"] = [{"message": one} for one in errors]


@dataclass(frozen=True)
class GitHubCall:
    """One request.

    Attributes:
        login: the caller, or empty without credentials.
        found: the repository in the path, which the caller may read.
    """

    world: World
    login: str
    parts: Mapping[str, str]
    body: Mapping[str, Any]
    query: Mapping[str, str]
    found: Repository | None

    @property
    def repository(self) -> Repository:
        """The repository in the path."""
        if self.found is None:
            raise Failed(404, "Not Found")
        return self.found

    def text(self, field: str, default: str | None = None) -> str:
        """Return a field of the body that must be a string."""
        value = self.body.get(field, default)
        if not isinstance(value, str) or (not value and default is None):
            raise Failed(422, "Validation Failed", (f"{field} is missing or no text",))
        return value


async def serve(request: Request, world: World, path: str) -> Response:
    """Answer one call."""
    try:
        content = await request_body.read(request, _BODY)
        status, body = await asyncio.to_thread(_answer, request, world, path, content)
    except request_body.BodyTooLarge:
        return JSONResponse(Failed(413, "Request entity too large").body, 413)
    except Failed as refusal:
        return JSONResponse(refusal.body, refusal.status)
    except git.GitMissing as error:
        return JSONResponse(Failed(501, f"The workbook's sandbox can't do this: {error}.").body, 501)
    return Response(status_code=204) if status == 204 else JSONResponse(body, status)


def _answer(request: Request, world: World, path: str, content: bytes) -> tuple[int, Any]:
    header = request.headers.get("authorization", "")
    # GitHub also accepts the older `token` for `Bearer`.
    login = transport.login_of(world, re.sub(r"^token ", "Bearer ", header, flags=re.IGNORECASE))
    if header and not login:
        raise Failed(401, "Bad credentials")
    request.scope["sandbox.principal"] = login
    for verb, pattern, handle in _ROUTES:
        if verb != request.method or not (match := re.fullmatch(pattern, path)):
            continue
        parts = match.groupdict()
        found = repositories.find(world, parts["owner"], parts["name"]) if "name" in parts else None
        if "name" in parts and (found is None or not repositories.right(world, found, login)):
            raise Failed(404, "Not Found")
        if not login and (verb != "GET" or path == "/user"):
            raise Failed(401, "Requires authentication")
        call = GitHubCall(world, login, parts, _body(content), dict(request.query_params), found)
        try:
            return handle(call)
        except Refused as error:
            raise Failed(422, "Validation Failed", (str(error),)) from None
    raise Failed(501, f"The workbook's sandbox does not do this: {request.method} {path[:200]} of GitHub's API.")


def _body(content: bytes) -> Mapping[str, Any]:
    if not content.strip():
        return {}
    try:
        body = strict_json.loads(content)
    except ValueError:
        raise Failed(400, "Problems parsing JSON") from None
    if not isinstance(body, dict):
        raise Failed(400, "Body should be a JSON object")
    return body


def _user(call: GitHubCall) -> tuple[int, Any]:
    return 200, {"login": call.login, "type": "User"}


def _create(call: GitHubCall) -> tuple[int, Any]:
    made = repositories.create(call.world, call.login, call.text("name"), private=call.body.get("private") is True)
    return 201, _shown(call.world, made)


def _get(call: GitHubCall) -> tuple[int, Any]:
    return 200, _shown(call.world, call.repository)


def _delete(call: GitHubCall) -> tuple[int, Any]:
    _need(call, "admin")
    repositories.delete(call.world, call.repository)
    return 204, None


def _fork(call: GitHubCall) -> tuple[int, Any]:
    source = call.repository
    made = repositories.create(call.world, call.login, source.name, private=source.private, parent=source.id)
    git.run(made.folder(call.world), "fetch", "--quiet", str(source.folder(call.world)), "+refs/heads/*:refs/heads/*")
    return 202, _shown(call.world, made)


def _collaborate(call: GitHubCall) -> tuple[int, Any]:
    _need(call, "admin")
    permission = call.text("permission", "push")
    if permission not in repositories.RIGHTS:
        raise Failed(422, "Validation Failed", (f"permission is one of {', '.join(repositories.RIGHTS)}",))
    with call.world.writing() as rows:
        if rows.execute("SELECT 1 FROM git_users WHERE login = ?", (call.parts["login"],)).fetchone() is None:
            raise Failed(404, "Not Found")
        # GitHub sends an invitation first. Here the permission takes effect immediately.
        rows.execute(
            "REPLACE INTO git_collaborators (repository, login, permission) VALUES (?, ?, ?)",
            (call.repository.id, call.parts["login"], permission),
        )
    return 204, None


def _branches(call: GitHubCall) -> tuple[int, Any]:
    found = git.refs(call.repository.folder(call.world))
    return 200, [
        {"name": ref.removeprefix("refs/heads/"), "commit": {"sha": commit}, "protected": False}
        for ref, (_, commit) in found.items()
        if ref.startswith("refs/heads/")
    ]


def _commit(call: GitHubCall) -> tuple[int, Any]:
    found = git.commit(call.repository.folder(call.world), _sha(call))
    who = {"name": found.author, "email": found.email, "date": found.time}
    return 200, {
        "sha": found.sha,
        "commit": {"author": who, "message": found.message},
        "parents": [{"sha": sha} for sha in found.parents],
        "html_url": f"https://github.com/{call.repository.full_name}/commit/{found.sha}",
    }


def _sha(call: GitHubCall) -> str:
    found = git.resolve(call.repository.folder(call.world), call.parts["ref"])
    if not found:
        raise Failed(422, f"No commit found for SHA: {call.parts['ref']}")
    return found


def _check_runs(call: GitHubCall) -> tuple[int, Any]:
    found = checks.of(call.world, call.repository, _sha(call))
    return 200, {"total_count": len(found), "check_runs": found}


def _pull(call: GitHubCall) -> dict[str, Any]:
    found = pull_requests.find(call.world, call.repository, int(call.parts["number"]))
    if found is None:
        raise Failed(404, "Not Found")
    return found


def _open_pull(call: GitHubCall) -> tuple[int, Any]:
    made = pull_requests.create(
        call.world,
        call.repository,
        call.login,
        title=call.text("title"),
        head=call.text("head"),
        into=call.text("base"),
        text=call.text("body", ""),
    )
    return 201, _shown_pull(call, made)


def _list_pulls(call: GitHubCall) -> tuple[int, Any]:
    wanted = call.query.get("state", "open")
    found = pull_requests.of(call.world, call.repository)
    return 200, [_shown_pull(call, one) for one in found if wanted in ("all", one["state"])]


def _get_pull(call: GitHubCall) -> tuple[int, Any]:
    return 200, _shown_pull(call, _pull(call))


def _change_pull(call: GitHubCall) -> tuple[int, Any]:
    pull, state = _pull(call), call.text("state")
    if state not in ("open", "closed"):
        raise Failed(422, "Validation Failed", ("state is open or closed",))
    if pull["login"] != call.login:
        _need(call, "push")
    changed = pull_requests.change_state(call.world, call.repository, pull["number"], state, call.login)
    return 200, _shown_pull(call, changed or pull)


def _comment(call: GitHubCall) -> tuple[int, Any]:
    text = call.text("body")
    pull_requests.comment(call.world, call.repository, _pull(call), call.login, text)
    return 201, {"body": text, "user": {"login": call.login}}


def _need(call: GitHubCall, least: str) -> None:
    have = repositories.right(call.world, call.repository, call.login)
    if repositories.RIGHTS.index(have or "pull") < repositories.RIGHTS.index(least):
        raise Failed(403, "Must have admin rights to Repository." if least == "admin" else "Resource not accessible")


def _shown(world: World, repository: Repository) -> dict[str, Any]:
    head = git.run(repository.folder(world), "symbolic-ref", "HEAD").decode().strip()
    parent = repositories.by_id(world, repository.parent) if repository.parent else None
    return {
        "id": repository.id,
        "name": repository.name,
        "full_name": repository.full_name,
        "owner": {"login": repository.owner},
        "private": repository.private,
        "fork": parent is not None,
        "html_url": f"https://github.com/{repository.full_name}",
        "clone_url": repository.url,
        "default_branch": head.removeprefix("refs/heads/"),
        "created_at": repository.create_time,
    } | ({"parent": {"full_name": parent.full_name}} if parent else {})


def _shown_pull(call: GitHubCall, pull: Mapping[str, Any]) -> dict[str, Any]:
    base = call.repository
    source = repositories.by_id(call.world, pull["head_repository"])
    return {
        "number": pull["number"],
        "title": pull["title"],
        "body": pull["body"],
        "state": pull["state"],
        "user": {"login": pull["login"]},
        "html_url": f"https://github.com/{base.full_name}/pull/{pull['number']}",
        "head": {
            "ref": pull["head"],
            "sha": pull["head_sha"],
            "repo": {"full_name": source.full_name} if source else None,
        },
        "base": {"ref": pull["base"], "repo": {"full_name": base.full_name}},
        "created_at": pull["create_time"],
    }


_REPOSITORY = r"/repos/(?P<owner>[^/]+)/(?P<name>[^/]+)"
_NUMBER = r"(?P<number>[0-9]{1,9})"
_ROUTES: tuple[tuple[str, str, Callable[[GitHubCall], tuple[int, Any]]], ...] = (
    ("GET", "/user", _user),
    ("POST", "/user/repos", _create),
    ("GET", _REPOSITORY, _get),
    ("DELETE", _REPOSITORY, _delete),
    ("POST", f"{_REPOSITORY}/forks", _fork),
    ("PUT", f"{_REPOSITORY}/collaborators/(?P<login>[^/]+)", _collaborate),
    ("GET", f"{_REPOSITORY}/branches", _branches),
    ("GET", f"{_REPOSITORY}/commits/(?P<ref>.+)/check-runs", _check_runs),
    ("GET", f"{_REPOSITORY}/commits/(?P<ref>.+)", _commit),
    ("POST", f"{_REPOSITORY}/pulls", _open_pull),
    ("GET", f"{_REPOSITORY}/pulls", _list_pulls),
    ("GET", f"{_REPOSITORY}/pulls/{_NUMBER}", _get_pull),
    ("PATCH", f"{_REPOSITORY}/pulls/{_NUMBER}", _change_pull),
    ("POST", f"{_REPOSITORY}/issues/{_NUMBER}/comments", _comment),
)
