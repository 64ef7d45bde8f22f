"""The two pages on which a user gives Cloud Build access to GitHub.

On GitHub the first page lets Cloud Build act for the account, and the second installs its GitHub App for some
repositories. Here the pages say that the sandbox takes GitHub's place. Each has a link with an unguessable state that
works once.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets as random
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sandbox.cloud_build import connections
from sandbox.cloud_build.connections import COMPLETE, ConsentRefused
from sandbox.doors import request_body
from sandbox.doors.pages import page
from sandbox.git_host import repositories
from sandbox.iam import policies
from sandbox.iam.members import BUILD_AGENT
from sandbox.secret_manager import secrets
from sandbox.state import projects
from sandbox.state.clock import timestamp
from sandbox.state.world import World

STAGES = {
    "/login/oauth/authorize": "PENDING_USER_OAUTH",
    "/apps/google-cloud-build/installations/new": "PENDING_INSTALL_APP",
}
_ASKS = {
    "PENDING_USER_OAUTH": ("Authorize Google Cloud Build", "Cloud Build asks to act as your GitHub account"),
    "PENDING_INSTALL_APP": ("Install", "Cloud Build asks to read the repositories of your GitHub account"),
}
_LIMIT = 4096  # bytes of a form
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Consent to Cloud Build</title>
<style>:root{color-scheme:light dark}body{font:1rem/1.5 system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem}
button{font:inherit;padding:.4rem 1rem}</style>
<h1>{{ title }}</h1>
<p>The workbook's sandbox stands in for GitHub here: nothing leaves this machine.</p>
<p>{{ text }}</p>
{% if state %}<form method="post"><input type="hidden" name="state" value="{{ state }}">
<button>{{ button }}</button></form>{% endif %}</html>"""


async def serve(world: World, request: Request, path: str) -> Response:
    """Show a page on GET, and record the consent on POST."""
    stage = STAGES[path]
    if request.method == "POST":
        try:
            given = request_body.form(await request_body.read(request, _LIMIT)).get("state", "")
        except request_body.BodyTooLarge:
            return _message(413, "That form is too large.")
    else:
        given = request.query_params.get("state", "")
    found = await asyncio.to_thread(_find, world, given)
    if found is None or found["installationState"]["stage"] != stage:
        return _message(
            404, "This link is not valid any more. `gcloud builds connections describe` shows the next one."
        )
    if request.method != "POST":
        button, text = _ASKS[stage]
        text = f"{text}, {repositories.LEARNER}, for the connection {found['name']}."
        return page(_PAGE, forms=True, title=f"{button}?", text=text, state=given, button=button)
    try:
        after = await asyncio.to_thread(_agree, world, found)
    except ConsentRefused as refused:
        return _message(403, str(refused))
    if after["stage"] == COMPLETE:
        return _message(200, f"The connection {found['name']} is complete. You can close this page.")
    return RedirectResponse(after["actionUri"], 303)


def _message(status: int, text: str) -> Response:
    return page(_PAGE, status, title="Consent to Cloud Build", text=text, state="", button="")


def _find(world: World, state: str) -> dict[str, Any] | None:
    with world.reading() as rows:
        for row in rows.execute("SELECT body, state FROM build_connections WHERE state != ''"):
            if state and hmac.compare_digest(row["state"].encode(), state.encode()):
                found: dict[str, Any] = json.loads(row["body"])
                return found
    return None


def _agree(world: World, connection: dict[str, Any]) -> dict[str, Any]:
    """Record one consent, and return the new installation state."""
    state = ""
    config = dict(connection["githubConfig"])
    if connection["installationState"]["stage"] == "PENDING_USER_OAUTH":
        config["authorizerCredential"] = _keep_token(world, connection["name"])
        state = random.token_urlsafe(24)
        after = connections.waiting(world, "PENDING_INSTALL_APP", state)
    else:
        config["appInstallationId"] = str(10_000_000 + random.randbelow(80_000_000))
        after = {"stage": COMPLETE}
    with world.writing() as rows:
        made = {**connection, "githubConfig": config, "installationState": after, "updateTime": timestamp(world.now())}
        rows.execute(
            "UPDATE build_connections SET body = ?, state = ? WHERE name = ?",
            (json.dumps(made), state, connection["name"]),
        )
    return after


def _keep_token(world: World, name: str) -> dict[str, str]:
    """Store GitHub's token as Google does: in a secret of the project, with Cloud Build's service agent's rights."""
    project = projects.find(world, name.split("/")[1])
    if project is None:
        raise ConsentRefused("The project is gone.")
    agent = BUILD_AGENT.format(number=project.number)
    allowed = policies.decide(
        world, f"serviceAccount:{agent}", "secretmanager.secrets.create", f"projects/{project.id}"
    ).allowed
    if not allowed or not projects.is_enabled(world, project.id, "secretmanager.googleapis.com"):
        # unverified: the sentence
        raise ConsentRefused(
            f"Cloud Build can't store the token: {agent} needs roles/secretmanager.admin on the project, and the "
            "project needs secretmanager.googleapis.com."
        )
    token = repositories.mint(world, repositories.LEARNER, "gho")
    short = name.rpartition("/")[2]
    secret = secrets.resource(project.id, f"{short}-github-oauthtoken-{random.token_hex(3)}")
    shown = f"projects/{project.number}/secrets/{secret.rpartition('/')[2]}"
    with world.writing() as rows:
        now = timestamp(world.now())
        secrets.add(rows, secret, {"name": shown, "replication": {"automatic": {}}, "createTime": now})
        secrets.add_version(rows, secret, now, token.encode())
    return {"oauthTokenSecretVersion": f"{secret}/versions/latest", "username": repositories.LEARNER}
