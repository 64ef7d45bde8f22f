"""`projects.locations.triggers`: kept and described; one for GitHub is refused until a repository is connected.

Source: facts/gcloud.md "builds". Connecting a repository needs a browser and a GitHub account, so in the sandbox no
repository ever is; manual triggers, whose build stands in the trigger itself, do run.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from google.cloud.devtools.cloudbuild_v1 import types

from sandbox.api import lists, messages
from sandbox.api.methods import Call
from sandbox.cloud_build import build_methods
from sandbox.errors import ApiError, invalid, not_found, unimplemented
from sandbox.state.clock import timestamp
from sandbox.state.schema import next_number

_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,62}[a-zA-Z0-9])?")


def _rows(rows: sqlite3.Connection, call: Call) -> list[dict[str, Any]]:
    found = rows.execute(
        "SELECT trigger FROM triggers WHERE project = ? AND location = ? ORDER BY name",
        (call.params["project"], build_methods.location(call)),
    )
    return [json.loads(row["trigger"]) for row in found]


def find(call: Call) -> dict[str, Any]:
    """Return the trigger that a path names, by id or by name.

    Raises:
        ApiError: NOT_FOUND.
    """
    with call.world.reading() as rows:
        return _named(rows, call)


def _named(rows: sqlite3.Connection, call: Call) -> dict[str, Any]:
    for trigger in _rows(rows, call):
        if call.params["trigger"] in (trigger["id"], trigger["name"]):
            return trigger
    raise not_found()


def _taken(name: str) -> ApiError:
    return ApiError("ALREADY_EXISTS", f"trigger with name {name} already exists in the project")


def _parsed(call: Call) -> dict[str, Any]:
    trigger = messages.render(messages.parse(types.BuildTrigger.pb(), call.json(), "trigger"))
    if "name" in trigger and not _NAME.fullmatch(trigger["name"]):
        raise invalid(f"invalid value for 'trigger.name': {trigger['name']}")
    for pattern in (trigger.get("github", {}).get("push", {}).get(kind, "") for kind in ("branch", "tag")):
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise invalid(f"invalid value for 'trigger.github.push': {error}") from None
    return trigger


def _refuse_unconnected(call: Call, trigger: dict[str, Any]) -> None:
    place, number = build_methods.location(call), call.project.number
    github = trigger.get("github")
    if github:
        # The sentence is Google's, as public issues quote it.
        raise ApiError(
            "FAILED_PRECONDITION",
            "Repository mapping does not exist. Please visit "
            f"https://console.cloud.google.com/cloud-build/triggers;region={place}/connect?project={number} to connect "
            "a repository to your project",
        )
    if trigger.get("repositoryEventConfig") or trigger.get("triggerTemplate"):
        raise unimplemented("triggers on connected or mirrored repositories")


def _account(trigger: Mapping[str, Any]) -> str:
    """Return the account that the trigger's builds run as; empty for the default."""
    return str(trigger.get("serviceAccount") or trigger.get("build", {}).get("serviceAccount", ""))


def _check_account(call: Call, trigger: Mapping[str, Any]) -> None:
    # unverified: that Google asks when a trigger is made or changed, beside each time that it is run by hand
    build_methods.account(call, {"serviceAccount": _account(trigger)}, call.project)


def create(call: Call) -> dict[str, Any]:
    """Keep a trigger."""
    trigger = _parsed(call)
    _refuse_unconnected(call, trigger)
    if not trigger.get("build") and not trigger.get("filename"):
        raise invalid("trigger must specify a build config: one of 'build', 'filename' or 'autodetect'")
    _check_account(call, trigger)
    with call.world.writing() as rows:
        number = next_number(rows, f"triggers of {call.params['project']}")
        digest = hashlib.sha256(f"{call.params['project']}/trigger/{number}".encode()).hexdigest()
        trigger_id = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
        trigger |= {"id": trigger_id, "createTime": timestamp(call.world.now())}
        trigger.setdefault("name", f"trigger-{digest[:6]}")
        place = build_methods.location(call)
        trigger["resourceName"] = f"projects/{call.params['project']}/locations/{place}/triggers/{trigger_id}"
        try:
            rows.execute(
                "INSERT INTO triggers (id, project, location, name, trigger) VALUES (?, ?, ?, ?, ?)",
                (trigger_id, call.params["project"], place, trigger["name"], json.dumps(trigger)),
            )
        except sqlite3.IntegrityError:
            raise _taken(trigger["name"]) from None
    return trigger


def get(call: Call) -> dict[str, Any]:
    """One trigger."""
    return find(call)


def list_triggers(call: Call) -> dict[str, Any]:
    """Return a location's triggers by name."""
    with call.world.reading() as rows:
        found = _rows(rows, call)
    chosen, token = lists.page(found, call.query, lambda trigger: str(trigger["id"]))
    return lists.answer("triggers", chosen, token)


def patch(call: Call) -> dict[str, Any]:
    """Replace what the request says; the id, the time and the location stay."""
    asked = _parsed(call)
    _refuse_unconnected(call, asked)
    with call.world.writing() as rows:
        before = _named(rows, call)
        kept = {field: before[field] for field in ("id", "createTime", "resourceName")}
        after = {**before, **asked, **kept}
        _check_account(call, after)
        try:
            rows.execute(
                "UPDATE triggers SET trigger = ?, name = ? WHERE id = ?",
                (json.dumps(after), after["name"], after["id"]),
            )
        except sqlite3.IntegrityError:
            raise _taken(after["name"]) from None
    return after


def delete(call: Call) -> dict[str, Any]:
    """Remove a trigger."""
    with call.world.writing() as rows:
        rows.execute("DELETE FROM triggers WHERE id = ?", (_named(rows, call)["id"],))
    return {}


def run(call: Call) -> dict[str, Any]:
    """Start a trigger's build, as if its event had come."""
    trigger = find(call)
    if not trigger.get("build"):
        raise unimplemented("running a trigger whose build stands in a repository")
    body = call.json()
    source = (
        messages.render(messages.parse(types.RunBuildTriggerRequest.pb(), body)).get("source", {})
        if "source" in body
        else messages.render(messages.parse(types.RepoSource.pb(), body, "source"))
    )
    branch, tag, commit = (str(source.get(key, "")) for key in ("branchName", "tagName", "commitSha"))
    build = dict(trigger["build"])
    given = {**build.get("substitutions", {}), **trigger.get("substitutions", {}), **source.get("substitutions", {})}
    build["substitutions"] = given
    build["buildTriggerId"] = trigger["id"]
    build["tags"] = [*build.get("tags", ()), f"trigger-{trigger['id']}"]
    build["serviceAccount"] = _account(trigger)
    return build_methods.start(
        call,
        build,
        trigger={
            "TRIGGER_NAME": trigger["name"],
            "BRANCH_NAME": branch,
            "TAG_NAME": tag,
            "REF_NAME": branch or tag,
            "COMMIT_SHA": commit,
            "REVISION_ID": commit,
            "SHORT_SHA": commit[:7],
        },
    )
