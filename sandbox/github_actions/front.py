"""What GitHub Actions answers: runs and logs over the REST API, tokens to the job that runs, the issuer's public keys.

Sources: https://docs.github.com/en/rest/actions and https://token.actions.githubusercontent.com/.well-known/…
"""

from __future__ import annotations

import asyncio
import re

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sandbox.git_host import repositories, transport
from sandbox.git_host.repositories import Repository
from sandbox.github_actions import ISSUER_HOST, store
from sandbox.github_actions.runner import Runner
from sandbox.iam import issuers
from sandbox.state.world import World

_REST = re.compile(r"/repos/(?P<owner>[^/]+)/(?P<name>[^/]+)/actions/(?P<rest>.+)")
_TOKEN = re.compile(r"/(?P<job>\d{1,15})/idtoken")
_NUMBER = r"(\d{1,12})"
_FILTERS = {"branch": "head_branch", "event": "event", "head_sha": "head_sha"}


def serves(host: str, path: str) -> bool:
    """Whether a path is of GitHub's REST API and about workflows."""
    return host == "api.github.com" and _REST.fullmatch(path) is not None


async def serve(world: World, request: Request, host: str, path: str) -> Response:
    """Answer one request."""
    if host == ISSUER_HOST:
        return await asyncio.to_thread(_issuer, world, path)
    answer = _rest if host == "api.github.com" else _id_token
    return await asyncio.to_thread(answer, world, request, path)


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


def _rest(world: World, request: Request, path: str) -> Response:
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
        if asked := re.fullmatch(rf"runs/{_NUMBER}(/jobs)?", match["rest"]):
            return _run(world, found, int(asked[1]), jobs=bool(asked[2]))
        if asked := re.fullmatch(rf"jobs/{_NUMBER}/logs", match["rest"]):
            return _log(world, found, int(asked[1]))
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
        # `problems` is the sandbox's own; GitHub shows them on its page alone.
        return JSONResponse({**store.shown(run), "problems": run["problems"]})
    found = [store.shown_job(run, job) for job in run["jobs"]]
    return JSONResponse({"total_count": len(found), "jobs": found})


def _log(world: World, repository: Repository, job: int) -> Response:
    run = store.find(world, repository.id, store.run_of(job))
    if run is None or job not in {one["id"] for one in run["jobs"]}:
        return _refused(404, "Not Found")
    path = store.log_file(world, job)
    # GitHub redirects to a file of the same content.
    return PlainTextResponse(path.read_text(encoding="utf-8") if path.is_file() else "")
