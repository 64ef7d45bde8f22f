"""The methods of `projects.locations.triggers`. `firing` runs triggers on events.

Source: facts/gcloud.md "builds". A trigger for GitHub is refused until its repository is connected.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from google.cloud.devtools.cloudbuild_v1 import types

from sandbox.api import field_masks, lists, messages
from sandbox.api.methods import Call
from sandbox.cloud_build import build_methods, connections, firing, matching, starting
from sandbox.errors import ApiError, invalid, not_found, unimplemented
from sandbox.state.clock import timestamp
from sandbox.state.schema import next_number

_UNSUPPORTED = {
    "pubsubConfig": "triggers that a message in Pub/Sub fires",
    "webhookConfig": "triggers that a webhook fires",
    "triggerTemplate": "triggers on Cloud Source Repositories",
    "sourceToBuild": "triggers that are run by hand on a repository; one of GitHub's can be run by hand, too",
    "gitFileSource": "build configurations from another repository",
    "filter": "filters of events in CEL",
    "autodetect": "triggers that look for their build configuration; name it with --build-config",
}
_FIXED = frozenset({"id", "createTime", "resourceName"})
_NO_CONFIG = "trigger must specify a build config: one of 'build', 'filename' or 'autodetect'"
_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,62}[a-zA-Z0-9])?")


def _rows(rows: sqlite3.Connection, call: Call) -> list[dict[str, Any]]:
    found = rows.execute(
        "SELECT trigger FROM triggers WHERE project = ? AND location = ? ORDER BY name",
        (call.params["project"], build_methods.location(call)),
    )
    return [json.loads(row["trigger"]) for row in found]


def find(call: Call) -> dict[str, Any]:
    """Return the trigger with the id or the name in the call's path."""
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
    for field, what in _UNSUPPORTED.items():
        if trigger.get(field):
            raise unimplemented(what)
    if "name" in trigger and not _NAME.fullmatch(trigger["name"]):
        raise invalid(f"invalid value for 'trigger.name': {trigger['name']}")
    for config in ("github", "repositoryEventConfig"):
        for event, kinds in (("push", ("branch", "tag")), ("pullRequest", ("branch",))):
            for kind in kinds:
                pattern = trigger.get(config, {}).get(event, {}).get(kind, "")
                try:
                    matching.compile_pattern(pattern)
                except matching.BadPattern as error:
                    # unverified: the sentence
                    raise invalid(f"invalid value for 'trigger.{config}.{event}.{kind}': {error}") from None
    for field in ("includedFiles", "ignoredFiles"):
        for glob in trigger.get(field, ()):
            try:
                matching.compile_glob(glob)
            except matching.BadPattern as error:
                raise invalid(f"invalid value for 'trigger.{field}': {glob}: {error}") from None  # unverified
    return trigger


def _check_event(trigger: Mapping[str, Any]) -> None:
    """Refuse a trigger on a repository unless it names exactly one event."""
    for config in ("github", "repositoryEventConfig"):
        event = trigger.get(config)
        if event is None:
            continue
        named = [*event.get("push", {}), *event.get("pullRequest", {})]
        if len([one for one in named if one in ("branch", "tag")]) != 1:
            # unverified: the sentence
            raise invalid(f"trigger.{config} must name one of push.branch, push.tag and pullRequest.branch")
    if trigger.get("github") and trigger.get("repositoryEventConfig"):
        raise invalid("trigger must specify only one of 'github' and 'repository_event_config'")  # unverified


def _require_connection(call: Call, trigger: dict[str, Any]) -> None:
    place, number = build_methods.location(call), call.project.number
    github, event = trigger.get("github"), trigger.get("repositoryEventConfig")
    if github and connections.of_app(call.world, call.project.id, place, github) is None:
        # Google's message, as public issues quote it.
        raise ApiError(
            "FAILED_PRECONDITION",
            "Repository mapping does not exist. Please visit "
            f"https://console.cloud.google.com/cloud-build/triggers;region={place}/connect?project={number} to connect "
            "a repository to your project",
        )
    if event:
        if connections.of_resource(call.world, call.project, place, str(event.get("repository", ""))) is None:
            raise not_found(f"Resource '{event.get('repository', '')}' was not found")  # unverified: the sentence
        event["repositoryType"] = "GITHUB"


def _check_account(call: Call, trigger: Mapping[str, Any]) -> None:
    # unverified: that Google checks this when a trigger is created or changed, not only when it is run by hand
    starting.account(build_methods.where(call), {"serviceAccount": firing.account(trigger)})


def create(call: Call) -> dict[str, Any]:
    """Create a trigger."""
    trigger = _parsed(call)
    _require_connection(call, trigger)
    _check_event(trigger)
    if not trigger.get("build") and not trigger.get("filename"):
        raise invalid(_NO_CONFIG)
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


def list_triggers(call: Call) -> dict[str, Any]:
    """Return a location's triggers by name."""
    with call.world.reading() as rows:
        found = _rows(rows, call)
    chosen, token = lists.page(found, call.query, lambda trigger: str(trigger["id"]))
    return lists.answer("triggers", chosen, token)


def patch(call: Call) -> dict[str, Any]:
    """Change the fields in the mask. Without a mask, replace all but the id, the creation time and the location.

    https://cloud.google.com/build/docs/api/reference/rest/v1/projects.triggers/patch
    """
    parsed = _parsed(call)
    after = _changed(call, find(call), parsed)
    _check_event(after)
    _require_connection(call, after)
    _check_account(call, after)
    with call.world.writing() as rows:
        after = _changed(call, _named(rows, call), parsed)
        try:
            rows.execute(
                "UPDATE triggers SET trigger = ?, name = ? WHERE id = ?",
                (json.dumps(after), after["name"], after["id"]),
            )
        except sqlite3.IntegrityError:
            raise _taken(after["name"]) from None
    return after


def _changed(call: Call, before: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    kind = types.BuildTrigger.pb().DESCRIPTOR
    may = {field.json_name for field in kind.fields} - _FIXED
    changed = field_masks.apply(kind, before, new, field_masks.of(call), may=may)
    after = {"name": before["name"], **changed, **{field: before[field] for field in _FIXED}}
    if not after.get("build") and not after.get("filename"):
        raise invalid(_NO_CONFIG)
    if event := after.get("repositoryEventConfig"):
        after["repositoryEventConfig"] = {**event, "repositoryType": "GITHUB"}
    return after


def delete(call: Call) -> dict[str, Any]:
    """Remove a trigger."""
    with call.world.writing() as rows:
        rows.execute("DELETE FROM triggers WHERE id = ?", (_named(rows, call)["id"],))
    return {}


def run(call: Call) -> dict[str, Any]:
    """Start a trigger's build by hand."""
    trigger = find(call)
    body = call.json()
    source = (
        messages.render(messages.parse(types.RunBuildTriggerRequest.pb(), body)).get("source", {})
        if "source" in body
        else messages.render(messages.parse(types.RepoSource.pb(), body, "source"))
    )
    given = source.get("substitutions", {})
    branch, tag, commit = (str(source.get(key, "")) for key in ("branchName", "tagName", "commitSha"))
    where = build_methods.where(call)
    repository = firing.repository_of(call.world, trigger)
    if repository is not None:
        build = firing.by_hand(where, trigger, repository, branch=branch, tag=tag, commit=commit, given=given)
        return build_methods.operation(call, build)
    if not trigger.get("build"):
        # The repository has been disconnected. # unverified: the sentence
        raise ApiError("FAILED_PRECONDITION", "the repository of this trigger is not connected any more")
    build = firing.with_trigger_settings(trigger["build"], trigger, given)
    values = {
        "TRIGGER_NAME": trigger["name"],
        "BRANCH_NAME": branch,
        "TAG_NAME": tag,
        "REF_NAME": branch or tag,
        "COMMIT_SHA": commit,
        "REVISION_ID": commit,
        "SHORT_SHA": commit[:7],
    }
    return build_methods.operation(call, starting.start(where, build, starting.Fired(trigger, values)))
