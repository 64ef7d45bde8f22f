"""The admin surface, `/_sandbox/`: what a lesson or a test asks of the sandbox itself.

It has a token of its own (`admin-token` in the home folder), so no web page and no Google credential can drive it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import hmac
import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from sandbox import __version__, cleanup, limits, pace, projects, tokens
from sandbox.clock import timestamp
from sandbox.errors import ApiError, invalid, unimplemented

if TYPE_CHECKING:
    from sandbox.app import Sandbox

_END_OF_TIME = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


async def answer(sandbox: Sandbox, request: Request, path: str) -> Response:
    """Answer one admin call.

    Raises:
        ApiError: UNAUTHENTICATED without the admin token, INVALID_ARGUMENT for a body that does not fit.
    """
    if not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {sandbox.admin_token}"):
        raise ApiError(
            "UNAUTHENTICATED", "The admin surface needs the token in the file admin-token of the home folder."
        )
    match request.method, path.removeprefix("/_sandbox/"):
        case "GET", "status":
            return JSONResponse({"status": "ready", "version": __version__, "time": timestamp(sandbox.world.now())})
        case "GET", "requests":
            number = request.query_params.get("since", "0")
            if not number.isdigit():
                raise invalid("since is the number of a request, for example ?since=12")
            return JSONResponse({"requests": sandbox.requests.since(int(number))})
        case "POST", "tokens:expire":
            return JSONResponse({"expired": await asyncio.to_thread(tokens.expire_all, sandbox.world)})
        case "POST", "clock:advance":
            return JSONResponse(await _advance(sandbox, request))
        case "GET", "pace":
            return JSONResponse(sandbox.world.pace.told())
        case "POST", "pace":
            sandbox.world.pace = pace.of(await _json(request))
            return JSONResponse(sandbox.world.pace.told())
        case "POST", "policies":
            return JSONResponse(await asyncio.to_thread(_forbid, sandbox, await _json(request)))
        case "POST", "quotas":
            return JSONResponse(await asyncio.to_thread(_limit, sandbox, await _json(request)))
        case "POST", "faults":
            return JSONResponse({"fault": dataclasses.asdict(sandbox.faults.add(await _json(request)))})
        case "GET", "faults":
            return JSONResponse({"faults": sandbox.faults.told()})
        case "DELETE", "faults":
            return JSONResponse({"cleared": sandbox.faults.clear()})
    raise unimplemented(f"{request.method} {path}")


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise invalid(f"The body is not JSON: {error}") from None


async def _advance(sandbox: Sandbox, request: Request) -> dict[str, Any]:
    try:
        delta = dt.timedelta(seconds=float(json.loads(await request.body())["seconds"]))
        if delta < dt.timedelta() or sandbox.world.now() + delta > _END_OF_TIME:
            raise ValueError(delta)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise invalid('The body is {"seconds": N}, N not negative and before the year 2100.') from None
    runs = await asyncio.to_thread(cleanup.travel, sandbox.world, delta)
    return {"time": timestamp(sandbox.world.now()), "cleanups": [_told(run) for run in runs]}


def _forbid(sandbox: Sandbox, body: Any) -> dict[str, Any]:
    try:
        project, constraint, rules = str(body["project"]), str(body["constraint"]), body["rules"]
        if projects.find(sandbox.world, project) is None or not all(isinstance(rule, dict) for rule in rules):
            raise TypeError(project)
        limits.set_rules(sandbox.world, project, constraint, rules)
    except (KeyError, TypeError):
        raise invalid(
            'The body is {"project": ID, "constraint": NAME, "rules": [...]}, the rules as in a policy\'s spec; no '
            f"rule brings back the default. Constraints: {', '.join(limits.CONSTRAINTS)}."
        ) from None
    return {"rules": limits.rules(sandbox.world, project, constraint)}


def _limit(sandbox: Sandbox, body: Any) -> dict[str, Any]:
    try:
        project, metric = str(body["project"]), str(body["metric"])
        if projects.find(sandbox.world, project) is None:
            raise ValueError(project)
        limits.set_override(sandbox.world, project, metric, str(body.get("region", "")), int(body["limit"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        known = [quota.metric for quotas in limits.QUOTAS.values() for quota in quotas]
        raise invalid(
            f'The body is {{"project": ID, "metric": NAME, "limit": N, "region": R}}; metrics: {", ".join(known)}.'
        ) from None
    return {"limits": limits.override(sandbox.world, project, metric)}


def _told(run: cleanup.Run) -> dict[str, Any]:
    return {
        "time": timestamp(run.time),
        "repository": run.repository,
        "dryRun": run.dry_run,
        "versions": [f"{version.package}@{version.name}" for version in run.versions],
    }


_FRONT = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Artifact Registry workbook sandbox</title>
<style>:root{{color-scheme:light dark}}
body{{font:1rem/1.5 system-ui;max-width:44rem;margin:2rem auto;padding:0 1rem}}</style>
<h1>The workbook's sandbox</h1>
<p>A local Google Cloud, as far as the workbook goes. Nothing here leaves this machine, and nothing is billed.</p>
<ul>
<li>Docker pushes to <code>{host}/us-central1-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE:TAG</code>.</li>
<li>Look in by hand: <code>http://{host}/artifactregistry.googleapis.com/v1/projects/PROJECT/locations</code>
with <code>Authorization: Bearer $(gcloud auth print-access-token)</code>.</li>
<li>A shell that talks to it: <code>eval "$(.venv/bin/workbook env)"</code>.</li>
</ul></html>"""


def front_page(sandbox: Sandbox, request: Request) -> Response:
    """What a person sees who opens the plain port in a browser."""
    port = request.url.port or 80
    return HTMLResponse(_FRONT.format(host=f"localhost:{port}"))
