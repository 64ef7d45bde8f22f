"""The admin API, `/_sandbox/`, with which lessons and tests control the sandbox itself.

It has a token of its own (`admin-token` in the home folder), so that neither web pages nor Google credentials can use
it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import hmac
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox import __version__
from sandbox.admin.faults import Faults
from sandbox.admin.request_log import RequestLog
from sandbox.admin.sessions import Sessions
from sandbox.api import strict_json
from sandbox.artifact_registry import cleanup_job
from sandbox.cloud_build import connections
from sandbox.errors import ApiError, invalid, unimplemented
from sandbox.git_host import repositories
from sandbox.iam import standing, tokens
from sandbox.project import org_limits
from sandbox.state import pace, projects
from sandbox.state.clock import timestamp
from sandbox.state.world import World

_END_OF_TIME = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True)
class Controls:
    """The state that the admin API reads and changes.

    Attributes:
        token: the bearer token that callers need.
    """

    world: World
    token: str
    requests: RequestLog = dataclasses.field(default_factory=RequestLog)
    faults: Faults = dataclasses.field(default_factory=Faults)
    sessions: Sessions = dataclasses.field(default_factory=Sessions)


async def answer(controls: Controls, request: Request, path: str) -> Response:
    """Answer one admin call.

    Raises:
        ApiError: UNAUTHENTICATED without the admin token, INVALID_ARGUMENT for an invalid body.
    """
    # As bytes, because compare_digest accepts only ASCII in strings.
    if not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {controls.token}".encode()):
        raise ApiError(
            "UNAUTHENTICATED", "The admin surface needs the token in the file admin-token of the home folder."
        )
    match request.method, path.removeprefix("/_sandbox/"):
        case "GET", "status":
            return JSONResponse({"status": "ready", "version": __version__, "time": timestamp(controls.world.now())})
        case "GET", "requests":
            number = request.query_params.get("since", "0")
            if not re.fullmatch("[0-9]{1,18}", number):
                raise invalid("since is the number of a request, for example ?since=12")
            return JSONResponse({"requests": controls.requests.since(int(number))})
        case "POST", "tokens:expire":
            return JSONResponse({"expired": await asyncio.to_thread(tokens.expire_all, controls.world)})
        case "POST", "clock:advance":
            return JSONResponse(await _advance(controls, request))
        case "POST", "console:signIn":
            return JSONResponse({"code": await asyncio.to_thread(_sign_in, controls, await _json(request))})
        case "GET", "pace":
            return JSONResponse(controls.world.pace.as_json())
        case "POST", "pace":
            controls.world.pace = pace.of(await _json(request))
            return JSONResponse(controls.world.pace.as_json())
        case "POST", "github:token":
            return JSONResponse(await asyncio.to_thread(_github_token, controls, await _json(request)))
        case "POST", "github:connect":
            return JSONResponse(await asyncio.to_thread(_connect, controls, await _json(request)))
        case "POST", "policies":
            return JSONResponse(await asyncio.to_thread(_forbid, controls, await _json(request)))
        case "POST", "quotas":
            return JSONResponse(await asyncio.to_thread(_limit, controls, await _json(request)))
        case "POST", "faults":
            return JSONResponse({"fault": dataclasses.asdict(controls.faults.add(await _json(request)))})
        case "GET", "faults":
            return JSONResponse({"faults": controls.faults.as_json()})
        case "DELETE", "faults":
            return JSONResponse({"cleared": controls.faults.clear()})
    raise unimplemented(f"{request.method} {path}")


async def _json(request: Request) -> Any:
    try:
        return strict_json.loads(await request.body())
    except ValueError as error:
        raise invalid(f"The body is not JSON: {error}") from None


async def _advance(controls: Controls, request: Request) -> dict[str, Any]:
    try:
        delta = dt.timedelta(seconds=float((await _json(request))["seconds"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        raise _no_travel() from None
    runs = await travel(controls, delta)
    return {"time": timestamp(controls.world.now()), "cleanups": [_as_json(run) for run in runs]}


async def travel(controls: Controls, delta: dt.timedelta) -> list[cleanup_job.Run]:
    """Advance the clock, and return the runs of cleanup policies in that time.

    Raises:
        ApiError: INVALID_ARGUMENT for a negative time, or a date after the year 2099.
    """
    if delta < dt.timedelta() or delta > _END_OF_TIME - controls.world.now():
        raise _no_travel()
    return await asyncio.to_thread(cleanup_job.travel, controls.world, delta)


def _no_travel() -> ApiError:
    return invalid('The body is {"seconds": N}, N not negative and before the year 2100.')


def _sign_in(controls: Controls, body: Any) -> str:
    member = body.get("member") if isinstance(body, dict) else None
    kinds = ("serviceAccount:", "user:")
    if not isinstance(member, str) or not member.startswith(kinds):
        raise invalid('The body is {"member": "serviceAccount:ADDRESS"}.')
    with controls.world.reading() as rows:
        if not standing.is_active(rows, member):
            raise invalid(f"{member} is disabled or deleted.")
    return controls.sessions.code(member)


def _github_token(controls: Controls, body: Any) -> dict[str, Any]:
    """Return a token of the Git host for a user other than the learner."""
    try:
        return {"token": repositories.mint(controls.world, str(body["login"]))}
    except (KeyError, TypeError, repositories.Refused) as error:
        raise invalid(f'The body is {{"login": NAME}}: {error}') from None


def _connect(controls: Controls, body: Any) -> dict[str, Any]:
    """Connect a repository through Cloud Build's older GitHub app, for which Google has a button but no API."""
    try:
        project = projects.find(controls.world, str(body["project"]))
        found = repositories.find(controls.world, *str(body["repository"]).split("/"))
        if project is None or found is None:
            raise ValueError("there is no such project or repository")
        connections.map_app(controls.world, project, str(body["region"]), found)
    except (KeyError, TypeError, ValueError) as error:
        raise invalid(f'The body is {{"project": ID, "region": R, "repository": "OWNER/NAME"}}: {error}') from None
    return {"repository": found.full_name}


def _forbid(controls: Controls, body: Any) -> dict[str, Any]:
    try:
        project, constraint, rules = str(body["project"]), str(body["constraint"]), body["rules"]
        if projects.find(controls.world, project) is None or not all(isinstance(rule, dict) for rule in rules):
            raise TypeError(project)
        org_limits.set_rules(controls.world, project, constraint, rules)
    except (KeyError, TypeError):
        raise invalid(
            'The body is {"project": ID, "constraint": NAME, "rules": [...]}, the rules as in a policy\'s spec; no '
            f"rule brings back the default. Constraints: {', '.join(org_limits.CONSTRAINTS)}."
        ) from None
    return {"rules": org_limits.rules(controls.world, project, constraint)}


def _limit(controls: Controls, body: Any) -> dict[str, Any]:
    try:
        project, metric = str(body["project"]), str(body["metric"])
        if projects.find(controls.world, project) is None:
            raise ValueError(project)
        org_limits.set_override(controls.world, project, metric, str(body.get("region", "")), int(body["limit"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        known = [quota.metric for quotas in org_limits.QUOTAS.values() for quota in quotas]
        raise invalid(
            f'The body is {{"project": ID, "metric": NAME, "limit": N, "region": R}}; metrics: {", ".join(known)}.'
        ) from None
    return {"limits": org_limits.override(controls.world, project, metric)}


def _as_json(run: cleanup_job.Run) -> dict[str, Any]:
    return {
        "time": timestamp(run.time),
        "repository": run.repository,
        "dryRun": run.dry_run,
        "versions": [f"{version.package}@{version.name}" for version in run.versions],
    }
