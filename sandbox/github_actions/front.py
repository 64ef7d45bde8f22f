"""Answer requests to GitHub Actions: the REST API of runs, the tokens of running jobs, and the issuer's public keys.

Sources: https://docs.github.com/en/rest/actions and https://token.actions.githubusercontent.com/.well-known/…
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sandbox.api import strict_json
from sandbox.doors import request_body
from sandbox.git_host import repositories, transport
from sandbox.git_host.repositories import Repository
from sandbox.github_actions import ISSUER_HOST, store
from sandbox.github_actions.runner import Runner, dispatch
from sandbox.github_actions.workflow import FOLDER
from sandbox.iam import issuers
from sandbox.state.world import World

_REST = re.compile(r"/repos/(?P<owner>[^/]+)/(?P<name>[^/]+)/actions/(?P<rest>.+)")
_TOKEN = re.compile(r"/(?P<job>\d{1,15})/idtoken")
_NUMBER = r"(\d{1,12})"
_BODY = 64 * 1024  # bytes
_VARIABLE = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]{0,99}")
_MOST_VARIABLES, _VARIABLE_LENGTH = 500, 48 * 1024
_FILTERS = {"branch": "head_branch", "event": "event", "head_sha": "head_sha"}


def serves(host: str, path: str) -> bool:
    """Return whether a path belongs to GitHub's REST API of Actions."""
    return host == "api.github.com" and _REST.fullmatch(path) is not None


async def serve(world: World, request: Request, host: str, path: str) -> Response:
    """Answer one request."""
    if host == ISSUER_HOST:
        return await asyncio.to_thread(_issuer, world, path)
    if host != "api.github.com":
        return await asyncio.to_thread(_id_token, world, request, path)
    try:
        content = await request_body.read(request, _BODY)
    except request_body.BodyTooLarge:
        return _refused(413, "Request entity too large")
    return await asyncio.to_thread(_rest, world, request, path, content)


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"message": message, "status": str(status)}, status)


def _issuer(world: World, path: str) -> Response:
    if path == "/.well-known/jwks":
        return JSONResponse({"keys": issuers.published(world)})
    if path == "/.well-known/openid-configuration":
        return JSONResponse(
            {
                "issuer": issuers.GITHUB,
                "jwks_uri": f"{issuers.GITHUB}/.well-known/jwks",
                "subject_types_supported": ["public", "pairwise"],
                "response_types_supported": ["id_token"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid"],
            }
        )
    return _refused(404, "Not Found")


def _id_token(world: World, request: Request, path: str) -> Response:
    match = _TOKEN.fullmatch(path)
    kind, _, bearer = request.headers.get("authorization", "").partition(" ")
    if match is None or kind.lower() != "bearer":
        return _refused(401, "Bad credentials")
    audience = request.query_params.get("audience", "")
    token = world.part(Runner).token(bearer.strip(), match["job"], audience)
    if token is None:
        return _refused(401, "Bad credentials")
    return JSONResponse({"count": len(token), "value": token})


def _rest(world: World, request: Request, path: str, content: bytes = b"") -> Response:
    match = _REST.fullmatch(path)
    header = request.headers.get("authorization", "")
    login = transport.login_of(world, re.sub(r"^token ", "Bearer ", header, flags=re.IGNORECASE))
    if header and not login:
        return _refused(401, "Bad credentials")
    request.scope["sandbox.principal"] = login
    found = repositories.find(world, match["owner"], match["name"]) if match else None
    if match is None or found is None or not repositories.right(world, found, login):
        return _refused(404, "Not Found")
    if request.method == "GET":
        if match["rest"] == "runs":
            return _runs(world, request, found)
        if named := re.fullmatch(rf"runs/{_NUMBER}(/jobs)?", match["rest"]):
            return _run(world, found, int(named[1]), jobs=bool(named[2]))
        if named := re.fullmatch(rf"jobs/{_NUMBER}/logs", match["rest"]):
            return _log(world, found, int(named[1]))
    if match["rest"].startswith("variables"):
        return _variables(world, request, found, login, match["rest"], content)
    if request.method == "POST" and (named := re.fullmatch(r"workflows/([^/]+)/dispatches", match["rest"])):
        return _dispatch(world, found, login, named[1], content)
    return _refused(501, f"The workbook's sandbox does not do this: {request.method} {path[:200]} of GitHub's API.")


def _runs(world: World, request: Request, repository: Repository) -> Response:
    found = [store.shown(run) for run in store.of(world, repository.id)]
    for name, key in _FILTERS.items():
        if wanted := request.query_params.get(name):
            found = [run for run in found if run[key] == wanted]
    if wanted := request.query_params.get("status"):
        found = [run for run in found if wanted in (run["status"], run["conclusion"])]
    return JSONResponse({"total_count": len(found), "workflow_runs": found[:100]})


def _run(world: World, repository: Repository, number: int, *, jobs: bool) -> Response:
    run = store.find(world, repository.id, number)
    if run is None:
        return _refused(404, "Not Found")
    if not jobs:
        # `problems` is the sandbox's own field. GitHub shows problems only on its web page.
        return JSONResponse({**store.shown(run), "problems": run["problems"]})
    found = [store.shown_job(run, job) for job in run["jobs"]]
    return JSONResponse({"total_count": len(found), "jobs": found})


def _log(world: World, repository: Repository, job: int) -> Response:
    run = store.find(world, repository.id, store.run_of(job))
    if run is None or job not in {one["id"] for one in run["jobs"]}:
        return _refused(404, "Not Found")
    path = store.log_file(world, job)
    # GitHub redirects to a file with the same content.
    return PlainTextResponse(path.read_text(encoding="utf-8") if path.is_file() else "")


def _body(content: bytes) -> dict[str, Any]:
    try:
        found = strict_json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _may_write(world: World, repository: Repository, login: str) -> bool:
    return bool(login) and repositories.may_push(world, repository, login)


def _variables(
    world: World, request: Request, repository: Repository, login: str, rest: str, content: bytes
) -> Response:
    """Answer `variables` and `variables/NAME`: https://docs.github.com/en/rest/actions/variables."""
    if not _may_write(world, repository, login):
        return _refused(403, "Resource not accessible")
    body, name = _body(content), rest.removeprefix("variables").removeprefix("/").upper()
    held = store.variables(world, repository.id)
    match request.method, bool(name):
        case "GET", False:
            shown = [{"name": one, "value": value} for one, value in held.items()]
            return JSONResponse({"total_count": len(shown), "variables": shown})
        case "GET", True if name in held:
            return JSONResponse({"name": name, "value": held[name]})
        case ("POST", False) | ("PATCH", True):
            name = name or str(body.get("name", "")).upper()
            if (name in held) is (request.method == "POST"):
                return _refused(409, "Already exists") if name in held else _refused(404, "Not Found")
            value = body.get("value")
            if not _VARIABLE.fullmatch(name) or not isinstance(value, str) or len(value) > _VARIABLE_LENGTH:
                return _refused(422, "Validation Failed")
            if len(held) >= _MOST_VARIABLES:
                return _refused(422, f"A repository has at most {_MOST_VARIABLES} variables")
            with world.writing() as rows:
                rows.execute("REPLACE INTO workflow_variables VALUES (?, ?, ?)", (repository.id, name, value))
            return JSONResponse({}, 201) if request.method == "POST" else Response(status_code=204)
        case "DELETE", True if name in held:
            with world.writing() as rows:
                rows.execute("DELETE FROM workflow_variables WHERE repository = ? AND name = ?", (repository.id, name))
            return Response(status_code=204)
    return _refused(404, "Not Found")


def _dispatch(world: World, repository: Repository, login: str, file: str, content: bytes) -> Response:
    """Start a workflow by hand: https://docs.github.com/en/rest/actions/workflows."""
    if not _may_write(world, repository, login):
        return _refused(403, "Must have admin rights to Repository.")
    body = _body(content)
    ref, inputs = body.get("ref"), body.get("inputs", {})
    if not isinstance(ref, str) or not ref or not isinstance(inputs, dict):
        return _refused(422, "Invalid request.")
    try:
        dispatch(world, repository, f"{FOLDER}/{file}", ref, inputs, login)
    except LookupError:
        return _refused(404, "Not Found")
    except ValueError as error:
        return _refused(422, str(error))
    return Response(status_code=204)
