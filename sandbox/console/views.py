"""The console's pages, with a function for each that reads the APIs and returns the template's values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from sandbox.console import contents, progress
from sandbox.console.reader import Reader, quoted
from sandbox.console.visits import Visit, link, part

_REGISTRY: Final = "artifactregistry"
# USD for a GiB and month above the free tier, https://cloud.google.com/artifact-registry/pricing, read 2026-11.
_USD, _FREE_GIB = 0.10, 0.5
_LOG_LINES = 2000


def projects(visit: Visit) -> dict[str, Any]:
    """Read the projects that the user may see."""
    return {"projects": visit.reader.get("cloudresourcemanager", "/v1/projects").get("projects", [])}


def project(visit: Visit) -> dict[str, Any]:
    """Read a project's repositories, services, builds, triggers, role bindings, and the cost of its storage."""
    of, read = quoted(visit["project"]), visit.reader
    read.get("cloudresourcemanager", f"/v1/projects/{of}")
    repositories = part(lambda: list(_repositories(read, of)))
    stored = sum(int(one.get("sizeBytes", 0)) for one in repositories.found or [])
    builds = part(
        lambda: read.get("cloudbuild", f"/v1/projects/{of}/locations/-/builds", pageSize=20).get("builds", [])
    )
    services = part(lambda: read.get("run", f"/v1/projects/{of}/locations/-/services").get("items", []))
    return {
        "repositories": repositories,
        "stored": stored,
        "usd": max(stored / 2**30 - _FREE_GIB, 0) * _USD,
        "services": services,
        "builds": builds,
        "triggers": part(lambda: _triggers(read, of, builds.found or [])),
        "bindings": part(
            lambda: contents.bindings(read.post("cloudresourcemanager", f"/v1/projects/{of}:getIamPolicy"))
        ),
    }


def _triggers(read: Reader, of: str, builds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Read the triggers of every location, each with its event and its newest build."""
    found: list[dict[str, Any]] = []
    for location in ("global", *(one["locationId"] for one in _locations(read, of))):
        listed = read.get("cloudbuild", f"/v1/projects/{of}/locations/{location}/triggers", pageSize=1000)
        found += listed.get("triggers", [])
    last: dict[str, Mapping[str, Any]] = {}
    for one in builds:
        last.setdefault(one.get("buildTriggerId", ""), one)
    return [{**one, "event": _event(one), "last": last.get(one["id"])} for one in found]


def _event(trigger: Mapping[str, Any]) -> str:
    """Describe a trigger's event in a few words. Pure."""
    config = trigger.get("github") or trigger.get("repositoryEventConfig") or {}
    for kind, words in (("push", "a push to"), ("pullRequest", "a pull request to")):
        if event := config.get(kind):
            which = next((f"{name} {event[name]}" for name in ("branch", "tag") if name in event), "any branch")
            return f"{words} {'everything but ' if event.get('invertRegex') else ''}{which}"
    return "by hand"


def _locations(read: Reader, of: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = read.get(_REGISTRY, f"/v1/projects/{of}/locations", pageSize=500)["locations"]
    return found


def _repositories(read: Reader, of: str) -> Any:
    for location in _locations(read, of):
        listed = read.get(_REGISTRY, f"/v1/{location['name']}/repositories", pageSize=1000)
        yield from listed.get("repositories", [])


def build(visit: Visit) -> dict[str, Any]:
    """Read a build with its steps and its log."""
    read, of = visit.reader, quoted(visit["project"])
    found = read.get("cloudbuild", f"/v1/projects/{of}/builds/{quoted(visit['build'])}")
    return {
        "build": found,
        "log": part(lambda: _log(read, visit["project"], found)),
        "live": found["status"] in ("PENDING", "QUEUED", "WORKING"),
    }


def _log(read: Reader, of: str, found: Mapping[str, Any]) -> list[str]:
    if bucket := found.get("logsBucket"):
        name, _, folder = bucket.removeprefix("gs://").partition("/")
        path = "/".join(filter(None, (folder, f"log-{found['id']}.txt")))
        text = read.text("storage", f"/download/storage/v1/b/{quoted(name)}/o/{quoted(path)}", alt="media")
        return text.splitlines()[-_LOG_LINES:]
    wanted = f'resource.type="build" AND resource.labels.build_id="{found["id"]}"'
    query = {"resourceNames": [f"projects/{of}"], "filter": wanted, "orderBy": "timestamp asc", "pageSize": 1000}
    return [one.get("textPayload", "") for one in read.post("logging", "/v2/entries:list", query).get("entries", [])]


def requests(visit: Visit) -> dict[str, Any]:
    """Read the latest requests to the sandbox, newest first."""
    since = visit.query.get("since", "")
    number = int(since) if re.fullmatch("[0-9]{1,18}", since) else 0
    listed = visit.controls.requests.since(number)
    return {"requests": listed[-200:][::-1], "live": True}


def clock(visit: Visit) -> dict[str, Any]:
    """Read the sandbox's clock."""
    return {"now": visit.controls.world.now()}


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        path: the address below `/console`, with variables in braces.
        template: the name of the template's file, without the extension.
    """

    path: str
    template: str
    values: Callable[[Visit], dict[str, Any]]

    def match(self, raw: str) -> dict[str, str] | None:
        """Return the decoded variables of an address, or None if it is another page's."""
        pieces = re.split(r"\{(\w+)\}", self.path)
        pattern = "".join(f"(?P<{one}>[^/]+)" if place % 2 else re.escape(one) for place, one in enumerate(pieces))
        found = re.fullmatch(pattern, raw)
        return {key: unquote(value) for key, value in found.groupdict().items()} if found else None


PAGES: Final = (
    Page("", "projects", projects),
    Page("/requests", "requests", requests),
    Page("/clock", "clock", clock),
    Page("/progress", "progress", progress.progress),
    Page("/projects/{project}", "project", project),
    Page("/projects/{project}/builds/{build}", "build", build),
    Page("/projects/{project}/repositories/{location}/{repository}", "repository", contents.repository),
    Page("/projects/{project}/repositories/{location}/{repository}/packages/{package}", "package", contents.package),
    Page("/projects/{project}/repositories/{location}/{repository}/{image}", "image", contents.image),
)


def trail(base: str, params: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the names and addresses of the pages above one, from the top."""
    steps = [("Projects", base)]
    if "project" in params:
        steps.append((params["project"], link(base, "projects", params["project"])))
    if "repository" in params:
        place = ("projects", params["project"], "repositories", params["location"], params["repository"])
        steps.append((params["repository"], link(base, *place)))
    if last := params.get("image") or params.get("package") or params.get("build"):
        steps.append((unquote(last), ""))
    return steps
